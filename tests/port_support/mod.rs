//! Servers that the agent connects to, and port sessions of the built program in front of them.
#![allow(dead_code, reason = "not every test needs all of it")]

pub mod ssh;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use sandbox::{AgentConfig, Config, Document, Sandbox, Sender, SessionConfig, Started};
use session_manager_plugin::internals::message::PayloadType;

use crate::support::{Plugin, Running, TIMEOUT, wait_until};

/// A TCP server on loopback, a thread for each connection. It stops accepting when it goes.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// How many connections were accepted.
    pub accepted: Arc<AtomicUsize>,
    /// How many of them are done.
    pub done: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Handles each connection like this.
    pub fn start(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        // The standard library's backlog is 128: too few for a thousand at once.
        rustix::net::listen(&listener, 2048).expect("a larger backlog");
        let server = Self {
            address: listener.local_addr().expect("its address"),
            accepted: Arc::default(),
            done: Arc::default(),
            stopped: Arc::default(),
        };
        let (accepted, done) = (Arc::clone(&server.accepted), Arc::clone(&server.done));
        let stopped = Arc::clone(&server.stopped);
        let handle = Arc::new(handle);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                accepted.fetch_add(1, Ordering::SeqCst);
                let (handle, done) = (Arc::clone(&handle), Arc::clone(&done));
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || {
                        handle(stream);
                        done.fetch_add(1, Ordering::SeqCst);
                    })
                    .expect("a thread");
            }
        });
        server
    }

    /// Sends back what it gets, until the end.
    pub fn echo() -> Self {
        Self::start(|mut stream| {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        })
    }

    /// Sends this at once, and closes.
    pub fn sends(data: Vec<u8>) -> Self {
        Self::start(move |mut stream| {
            // A client that leaves early is part of some tests.
            let _ = stream.write_all(&data);
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits until so many connections were handled to their end.
    pub fn wait_for_done(&self, count: usize) {
        wait_until("connections at the server to end", || {
            self.done.load(Ordering::SeqCst) >= count
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = TcpStream::connect(self.address);
    }
}

/// An agent that does not pace itself.
pub fn fast() -> AgentConfig {
    AgentConfig {
        paced: false,
        ..AgentConfig::default()
    }
}

/// A fast agent of this version.
pub fn version(version: &str) -> AgentConfig {
    AgentConfig {
        version: version.to_owned(),
        ..fast()
    }
}

/// A port session of the built program, listening.
pub struct Forward {
    /// The program.
    pub plugin: Running,
    /// The other side.
    pub started: Started,
    /// The local port.
    pub port: u16,
    /// Goes last.
    pub sandbox: Sandbox,
}

impl Forward {
    /// To this server, with a fast agent of the newest version.
    pub fn to(server: &Server) -> Self {
        Self::with(fast(), Document::port(server.port()))
    }

    /// Any agent, any document that listens on a port.
    pub fn with(agent: AgentConfig, document: Document) -> Self {
        Self::run(agent, document, |plugin| plugin)
    }

    /// The same, the program run as `prepare` wants it.
    pub fn run(
        agent: AgentConfig,
        document: Document,
        prepare: impl FnOnce(Plugin) -> Plugin,
    ) -> Self {
        let (sandbox, started) = start(agent, document);
        let plugin = prepare(Plugin::new(&sandbox, &started)).spawn();
        let port = plugin.listening_port();
        Self {
            plugin,
            started,
            port,
            sandbox,
        }
    }

    /// A local connection.
    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }
}

/// A sandbox, and a session in it.
pub fn start(agent: AgentConfig, document: Document) -> (Sandbox, Started) {
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    let started = sandbox.start_session(SessionConfig {
        document,
        agent,
        ..SessionConfig::default()
    });
    (sandbox, started)
}

/// Waits until the client has sent so many flags; `false` when it does not.
pub fn client_sent_flags(started: &Started, count: usize) -> bool {
    started.session.wait_for_frames(TIMEOUT, |frames| {
        let flags = frames
            .iter()
            .filter(|frame| frame.is_data(Sender::Client, PayloadType::Flag.into()));
        flags.count() >= count
    })
}

/// A connection to a local port, which fails instead of waiting for ever.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("to connect");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Bytes that do not repeat soon, the same for the same seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sends this in pieces of so many bytes, and reads as much back meanwhile.
pub fn exchange(stream: &TcpStream, data: &[u8], piece: usize) -> Vec<u8> {
    let mut writer = stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            for piece in data.chunks(piece) {
                writer.write_all(piece).expect("to write");
            }
        });
        let mut back = vec![0; data.len()];
        let mut reader = stream;
        reader.read_exact(&mut back).expect("to read it back");
        back
    })
}

/// Everything until the end.
pub fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("to read to the end");
    bytes
}

/// No more from this side.
pub fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("to half-close");
}

/// Closes so that the peer sees a reset.
pub fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("no linger");
}

/// Compares without printing megabytes.
#[track_caller]
pub fn assert_same(got: &[u8], expected: &[u8]) {
    let difference = got.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        difference.is_none() && got.len() == expected.len(),
        "{} of {} bytes, the first difference at {difference:?}",
        got.len(),
        expected.len()
    );
}

/// Seconds of CPU that a process has used.
pub fn cpu_seconds(plugin: &Running) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", plugin.pid.as_raw_nonzero()))
        .expect("its state");
    let rest = stat.rsplit_once(") ").expect("a name").1;
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    // Linux's USER_HZ, on every platform that has it.
    ticks as f64 / 100.0
}
