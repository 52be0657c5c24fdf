//! How the program ends: what was the matter is told, in the right place and with the right exit code (P110, P112, P115). All combinations
//! are in the unit tests of `session/ending.rs`; here is what depends on the order in which things happen.

use std::sync::mpsc::{self, Receiver};

use rustix::process::Signal;
use sandbox::{AgentConfig, Config, Document, GatewayConfig, Sandbox, SessionConfig, Target};
use serde_json::{Value, json};
use session_manager_plugin::internals::message::{self, Message, MessageType, PayloadType};

use crate::support::gateway::{Gateway, Peer, SESSION_ID, Sender};
use crate::support::{Finished, Io, Plugin, Running, free_port, sandbox};

/// What a server says first.
const GREETING: &[u8] = b"SSH-2.0-test\r\n";
const REASON: &str = "Unable to start command: no such thing";

fn own(sandbox: &Sandbox, subcommand: &str, arguments: &[&str]) -> Plugin {
    let all = [&[subcommand, "--target", "i-0123456789abcdef0"], arguments];
    Plugin::bare(all.concat()).with_api(sandbox)
}

/// A gateway whose agent does this once the session of this type is established; then it does what the test tells, and waits.
fn session(
    session_type: &'static str,
    properties: Value,
    first: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static,
) -> Gateway {
    Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.shake_hands(&[Sender::session_type(session_type, properties.clone())])?;
        first(&mut peer)?;
        peer.serve()
    })
}

#[test]
fn p110_a_port_where_nothing_listens_is_an_error_for_each_caller() {
    let port = free_port().to_string();
    let old = SessionConfig {
        agent: AgentConfig {
            version: "2.3.1509.0".into(),
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    };
    for (subcommand, arguments, config) in [
        (
            "ssh-proxy",
            &["--port", &port][..],
            SessionConfig::default(),
        ),
        (
            "port-forward",
            &["--once", &format!("0:{port}")],
            old.clone(),
        ),
    ] {
        let sandbox = sandbox();
        sandbox.set_session_config(config);
        let end = own(&sandbox, subcommand, arguments).run(b"");
        assert_eq!(end.code(), 1, "{subcommand}: {end:?}");
        assert!(end.stderr.contains("Unable to connect"), "{end:?}");
        if subcommand == "ssh-proxy" {
            assert_eq!(end.stdout, "");
            assert_eq!(end.stderr.lines().count(), 1, "{end:?}");
        }
    }
    // By the contract: a forwarded port, and ssh.
    let number = port.parse().expect("a port");
    for document in [Document::port(number), Document::Ssh { port: number }] {
        let sandbox = sandbox();
        let is_ssh = matches!(document, Document::Ssh { .. });
        let started = sandbox.start_session(SessionConfig {
            document,
            ..old.clone()
        });
        let plugin = Plugin::new(&sandbox, &started).spawn();
        let end = plugin.finish();
        assert_eq!(end.code(), 1, "{end:?}");
        assert!(end.stderr.contains("Unable to connect"), "{end:?}");
        assert_eq!(end.stdout.contains("Unable to connect"), !is_ssh, "{end:?}");
    }
}

/// A sandbox whose sessions say this of themselves, if anything, and are closed with the reason.
fn closed_with_reason(session_type: Option<&str>, properties: &Value) -> Sandbox {
    let mut first_frames = Vec::new();
    if let Some(session_type) = session_type {
        let request = json!({
            "AgentVersion": "3.3.0.0",
            "RequestedClientActions": [Sender::session_type(session_type, properties.clone())],
        });
        let complete = br#"{"HandshakeTimeToComplete":1,"CustomerMessage":""}"#;
        for (number, payload_type, payload) in [
            (
                0,
                PayloadType::HandshakeRequest,
                request.to_string().as_bytes(),
            ),
            (1, PayloadType::HandshakeComplete, &complete[..]),
        ] {
            let message = Message::stream(MessageType::OutputStreamData, payload_type, payload);
            let mut frame = message.encode();
            message::number(&mut frame, number);
            first_frames.push(frame);
        }
    }
    let closed = json!({ "MessageType": "channel_closed", "Output": REASON }).to_string();
    first_frames.push(Message::control(MessageType::ChannelClosed, closed.as_bytes()).encode());
    let sandbox = sandbox();
    sandbox.set_session_config(SessionConfig {
        agent: AgentConfig {
            silent: true,
            ..AgentConfig::default()
        },
        gateway: GatewayConfig {
            first_frames,
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    sandbox
}

#[test]
fn p110_what_could_not_start_says_why_in_each_of_our_own_commands() {
    let port = json!({ "type": "LocalPortForwarding", "portNumber": "80", "localPortNumber": "0" });
    let exec = &["exec", "--target", "i-1", "--", "id"][..];
    let ssh = &["ssh-proxy", "--target", "i-1"];
    let forward = &["port-forward", "--target", "i-1", "0:80"];
    let shell = &["start-session", "--target", "i-1"];
    for (arguments, session_type, properties) in [
        (exec, Some("NonInteractiveCommands"), Value::Null),
        (exec, None, Value::Null),
        (ssh, Some("Port"), json!({ "portNumber": "22" })),
        (ssh, None, Value::Null),
        (forward, Some("Port"), port),
        (forward, None, Value::Null),
        (shell, Some("Standard_Stream"), Value::Null),
        (shell, None, Value::Null),
    ] {
        let sandbox = closed_with_reason(session_type, &properties);
        let end = Plugin::bare(arguments).with_api(&sandbox).run(b"");
        let what = format!("{arguments:?} {session_type:?}: {end:?}");
        assert_eq!(end.code(), 1, "{what}");
        assert_eq!(
            end.stderr,
            format!("session-manager-plugin: {REASON}\n"),
            "{what}"
        );
        match arguments[0] {
            "start-session" => assert!(!end.stdout.is_empty(), "{what}"),
            // Its port may have been there already.
            "port-forward" => {}
            _ => assert_eq!(end.stdout, "", "{what}"),
        }
    }
}

#[test]
fn p110_a_session_that_is_closed_before_the_handshake_says_why() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        peer.channel_closed(REASON)?;
        peer.serve()
    });
    let end = gateway.plugin().run(b"");
    assert_eq!(end.code(), 1, "{end:?}");
    let text = format!("\n\nSessionId: {SESSION_ID} : {REASON}\n\n");
    assert!(end.stdout.ends_with(&text), "{end:?}");
    assert_eq!(end.stderr, format!("session-manager-plugin: {REASON}\n"));
}

#[test]
fn a_reason_after_output_is_that_of_a_session_that_ended() {
    let gateway = session("NonInteractiveCommands", Value::Null, |peer| {
        peer.output(b"some\n")?;
        peer.channel_closed("Maintenance")
    });
    let end = gateway.plugin().run(b"");
    assert_eq!(end.code(), 0, "{end:?}");
    let text = format!("some\n\n\nSessionId: {SESSION_ID} : Maintenance\n\n");
    assert!(end.stdout.ends_with(&text), "{end:?}");
    assert_eq!(end.stderr, "");
}

/// One of the ways in which ssh and its server end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The far end is closed.
    Closed,
    /// The pipe to ssh is closed.
    Reader,
    /// The pipe from ssh is at its end.
    Stdin,
    /// Ssh ends its ProxyCommand.
    Signal(Signal),
}

/// An established session for ssh, and what closes it at the far end.
fn ssh() -> (Gateway, Running, mpsc::Sender<()>) {
    let (close, closing) = mpsc::channel();
    let closing: std::sync::Arc<std::sync::Mutex<Receiver<()>>> =
        std::sync::Arc::new(closing.into());
    let gateway = session("Port", json!({ "portNumber": "22" }), move |peer| {
        peer.output(GREETING)?;
        let (sender, closing) = (peer.sender(), std::sync::Arc::clone(&closing));
        std::thread::spawn(move || {
            let closing = closing.lock().expect("the lock");
            if closing.recv().is_ok() {
                let _ = sender.channel_closed("");
            }
        });
        Ok(())
    });
    let plugin = gateway.plugin().stdout(Io::HeldPipe).spawn();
    (gateway, plugin, close)
}

#[test]
fn p112_a_normal_end_of_ssh_is_silent_in_whatever_order_it_comes() {
    use Step::{Closed, Reader, Stdin};
    let hup = Step::Signal(Signal::HUP);
    let term = Step::Signal(Signal::TERM);
    for order in [
        &[Closed][..],
        &[hup],
        &[term],
        &[Reader],
        &[Stdin, Closed],
        &[Stdin, hup],
        &[Stdin, Reader],
        &[Closed, hup],
        &[Closed, Reader],
        &[hup, Closed],
        &[Reader, hup],
        &[Reader, Closed],
        &[hup, term],
    ] {
        let (_gateway, plugin, close) = ssh();
        let banner = format!("\nStarting session with SessionId: {SESSION_ID}\n");
        plugin.wait_for_held(banner.len() + GREETING.len());
        for step in order {
            match step {
                Closed => close.send(()).expect("the gateway"),
                Reader => plugin.close_stdout(),
                Stdin => plugin.close_stdin(),
                // One that has ended already gets nothing.
                Step::Signal(signal) => {
                    if plugin.try_wait().is_none() {
                        plugin.signal(*signal);
                    }
                }
            }
        }
        plugin.wait();
        let stderr = finished(plugin).stderr;
        assert_eq!(stderr, "", "{order:?}");
    }
}

fn finished(plugin: Running) -> Finished {
    plugin.close_stdout();
    plugin.finish()
}

#[test]
fn p115_output_that_cannot_be_written_is_no_success_at_the_far_ends_end_either() {
    // Which of the two is noticed first is a matter of luck.
    for _ in 0..10 {
        for (session_type, is_own_code) in [
            ("NonInteractiveCommands", true),
            ("NonInteractiveCommands", false),
            ("Standard_Stream", false),
            ("Port", false),
        ] {
            let properties = match session_type {
                "Port" => json!({ "portNumber": "22" }),
                _ => Value::Null,
            };
            let gateway = session(session_type, properties, move |peer| {
                peer.output(b"some output that is lost\n")?;
                if is_own_code {
                    peer.stream(PayloadType::ExitCode, b"EXIT_CODE: 0")?;
                }
                peer.channel_closed("")
            });
            let plugin = gateway
                .plugin()
                .env("SSM_PLUGIN_PROPAGATE_EXIT_CODE", "1")
                .stdout(Io::File("/dev/full".into()))
                .spawn();
            let end = plugin.finish();
            assert_eq!(end.code(), 1, "{session_type}: {end:?}");
            assert!(end.stderr.contains("cannot write"), "{end:?}");
        }
    }
}

#[test]
fn p115_no_command_of_ours_succeeds_whose_output_cannot_be_written() {
    let targets = vec![Target::new(1, "web-1")];
    let sandbox = Sandbox::start(Config {
        targets,
        ..Config::default()
    })
    .expect("a sandbox");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let to = format!("web-1:{}", file.path().display());
    let commands: [&[&str]; 13] = [
        &["--version"],
        &["--help"],
        &["help", "exec"],
        &[],
        &["list"],
        &["list", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["ssh-config"],
        &["exec", "--target", "web-1", "--json", "--", "true"],
        &["run", "--target", "web-1", "--", "true"],
        &["run", "--target", "web-1", "--json", "--", "true"],
        &["cp", "--json", "/etc/hostname", &to],
    ];
    for command in commands {
        let plugin = Plugin::bare(command).with_api(&sandbox);
        let end = plugin.stdout(Io::File("/dev/full".into())).run(b"");
        assert_eq!(end.code(), 1, "{command:?}: {end:?}");
        assert!(end.stderr.contains("No space left"), "{command:?}: {end:?}");
    }
}

#[test]
fn p115_stderr_that_cannot_be_written_is_no_success_either() {
    let sandbox = sandbox();
    let plugin = own(&sandbox, "exec", &["--", "sh", "-c", "echo lost >&2"]);
    let end = plugin.stderr(Io::File("/dev/full".into())).run(b"");
    assert_eq!(end.code(), 1, "{end:?}");
}
