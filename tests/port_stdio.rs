//! Port sessions whose bytes go over stdin and stdout, as ssh's ProxyCommand.

mod port_support;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use port_support::*;
use rustix::process::Signal;
use sandbox::{Document, Sandbox, Started};
use support::{Io, Plugin, Running, exit_code, last_output, wait_until, wait_until_still};

/// A session to this server, called with three arguments.
fn session(server: &Server) -> (Sandbox, Started, Running) {
    let (sandbox, started, plugin) = prepared(server);
    (sandbox, started, plugin.spawn())
}

fn prepared(server: &Server) -> (Sandbox, Started, Plugin) {
    let (sandbox, started) = start(
        fast(),
        Document::Ssh {
            port: server.port(),
        },
    );
    let plugin = Plugin::new(&sandbox, &started)
        .arguments(&started, &["{}", "eu-central-1", "StartSession"]);
    (sandbox, started, plugin)
}

fn banner(started: &Started) -> String {
    let id = started.session.id();
    format!("\nStarting session with SessionId: {id}\n")
}

/// A server that answers once it has seen this many bytes.
fn answers(count: usize, answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Server {
    Server::start(move |mut stream| {
        if stream.read_exact(&mut vec![0; count]).is_ok() {
            answer(&mut stream);
            let _ = stream.read(&mut [0]);
        }
    })
}

#[test]
fn only_the_banner_and_the_bytes_are_on_stdout() {
    let server = Server::echo();
    let (_sandbox, started, plugin) = session(&server);
    let banner = banner(&started);
    plugin.stdout.wait_for(&banner);
    let mut data = pattern(1, 200_000);
    data.insert(0, b'\n');
    let expected = [banner.as_bytes(), &data].concat();
    for piece in data.chunks(1017) {
        plugin.type_in(piece);
    }
    plugin
        .stdout
        .wait_until("all bytes", |bytes| bytes.len() >= expected.len());
    started.session.terminate("over and out");
    let end = plugin.wait();
    assert_eq!(exit_code(end), 0);
    assert_same(&plugin.stdout.bytes(), &expected);
    let id = started.session.id();
    plugin
        .stderr
        .wait_for(&format!("\n\nSessionId: {id} : over and out\n\n"));
}

#[test]
fn p06_a_single_newline_stays() {
    let server = Server::echo();
    let (_sandbox, started, plugin) = session(&server);
    let banner = banner(&started);
    plugin.stdout.wait_for(&banner);
    for count in 1..4 {
        plugin.type_in(b"\n");
        let expected = [banner.as_bytes(), &vec![b'\n'; count]].concat();
        plugin.stdout.wait_until("it", |bytes| bytes == expected);
    }
}

#[test]
fn p41_what_comes_after_the_end_of_stdin_is_written() {
    let answer = pattern(2, 2 << 20);
    let expected = answer.clone();
    let server = answers(100_000, move |stream| {
        thread::sleep(Duration::from_millis(500));
        stream.write_all(&answer).expect("to answer");
    });
    let (_sandbox, started, plugin) = session(&server);
    plugin.type_in(&pattern(3, 100_000));
    plugin.close_stdin();
    let expected = [banner(&started).as_bytes(), &expected].concat();
    plugin
        .stdout
        .wait_until("the answer", |bytes| bytes.len() >= expected.len());
    assert_same(&plugin.stdout.bytes(), &expected);
    // The remote says nothing more.
    assert_eq!(exit_code(plugin.wait()), 0);
    assert!(client_sent_flags(&started, 1), "the remote session goes on");
}

#[test]
fn p41_it_ends_when_the_remote_closes() {
    let server = Server::sends(b"bye".to_vec());
    let (_sandbox, started, plugin) = session(&server);
    let end = plugin.finish();
    assert_eq!(end.code(), 0);
    assert_eq!(end.stdout, format!("{}bye", banner(&started)));
}

#[test]
fn p41_a_killed_ssh_leaves_nothing_behind() {
    let server = Server::echo();
    let (_sandbox, started, plugin) = prepared(&server);
    let plugin = plugin.stdout(Io::HeldPipe).spawn();
    plugin.type_in(b"x");
    wait_until("the server", || {
        server.accepted.load(std::sync::atomic::Ordering::SeqCst) == 1
    });
    // Nothing comes that could be written: it is noticed all the same.
    plugin.close_stdin();
    plugin.close_stdout();
    let status = plugin.wait_within(Duration::from_secs(8));
    assert_eq!(status.map(exit_code), Some(0));
    assert!(client_sent_flags(&started, 1), "the remote session goes on");
    assert_eq!(plugin.stderr.text(), "");
}

#[test]
fn p52_it_shares_the_fate_of_its_process_group() {
    let server = Server::echo();
    // As ssh's ProxyCommand: the default.
    let (_sandbox, started, plugin) = session(&server);
    plugin.stdout.wait_for(&banner(&started));
    plugin.type_in(b"ready");
    plugin.stdout.wait_for("ready");
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 130);
    // As a child of the AWS CLI: ignored.
    let (_sandbox, started, plugin) = prepared(&server);
    let plugin = plugin.before("trap '' INT QUIT TSTP").spawn();
    plugin.stdout.wait_for(&banner(&started));
    plugin.type_in(b"ready");
    plugin.stdout.wait_for("ready");
    for signal in [Signal::INT, Signal::QUIT, Signal::TSTP] {
        plugin.signal(signal);
    }
    plugin.type_in(b"still");
    plugin.stdout.wait_for("still");
    plugin.signal(Signal::TERM);
    assert_eq!(exit_code(plugin.wait()), 143);
    assert!(client_sent_flags(&started, 1), "the remote session goes on");
}

#[test]
fn p12_a_slow_reader_slows_the_sender_down() {
    let data = pattern(4, 20 << 20);
    let expected = data.clone();
    let server = Server::sends(data);
    let (_sandbox, started, plugin) = prepared(&server);
    let plugin = plugin.stdout(Io::HeldPipe).spawn();
    wait_until_still("the agent to be held up", || last_output(&started));
    plugin.read_stdout();
    let expected = [banner(&started).as_bytes(), &expected].concat();
    plugin
        .stdout
        .wait_until("all of it", |bytes| bytes.len() >= expected.len());
    assert_same(&plugin.stdout.bytes(), &expected);
    assert_eq!(exit_code(plugin.wait()), 0);
}
