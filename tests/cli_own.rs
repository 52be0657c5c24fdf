//! Our own subcommands, and what the API is asked at the end of a session.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use sandbox::{Document, Event, Sandbox, Started};
use serde_json::{Value, json};
use support::{Io, Plugin, Running, TIMEOUT, exit_code, strict_sandbox};

const TARGET: &str = "i-0123456789abcdef0";

/// Calls one of our subcommands.
fn own(sandbox: &Sandbox, subcommand: &str, arguments: &[&str]) -> Plugin {
    let all = [&[subcommand, "--target", TARGET], arguments].concat();
    Plugin::bare(all).with_api(sandbox)
}

/// Says `go`, and ends only when somebody ends it.
fn long_command() -> Document {
    Document::Interactive {
        command: "echo go; sleep 600".into(),
    }
}

/// In a terminal that the program has made raw.
fn in_a_long_command(sandbox: &Sandbox) -> (Started, Running) {
    let started = sandbox.start_session(long_command());
    let plugin = Plugin::new(sandbox, &started)
        .with_api(sandbox)
        .terminal()
        .spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    (started, plugin)
}

/// The requests of an operation that the API took.
fn requests(sandbox: &Sandbox, wanted: &str) -> Vec<Value> {
    let requests = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Api {
                operation,
                request,
                status: 200,
                ..
            } if operation == wanted => Some(request),
            _ => None,
        });
    requests.collect()
}

#[test]
fn start_session_runs_a_shell() {
    let sandbox = strict_sandbox();
    let finished =
        own(&sandbox, "start-session", &["--reason", "to look"]).run(b"echo a$((1 + 1))b\nexit\n");
    assert!(
        finished
            .stdout
            .starts_with("\nStarting session with SessionId: "),
        "{finished:?}"
    );
    assert!(finished.stdout.contains("a2b\r\n"), "{finished:?}");
    assert_eq!((finished.stderr.as_str(), finished.code()), ("", 0));
    let request = &requests(&sandbox, "ssm:StartSession")[0];
    assert_eq!(request["Target"], TARGET);
    assert_eq!(request["Reason"], "to look");
}

#[test]
fn start_session_takes_a_document_with_parameters() {
    let sandbox = strict_sandbox();
    let finished = own(
        &sandbox,
        "start-session",
        &[
            "--document-name",
            "AWS-StartNonInteractiveCommand",
            "--parameters",
            "command=echo hello",
        ],
    )
    .run(b"");
    assert!(finished.stdout.contains("hello\n"), "{finished:?}");
    let request = &requests(&sandbox, "ssm:StartSession")[0];
    assert_eq!(request["Parameters"], json!({ "command": ["echo hello"] }));
}

#[test]
fn exec_is_the_command_alone_with_its_exit_code() {
    let sandbox = strict_sandbox();
    let finished = own(
        &sandbox,
        "exec",
        &["--", "sh", "-c", "echo 'two  words'; echo err >&2; exit 7"],
    )
    .run(b"");
    assert_eq!(finished.stdout, "two  words\n");
    assert_eq!(finished.stderr, "err\n");
    assert_eq!(finished.code(), 7);

    let finished = own(&sandbox, "exec", &["echo one line"]).run(b"");
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("one line\n", "")
    );
    assert_eq!(finished.code(), 0);
}

#[test]
fn port_forward_opens_a_port() {
    let sandbox = strict_sandbox();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let plugin = own(&sandbox, "port-forward", &["--once", &port.to_string()]).spawn();
    plugin.stdout.wait_for("Waiting for connections...");
    let mut client =
        TcpStream::connect(("127.0.0.1", plugin.listening_port())).expect("a connection");
    client.write_all(b"ping").expect("to send");
    let (mut served, _) = server.accept().expect("a connection");
    let mut bytes = [0; 4];
    served.read_exact(&mut bytes).expect("the bytes");
    assert_eq!(&bytes, b"ping");
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
    let request = &requests(&sandbox, "ssm:StartSession")[0];
    assert_eq!(request["DocumentName"], "AWS-StartPortForwardingSession");
}

#[test]
fn ssh_proxy_has_nothing_of_ours_on_stdout() {
    let sandbox = strict_sandbox();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port().to_string();
    let plugin = own(&sandbox, "ssh-proxy", &["--port", &port]).spawn();
    let (mut served, _) = server.accept().expect("a connection");
    served.write_all(b"SSH-2.0-test\r\n").expect("to send");
    plugin.stdout.wait_for("SSH-2.0-test");
    assert_eq!(plugin.stdout.text(), "SSH-2.0-test\r\n");
}

#[test]
fn what_the_api_refuses_is_told_in_its_words() {
    let sandbox = strict_sandbox();
    let finished = own(&sandbox, "exec", &["--", "true"])
        .without("AWS_ACCESS_KEY_ID")
        .run(b"");
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.contains("credentials"), "{finished:?}");
    assert_eq!(finished.code(), 1);

    let finished = own(&sandbox, "start-session", &[])
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .run(b"");
    assert!(
        finished
            .stdout
            .starts_with("Cannot perform start session: "),
        "{finished:?}"
    );
    assert!(!finished.stderr.is_empty());
    assert_eq!(finished.code(), 1);
}

#[test]
fn what_keeps_a_command_from_beginning_is_said_on_stderr_alone() {
    let sandbox = strict_sandbox();
    let commands: [&[&str]; 9] = [
        &["list"],
        &["run", "--target", TARGET, "--", "true"],
        &["exec", "--target", TARGET, "--", "true"],
        &["doctor"],
        &["cp", "a", "i-0123456789abcdef0:/b"],
        &["ssh-config"],
        &["port-forward", "--target", TARGET, "22"],
        &["start-session", "--target", TARGET],
        &["ssh-proxy", "--target", TARGET],
    ];
    for arguments in commands {
        let finished = Plugin::bare(arguments)
            .with_api(&sandbox)
            .env("SSM_PLUGIN_PAYLOAD_SIZE", "big")
            .run(b"");
        let line = "session-manager-plugin: SSM_PLUGIN_PAYLOAD_SIZE is \"big\", which cannot be used: \
                    it must be a number of bytes from 1 to 32768\n";
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert_eq!(finished.stderr, line, "{arguments:?}");
        assert_eq!(finished.code(), 1, "{arguments:?}");
    }
}

#[test]
fn a_person_is_told_once_why_no_session_begins() {
    let sandbox = strict_sandbox();
    let running = own(&sandbox, "start-session", &[])
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .terminal()
        .spawn();
    assert_eq!(running.wait().code(), Some(1));
    running
        .terminal
        .wait_for("session-manager-plugin: StartSession failed: ");
    let text = running.terminal.text();
    assert_eq!(text.matches("StartSession failed").count(), 1, "{text}");
}

#[test]
fn the_target_may_stand_in_a_variable() {
    let sandbox = strict_sandbox();
    let exec = |arguments: &[&str]| {
        let plugin = Plugin::bare([&["exec"], arguments].concat()).with_api(&sandbox);
        plugin.stdin(Io::Null)
    };
    let name = "SSM_PLUGIN_TARGET";
    let finished = exec(&["--", "true"]).env(name, "i-of-variable").run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    let finished = exec(&["--target", "i-given", "--", "true"])
        .env(name, "i-of-variable")
        .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    let requests = requests(&sandbox, "ssm:StartSession");
    let targets: Vec<_> = requests.iter().map(|request| &request["Target"]).collect();
    assert_eq!(targets, ["i-of-variable", "i-given"]);
    let finished = exec(&["--", "true"]).run(b"");
    assert_eq!(finished.code(), 2, "{finished:?}");
    assert!(finished.stderr.contains(name), "{finished:?}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["exec"][..],
        &["start-session", "--nothing"],
        &["port-forward", "--target", "i", "x"],
    ] {
        let finished = Plugin::bare(arguments).run(b"");
        assert!(
            finished.stderr.contains("Usage") || finished.stderr.contains("invalid value"),
            "{finished:?}"
        );
        assert_eq!(finished.code(), 2);
    }
}

#[test]
fn p54_a_killed_plugin_ends_the_remote_session() {
    let sandbox = strict_sandbox();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let (started, plugin) = in_a_long_command(&sandbox);
        plugin.signal(signal);
        assert_eq!(exit_code(plugin.wait()), code);
        plugin.wait_for_raw(false);
        let ended = requests(&sandbox, "ssm:TerminateSession");
        assert!(
            ended
                .iter()
                .any(|request| request["SessionId"] == started.session.id()),
            "{ended:?}"
        );
    }
}

#[test]
fn leaving_by_the_escape_or_a_broken_pipe_ends_the_remote_session() {
    let sandbox = strict_sandbox();
    let (started, plugin) = in_a_long_command(&sandbox);
    plugin.type_in(b"~.");
    assert_eq!(exit_code(plugin.wait()), 0);

    let broken = sandbox.start_session(long_command());
    let plugin = Plugin::new(&sandbox, &broken)
        .with_api(&sandbox)
        .stdout(Io::HeldPipe)
        .spawn();
    assert!(
        broken
            .session
            .wait_for_frames(TIMEOUT, |frames| frames.len() > 3)
    );
    plugin.close_stdout();
    assert_eq!(exit_code(plugin.wait()), 0);

    let ended = requests(&sandbox, "ssm:TerminateSession");
    for session in [&started.session, &broken.session] {
        assert!(
            ended
                .iter()
                .any(|request| request["SessionId"] == session.id()),
            "{ended:?}"
        );
    }
}

#[test]
fn a_session_that_cannot_start_is_ended() {
    let sandbox = strict_sandbox();
    let mut config = sandbox::SessionConfig::from(Document::Shell);
    config.gateway.upgrades = vec![sandbox::Upgrade::Status(404); 20].into();
    let started = sandbox.start_session(config);
    let finished = Plugin::new(&sandbox, &started).with_api(&sandbox).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stdout.contains("Cannot perform start session: "),
        "{finished:?}"
    );
    assert_eq!(requests(&sandbox, "ssm:TerminateSession").len(), 1);
}

#[test]
fn without_the_api_leaving_says_that_the_session_goes_on() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(long_command());
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    plugin.type_in(b"~.");
    assert_eq!(exit_code(plugin.wait()), 0);
    plugin.terminal.wait_for("could not be ended");
}

#[test]
fn exec_without_an_exit_code_is_no_success() {
    let sandbox = strict_sandbox();
    let plugin = own(&sandbox, "exec", &["--", "sh", "-c", "echo go; sleep 600"]).spawn();
    plugin.stdout.wait_for("go");
    let sessions = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::SessionStarted { session, .. } => sandbox.session(&session),
            _ => None,
        });
    for session in sessions {
        session.terminate("an administrator ended it");
    }
    let finished = plugin.finish();
    assert_eq!(finished.stdout, "go\n");
    assert_eq!(finished.code(), 255, "{finished:?}");
}

#[test]
fn exec_that_is_interrupted_twice_ends_as_a_local_command_would() {
    let sandbox = strict_sandbox();
    let plugin = own(
        &sandbox,
        "exec",
        &["--", "sh", "-c", "trap '' INT; echo go; sleep 600"],
    )
    .spawn();
    plugin.stdout.wait_for("go");
    plugin.signal(Signal::INT);
    plugin.signal(Signal::INT);
    // Two that come too close are one.
    while plugin
        .wait_within(std::time::Duration::from_millis(500))
        .is_none()
    {
        plugin.signal(Signal::INT);
    }
    assert_eq!(exit_code(plugin.wait()), 130);
}

#[test]
fn leaving_works_while_the_connection_is_gone() {
    for (leave, code) in [("escape", 0), ("signal", 143)] {
        let sandbox = strict_sandbox();
        let (_started, plugin) = in_a_long_command(&sandbox);
        sandbox.stop_gateway();
        plugin.terminal.wait_for("reconnecting");
        // What is typed meanwhile is kept, and escapes are seen.
        plugin.type_in(b"typed meanwhile\r");
        match leave {
            // What is read together with what was typed before counts as a paste: then once more.
            "escape" => support::wait_until("its end", || {
                plugin.type_in(b"\r~.");
                plugin.wait_within(Duration::from_secs(1)).is_some()
            }),
            _ => plugin.signal(Signal::TERM),
        }
        assert_eq!(exit_code(plugin.wait()), code);
        plugin.wait_for_raw(false);
        assert_eq!(requests(&sandbox, "ssm:TerminateSession").len(), 1);
    }
}
