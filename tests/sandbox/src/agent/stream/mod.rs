//! The agent's rules for the stream, without I/O and without a clock: time is a parameter.
//!
//! They are the real agent's (version 3.3), with its weaknesses, because those are what a client has to cope with:
//! - it handles a message first and acknowledges it then; a handler that is not ready or fails leaves the message unacknowledged and the
//!   expected number where it is;
//! - up to 100,000 messages ahead of the expected one are acknowledged at once and kept; one whose handler fails later, when it is the
//!   next, has come, is never tried again: the stream is **stuck**;
//! - it keeps up to 100,000 unacknowledged messages; what comes on top is sent, but not kept;
//! - each 100 ms it looks at the **oldest** unacknowledged message only, and sends it again if that is longer ago than the timeout.
//!
//! [`Incoming`] and [`Outgoing`] are apart because a handler of the real agent may block while other threads send. [`Stream`] is both, for
//! programs with one thread and a clock of their own:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use sandbox::agent::stream::{HandlerError, Stream};
//! use session_manager_plugin::internals::message::{Message, MessageType, PayloadType};
//!
//! let start = Instant::now();
//! let mut agent = Stream::new(start);
//! let mut input = Vec::new();
//! let frame = Message::stream(MessageType::InputStreamData, PayloadType::Output, b"ls\r").encode();
//! agent.handle_message(&frame, start, &mut |message: &Message<'_>| {
//!     input.extend_from_slice(message.payload);
//!     Ok::<(), HandlerError>(())
//! });
//! let acknowledgement = agent.poll_transmit().expect("handled, so acknowledged");
//! agent.send(PayloadType::Output, b"file\r\n", start);
//! let output = agent.poll_transmit().expect("sent at once");
//! // Nobody acknowledges the output: it comes again after the timeout, at the next look each 100 ms.
//! let late = start + Duration::from_millis(300);
//! assert_eq!(agent.next_timeout(), Some(start + Duration::from_millis(100)));
//! agent.handle_timeout(late);
//! assert_eq!(agent.poll_transmit(), Some(output));
//! ```

mod incoming;
mod outgoing;
mod rtt;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use session_manager_plugin::internals::message::content::{Acknowledge, to_json};
use session_manager_plugin::internals::message::{Message, MessageType, PayloadType};

pub use incoming::{Incoming, MAX_BUFFERED, Received};
pub use outgoing::{MAX_UNACKNOWLEDGED, Outgoing, RESEND_INTERVAL};
pub use rtt::RttEstimator;

/// Takes the messages of the stream in their order, handshake payloads included.
pub trait Handler {
    /// Takes one message.
    ///
    /// # Errors
    /// Either error leaves the message unacknowledged.
    fn handle(&mut self, message: &Message<'_>) -> Result<(), HandlerError>;
}

impl<F: FnMut(&Message<'_>) -> Result<(), HandlerError>> Handler for F {
    fn handle(&mut self, message: &Message<'_>) -> Result<(), HandlerError> {
        self(message)
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerError {
    /// What the message is for is not there yet.
    NotReady,
    /// It cannot be done: malformed, or the process or the connection is gone.
    Failed(String),
}

/// Both directions, for use in one thread.
#[derive(Debug)]
pub struct Stream {
    incoming: Incoming,
    outgoing: Outgoing,
    transmits: VecDeque<Bytes>,
}

impl Stream {
    /// A stream in which nothing has been sent yet. The looks each 100 ms count from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            incoming: Incoming::default(),
            outgoing: Outgoing::new(now),
            transmits: VecDeque::new(),
        }
    }

    /// Takes a frame from the client, hands its content to `handler` when it is the next, and queues acknowledgements.
    pub fn handle_message(
        &mut self,
        frame: &[u8],
        now: Instant,
        handler: &mut impl Handler,
    ) -> Received {
        let transmits = &mut self.transmits;
        let received = self
            .incoming
            .handle_message(frame, handler, &mut |message| {
                transmits.push_back(acknowledgement(message));
            });
        self.outgoing.note(&received, now);
        received
    }

    /// Numbers, keeps and (unless paused) queues a message. An empty payload is left out, as the real agent does.
    pub fn send(&mut self, payload_type: PayloadType, payload: &[u8], now: Instant) {
        self.transmits
            .extend(self.outgoing.send(payload_type, payload, now));
    }

    /// The next frame for the client: acknowledgements, data and resent data in the order in which they arose.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; nothing while there is nothing to be resent.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.outgoing.next_timeout()
    }

    /// Looks at the oldest unacknowledged message if it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transmits.extend(self.outgoing.handle_timeout(now));
    }

    /// The receiving half.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The sending half.
    pub fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// What a reconnect of the agent does: a pause is over. Nothing is resent eagerly.
    pub fn reconnected(&mut self) {
        self.outgoing.unpause();
    }
}

/// The frame that acknowledges a message.
pub fn acknowledgement(message: &Message<'_>) -> Bytes {
    let content = to_json(&Acknowledge {
        acknowledged_message_type: message.message_type.name().to_owned(),
        acknowledged_message_id: message.message_id,
        acknowledged_message_sequence_number: message.sequence_number,
        is_sequential_message: true,
    });
    Message::control(MessageType::Acknowledge, &content)
        .encode()
        .into()
}
