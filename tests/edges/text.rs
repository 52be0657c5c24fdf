//! Text from outside, and arguments that are not UTF-8.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sandbox::{AgentConfig, Document, Sandbox, SessionConfig, Started, Upgrade};
use serde_json::json;

use crate::support::{Finished, Io, Plugin, sandbox};

/// Clears the screen, sets the title, asks the terminal to type, turns the direction of text; and what is left of it.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}5n\u{202e}b\0c";
const LEFT: &str = "a[2J]0;t5nbc";

fn assert_harmless(finished: &Finished, what: &str) {
    for (name, text) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
        let control =
            |one: &char| (one.is_control() && !"\n\t\r".contains(*one)) || *one == '\u{202e}';
        assert_eq!(text.chars().find(control), None, "{what}, {name}: {text:?}");
    }
}

/// The response with another session id.
fn renamed(started: &Started, id: &str) -> String {
    let mut response = started.response();
    response["SessionId"] = json!(id);
    response.to_string()
}

fn run(sandbox: &Sandbox, config: impl Into<SessionConfig>) -> (Started, Finished) {
    let started = sandbox.start_session(config);
    let finished = Plugin::new(sandbox, &started)
        .env(
            "AWS_SSM_START_SESSION_RESPONSE",
            renamed(&started, &format!("s-{HOSTILE}")),
        )
        .env("SSM_PLUGIN_LOG", "trace")
        .stdin(Io::Null)
        .spawn()
        .finish();
    (started, finished)
}

#[test]
fn p84_session_ids_messages_and_types_reach_no_terminal_as_they_are() {
    let sandbox = sandbox();
    let agent = AgentConfig {
        customer_message: Some(HOSTILE.into()),
        version: format!("3.3.0.0{HOSTILE}"),
        ..AgentConfig::default()
    };
    let config = |document| SessionConfig {
        document,
        agent: agent.clone(),
        ..SessionConfig::default()
    };
    let (_, finished) = run(&sandbox, config(Document::command("true")));
    assert_harmless(&finished, "a command");
    assert!(finished.stdout.contains(&format!("SessionId: s-{LEFT}\n")));
    assert!(
        finished.stdout.contains(&format!("\n{LEFT}\n")),
        "{finished:?}"
    );

    let asking = AgentConfig {
        extra_actions: vec![(HOSTILE.into(), json!({ HOSTILE: HOSTILE }))],
        ..agent.clone()
    };
    let (_, finished) = run(
        &sandbox,
        SessionConfig {
            document: Document::command("true"),
            agent: asking,
            ..SessionConfig::default()
        },
    );
    assert_harmless(&finished, "an action");
    let unknown = |session_type: &str, properties| Document::Other {
        session_type: session_type.into(),
        properties,
    };
    let (_, finished) = run(
        &sandbox,
        config(unknown(HOSTILE, json!({ HOSTILE: HOSTILE }))),
    );
    assert_harmless(&finished, "an unknown type");
    for properties in [
        json!({ "type": "LocalPortForwarding", "localPortNumber": HOSTILE }),
        json!({ "type": "LocalPortForwarding", "localConnectionType": "unix", "localUnixSocket": format!("/no{HOSTILE}/where") }),
    ] {
        let (_, finished) = run(&sandbox, config(unknown("Port", properties)));
        assert_harmless(&finished, "properties");
        assert_ne!(finished.code(), 0);
    }
}

#[test]
fn p84_the_name_of_a_socket_reaches_no_terminal_as_it_is() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s\u{1b}[2J\u{9b}5nocket");
    let started = sandbox.start_session(Document::Other {
        session_type: "Port".into(),
        properties: json!({ "type": "LocalPortForwarding", "localConnectionType": "unix",
            "localUnixSocket": path.to_str(), "portNumber": "1" }),
    });
    let plugin = Plugin::new(&sandbox, &started).stdin(Io::Null).spawn();
    plugin.stdout.wait_for("s[2J5nocket opened for sessionId");
    plugin.signal(rustix::process::Signal::INT);
    let finished = plugin.finish();
    assert_harmless(&finished, "a socket");
}

#[test]
fn p84_reasons_of_gateway_and_service_reach_no_terminal_as_they_are() {
    let sandbox = sandbox();
    // The end that the service gives.
    let started = sandbox.start_session(Document::Interactive {
        command: "echo go; sleep 600".into(),
    });
    let plugin = Plugin::new(&sandbox, &started)
        .env("SSM_PLUGIN_LOG", "trace")
        .spawn();
    plugin.stdout.wait_for("go");
    started.session.terminate(HOSTILE);
    let finished = plugin.finish();
    assert_harmless(&finished, "channel_closed");
    assert!(
        finished.stdout.contains(&format!(" : {LEFT}\n\n")),
        "{finished:?}"
    );

    // What a gateway says instead of a websocket, and in its head.
    for answer in [
        format!(
            "HTTP/1.1 403 {HOSTILE}\r\nX-{HOSTILE}: {HOSTILE}\r\nContent-Length: 40\r\n\r\n{HOSTILE}{HOSTILE}{HOSTILE}"
        ),
        format!(
            "HTTP/1.1 403 No\r\nContent-Length: {}\r\n\r\n{HOSTILE}",
            HOSTILE.len()
        ),
        format!("HTTP/1.1 101 Yes\r\nUpgrade: {HOSTILE}\r\n\r\n"),
        format!("{HOSTILE}\r\n\r\n"),
    ] {
        let mut config = SessionConfig::from(Document::Shell);
        config.gateway.upgrades = vec![Upgrade::Raw(answer.clone().into_bytes()); 9].into();
        let (_, finished) = run(&sandbox, config);
        assert_harmless(&finished, &answer);
        assert_eq!(finished.code(), 1, "{finished:?}");
    }
}

#[test]
fn p84_arguments_and_variables_reach_no_terminal_as_they_are() {
    let hostile = HOSTILE.replace('\0', "");
    for arguments in [
        vec![hostile.as_str()],
        vec!["start-session", "--target", "i-1", &hostile],
        vec![
            "start-session",
            "--target",
            "i-1",
            "--endpoint-url",
            &hostile,
        ],
        vec!["port-forward", "--target", "i-1", &hostile],
        vec!["start-session", "--target", "i-1", "--parameters", &hostile],
        vec![&hostile, "r", "StartSession"],
        vec!["{}", &hostile, &hostile],
    ] {
        let finished = Plugin::bare(&arguments).run(b"");
        assert_harmless(&finished, &format!("{arguments:?}"));
        assert_ne!(finished.code(), 0);
    }
    let response =
        json!({ "SessionId": "s", "TokenValue": "t", "StreamUrl": format!("wss://{HOSTILE}/x") });
    let finished = Plugin::bare([&response.to_string(), "r", "StartSession"]).run(b"");
    assert_harmless(&finished, "a stream URL");
    for variable in [
        "SSM_PLUGIN_LOG",
        "SSM_PLUGIN_LOG_FILE",
        "AWS_CA_BUNDLE",
        "HTTPS_PROXY",
        "AWS_PROFILE",
        "NO_PROXY",
        "AWS_REGION",
    ] {
        let finished = Plugin::bare(["start-session", "--target", "i-1"])
            .env("SSM_PLUGIN_LOG", "trace")
            .env(variable, format!("/no{hostile}/where"))
            .run(b"");
        assert_harmless(&finished, variable);
    }
}

#[test]
fn p88_a_first_argument_that_is_no_name_is_a_usage_error_and_not_shown() {
    for first in [
        &b"AWS_SSM_START_SESSION_RESPONSE={\"TokenValue\":\"very-secret\"}"[..],
        b"AWS_SSM_START_SESSION_RESPONSE=",
        b"AWS_SSM_START_SESSION_RESPONSE_a=very-secret",
        b"AWS_SSM_START_SESSION_RESPONSE{\"TokenValue\":\"very-secret\"}",
        b"AWS_SSM_START_SESSION_RESPONSE very-secret",
        b"AWS_SSM_START_SESSION_RESPONSE\xffvery-secret",
        b"{\"TokenValue\":\"very-secret\xff\"}",
    ] {
        for count in 1..=6 {
            let mut arguments = vec![OsString::from_vec(first.to_vec())];
            arguments.extend(["eu-central-1", "StartSession", "", "{}", ""].map(OsString::from));
            arguments.truncate(count);
            let finished = Plugin::bare(arguments).run(b"");
            assert_eq!(finished.code(), 2, "{finished:?}");
            assert!(
                !format!("{finished:?}").contains("very-secret"),
                "{count}: {finished:?}"
            );
            assert!(!finished.stderr.contains("panicked"), "{finished:?}");
        }
    }
}

#[test]
fn p95_an_argument_that_is_not_utf8_is_named_by_its_place() {
    let odd = OsString::from_vec(b"/srv/\xff\xfe".to_vec());
    let own = ["exec", "--target", "i-1", "--", "rm"];
    let call = ["{}", "eu-central-1", "StartSession", "", "{}"];
    for arguments in [&own[..], &call, &["help"], &["start-session", "--target"]] {
        let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        arguments.push(odd.clone());
        let place = format!("argument {}", arguments.len());
        let finished = Plugin::bare(&arguments).run(b"");
        assert_eq!(finished.code(), 2, "{arguments:?}: {finished:?}");
        assert!(
            finished.stderr.contains(&place),
            "{arguments:?}: {finished:?}"
        );
    }
}
