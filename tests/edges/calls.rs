//! Calls by the contract that are wrong, or come from an unusual process: what is said, where, and what becomes of the session that was
//! started for them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use sandbox::{Credentials, Document};
use serde_json::json;
use session_manager_plugin::internals::message::PayloadType;

use crate::support::api::Script;
use crate::support::gateway::{Gateway, SESSION_ID};
use crate::support::{Io, Plugin, exit_code, sandbox, strict_sandbox, wait_until};

/// A session that no host may be asked for.
fn unusable() -> String {
    json!({
        "SessionId": "s-1",
        "StreamUrl": "wss://gateway.example.com/x",
        "TokenValue": "very-secret",
    })
    .to_string()
}

#[test]
fn json_is_read_as_leniently_as_the_original_reads_it() {
    let sandbox = sandbox();
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    for other in [r#""\udcff""#, "1e999", &deep] {
        let started = sandbox.start_session(Document::command("echo it works"));
        let with_more = |json: &str, more: &str| json.replacen('{', &format!("{{{more},"), 1);
        let response = started.response().to_string();
        let response = with_more(&response, &format!(r#""ResponseMetadata":{{"x":{other}}}"#));
        let request = format!(r#"{{"Target":"i-1","Parameters":{{"command":["x",{other}]}}}}"#);
        let arguments = [&response, "eu-central-1", "StartSession", "", &request, ""];
        let plugin = Plugin::bare(arguments).reaching(&sandbox);
        let finished = plugin.run(b"");
        assert!(finished.stdout.contains("it works"), "{finished:?}");
    }
}

#[test]
fn quiet_holds_for_what_is_wrong_with_a_call_too() {
    let reason = "Cannot perform start session: ";
    for (plugin, text) in [
        (Plugin::bare(["{", "r", "StartSession"]), reason),
        (Plugin::bare([&unusable(), "r", "StartSession"]), reason),
        (
            Plugin::bare([&unusable(), "r", "StartSession"]).env("SSM_PLUGIN_PAYLOAD_SIZE", "0"),
            reason,
        ),
        (Plugin::bare(["{", "r", "Stop"]), "Invalid Operation\n"),
        (Plugin::bare(["ls"]), "\nUnknown operation ls. \n"),
    ] {
        let finished = plugin.env("SSM_PLUGIN_QUIET", "1").run(b"");
        assert_eq!(finished.stdout, "", "{finished:?}");
        assert!(finished.stderr.starts_with(text), "{finished:?}");
        assert_ne!(finished.code(), 0);
    }
    // What was asked for is no line of ours.
    let version = Plugin::bare(["--version"]).env("SSM_PLUGIN_QUIET", "1");
    assert_eq!(version.run(b"").stdout, "1.2.896.0\n");
}

#[test]
fn wrong_usage_of_a_call_is_told_where_callers_read() {
    let not_text = || OsString::from_vec(b"eu\xff".to_vec());
    let named = "AWS_SSM_START_SESSION_RESPONSE={\"TokenValue\":\"very-secret\"}";
    for (arguments, part) in [
        (
            ["{}".into(), not_text(), "StartSession".into()],
            "argument 2",
        ),
        (
            [named.into(), "r".into(), "StartSession".into()],
            "argument 1",
        ),
    ] {
        let finished = Plugin::bare(arguments).run(b"");
        let reason = "Cannot perform start session: argument ";
        assert!(finished.stdout.starts_with(reason), "{finished:?}");
        assert!(finished.stdout.contains(part), "{finished:?}");
        assert!(finished.stderr.contains(part), "{finished:?}");
        assert!(!format!("{finished:?}").contains("very-secret"));
        assert_eq!(finished.code(), 2);
    }
    // The stdout of our own commands is somebody's data.
    let own = Plugin::bare(["exec".into(), not_text()]).run(b"");
    assert_eq!((own.stdout.as_str(), own.code()), ("", 2));
}

#[test]
fn an_empty_response_is_called_empty() {
    for (variable, value) in [("AWS_SSM_START_SESSION_RESPONSE", ""), ("OTHER", " \n")] {
        let first = if value.is_empty() { variable } else { value };
        let finished = Plugin::bare([first, "r", "StartSession"])
            .env(variable, value)
            .run(b"");
        assert!(
            finished.stdout.ends_with(" is empty, which is not JSON\n"),
            "{finished:?}"
        );
        assert_eq!(finished.code(), 1);
    }
}

#[test]
fn whatever_follows_the_variables_name_names_a_variable() {
    let sandbox = sandbox();
    for end in ["", "_1", "-a.b", "/42", "~"] {
        let variable = format!("AWS_SSM_START_SESSION_RESPONSE{end}");
        let started = sandbox.start_session(Document::command("echo hello"));
        let finished = Plugin::new(&sandbox, &started)
            .arguments(&started, &[&variable, "eu-central-1", "StartSession"])
            .env(&variable, started.response().to_string())
            .run(b"");
        assert!(finished.stdout.contains("\nhello\n"), "{finished:?}");
        assert_eq!(finished.code(), 0);
    }
}

#[test]
fn p90_a_session_whose_settings_cannot_be_used_is_ended() {
    for (name, value) in [
        ("SSM_PLUGIN_PAYLOAD_SIZE", "0"),
        ("SSM_PLUGIN_ESCAPE", "long"),
    ] {
        let gateway = Gateway::start(|_| Ok(()));
        let finished = gateway.plugin().env(name, value).run(b"");
        assert!(finished.stdout.contains(name), "{finished:?}");
        assert_eq!(finished.code(), 1);
        assert_eq!(gateway.dials(), 0);
        assert_eq!(gateway.api.count("TerminateSession"), 1, "{name}");
    }
}

#[test]
fn p90_a_signal_cuts_short_the_end_of_a_session_that_cannot_be_used() {
    // An API that never answers.
    let api = Script::new(|_, _| thread::sleep(Duration::from_secs(30)));
    for (calls, signal) in [(1, Signal::INT), (2, Signal::TERM)] {
        let plugin = Plugin::bare([unusable().as_str(), "eu-central-1", "StartSession"])
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_ENDPOINT_URL_SSM", api.url())
            .spawn();
        wait_until("its call", || api.asked().len() == calls);
        plugin.signal(signal);
        // All of it takes 5 s otherwise.
        let status = plugin.wait_within(Duration::from_secs(3));
        assert_eq!(status.map(exit_code), Some(1), "{signal:?}");
    }
}

#[test]
fn a_session_that_is_not_signed_says_so_only_if_it_goes_on() {
    let finished = Plugin::bare([unusable().as_str(), "", "StartSession"]).run(b"");
    assert!(!finished.stderr.contains("goes on"), "{finished:?}");
    assert_eq!(finished.code(), 1);
}

#[test]
fn a_break_that_cannot_be_mended_says_why() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        peer.start("Standard_Stream")?;
        peer.output(b"begun\r\n")?;
        peer.wait_for_test()?;
        peer.hang_up();
        Ok(())
    });
    let plugin = gateway
        .plugin()
        .env("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true")
        .spawn();
    plugin.stdout.wait_for("begun");
    gateway.go_on();
    let finished = plugin.finish();
    let text = format!("\n\nSessionId: {SESSION_ID} : ");
    assert!(finished.stdout.contains(&text), "{finished:?}");
    for stream in [&finished.stdout, &finished.stderr] {
        let reason = "cannot be resumed: SSM_PLUGIN_SKIP_CLIENT_CONFIGURE is set\n";
        assert!(stream.contains(reason), "{finished:?}");
    }
    assert_eq!(finished.code(), 1);
}

#[test]
fn an_address_that_is_not_this_machines_is_named_with_its_variable() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        peer.start_port(Some(0))?;
        peer.serve()
    });
    // Kept for documentation.
    let plugin = gateway.plugin().env("SSM_PLUGIN_LOCAL_HOST", "192.0.2.1");
    let finished = plugin.run(b"");
    for stream in [&finished.stdout, &finished.stderr] {
        let reason =
            "SSM_PLUGIN_LOCAL_HOST leads to 192.0.2.1, which is no address of this machine";
        assert!(stream.contains(reason), "{finished:?}");
    }
    assert_eq!(finished.code(), 1);
}

#[test]
fn a_host_that_the_user_named_is_named_with_its_variable() {
    let gateway = Gateway::start(|_| Ok(()));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = nobody.local_addr().expect("its address").to_string();
    drop(nobody);
    let finished = gateway
        .plugin()
        .env("SSM_PLUGIN_STREAM_ENDPOINT", &host)
        .run(b"");
    for stream in [&finished.stdout, &finished.stderr] {
        let reason = "refused the connection (SSM_PLUGIN_STREAM_ENDPOINT leads there)\n";
        assert!(stream.contains(reason), "{finished:?}");
    }
    assert_eq!((gateway.dials(), finished.code()), (0, 1));
}

#[test]
fn p84_the_name_of_a_profile_makes_no_line_of_its_own() {
    let sandbox = strict_sandbox();
    let started = sandbox.start_session(Document::command("echo hello"));
    let finished = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .arguments(
            &started,
            &[
                "{}",
                "eu-central-1",
                "StartSession",
                "a\nsession-manager-plugin: b\x1b[2J",
            ],
        )
        .run(b"");
    let line = "session-manager-plugin: the profile a session-manager-plugin: b[2J is in no configuration file";
    assert!(finished.stderr.starts_with(line), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
}

#[test]
fn p80_the_end_of_a_handshake_after_the_start_is_ignored() {
    for handshake in [true, false] {
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            if handshake {
                peer.start("Standard_Stream")?;
            }
            peer.output(b"begun\r\n")?;
            peer.stream(PayloadType::HandshakeComplete, b"no JSON")?;
            peer.complete("a message")?;
            peer.output(b"goes on\r\n")?;
            peer.channel_closed("")?;
            peer.serve()
        });
        let finished = gateway.plugin().run(b"");
        assert!(
            finished
                .stdout
                .contains("\nbegun\r\ngoes on\r\n\n\nExiting session"),
            "{finished:?}"
        );
        assert_eq!((finished.stderr.as_str(), finished.code()), ("", 0));
    }
}

#[test]
fn children_can_be_waited_for_where_sigchld_is_ignored() {
    let sandbox = strict_sandbox();
    let home = tempfile::tempdir().unwrap();
    let Credentials {
        access_key_id,
        secret_access_key,
        ..
    } = sandbox.credentials();
    let answer = json!({
        "Version": 1,
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret_access_key,
    });
    fs::write(home.path().join("answer"), answer.to_string()).unwrap();
    fs::write(
        home.path().join("config"),
        "[profile p]\ncredential_process=sh -c 'cat ~/answer'\n",
    )
    .unwrap();
    let ignoring = "exec python3 -c 'import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n\
                    os.execv(sys.argv[1], sys.argv[1:])' \"$0\" \"$@\"";
    let started = sandbox.start_session(Document::command("echo hello"));
    let called = Plugin::new(&sandbox, &started).with_api(&sandbox);
    let own = Plugin::bare(["exec", "--target", "i-1", "--", "echo", "hello"]).with_api(&sandbox);
    for plugin in [called, own] {
        let finished = plugin
            .stdin(Io::Null)
            .without_keys()
            .env("HOME", home.path())
            .env("AWS_CONFIG_FILE", "~/config")
            .env("AWS_PROFILE", "p")
            .before(ignoring)
            .run(b"");
        assert!(finished.stdout.contains("hello\n"), "{finished:?}");
        assert_eq!(finished.code(), 0, "{finished:?}");
    }
}
