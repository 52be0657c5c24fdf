//! Port sessions with many connections at a time: the built program against the sandbox's agent.

mod port_support;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use port_support::*;
use rustix::process::Signal;
use sandbox::Document;
use serde_json::json;
use support::{Io, Plugin, exit_code, free_port, last_output, wait_until, wait_until_still};

#[test]
fn the_texts_are_those_of_the_contract() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    let id = forward.started.session.id().to_owned();
    let port = forward.port;
    for _ in 0..2 {
        assert_eq!(exchange(&forward.connect(), b"hello", 5), b"hello");
    }
    forward.plugin.stdout.wait_for("Connection accepted");
    forward.plugin.signal(Signal::INT);
    let end = forward.plugin.finish();
    assert_eq!(end.code(), 0);
    assert_eq!(
        end.stdout,
        format!(
            "\nStarting session with SessionId: {id}\n\
             Port {port} opened for sessionId {id}.\nWaiting for connections...\n\
             \nConnection accepted for session [{id}]\n\
             Terminate signal received, exiting.\n\
             \n\nExiting session with sessionId: {id}.\n\n"
        )
    );
    assert_eq!(end.stderr, "");
}

#[test]
fn p06_no_byte_is_changed() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    let stream = forward.connect();
    // One byte, in a message of its own.
    for _ in 0..3 {
        assert_eq!(exchange(&stream, b"\n", 1), b"\n");
    }
    let data = pattern(1, 3000);
    assert_same(&exchange(&stream, &data, 1), &data);
    // With smux's header the last byte of each write is alone in a message.
    let mut data = pattern(2, 1017 * 300);
    for line in data.chunks_mut(1017) {
        line[1016] = b'\n';
    }
    assert_same(&exchange(&stream, &data, 1017), &data);
}

#[test]
fn p09_connections_that_come_at_the_first_moment_work() {
    let greeting = pattern(3, 5000);
    let expected = greeting.clone();
    let server = Server::sends(greeting);
    let forward = Forward::to(&server);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_same(&read_all(&forward.connect()), &expected));
        }
    });
}

#[test]
fn p12_a_slow_reader_slows_the_sender_down_and_loses_nothing() {
    // More than budget, gate and socket buffers take together.
    let data = pattern(4, 40 << 20);
    let server = Server::sends(data.clone());
    let forward = Forward::to(&server);
    let mut stream = forward.connect();
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("the first byte");
    wait_until_still("the agent to be held up", || last_output(&forward.started));
    assert_eq!(server.done.load(Ordering::SeqCst), 0);
    let rest = read_all(&stream);
    assert_same(&[&first[..], &rest].concat(), &data);
}

#[test]
fn p17_a_connection_that_nobody_reads_does_not_stop_the_others_within_the_budget() {
    let server = Server::start(|mut stream| {
        let mut request = [0; 1];
        if stream.read_exact(&mut request).is_err() {
            return;
        }
        match request[0] {
            b'b' => drop(stream.write_all(&pattern(5, 6 << 20))),
            _ => drop(stream.write_all(b"quick")),
        }
    });
    let forward = Forward::to(&server);
    let mut unread = forward.connect();
    unread.write_all(b"b").expect("to ask");
    for _ in 0..20 {
        let mut other = forward.connect();
        other.write_all(b"q").expect("to ask");
        assert_eq!(read_all(&other), b"quick");
    }
    assert_same(&read_all(&unread), &pattern(5, 6 << 20));
}

#[test]
fn p18_an_answer_after_a_half_close_arrives() {
    let answer = pattern(6, 300 << 10);
    let expected = answer.clone();
    let server = Server::start(move |mut stream| {
        let mut request = [0; 8];
        stream.read_exact(&mut request).expect("a request");
        thread::sleep(Duration::from_millis(700));
        stream.write_all(&answer).expect("to answer");
    });
    let forward = Forward::to(&server);
    let mut stream = forward.connect();
    stream.write_all(b"request\n").expect("to ask");
    half_close(&stream);
    assert_same(&read_all(&stream), &expected);
}

#[test]
fn p18_a_server_that_waits_for_the_end_gets_it_at_last() {
    let server = Server::start(|mut stream| {
        let mut request = Vec::new();
        let _ = stream.read_to_end(&mut request);
        assert_eq!(request, b"all of it");
    });
    let forward = Forward::to(&server);
    let mut stream = forward.connect();
    stream.write_all(b"all of it").expect("to write");
    half_close(&stream);
    assert_eq!(read_all(&stream), b"");
    server.wait_for_done(1);
}

#[test]
fn a_local_reset_ends_the_remote_connection() {
    let server = Server::start(|mut stream| {
        let mut buffer = [0; 100];
        while let Ok(1..) = stream.read(&mut buffer) {}
    });
    let forward = Forward::to(&server);
    let mut stream = forward.connect();
    stream.write_all(b"x").expect("to write");
    wait_until("the server's connection", || {
        server.accepted.load(Ordering::SeqCst) == 1
    });
    reset(stream);
    server.wait_for_done(1);
}

#[test]
fn a_remote_end_while_the_local_side_still_sends_loses_nothing() {
    let answer = pattern(7, 200 << 10);
    let expected = answer.clone();
    let server = Server::start(move |mut stream| {
        let mut request = [0; 1];
        stream.read_exact(&mut request).expect("a request");
        stream.write_all(&answer).expect("to answer");
        half_close(&stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let forward = Forward::to(&server);
    for _ in 0..5 {
        let mut stream = forward.connect();
        stream.write_all(&pattern(8, 100 << 10)).expect("to write");
        thread::sleep(Duration::from_millis(100));
        assert_same(&read_all(&stream), &expected);
    }
}

#[test]
fn an_unreachable_destination_is_told_and_resets_the_connection() {
    let forward = Forward::with(fast(), Document::port(free_port()));
    let error = forward.connect().read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    forward
        .plugin
        .stdout
        .wait_for("\nConnection to destination port failed, check SSM Agent logs.\n");
    // The session goes on.
    assert!(forward.connect().read(&mut [0]).is_err());
}

#[test]
fn connections_that_end_at_once_leave_nothing_behind() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    for _ in 0..50 {
        drop(forward.connect());
    }
    server.wait_for_done(50);
    assert_eq!(
        exchange(&forward.connect(), b"still here", 3),
        b"still here"
    );
}

#[test]
fn a_thousand_connections_at_a_time() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    let streams: Vec<_> = (0..1000).map(|_| forward.connect()).collect();
    for (number, mut stream) in (0..).zip(&streams) {
        stream.write_all(&pattern(number, 500)).expect("to write");
    }
    for (number, mut stream) in (0..).zip(&streams) {
        let mut back = [0; 500];
        stream.read_exact(&mut back).expect("to read it back");
        assert_same(&back, &pattern(number, 500));
    }
    drop(streams);
    server.wait_for_done(1000);
}

#[test]
fn p44_megabytes_both_ways_at_once_beside_idle_connections() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    let idle: Vec<_> = (0..50).map(|_| forward.connect()).collect();
    thread::scope(|scope| {
        for number in 0..4 {
            let forward = &forward;
            scope.spawn(move || {
                let data = pattern(10 + number, 8 << 20);
                assert_same(&exchange(&forward.connect(), &data, 64 << 10), &data);
            });
        }
    });
    for stream in &idle {
        assert_eq!(exchange(stream, b"idle", 4), b"idle");
    }
}

#[test]
fn larger_messages_work_too() {
    let server = Server::echo();
    let forward = Forward::run(fast(), Document::port(server.port()), |plugin| {
        plugin.env("SSM_PLUGIN_PAYLOAD_SIZE", "32768")
    });
    let data = pattern(20, 5 << 20);
    assert_same(&exchange(&forward.connect(), &data, 100_000), &data);
}

#[test]
fn p43_a_local_port_in_use_is_said_at_once_and_ends_the_remote_session() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let local_port = taken.local_addr().expect("its address").port();
    let (sandbox, started) = start(
        fast(),
        Document::Port {
            port: 1,
            local_port,
            host: None,
        },
    );
    let end = Plugin::new(&sandbox, &started).spawn().finish();
    assert_eq!(end.code(), 1);
    let reason = format!("port {local_port} on 127.0.0.1 is in use");
    assert!(
        end.stdout.contains("Cannot perform start session: ") && end.stdout.contains(&reason),
        "{end:?}"
    );
    assert!(end.stderr.contains(&reason), "{end:?}");
    assert!(client_sent_flags(&started, 1), "the remote session goes on");
}

#[test]
fn p45_out_of_descriptors_is_said_once_and_does_not_spin() {
    let server = Server::echo();
    let forward = Forward::run(fast(), Document::port(server.port()), |plugin| {
        plugin.before("ulimit -n 40")
    });
    // The backlog takes those that are not accepted.
    let mut streams: Vec<_> = (0..60).map(|_| forward.connect()).collect();
    forward
        .plugin
        .stderr
        .wait_for("cannot accept local connections");
    let before = cpu_seconds(&forward.plugin);
    thread::sleep(Duration::from_secs(1));
    let used = cpu_seconds(&forward.plugin) - before;
    assert!(used < 0.3, "{used} s of CPU in 1 s of waiting");
    // With room again it goes on. Reset, as the program keeps what is only closed for a while.
    let last = streams.pop().expect("the last one");
    streams.into_iter().for_each(reset);
    assert_eq!(exchange(&last, b"at last", 7), b"at last");
    assert_eq!(
        forward
            .plugin
            .stderr
            .text()
            .matches("cannot accept")
            .count(),
        1
    );
}

#[test]
fn p46_p59_nothing_lies_in_the_temporary_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::echo();
    let forward = Forward::run(fast(), Document::port(server.port()), |plugin| {
        plugin.env("TMPDIR", directory.path())
    });
    assert_eq!(exchange(&forward.connect(), b"x", 1), b"x");
    let files = || {
        std::fs::read_dir(directory.path())
            .expect("to look")
            .count()
    };
    assert_eq!(files(), 0);
    forward.plugin.signal(Signal::TERM);
    assert_eq!(exit_code(forward.plugin.wait()), 143);
    assert_eq!(files(), 0);
}

#[test]
fn p53_localhost_is_both_families() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    assert_eq!(exchange(&forward.connect(), b"four", 4), b"four");
    match TcpStream::connect((Ipv6Addr::LOCALHOST, forward.port)) {
        Ok(stream) => assert_eq!(exchange(&stream, b"six", 3), b"six"),
        // No IPv6 here.
        Err(_) => forward.plugin.stderr.wait_for("not listening on [::1]"),
    }
}

#[test]
fn another_local_host_is_warned_of() {
    let server = Server::echo();
    let forward = Forward::run(fast(), Document::port(server.port()), |plugin| {
        plugin.env("SSM_PLUGIN_LOCAL_HOST", "0.0.0.0")
    });
    assert_eq!(exchange(&forward.connect(), b"x", 1), b"x");
    forward.plugin.stderr.wait_for("other machines");
}

#[test]
fn p59_a_unix_socket_is_private_replaces_a_stale_one_and_goes_at_the_end() {
    let server = Server::echo();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let (sandbox, started) = start(
        fast(),
        Document::Other {
            session_type: "Port".into(),
            properties: json!({
                "portNumber": server.port().to_string(),
                "type": "LocalPortForwarding",
                "localConnectionType": "unix",
                "localUnixSocket": path.to_str(),
            }),
        },
    );
    let plugin = Plugin::new(&sandbox, &started).spawn();
    let id = started.session.id();
    plugin.stdout.wait_for(&format!(
        "Unix socket {} opened for sessionId {id}.\nWaiting for connections...\n",
        path.display()
    ));
    let mode = path.metadata().expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("to connect");
    stream.write_all(b"hello").expect("to write");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("to read");
    assert_eq!(&back, b"hello");
    // A unix socket tells when its peer is gone altogether: nothing is left.
    drop(stream);
    server.wait_for_done(1);
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
    assert!(!path.exists());
}

#[test]
fn p52_signals_end_the_session_even_if_ignored_before() {
    for (signal, code) in [
        (Signal::INT, 0),
        (Signal::QUIT, 0),
        (Signal::TSTP, 0),
        (Signal::TERM, 143),
        (Signal::HUP, 129),
    ] {
        let forward = Forward::run(fast(), Document::port(1), |plugin| {
            plugin.before("trap '' INT QUIT TSTP")
        });
        forward.plugin.signal(signal);
        assert_eq!(exit_code(forward.plugin.wait()), code, "{signal:?}");
        let id = forward.started.session.id();
        forward.plugin.stdout.wait_for(&format!(
            "Terminate signal received, exiting.\n\n\nExiting session with sessionId: {id}.\n\n"
        ));
        assert!(client_sent_flags(&forward.started, 1), "no flag");
    }
}

#[test]
fn p52_nohup_keeps_it_running() {
    let server = Server::echo();
    let forward = Forward::run(fast(), Document::port(server.port()), |plugin| {
        plugin.before("trap '' HUP").stdin(Io::Null)
    });
    forward.plugin.signal(Signal::HUP);
    assert_eq!(exchange(&forward.connect(), b"x", 1), b"x");
    assert!(forward.plugin.try_wait().is_none());
}

#[test]
fn p51_a_closed_stdout_only_silences() {
    let server = Server::echo();
    let local_port = free_port();
    let (sandbox, started) = start(
        fast(),
        Document::Port {
            port: server.port(),
            local_port,
            host: None,
        },
    );
    let plugin = Plugin::new(&sandbox, &started).stdout(Io::HeldPipe).spawn();
    plugin.close_stdout();
    wait_until("it to listen", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, local_port)).is_ok()
    });
    assert_eq!(exchange(&connect(local_port), b"x", 1), b"x");
}

#[test]
fn the_service_ends_the_session() {
    let server = Server::sends(pattern(30, 1 << 20));
    let forward = Forward::to(&server);
    let stream = forward.connect();
    assert_same(&read_all(&stream), &pattern(30, 1 << 20));
    let idle = forward.connect();
    forward.started.session.terminate("");
    assert_eq!(exit_code(forward.plugin.wait()), 0);
    let id = forward.started.session.id();
    forward
        .plugin
        .stdout
        .wait_for(&format!("\n\nExiting session with sessionId: {id}.\n\n"));
    let _ = (&idle).read(&mut [0]);
}

#[test]
fn an_agent_that_wants_keepalive_is_served() {
    let server = Server::echo();
    let forward = Forward::with(version("3.1.1511.0"), Document::port(server.port()));
    let data = pattern(31, 1 << 20);
    assert_same(&exchange(&forward.connect(), &data, 10_000), &data);
}
