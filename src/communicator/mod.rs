//! One websocket over TLS, through proxies, never blocking.

mod dial;
mod liveness;
mod metered;
mod stream_url;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use tungstenite::error::Error as WebSocketError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

pub use dial::{DialError, Dialer};
pub use liveness::{Liveness, LivenessAction};
pub use stream_url::StreamUrl;

use crate::error::{Failure, Meaning};
use crate::network::{PathWatch, SocketPath};
use crate::redactor::Redactor;
use crate::sanitise;
use crate::waker::{WakeReceiver, timespec};
use metered::Metered;

/// Near one TLS record: measured, larger and smaller ones are slower.
const BUFFER_SIZE: usize = 16 * 1024;
/// Far above anything an agent sends (16 KiB of data, 32 KiB in newer ones), far below what would hurt.
const MAXIMUM_FRAME: usize = 1024 * 1024;
/// Bytes that are read before something else is done: all fragments count, empty ones too.
const READ_BUDGET: usize = 256 * 1024;
/// Fragments that are longer than this together and make no whole message break the connection, in bytes.
const MAXIMUM_UNFINISHED: usize = 2 * MAXIMUM_FRAME;
/// The hard bound of what waits for a socket that takes nothing. What is [written](Connection::write) stays far below.
const MAXIMUM_UNSENT: usize = 512 * 1024;
/// A frame that is longer than this keeps the buffer that it came in for itself, in bytes.
const LARGE_FRAME: usize = 64 * 1024;

/// How much of the gateway's own words a reason holds at most, in characters.
const LONGEST_REASON: usize = 200;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    websocket: WebSocket<Metered>,
    /// Hides what the gateway was told where the gateway repeats it.
    redactor: Redactor,
    /// Whether the socket takes no more at the moment.
    blocked: bool,
    /// Whether pongs wait outside of the buffer.
    pongs_held: bool,
    /// A large frame, held until the next one is read. Otherwise its buffer would be used again, and be kept alive as a whole for a few
    /// bytes of what comes next.
    large: Option<Bytes>,
}

/// The socket of a connection. It lets one thread sleep until something happens there while another thread uses the connection.
#[derive(Debug, Clone)]
pub struct ConnectionSocket(Arc<TcpStream>);

/// What was read.
#[derive(Debug)]
pub enum Incoming {
    /// A message of the data channel, whether it came as a text or a binary frame.
    Frame(Bytes),
    /// A ping: the gateway is there.
    Ping,
    /// A pong: the gateway is there, and has received our ping.
    Pong,
}

/// What ended a sleep; all false when the time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Another thread called the waker.
    pub by_waker: bool,
    /// The socket can be read, written, or is gone.
    pub by_socket: bool,
    /// The system's routes or addresses have changed.
    pub by_routes: bool,
}

/// The connection is gone, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Broken {
    /// In words for the user.
    pub reason: String,
    /// Whether the service said no (close code 1008), in contrast to a connection that just ended.
    pub is_refusal: bool,
    /// Whether the service said anything at all.
    pub is_answer: bool,
}

impl Broken {
    /// For a reason in words.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_refusal: false,
            is_answer: false,
        }
    }

    /// What it means for a session that should go on.
    pub fn failure(&self) -> Failure {
        Failure {
            meaning: if self.is_refusal {
                Meaning::Denied
            } else {
                Meaning::Temporary
            },
            reason: self.reason.clone(),
            is_answer: self.is_answer,
        }
    }

    /// What the service says when it closes the connection.
    fn closed(frame: Option<&CloseFrame>, redactor: &Redactor) -> Self {
        let Some(frame) = frame else {
            return Self::new("the service closed the connection");
        };
        let code = u16::from(frame.code);
        let reason = sanitise::line_within(&redactor.clean(&frame.reason), LONGEST_REASON);
        Self {
            reason: format!("the service closed the connection ({code} {reason})"),
            is_refusal: frame.code == CloseCode::Policy,
            is_answer: true,
        }
    }
}

impl Connection {
    fn new(websocket: WebSocket<Metered>, redactor: Redactor) -> Self {
        Self {
            websocket,
            redactor,
            blocked: false,
            pongs_held: false,
            large: None,
        }
    }

    fn config() -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(BUFFER_SIZE)
            .write_buffer_size(BUFFER_SIZE)
            .max_write_buffer_size(MAXIMUM_UNSENT)
            .max_frame_size(Some(MAXIMUM_FRAME))
            .max_message_size(Some(MAXIMUM_FRAME))
    }

    /// Allows [`read`](Self::read) another budget of bytes.
    pub fn refill(&mut self) {
        self.websocket.get_mut().refill(READ_BUDGET);
    }

    /// Whether [`read`](Self::read) said None because its budget was used up: there may be more to read.
    pub fn is_used_up(&self) -> bool {
        self.websocket.get_ref().is_used_up()
    }

    /// Bytes that were read since the last [`refill`](Self::refill).
    pub fn bytes_read(&self) -> usize {
        self.websocket.get_ref().used(READ_BUDGET)
    }

    /// The next frame, or None when nothing more has come or the budget is used up. Call it until it says None before
    /// [`wait`](Self::wait): bytes are in the buffers of TLS and of the websocket where poll(2) cannot see them.
    ///
    /// # Errors
    /// When the connection is gone, or the gateway sends fragments that never make a message.
    pub fn read(&mut self) -> Result<Option<Incoming>, Broken> {
        // While the socket takes nothing, pongs do not pile up before it: one waits, the newest.
        self.set_pongs_held(self.blocked);
        loop {
            let result = self.websocket.read();
            if result.is_ok() {
                self.websocket.get_mut().message();
            }
            self.large = None;
            let frame = match result {
                Ok(Message::Binary(frame)) => frame,
                Ok(Message::Text(text)) => text.into(),
                Ok(Message::Ping(_)) => {
                    // Answered at once. If that fails, so does the next read.
                    if !self.blocked {
                        let _ = self.flush();
                    }
                    return Ok(Some(Incoming::Ping));
                }
                Ok(Message::Pong(_)) => return Ok(Some(Incoming::Pong)),
                Ok(Message::Close(frame)) => {
                    return Err(Broken::closed(frame.as_ref(), &self.redactor));
                }
                Ok(Message::Frame(_)) => continue,
                Err(error) if !waits(&error) => return Err(broken(&error)),
                Err(_) if self.websocket.get_ref().unfinished() > MAXIMUM_UNFINISHED => {
                    return Err(Broken::new("the other side sends fragments without an end"));
                }
                Err(_) => return Ok(None),
            };
            if frame.len() > LARGE_FRAME {
                self.large = Some(frame.clone());
            }
            return Ok(Some(Incoming::Frame(frame)));
        }
    }

    /// Whether a pong waits outside of the buffer that is on its way to the socket, where the next one takes its place.
    fn set_pongs_held(&mut self, held: bool) {
        if self.pongs_held == held {
            return;
        }
        self.pongs_held = held;
        self.websocket.set_config(|config| {
            // A buffer that has no room; what is in it stays.
            let (size, most) = if held {
                (0, 1)
            } else {
                (BUFFER_SIZE, MAXIMUM_UNSENT)
            };
            config.write_buffer_size = size;
            config.max_write_buffer_size = most;
        });
    }

    /// Gives a frame to the socket, or to the small buffer before it. After this said that the socket is [blocked](Self::is_blocked),
    /// give no more than the rest of a batch.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write(&mut self, frame: Bytes) -> Result<(), Broken> {
        self.message(Message::Binary(frame))
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write_text(&mut self, text: String) -> Result<(), Broken> {
        self.message(Message::text(text))
    }

    /// Sends a ping; the answer shows up as [`Incoming::Pong`].
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ping(&mut self) -> Result<(), Broken> {
        self.message(Message::Ping(Bytes::from_static(b"keepalive")))
    }

    fn message(&mut self, message: Message) -> Result<(), Broken> {
        self.set_pongs_held(false);
        match self.websocket.write(message) {
            Ok(()) => Ok(()),
            // It is in the buffer all the same.
            Err(error) if waits(&error) => {
                self.blocked = true;
                Ok(())
            }
            Err(error) => Err(broken(&error)),
        }
    }

    /// Empties the buffer into the socket, as far as that takes it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn flush(&mut self) -> Result<(), Broken> {
        self.set_pongs_held(false);
        match self.websocket.flush() {
            Ok(()) => self.blocked = false,
            Err(error) if waits(&error) => self.blocked = true,
            Err(error) => return Err(broken(&error)),
        }
        Ok(())
    }

    /// Whether the socket takes no more at the moment.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What to sleep with, for whoever does so while another uses the connection.
    pub fn socket(&self) -> ConnectionSocket {
        ConnectionSocket(Arc::clone(self.websocket.get_ref().get_ref().tcp()))
    }

    /// Sleeps until something has come (if `reading`), the socket takes more (if it is blocked), the waker was used, routes have changed
    /// (if `path` is watched), or the time has come.
    ///
    /// # Errors
    /// When the system refuses, which it does not.
    pub fn wait(
        &self,
        wake_receiver: &WakeReceiver,
        path: Option<&PathWatch>,
        reading: bool,
        until: Instant,
    ) -> io::Result<Woken> {
        self.socket()
            .wait(wake_receiver, path, reading, self.blocked, until)
    }

    /// What the system would do with the connection, were it a new one.
    pub fn path(&self) -> SocketPath {
        SocketPath::of(self.websocket.get_ref().get_ref().tcp())
    }

    /// Says good-bye, as far as the socket takes it.
    pub fn close(mut self) {
        let _ = self.websocket.close(None);
        let _ = self.websocket.flush();
    }
}

impl ConnectionSocket {
    /// Sleeps until something has come (if `reading`), the socket takes more (if `writing`), the waker was used, routes have changed (if
    /// `path` is watched), or the time has come.
    ///
    /// # Errors
    /// When the system refuses, which it does not.
    pub fn wait(
        &self,
        wake_receiver: &WakeReceiver,
        path: Option<&PathWatch>,
        reading: bool,
        writing: bool,
        until: Instant,
    ) -> io::Result<Woken> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, reading);
        events.set(PollFlags::OUT, writing);
        let mut descriptors = Vec::with_capacity(3);
        descriptors.push(PollFd::new(wake_receiver, PollFlags::IN));
        descriptors.extend(path.map(|path| PollFd::new(path, PollFlags::IN)));
        let path_at = descriptors.len() - 1;
        let socket_at = descriptors.len();
        // A descriptor without events still reports a hang-up: left out, or it would spin.
        if !events.is_empty() {
            descriptors.push(PollFd::new(&self.0, events));
        }
        // Rounded up: waking a moment too early only means to sleep again.
        let left =
            timespec(until.saturating_duration_since(Instant::now()) + Duration::from_micros(1));
        match poll(&mut descriptors, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                let is_ready = |descriptor: &PollFd<'_>| !descriptor.revents().is_empty();
                let is_ready_at = |at: usize| descriptors.get(at).is_some_and(is_ready);
                let by_routes = is_ready_at(path_at) && path.is_some_and(PathWatch::take_change);
                Ok(Woken {
                    by_waker: is_ready_at(0),
                    by_socket: is_ready_at(socket_at),
                    by_routes,
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn waits(error: &WebSocketError) -> bool {
    matches!(error, WebSocketError::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn broken(error: &WebSocketError) -> Broken {
    Broken::new(match error {
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => {
            "the service closed the connection".to_owned()
        }
        WebSocketError::Io(error) => format!("the connection broke ({error})"),
        WebSocketError::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => "the connection broke without a good-bye".to_owned(),
        other => format!("the other side does not speak websocket as it should ({other})"),
    })
}
