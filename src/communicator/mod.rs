//! One websocket over TLS, through proxies, never blocking.

mod dial;
mod liveness;
mod reconnect;
mod stream_url;

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tungstenite::error::Error as WebSocketError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

pub use dial::{DialError, Dialer};
pub use liveness::{Check, Liveness};
pub use reconnect::{Fruitless, GaveUp, Outage, is_trouble_of_the_service};
pub use stream_url::StreamUrl;

use crate::network::Stream;
use crate::sanitise;
use crate::waker::WakeReceiver;

/// Near one TLS record: measured, larger and smaller ones are slower.
const BUFFER_SIZE: usize = 16 * 1024;
/// Far above anything an agent sends (16 KiB of data, 32 KiB in newer ones), far below what would hurt.
const MAXIMUM_FRAME: usize = 1024 * 1024;

/// The most of the other side's own words that a reason holds, in characters.
const LONGEST_REASON: usize = 200;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    websocket: WebSocket<Stream>,
    /// Whether the socket takes no more at the moment.
    blocked: bool,
}

/// What was read.
#[derive(Debug)]
pub enum Incoming {
    /// A message of the data channel, whether it came as a text or a binary frame.
    Frame(Bytes),
    /// A ping or pong: the other side lives.
    Sign,
}

/// What ended a sleep; neither, when it was the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Somebody has something to say.
    pub by_waker: bool,
    /// The socket can be read, written, or is gone.
    pub by_socket: bool,
}

/// The connection is gone, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Broken {
    /// In words for the user.
    pub reason: String,
    /// Whether the service said no (close code 1008), in contrast to a connection that just ended.
    pub is_refusal: bool,
}

impl Broken {
    /// For a reason in words.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_refusal: false,
        }
    }

    /// What the service says when it closes the connection.
    fn closed(frame: Option<&CloseFrame>) -> Self {
        let Some(frame) = frame else {
            return Self::new("the service closed the connection");
        };
        let code = u16::from(frame.code);
        let reason = sanitise::line_within(&frame.reason, LONGEST_REASON);
        Self {
            reason: format!("the service closed the connection ({code} {reason})"),
            is_refusal: frame.code == CloseCode::Policy,
        }
    }
}

impl Connection {
    fn new(websocket: WebSocket<Stream>) -> Self {
        Self {
            websocket,
            blocked: false,
        }
    }

    fn config() -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(BUFFER_SIZE)
            .write_buffer_size(BUFFER_SIZE)
            .max_frame_size(Some(MAXIMUM_FRAME))
            .max_message_size(Some(MAXIMUM_FRAME))
    }

    /// The next frame, or None when nothing more has come. Call it until it says None before [`wait`](Self::wait): bytes stand in
    /// the buffers of TLS and of the websocket where poll(2) cannot see them.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn read(&mut self) -> Result<Option<Incoming>, Broken> {
        loop {
            return match self.websocket.read() {
                Ok(Message::Binary(frame)) => Ok(Some(Incoming::Frame(frame))),
                Ok(Message::Text(text)) => Ok(Some(Incoming::Frame(text.into()))),
                Ok(Message::Ping(_) | Message::Pong(_)) => Ok(Some(Incoming::Sign)),
                Ok(Message::Close(frame)) => Err(Broken::closed(frame.as_ref())),
                Ok(Message::Frame(_)) => continue,
                Err(error) => match waits(&error) {
                    true => Ok(None),
                    false => Err(broken(&error)),
                },
            };
        }
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

    /// Sends a ping; the answer shows up as [`Incoming::Sign`].
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ping(&mut self) -> Result<(), Broken> {
        self.message(Message::Ping(Bytes::from_static(b"keepalive")))
    }

    fn message(&mut self, message: Message) -> Result<(), Broken> {
        match self.websocket.write(message) {
            Ok(()) => Ok(()),
            // It stands in the buffer all the same.
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

    /// Sleeps until something has come (if `reading`), the socket takes more (if it is blocked), the waker was used, or the time
    /// has come.
    ///
    /// # Errors
    /// When the system refuses, which it does not.
    pub fn wait(
        &self,
        wake_receiver: &WakeReceiver,
        reading: bool,
        until: Instant,
    ) -> io::Result<Woken> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, reading);
        events.set(PollFlags::OUT, self.blocked);
        let mut descriptors = vec![PollFd::new(wake_receiver, PollFlags::IN)];
        // A descriptor without events still reports a hang-up: left out, or it would spin.
        if !events.is_empty() {
            descriptors.push(PollFd::new(self.websocket.get_ref(), events));
        }
        // Rounded up: waking a moment too early only means to sleep again.
        let left =
            timespec(until.saturating_duration_since(Instant::now()) + Duration::from_micros(1));
        match poll(&mut descriptors, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                let is_ready = |descriptor: &PollFd<'_>| !descriptor.revents().is_empty();
                Ok(Woken {
                    by_waker: descriptors.first().is_some_and(is_ready),
                    by_socket: descriptors.get(1).is_some_and(is_ready),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says good-bye, as far as the socket takes it.
    pub fn close(mut self) {
        let _ = self.websocket.close(None);
        let _ = self.websocket.flush();
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
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
