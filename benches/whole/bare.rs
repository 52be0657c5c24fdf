//! What the machine allows: a websocket over TLS without a protocol (the floor), and a client that does next to nothing (the
//! ceiling of the sandbox's agent).

use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::time::{ClockId, clock_gettime};
use sandbox::{AgentConfig, Config, Document, Record, Sandbox, SessionConfig, Started};
use session_manager_plugin::internals::communicator::{Connection, Dialer, Incoming, StreamUrl};
use session_manager_plugin::internals::message::content::{
    ActionStatus, HandshakeResponse, OpenDataChannel, ProcessedClientAction, to_json,
};
use session_manager_plugin::internals::message::{
    self, AcknowledgeEncoder, HEADER_SIZE, Message, MessageType, PayloadType,
};
use session_manager_plugin::internals::network::{Limit, Network};
use session_manager_plugin::internals::remarks::Remarks;
use session_manager_plugin::internals::settings::{Environment, HostPort, Settings};
use session_manager_plugin::internals::smux::frame;
use session_manager_plugin::internals::waker::{WakeReceiver, waker};
use uuid::Uuid;

use super::process::Failed;
use super::service::{GIVE, Service, TAKE};

/// What the bare client has on its way, and the bare echo, in bytes: enough to keep both sides busy, and not more than the caches hold.
const WINDOW: usize = 1 << 20;
/// What is written before it reads again: who writes longer lets the other side wait.
const TURN: usize = 64 * 1024;

fn failed(error: impl std::fmt::Display) -> Failed {
    error.to_string()
}

/// Dials whatever it is told, trusting the one authority.
fn dial(url: &str, ca_file: &str) -> Result<Connection, Failed> {
    let authority: http::Uri = url.parse().map_err(failed)?;
    let host = authority.authority().ok_or("no host")?.as_str();
    let settings = Settings {
        allow_stream_host: HostPort::parse(host).into_iter().collect(),
        ..Settings::default()
    };
    let url = StreamUrl::parse(url, &settings).map_err(failed)?;
    let network = Network::new(&Environment::from([("AWS_CA_BUNDLE", ca_file)]), None);
    let dialer = Dialer {
        network: network.map_err(failed)?,
        remarks: Remarks::default(),
    };
    let limit = Limit::within(Duration::from_secs(10));
    dialer.dial(&url, &[], &limit).map_err(failed)
}

/// This thread's CPU time so far, seconds.
fn thread_cpu() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(f64::NAN, |time| Duration::from(time).as_secs_f64())
}

/// What a loop moved.
pub struct Moved {
    /// Data, MB a second.
    pub rate: f64,
    /// Of this side, seconds a GB of data.
    pub cpu: f64,
}

struct Meter {
    begun_at: Instant,
    cpu: f64,
    bytes: f64,
}

impl Meter {
    fn new() -> Self {
        Self {
            begun_at: Instant::now(),
            cpu: thread_cpu(),
            bytes: 0.0,
        }
    }

    fn moved(&self) -> Moved {
        Moved {
            rate: self.bytes / 1e6 / self.begun_at.elapsed().as_secs_f64(),
            cpu: (thread_cpu() - self.cpu) / (self.bytes / 1e9),
        }
    }
}

/// An echo of binary frames, for its process's lifetime. Gives its URL.
fn echo_server() -> &'static (Sandbox, String) {
    static SERVER: OnceLock<(Sandbox, String)> = OnceLock::new();
    SERVER.get_or_init(|| {
        // For its certificates.
        let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = sandbox.tls_acceptor();
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let acceptor = acceptor.clone();
                thread::spawn(move || echo(socket, &acceptor));
            }
        });
        let url = format!("wss://127.0.0.1:{port}/v1/data-channel/echo");
        (sandbox, url)
    })
}

/// Reads what has come, sends all of it back, flushes, and waits for more.
fn echo(socket: TcpStream, acceptor: &native_tls::TlsAcceptor) {
    use tungstenite::protocol::{Role, WebSocketConfig};
    use tungstenite::{Error, Message, WebSocket};

    let _ = socket.set_nodelay(true);
    let Ok(handle) = socket.try_clone() else {
        return;
    };
    let Ok(stream) = acceptor.accept(socket) else {
        return;
    };
    let Ok(websocket) = tungstenite::accept(stream) else {
        return;
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024);
    let mut websocket =
        WebSocket::from_raw_socket(websocket.into_inner(), Role::Server, Some(config));
    let _ = handle.set_nonblocking(true);
    let waits = |error: &Error| matches!(error, Error::Io(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    loop {
        loop {
            match websocket.read() {
                Ok(Message::Binary(frame)) => match websocket.write(Message::Binary(frame)) {
                    Ok(()) => {}
                    // It is queued all the same.
                    Err(error) if waits(&error) => {}
                    Err(_) => return,
                },
                Ok(_) => {}
                Err(error) if waits(&error) => break,
                Err(_) => return,
            }
        }
        let blocked = match websocket.flush() {
            Ok(()) => false,
            Err(error) if waits(&error) => true,
            Err(_) => return,
        };
        use rustix::event::{PollFd, PollFlags, poll};
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, blocked);
        let _ = poll(&mut [PollFd::new(&handle, flags)], None);
    }
}

/// Messages of so many bytes of data to an echo and back.
pub fn floor(size: usize, time: Duration) -> Result<Moved, Failed> {
    let (sandbox, url) = echo_server();
    let mut connection = dial(url, &sandbox.ca_file().display().to_string())?;
    let (_waker, wake_receiver) = waker().map_err(failed)?;
    let message = Bytes::from(vec![7; HEADER_SIZE + size]);
    let mut meter = Meter::new();
    let deadline = meter.begun_at + time;
    let mut on_the_way = 0;
    while Instant::now() < deadline {
        let mut turn = TURN / size;
        while turn > 0 && on_the_way < WINDOW / size && !connection.is_blocked() {
            connection.write(message.clone()).map_err(failed)?;
            on_the_way += 1;
            turn -= 1;
        }
        connection.flush().map_err(failed)?;
        let mut read = 0;
        while let Some(incoming) = connection.read().map_err(failed)? {
            if let Incoming::Frame(_) = incoming {
                read += 1;
            }
        }
        on_the_way -= read;
        meter.bytes += (read * size) as f64;
        if read == 0 && turn > 0 {
            wait(&connection, &wake_receiver, deadline)?;
        }
    }
    Ok(meter.moved())
}

/// Times of one message of one byte to the echo and back, milliseconds.
pub fn floor_pings(count: usize) -> Result<Vec<f64>, Failed> {
    let (sandbox, url) = echo_server();
    let mut connection = dial(url, &sandbox.ca_file().display().to_string())?;
    let (_waker, wake_receiver) = waker().map_err(failed)?;
    let message = Bytes::from(vec![7; HEADER_SIZE + 1]);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        connection.write(message.clone()).map_err(failed)?;
        connection.flush().map_err(failed)?;
        while connection.read().map_err(failed)?.is_none() {
            wait(&connection, &wake_receiver, begin + Duration::from_secs(5))?;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn wait(
    connection: &Connection,
    wake_receiver: &WakeReceiver,
    until: Instant,
) -> Result<(), Failed> {
    connection
        .wait(wake_receiver, None, true, until)
        .map(drop)
        .map_err(failed)
}

/// The fastest that the sandbox's agent takes, from a client that hashes once and looks at nothing.
pub fn agent_takes(sandbox: &Sandbox, size: usize, time: Duration) -> Result<Moved, Failed> {
    let service = Service::start(false);
    let started = sandbox.start_session(session(service.port, size));
    let mut client = Client::open(sandbox, &started)?;
    client.open_stream(TAKE)?;
    let length = u16::try_from(size).unwrap_or(u16::MAX);
    let mut payload = frame::push(3, length - 8).to_vec();
    payload.resize(size, 7);
    let template =
        Message::stream(MessageType::InputStreamData, PayloadType::Output, &payload).encode();
    let before = service.taken.get();
    let mut meter = Meter::new();
    let deadline = meter.begun_at + time;
    let mut on_the_way = 0;
    while Instant::now() < deadline {
        let mut turn = TURN / size;
        while turn > 0 && on_the_way < WINDOW / size && !client.connection.is_blocked() {
            client.send(template.clone())?;
            on_the_way += 1;
            turn -= 1;
        }
        client.connection.flush().map_err(failed)?;
        let mut read = 0;
        while client.connection.read().map_err(failed)?.is_some() {
            read += 1;
        }
        on_the_way = on_the_way.saturating_sub(read);
        if read == 0 && turn > 0 {
            wait(&client.connection, &client.wake_receiver, deadline)?;
        }
    }
    meter.bytes = service.taken.get() - before;
    let moved = meter.moved();
    started.session.terminate("");
    Ok(moved)
}

/// The fastest that the sandbox's agent gives, to a client that acknowledges without a look.
pub fn agent_gives(sandbox: &Sandbox, size: usize, time: Duration) -> Result<Moved, Failed> {
    let service = Service::start(false);
    let started = sandbox.start_session(session(service.port, size));
    let mut client = Client::open(sandbox, &started)?;
    client.open_stream(GIVE)?;
    let mut encoder = AcknowledgeEncoder::default();
    let mut meter = Meter::new();
    let deadline = meter.begun_at + time;
    while Instant::now() < deadline {
        let mut read = 0;
        while let Some(Incoming::Frame(frame)) = client.connection.read().map_err(failed)? {
            read += 1;
            if frame.len() > HEADER_SIZE && frame[4] == b'o' {
                meter.bytes += (frame.len() - HEADER_SIZE) as f64;
                let mut number = [0; 8];
                number.copy_from_slice(&frame[48..56]);
                let acknowledgement = encoder.encode(i64::from_be_bytes(number), Uuid::nil());
                client.connection.write(acknowledgement).map_err(failed)?;
            }
            if read == 64 {
                break;
            }
        }
        client.connection.flush().map_err(failed)?;
        if read == 0 {
            wait(&client.connection, &client.wake_receiver, deadline)?;
        }
    }
    let moved = meter.moved();
    started.session.terminate("");
    Ok(moved)
}

fn session(port: u16, size: usize) -> SessionConfig {
    SessionConfig {
        document: Document::port(port),
        agent: AgentConfig {
            paced: false,
            payload_size: size,
            ..AgentConfig::default()
        },
        record: Record::Nothing,
        ..SessionConfig::default()
    }
}

/// A client that speaks just enough.
struct Client {
    connection: Connection,
    wake_receiver: WakeReceiver,
    next: i64,
}

impl Client {
    fn open(sandbox: &Sandbox, started: &Started) -> Result<Self, Failed> {
        let ca_file = sandbox.ca_file().display().to_string();
        let mut connection = dial(&started.stream_url, &ca_file)?;
        let open = OpenDataChannel::client(&started.token_value, Uuid::new_v4(), "1.2.896.0");
        let text = String::from_utf8(to_json(&open)).map_err(failed)?;
        connection.write_text(text).map_err(failed)?;
        connection.flush().map_err(failed)?;
        let mut client = Self {
            connection,
            wake_receiver: waker().map_err(failed)?.1,
            next: 0,
        };
        client.await_output(PayloadType::HandshakeRequest)?;
        let response = HandshakeResponse {
            client_version: "1.2.896.0".to_owned(),
            processed_client_actions: vec![ProcessedClientAction {
                action_type: "SessionType".to_owned(),
                action_status: ActionStatus::Success,
                action_result: None,
                error: String::new(),
            }],
            errors: None,
        };
        client.send_payload(PayloadType::HandshakeResponse, &to_json(&response))?;
        client.await_output(PayloadType::HandshakeComplete)?;
        // The agent's port listens a moment later.
        thread::sleep(Duration::from_millis(50));
        Ok(client)
    }

    fn open_stream(&mut self, what: u8) -> Result<(), Failed> {
        self.send_payload(PayloadType::Output, &frame::syn(3))?;
        let mut first = frame::push(3, 1).to_vec();
        first.push(what);
        self.send_payload(PayloadType::Output, &first)
    }

    fn send(&mut self, mut frame: Vec<u8>) -> Result<(), Failed> {
        message::number(&mut frame, self.next);
        self.next += 1;
        self.connection.write(frame.into()).map_err(failed)
    }

    fn send_payload(&mut self, payload_type: PayloadType, payload: &[u8]) -> Result<(), Failed> {
        self.send(Message::stream(MessageType::InputStreamData, payload_type, payload).encode())?;
        self.connection.flush().map_err(failed)
    }

    fn await_output(&mut self, payload_type: PayloadType) -> Result<(), Failed> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut encoder = AcknowledgeEncoder::default();
        while Instant::now() < deadline {
            let Some(incoming) = self.connection.read().map_err(failed)? else {
                wait(&self.connection, &self.wake_receiver, deadline)?;
                continue;
            };
            if let Incoming::Frame(frame) = incoming
                && let Ok(message) = Message::decode(&frame)
                && message.message_type == MessageType::OutputStreamData
            {
                let answer = encoder.encode(message.sequence_number, message.message_id);
                self.connection.write(answer).map_err(failed)?;
                self.connection.flush().map_err(failed)?;
                if message.payload_type == u32::from(payload_type) {
                    return Ok(());
                }
            }
        }
        Err(format!("no {payload_type:?} came"))
    }
}
