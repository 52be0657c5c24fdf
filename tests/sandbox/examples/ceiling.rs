//! What gateway and agent can do at most: a client that does as little as it can, in the same process.
//!
//! `cargo run --release -p sandbox --example ceiling [MEGABYTES]`
#![allow(clippy::unwrap_used, reason = "a measuring tool may fail loudly")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::Client;
use sandbox::{AgentConfig, Config, Document, Record, Sandbox, SessionConfig};
use session_manager_plugin::internals::message::content::{Acknowledge, to_json};
use session_manager_plugin::internals::message::{
    Message as Wire, MessageType, PayloadType, number,
};
use tungstenite::Message;

fn main() {
    let megabytes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let bytes = megabytes.unwrap_or(200) * 1_000_000_u64;
    for tls in [false, true] {
        for size in [1024, 16 << 10] {
            for (name, measure) in [
                ("download", download as fn(&Sandbox, usize, u64) -> Duration),
                ("upload", upload),
            ] {
                let sandbox = Sandbox::start(Config {
                    tls,
                    ..Config::default()
                })
                .unwrap();
                let cpu = cpu_seconds();
                let time = measure(&sandbox, size, bytes).as_secs_f64();
                let cpu = cpu_seconds() - cpu;
                println!(
                    "{} {name} {size:5} B messages: {:6.1} MB/s, {:5.1} CPU-s/GB (client included)",
                    if tls { "wss" } else { "ws " },
                    bytes as f64 / 1e6 / time,
                    cpu * 1e9 / bytes as f64,
                );
            }
        }
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

fn session(port: u16, size: usize) -> SessionConfig {
    SessionConfig {
        document: Document::Ssh { port },
        agent: AgentConfig {
            paced: false,
            payload_size: size,
            ..AgentConfig::default()
        },
        record: Record::Nothing,
        ..SessionConfig::default()
    }
}

fn download(sandbox: &Sandbox, size: usize, bytes: u64) -> Duration {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let block = vec![7; 256 << 10];
        let mut left = bytes as usize;
        while left > 0 && socket.write_all(&block[..left.min(block.len())]).is_ok() {
            left -= left.min(block.len());
        }
    });
    let started = sandbox.start_session(session(port, size));
    let mut client = Client::connect(sandbox, &started);
    client.shake_hands();
    let start = Instant::now();
    let mut received = 0;
    let mut unflushed = 0;
    while received < bytes {
        let Ok(Message::Binary(frame)) = client.websocket.read() else {
            continue;
        };
        let message = Wire::decode(&frame).unwrap();
        if message.message_type != MessageType::OutputStreamData {
            continue;
        }
        received += message.payload.len() as u64;
        let content = to_json(&Acknowledge {
            acknowledged_message_type: message.message_type.name().into(),
            acknowledged_message_id: message.message_id,
            acknowledged_message_sequence_number: message.sequence_number,
            is_sequential_message: true,
        });
        let answer = Wire::control(MessageType::Acknowledge, &content).encode();
        client
            .websocket
            .write(Message::Binary(answer.into()))
            .unwrap();
        unflushed += 1;
        if unflushed == 16 {
            unflushed = 0;
            client.websocket.flush().unwrap();
        }
    }
    start.elapsed()
}

fn upload(sandbox: &Sandbox, size: usize, bytes: u64) -> Duration {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut block = vec![0; 256 << 10];
        let mut received = 0;
        while received < bytes {
            received += socket.read(&mut block).unwrap() as u64;
        }
    });
    let started = sandbox.start_session(session(port, size));
    let mut client = Client::connect(sandbox, &started);
    client.shake_hands();
    // What comes too early is acknowledged and lost.
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    let payload = vec![7; size];
    let template =
        Wire::stream(MessageType::InputStreamData, PayloadType::Output, &payload).encode();
    let (mut sent, mut acknowledged, mut next) = (0, 1, 1);
    while sent < bytes {
        // A window of 64 messages, in halves, so that writing and reading take turns.
        while next - acknowledged < 64 && sent < bytes {
            let mut frame = template.clone();
            number(&mut frame, next);
            next += 1;
            sent += size as u64;
            client
                .websocket
                .write(Message::Binary(frame.into()))
                .unwrap();
        }
        client.websocket.flush().unwrap();
        while next - acknowledged > 32 {
            if let Ok(Message::Binary(frame)) = client.websocket.read()
                && Wire::decode(&frame)
                    .is_ok_and(|message| message.message_type == MessageType::Acknowledge)
            {
                acknowledged += 1;
            }
        }
    }
    sink.join().unwrap();
    start.elapsed()
}
