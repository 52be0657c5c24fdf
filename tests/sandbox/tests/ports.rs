//! Ports: one at a time and multiplexed, to real services.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use common::Client;
use sandbox::{AgentConfig, Config, Document, Sandbox, SessionConfig};
use session_manager_plugin::internals::message::{Flag, PayloadType};
use session_manager_plugin::internals::smux::Frame;
use session_manager_plugin::internals::smux::frame::{FrameDecoder, fin, nop, push, syn};

const TIMEOUT: Duration = Duration::from_secs(10);

fn sandbox() -> Sandbox {
    Sandbox::start(Config {
        tls: false,
        ..Config::default()
    })
    .unwrap()
}

/// A service for one connection after another.
fn service(handle: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            handle(socket);
        }
    });
    port
}

fn echo(mut socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(count) = socket.read(&mut buffer) {
        if count == 0 || socket.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn session(document: Document, version: &str) -> SessionConfig {
    SessionConfig {
        document,
        agent: AgentConfig {
            paced: false,
            version: version.into(),
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    }
}

fn unused_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn ssh_carries_bytes_and_ends_with_the_remote() {
    let sandbox = sandbox();
    let port = service(|mut socket| {
        socket.write_all(b"hello ").unwrap();
        let mut line = [0; 5];
        socket.read_exact(&mut line).unwrap();
        socket.write_all(&line).unwrap();
    });
    let started = sandbox.start_session(session(Document::Ssh { port }, "3.3.0.0"));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.until("hello ");
    client.type_in("12\n45");
    assert_eq!(client.output(PayloadType::Output), b"12\n45");
    assert_eq!(client.closed.as_deref(), Some(""));
}

#[test]
fn an_old_agent_dials_again_for_each_connection() {
    let sandbox = sandbox();
    let port = service(echo);
    let started = sandbox.start_session(session(Document::port(port), "3.0.196.0"));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    for round in ["first", "second", "third"] {
        client.type_in(round);
        client.until(round);
        client.send(PayloadType::Flag, &Flag::DisconnectToPort.to_bytes());
    }
    client.send(PayloadType::Flag, &Flag::TerminateSession.to_bytes());
    client.output(PayloadType::Output);
    assert_eq!(client.closed.as_deref(), Some(""));
}

#[test]
fn a_port_that_refuses_ends_a_basic_session_with_a_text() {
    let sandbox = sandbox();
    let port = unused_port();
    let started = sandbox.start_session(session(Document::Ssh { port }, "3.3.0.0"));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.output(PayloadType::Output);
    let text = client.closed.unwrap();
    assert!(
        text.contains("Unable to connect to specified port"),
        "{text}"
    );
}

/// Frames that come until one pleases.
fn frames(client: &mut Client, mut pleases: impl FnMut(&Frame) -> bool) -> Vec<Frame> {
    let mut decoder = FrameDecoder::default();
    let mut all = Vec::new();
    loop {
        let got = client.receive(TIMEOUT).expect("a message");
        if got.payload_type != u32::from(PayloadType::Output) {
            continue;
        }
        let mut input = Bytes::from(got.payload);
        while let Some(frame) = decoder.next(&mut input).unwrap() {
            let last = pleases(&frame);
            all.push(frame);
            if last {
                return all;
            }
        }
    }
}

#[test]
fn many_connections_over_the_multiplexer() {
    let sandbox = sandbox();
    let port = service(|socket| {
        std::thread::spawn(|| echo(socket));
    });
    let started = sandbox.start_session(session(Document::port(port), "3.3.0.0"));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    let mut stream = Vec::new();
    for id in [3, 5, 7] {
        stream.extend_from_slice(&syn(id));
        stream.extend_from_slice(&push(id, 2));
        stream.extend_from_slice(&[id as u8, b'\n']);
    }
    // Frames span messages.
    for piece in stream.chunks(5) {
        client.send(PayloadType::Output, piece);
    }
    let mut bytes = 0;
    let got = frames(&mut client, |frame| {
        if let Frame::Data(_, data) = frame {
            bytes += data.len();
        }
        bytes == 6
    });
    for id in [3, 5, 7] {
        let data: Vec<u8> = got
            .iter()
            .filter_map(|frame| match frame {
                Frame::Data(stream, data) if *stream == id => Some(data.to_vec()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(data, [id as u8, b'\n']);
    }
    client.send(PayloadType::Output, &fin(5));
    let got = frames(&mut client, |frame| *frame == Frame::Fin(5));
    assert_eq!(got, [Frame::Fin(5)], "a FIN is answered");
    client.send(PayloadType::Flag, &Flag::TerminateSession.to_bytes());
    client.output(PayloadType::Output);
    assert_eq!(client.closed.as_deref(), Some(""));
}

#[test]
fn a_port_that_refuses_is_told_by_a_flag_and_a_fin() {
    let sandbox = sandbox();
    let started = sandbox.start_session(session(Document::port(unused_port()), "3.3.0.0"));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.send(PayloadType::Output, &syn(3));
    let flag = client.receive(TIMEOUT).unwrap();
    assert_eq!(flag.payload_type, u32::from(PayloadType::Flag));
    assert_eq!(flag.payload, Flag::ConnectToPortError.to_bytes());
    assert_eq!(client.receive(TIMEOUT).unwrap().payload, fin(3));
}

#[test]
fn bulk_both_ways_through_the_multiplexer() {
    let sandbox = sandbox();
    let port = service(|socket| {
        std::thread::spawn(|| echo(socket));
    });
    let started = sandbox.start_session(session(Document::port(port), "3.3.0.0"));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.send(PayloadType::Output, &syn(3));
    let mut sent = 0_u64;
    let mut received = 0_u64;
    let mut decoder = FrameDecoder::default();
    for round in 0..200_u32 {
        let mut data = push(3, 16384).to_vec();
        data.resize(8 + 16384, round as u8);
        client.send(PayloadType::Output, &data);
        sent += 16384;
        while received < sent {
            let got = client.receive(TIMEOUT).expect("an echo");
            let mut input = Bytes::from(got.payload);
            while let Some(Frame::Data(3, data)) = decoder.next(&mut input).unwrap() {
                assert!(data.iter().all(|byte| *byte == round as u8));
                received += data.len() as u64;
            }
        }
    }
}

#[test]
fn an_old_multiplexer_sends_keepalives_and_ends_without_an_answer() {
    let sandbox = sandbox();
    let mut config = session(Document::port(unused_port()), "3.1.1511.0");
    config.agent.smux_keepalive = Duration::from_millis(200);
    let started = sandbox.start_session(config);
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    assert_eq!(frames(&mut client, |_| true), [Frame::Nop]);
    client.send(PayloadType::Output, &nop());
    while client.receive(TIMEOUT).is_some() {}
    assert_eq!(client.closed.as_deref(), Some(""));
}
