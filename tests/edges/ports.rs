//! Port sessions at their edges: local peers that come and go while nothing can be sent, agents that cut data small, and agents that say
//! something else than what was asked for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Document, GatewayConfig, Sandbox, SessionConfig};
use serde_json::{Value, json};
use session_manager_plugin::internals::message::{self, Message, MessageType, PayloadType};

use crate::port_support::*;
use crate::support::gateway::{Gateway, Sender};
use crate::support::{Plugin, Running, free_port, sandbox, wait_until, wait_until_still};
use crate::usage::MOST_MEMORY;

/// The last version that does not multiplex.
const BASIC: &str = "3.0.196.0";
const MUX: &str = "3.3.0.0";
/// Far fewer descriptors than there are local connections; a session of its own has about twenty.
const DESCRIPTORS: usize = 400;

/// What an agent sends that says so of its session, and then these payloads: numbered, from the handshake on.
fn frames<'a>(
    version: &str,
    session_type: &str,
    properties: &Value,
    payloads: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Vec<u8>> {
    let request = json!({
        "AgentVersion": version,
        "RequestedClientActions": [{
            "ActionType": "SessionType",
            "ActionParameters": { "SessionType": session_type, "Properties": properties },
        }],
    });
    let request = request.to_string();
    let complete = br#"{"HandshakeTimeToComplete":1,"CustomerMessage":""}"#;
    let handshake = [
        (PayloadType::HandshakeRequest, request.as_bytes()),
        (PayloadType::HandshakeComplete, complete),
    ];
    let payloads = payloads.into_iter();
    let payloads = payloads.map(|payload| (PayloadType::Output, payload));
    let mut number = 0;
    let numbered = handshake.into_iter().chain(payloads);
    numbered
        .map(|(payload_type, payload)| {
            let message = Message::stream(MessageType::OutputStreamData, payload_type, payload);
            let mut frame = message.encode();
            message::number(&mut frame, number);
            number += 1;
            frame
        })
        .collect()
}

/// A session whose agent sends these and then only acknowledges.
fn scripted(first_frames: Vec<Vec<u8>>) -> SessionConfig {
    SessionConfig {
        agent: AgentConfig {
            silent: true,
            ..AgentConfig::default()
        },
        gateway: GatewayConfig {
            first_frames,
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    }
}

#[test]
fn p74_the_next_connection_begins_when_the_one_before_ends() {
    let server = Server::echo();
    let forward = Forward::with(version(BASIC), Document::port(server.port()));
    let first = forward.connect();
    assert_eq!(exchange(&first, b"first", 5), b"first");
    let waiting: Vec<_> = (0..3).map(|_| forward.connect()).collect();
    for mut stream in &waiting {
        stream.write_all(b"next").expect("to ask");
    }
    let closed = Instant::now();
    drop(first);
    for mut stream in waiting {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"next");
    }
    let took = closed.elapsed();
    eprintln!("three connections, one after the other, took {took:.1?}");
    // Each took 5.1 s when nobody looked for the next one; 0.3 s are what it may take.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn p74_those_that_gave_up_waiting_cost_the_next_one_nothing() {
    let server = Server::echo();
    let forward = Forward::with(version(BASIC), Document::port(server.port()));
    let first = forward.connect();
    assert_eq!(exchange(&first, b"first", 5), b"first");
    // Health checks: some say good-bye, some do not.
    for _ in 0..50 {
        drop(forward.connect());
        reset(forward.connect());
    }
    let mut last = forward.connect();
    last.write_all(b"last").expect("to ask");
    let closed = Instant::now();
    drop(first);
    let mut answer = [0; 4];
    last.read_exact(&mut answer).expect("an answer");
    let took = closed.elapsed();
    eprintln!("the one behind a hundred that had gone waited {took:.1?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// So many local connections that end like this while the gateway is gone; then it comes back, and one more works.
fn come_and_go(agent: &str, count: usize, end: impl Fn(TcpStream)) {
    let server = Server::echo();
    let (sandbox, started) = start(version(agent), Document::port(server.port()));
    let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
    let port = plugin.listening_port();
    assert_eq!(exchange(&connect(port), b"before", 6), b"before");
    sandbox.stop_gateway();
    plugin.stderr.wait_for("reconnecting");
    let mut most = 0;
    for number in 0..count {
        end(connect(port));
        if number % 50 == 0 {
            most = most.max(plugin.usage().descriptors);
        }
    }
    wait_until("the connections to be gone", || {
        plugin.usage().descriptors < DESCRIPTORS
    });
    let usage = plugin.usage();
    eprintln!("{count} connections: at most {most} descriptors, in the end {usage:?}");
    assert!(usage.peak < MOST_MEMORY, "{usage:?}");
    sandbox.restart_gateway().expect("the gateway");
    assert_eq!(exchange(&connect(port), b"after", 5), b"after");
}

#[test]
fn p75_local_peers_that_reset_during_an_outage_are_gone_at_once() {
    come_and_go(MUX, 5_000, reset);
}

#[test]
fn p75_local_peers_that_close_during_an_outage_are_gone_too() {
    come_and_go(MUX, 3_000, drop);
}

#[test]
fn p75_local_peers_that_reset_with_something_unread_are_gone_too() {
    come_and_go(MUX, 3_000, |mut stream| {
        // More than the window takes of all of them together.
        stream.write_all(&[7; 8192]).expect("to write");
        reset(stream);
    });
}

#[test]
fn p75_peers_of_a_unix_socket_are_gone_too() {
    let server = Server::echo();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let document = Document::Other {
        session_type: "Port".into(),
        properties: json!({
            "type": "LocalPortForwarding", "portNumber": server.port().to_string(),
            "localConnectionType": "unix", "localUnixSocket": path,
        }),
    };
    let (sandbox, started) = start(version(MUX), document);
    let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
    plugin.stdout.wait_for("Unix socket");
    sandbox.stop_gateway();
    plugin.stderr.wait_for("reconnecting");
    for _ in 0..3_000 {
        drop(UnixStream::connect(&path).expect("to connect"));
    }
    wait_until("the connections to be gone", || {
        plugin.usage().descriptors < DESCRIPTORS
    });
    sandbox.restart_gateway().expect("the gateway");
    let mut stream = UnixStream::connect(&path).expect("to connect");
    stream.write_all(b"after").expect("to write");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("to read it back");
    assert_eq!(&back, b"after");
}

#[test]
fn p82_a_flood_of_single_bytes_stays_small() {
    const COUNT: usize = 600_000;
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        let properties = json!({
            "type": "LocalPortForwarding", "portNumber": "80", "localPortNumber": "0",
        });
        let request = json!({
            "AgentVersion": BASIC,
            "RequestedClientActions": [Sender::session_type("Port", properties)],
        });
        peer.stream(
            PayloadType::HandshakeRequest,
            request.to_string().as_bytes(),
        )?;
        peer.wait_for(PayloadType::HandshakeResponse)?;
        peer.complete("")?;
        let sender = peer.sender();
        thread::spawn(move || {
            for _ in 0..COUNT / 2 {
                // Nothing at all is as much work as a byte, and is never written.
                let sent = sender.output(b"");
                if sent.and_then(|_| sender.output(b"x")).is_err() {
                    return;
                }
            }
            let _ = sender.output(b"!");
        });
        peer.serve()
    });
    let plugin = gateway.plugin().spawn();
    let port = plugin.listening_port();
    // Until it takes no more. Its clock has hundredths of a second.
    wait_until_still("the flood to stop", || {
        (100.0 * cpu_seconds(&plugin)) as u64
    });
    let usage = plugin.usage();
    eprintln!("single bytes: {usage:?}");
    let mut stream = connect(port);
    let mut got = Vec::new();
    while got.last() != Some(&b'!') {
        let mut buffer = [0; 16 << 10];
        let count = stream.read(&mut buffer).expect("more of it");
        assert_ne!(count, 0, "the end after {} bytes", got.len());
        got.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(got.len(), COUNT / 2 + 1);
    assert!(usage.peak < MOST_MEMORY, "{usage:?}");
}

/// One of our own commands, with an agent that says this of its session.
fn answered(
    arguments: &[&str],
    agent: &str,
    session_type: &str,
    properties: &Value,
) -> (Sandbox, Running) {
    let sandbox = sandbox();
    sandbox.set_session_config(scripted(frames(agent, session_type, properties, [])));
    let (command, rest) = arguments.split_first().expect("a command");
    let all = [&[*command, "--target", "i-0123456789abcdef0"], rest].concat();
    let plugin = Plugin::bare(all).with_api(&sandbox).spawn();
    (sandbox, plugin)
}

/// It refuses, names this, ends the remote session, and takes nothing of stdin.
#[track_caller]
fn assert_refused(arguments: &[&str], session_type: &str, properties: Value, named: &str) {
    let (sandbox, plugin) = answered(arguments, MUX, session_type, &properties);
    // `exec` would refuse that before it asks for a session (P118).
    if arguments.first() != Some(&"exec") {
        plugin.type_in(b"secret\n");
    }
    let end = plugin.finish();
    let what = format!("{arguments:?} {session_type} {properties}: {end:?}");
    assert_eq!(end.code(), 1, "{what}");
    assert!(end.stderr.contains(named), "{what}");
    assert!(!end.stdout.contains(" opened for sessionId"), "{what}");
    let sessions: Vec<_> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            sandbox::Event::SessionStarted { session, .. } => sandbox.session(&session),
            _ => None,
        })
        .collect();
    assert_eq!(sessions.len(), 1, "{what}");
    assert!(sessions[0].is_terminated(), "{what}");
    let got_input = sessions[0]
        .frames()
        .iter()
        .any(|frame| frame.is_data(sandbox::Sender::Client, PayloadType::Output.into()));
    assert!(!got_input, "{what}");
}

#[test]
fn p85_another_kind_of_session_than_asked_for_is_refused() {
    let listens =
        || json!({ "type": "LocalPortForwarding", "portNumber": "80", "localPortNumber": "0" });
    for (arguments, session_type, properties) in [
        (&["exec", "--", "id"][..], "Standard_Stream", Value::Null),
        (&["exec", "--", "id"], "InteractiveCommands", Value::Null),
        (&["exec", "--", "id"], "Port", json!({ "portNumber": "22" })),
        (&["exec", "--", "id"], "Port", listens()),
        (
            &["port-forward", "--once", "0:80"],
            "Standard_Stream",
            Value::Null,
        ),
        (
            &["port-forward", "--once", "0:80"],
            "Port",
            json!({ "portNumber": "80" }),
        ),
        (&["ssh-proxy"], "Standard_Stream", Value::Null),
        (&["ssh-proxy"], "Port", listens()),
        (&["start-session"], "Port", listens()),
        (&["start-session"], "NonInteractiveCommands", Value::Null),
    ] {
        assert_refused(arguments, session_type, properties, "asked for");
    }
}

#[test]
fn p85_another_port_host_or_socket_than_asked_for_is_refused() {
    let free = free_port().to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket").display().to_string();
    let local = |local: &str| json!({ "type": "LocalPortForwarding", "portNumber": "80", "localPortNumber": local });
    let forward = &["port-forward", "--once", "0:80"][..];
    let fixed = ["port-forward", "--once", &format!("{free}:80")];
    let host = ["port-forward", "--once", "--host", "db", "0:80"];
    let session = [
        "start-session",
        "--document-name",
        "AWS-StartPortForwardingSession",
        "--parameters",
        &format!("portNumber=80,localPortNumber={free}"),
    ];
    for (arguments, properties, named) in [
        (forward, local(&free), "localPortNumber"),
        (&fixed, local("0"), "localPortNumber"),
        (
            &fixed,
            json!({ "type": "LocalPortForwarding", "portNumber": "80" }),
            "localPortNumber",
        ),
        (&session, local("0"), "localPortNumber"),
        (
            forward,
            json!({ "type": "LocalPortForwarding", "portNumber": "81", "localPortNumber": "0" }),
            "portNumber",
        ),
        (
            &host,
            json!({ "type": "LocalPortForwarding", "host": "other", "portNumber": "80", "localPortNumber": "0" }),
            "host",
        ),
        (
            forward,
            json!({ "type": "LocalPortForwarding", "host": "other", "portNumber": "80", "localPortNumber": "0" }),
            "host",
        ),
        (
            forward,
            json!({
                "type": "LocalPortForwarding", "portNumber": "80", "localPortNumber": "0",
                "localConnectionType": "unix", "localUnixSocket": socket,
            }),
            "localConnectionType",
        ),
        (&["ssh-proxy"], json!({ "portNumber": "23" }), "portNumber"),
    ] {
        assert_refused(arguments, "Port", properties, named);
    }
    assert!(!directory.path().join("socket").exists());
}

#[test]
fn p85_what_was_asked_for_is_taken_as_agents_spell_it() {
    let numbers = json!({ "type": "LocalPortForwarding", "portNumber": 80, "localPortNumber": 0, "host": null });
    let bare = json!({ "type": "LocalPortForwarding" });
    for (arguments, properties) in [
        (&["port-forward", "--once", "80"][..], numbers),
        (&["port-forward", "--once", "80"], bare),
    ] {
        let (_sandbox, plugin) = answered(arguments, MUX, "Port", &properties);
        plugin.listening_port();
        plugin.signal(rustix::process::Signal::INT);
        plugin.wait();
    }
}

/// A call by the contract, with an agent that names this socket.
fn names_socket(path: &str) -> (Sandbox, Running) {
    let properties = json!({
        "type": "LocalPortForwarding", "portNumber": "80",
        "localConnectionType": "unix", "localUnixSocket": path,
    });
    let sandbox = crate::support::sandbox();
    let started = sandbox.start_session(scripted(frames(MUX, "Port", &properties, [])));
    let plugin = Plugin::new(&sandbox, &started).spawn();
    (sandbox, plugin)
}

#[test]
fn p85_a_socket_path_is_taken_over_only_where_nobody_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("file"), "data").expect("a file");
    let _listener = UnixListener::bind(path("live")).expect("a socket");
    std::os::unix::fs::symlink(path("live"), path("link")).expect("a link");
    std::os::unix::fs::symlink(path("nothing"), path("dangling")).expect("a link");
    let _datagrams = std::os::unix::net::UnixDatagram::bind(path("datagrams")).expect("a socket");
    std::fs::create_dir(path("directory")).expect("a directory");
    for name in ["file", "live", "link", "dangling", "datagrams", "directory"] {
        let before = std::fs::symlink_metadata(path(name)).expect("it");
        let (_sandbox, plugin) = names_socket(&path(name));
        let end = plugin.finish();
        assert_eq!(end.code(), 1, "{name}: {end:?}");
        assert!(end.stderr.contains(&path(name)), "{name}: {end:?}");
        use std::os::unix::fs::MetadataExt;
        let after = std::fs::symlink_metadata(path(name)).expect("it");
        assert_eq!(before.ino(), after.ino(), "{name}");
    }
    assert_eq!(std::fs::read(path("file")).expect("the file"), b"data");
    assert!(!directory.path().join("nothing").exists());
    // Nothing there, and a socket that somebody left.
    drop(UnixListener::bind(path("left")).expect("a socket"));
    for name in ["new", "left"] {
        let (_sandbox, plugin) = names_socket(&path(name));
        plugin.stdout.wait_for("Unix socket");
        UnixStream::connect(path(name)).expect("to connect");
    }
}
