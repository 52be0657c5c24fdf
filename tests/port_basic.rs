//! Port sessions with agents that cannot multiplex: one connection after the other.

mod port_support;
mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use port_support::*;
use rustix::process::Signal;
use sandbox::{AgentConfig, Document};
use support::{exit_code, last_output, wait_until, wait_until_still};

/// The last version that does not multiplex.
const LAST: &str = "3.0.196.0";

fn forward(server: &Server) -> Forward {
    Forward::with(version(LAST), Document::port(server.port()))
}

#[test]
fn the_texts_are_those_of_the_contract() {
    let server = Server::echo();
    let forward = forward(&server);
    let (id, port) = (forward.started.session.id().to_owned(), forward.port);
    for text in [b"first", b"other"] {
        assert_eq!(exchange(&forward.connect(), text, 5), text);
    }
    forward.plugin.signal(Signal::INT);
    let end = forward.plugin.finish();
    assert_eq!(end.code(), 0);
    assert_eq!(
        end.stdout,
        format!(
            "\nStarting session with SessionId: {id}\n\
             Port {port} opened for sessionId {id}.\n\
             Connection accepted for session {id}.\n\
             Terminate signal received, exiting.\n\
             \n\nExiting session with sessionId: {id}.\n\n"
        )
    );
    assert_eq!(end.stderr, "");
}

#[test]
fn p06_no_byte_is_changed() {
    let server = Server::echo();
    let forward = forward(&server);
    let stream = forward.connect();
    for _ in 0..3 {
        assert_eq!(exchange(&stream, b"\n", 1), b"\n");
    }
    let mut data = pattern(1, 1025 * 200);
    for line in data.chunks_mut(1025) {
        line[1024] = b'\n';
    }
    assert_same(&exchange(&stream, &data, 1025), &data);
}

#[test]
fn p15_what_a_server_says_first_is_there_at_once() {
    let greeting = pattern(2, 100_000);
    let expected = greeting.clone();
    let server = Server::start(move |mut stream| {
        stream.write_all(&greeting).expect("to greet");
        let _ = stream.read(&mut [0]);
    });
    let forward = forward(&server);
    wait_until("the whole greeting to be sent", || {
        last_output(&forward.started) >= 98
    });
    let mut stream = forward.connect();
    let start = Instant::now();
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("the greeting");
    assert_same(&got, &expected);
    // One message per 100 ms would take 10 s.
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn p15_megabytes_before_anybody_connects_are_kept_in_bounds() {
    let data = pattern(3, 20 << 20);
    let server = Server::sends(data.clone());
    let forward = forward(&server);
    wait_until_still("the agent to be held up", || last_output(&forward.started));
    let mut stream = forward.connect();
    let mut got = vec![0; data.len()];
    stream.read_exact(&mut got).expect("all of it");
    assert_same(&got, &data);
}

#[test]
fn one_connection_after_the_other_and_none_gets_the_data_of_another() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |mut stream| {
        let mut request = [0; 1];
        if stream.read_exact(&mut request).is_err() {
            return;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        // More than anybody waits for.
        for _ in 0..2000 {
            if stream.write_all(&[request[0]; 1000]).is_err() {
                return;
            }
        }
    });
    let forward = forward(&server);
    for number in 1..=5 {
        let mut stream = forward.connect();
        stream.write_all(&[number]).expect("to ask");
        let mut got = [0; 5000];
        stream.read_exact(&mut got).expect("an answer");
        assert!(got.iter().all(|byte| *byte == number), "{number}");
        // Closed in the middle of the answer.
    }
    assert_eq!(count.load(Ordering::SeqCst), 5);
    assert!(client_sent_flags(&forward.started, 5));
}

#[test]
fn p18_an_answer_after_a_half_close_arrives() {
    let answer = pattern(4, 300 << 10);
    let expected = answer.clone();
    let server = Server::start(move |mut stream| {
        let mut request = [0; 8];
        if stream.read_exact(&mut request).is_ok() {
            thread::sleep(Duration::from_millis(700));
            stream.write_all(&answer).expect("to answer");
            let _ = stream.read(&mut request);
        }
    });
    let forward = forward(&server);
    let mut stream = forward.connect();
    stream.write_all(b"request\n").expect("to ask");
    half_close(&stream);
    // The agent does not tell that the destination has closed, so the end comes after a while.
    assert_same(&read_all(&stream), &expected);
}

#[test]
fn p44_megabytes_both_ways() {
    let server = Server::echo();
    let forward = forward(&server);
    let data = pattern(5, 10 << 20);
    assert_same(&exchange(&forward.connect(), &data, 64 << 10), &data);
}

#[test]
fn p12_a_slow_reader_slows_the_sender_down() {
    let data = pattern(6, 20 << 20);
    let expected = data.clone();
    let server = Server::start(move |mut stream| {
        if stream.read_exact(&mut [0]).is_ok() {
            let _ = stream.write_all(&data);
            let _ = stream.read(&mut [0]);
        }
    });
    let forward = forward(&server);
    let mut stream = forward.connect();
    stream.write_all(b"x").expect("to ask");
    wait_until_still("the agent to be held up", || last_output(&forward.started));
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("all of it");
    assert_same(&got, &expected);
}

#[test]
fn an_old_agent_without_the_flag_is_served_too() {
    let server = Server::echo();
    let forward = Forward::with(version("2.3.700.0"), Document::port(server.port()));
    assert_eq!(exchange(&forward.connect(), b"old", 3), b"old");
    forward.plugin.signal(Signal::TERM);
    assert_eq!(exit_code(forward.plugin.wait()), 143);
}

#[test]
fn the_service_ends_the_session_while_nobody_is_connected() {
    let server = Server::sends(pattern(7, 100_000));
    let forward = Forward::with(
        AgentConfig {
            paced: true,
            ..version(LAST)
        },
        Document::port(server.port()),
    );
    forward.started.session.terminate("");
    assert_eq!(exit_code(forward.plugin.wait()), 0);
    forward.plugin.stdout.wait_for("Exiting session with");
}
