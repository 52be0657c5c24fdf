//! One gateway whose behaviour is a script, over `ws://` on loopback, with the agent in it; and beside it an API by which a session can be
//! resumed and ended, so that a test sees whether it was.
//!
//! ```ignore
//! let gateway = Gateway::start(|dial| {
//!     let mut peer = dial.accept()?;
//!     peer.output(b"hello\r\n")?;
//!     peer.serve()
//! });
//! let plugin = gateway.plugin().terminal().spawn();
//! plugin.terminal.wait_for("hello");
//! assert_eq!(gateway.api.count("TerminateSession"), 0);
//! ```
//!
//! The script runs once for each connection, in a thread of its own. Reading and writing fail when the client or the test is gone, so `?`
//! ends a script. What a library would not send is written by hand: frames, fragments, numbers, upgrades.

mod api;
mod frames;
mod peer;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;

#[allow(unused_imports, reason = "not every test needs all of it")]
pub use api::{Answer, Api, ApiCall, agents_key};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub use frames::{BINARY, CLOSE, CONTINUE, Frame, PING, PONG, TEXT, frame, stream};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub use peer::{Peer, Received, Sender};

use super::{Plugin, lock};

/// The session's name.
pub const SESSION_ID: &str = "user-0123456789abcdef0";

/// The gateway, and the API.
pub struct Gateway {
    /// The API.
    pub api: Api,
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    goes_on: AtomicBool,
    dials: AtomicUsize,
    sockets: Mutex<Vec<TcpStream>>,
    scripts: Mutex<Vec<JoinHandle<()>>>,
}

impl Gateway {
    /// Treats each connection like this.
    pub fn start(script: impl Fn(Dial) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while let Ok((socket, _)) = listener.accept() {
                    if shared.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    shared.serve(socket, &script);
                }
            })
        };
        Self {
            api: Api::start(stream_url(address)),
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Lets scripts go on that [wait](Peer::wait_for_test).
    pub fn go_on(&self) {
        self.shared.goes_on.store(true, Ordering::SeqCst);
    }

    /// Ends scripts that [pause reading](Peer::pause_reading).
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }

    /// How many connections were made.
    pub fn dials(&self) -> usize {
        self.shared.dials.load(Ordering::SeqCst)
    }

    /// `host:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What StartSession answered.
    pub fn response(&self) -> Value {
        json!({
            "SessionId": SESSION_ID,
            "TokenValue": "token-of-start",
            "StreamUrl": stream_url(self.address),
        })
    }

    /// The program, called as the AWS CLI does it, with credentials for the API.
    pub fn plugin(&self) -> Plugin {
        let request = json!({ "Target": "i-0123456789abcdef0" }).to_string();
        let arguments = [
            "AWS_SSM_START_SESSION_RESPONSE",
            "eu-central-1",
            "StartSession",
            "",
            &request,
            "",
        ];
        Plugin::bare(arguments)
            .env(
                "AWS_SSM_START_SESSION_RESPONSE",
                self.response().to_string(),
            )
            .env("SSM_PLUGIN_ALLOW_STREAM_HOST", self.host())
            .env("AWS_ENDPOINT_URL", self.api.url())
            .env("AWS_ACCESS_KEY_ID", "AKIAGATEWAYEXAMPLE00")
            .env("AWS_SECRET_ACCESS_KEY", "secret/key/that/opens/nothing")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for socket in lock(&self.shared.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        let scripts: Vec<_> = lock(&self.shared.scripts).drain(..).collect();
        for script in scripts {
            if script.join().is_err() && !thread::panicking() {
                panic!("a script of the gateway failed");
            }
        }
    }
}

impl Shared {
    fn serve<F>(self: &Arc<Self>, socket: TcpStream, script: &Arc<F>)
    where
        F: Fn(Dial) -> io::Result<()> + Send + Sync + 'static,
    {
        let number = self.dials.fetch_add(1, Ordering::SeqCst);
        let _ = socket.set_nodelay(true);
        lock(&self.sockets).push(socket.try_clone().expect("a descriptor"));
        let script = Arc::clone(script);
        let shared = Arc::clone(self);
        let run = move || {
            let end = socket.try_clone();
            if let Ok(dial) = Dial::read(socket, number, shared) {
                // An error says that the client or the test is gone.
                let _ = script(dial);
            }
            if let Ok(end) = end {
                let _ = end.shutdown(Shutdown::Both);
            }
        };
        lock(&self.scripts).push(thread::spawn(run));
    }
}

fn stream_url(address: SocketAddr) -> String {
    format!("ws://{address}/v1/data-channel/{SESSION_ID}?role=publish_subscribe")
}

/// A connection whose request to upgrade has come.
pub struct Dial {
    /// 0 for the first.
    pub number: usize,
    /// The request, as it came.
    pub head: String,
    socket: TcpStream,
    shared: Arc<Shared>,
}

impl Dial {
    fn read(mut socket: TcpStream, number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        Ok(Self {
            number,
            head: String::from_utf8_lossy(&head).into_owned(),
            socket,
            shared,
        })
    }

    /// A header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// What `Sec-WebSocket-Accept` has to say.
    pub fn accept_key(&self) -> String {
        let key = self.header("sec-websocket-key").unwrap_or_default();
        derive_accept_key(key.as_bytes())
    }

    /// Becomes a websocket, and takes the client's first frame.
    pub fn accept(self) -> io::Result<Peer> {
        let mut peer = self.upgrade("")?;
        peer.read_frame()?;
        Ok(peer)
    }

    /// Becomes a websocket, with these lines (each with its `\r\n`) in the answer. Nothing is read.
    pub fn upgrade(self, more: &str) -> io::Result<Peer> {
        let key = self.accept_key();
        self.upgrade_with_key(&key, more)
    }

    /// Says that it becomes one, with any key.
    pub fn upgrade_with_key(self, key: &str, more: &str) -> io::Result<Peer> {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n{more}\r\n"
        );
        let peer = Peer::new(self.socket, self.number, self.shared)?;
        peer.raw(head.as_bytes())?;
        Ok(peer)
    }

    /// Answers with a status, and closes.
    pub fn refuse(self, status: u16, text: &str) -> io::Result<()> {
        let length = text.len();
        self.answer(
            format!("HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes(),
        )
    }

    /// Answers with these bytes, and closes.
    pub fn answer(mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }
}
