//! One message of the sending window, from the promise of room for it to its acknowledgement.

use std::time::Instant;

use bytes::Bytes;

/// How urgent a message is, and so how far it may go beyond the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Data that can wait: pipes and ports.
    Bulk,
    /// Keystrokes: may use 64 messages beyond a closed window.
    Interactive,
    /// Handshake, sizes and flags: few, and never held back, not even by a pause.
    Control,
}

/// A promise of room for one message.
#[derive(Debug)]
#[must_use = "room stays taken until the message is given"]
pub struct Reservation {
    bytes: usize,
    urgency: Urgency,
}

impl Reservation {
    pub(super) const fn new(bytes: usize, urgency: Urgency) -> Self {
        Self { bytes, urgency }
    }

    pub(super) const fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// The size of the frame that it is for.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A message that is kept until it is acknowledged.
#[derive(Debug)]
pub struct SentMessage {
    /// Empty once acknowledged.
    pub frame: Bytes,
    pub urgency: Urgency,
    pub state: State,
    /// How often it was sent.
    pub transmissions: u32,
    /// When the first copy was sent.
    pub first_sent: Option<Instant>,
    /// When the last copy was sent, and the one before it.
    pub last_sent: Option<Instant>,
    pub sent_before: Option<Instant>,
}

impl SentMessage {
    pub const fn new(frame: Bytes, reservation: &Reservation) -> Self {
        Self {
            frame,
            urgency: reservation.urgency,
            state: State::Unsent,
            transmissions: 0,
            first_sent: None,
            last_sent: None,
            sent_before: None,
        }
    }
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Unsent,
    /// `newer_acked`: how many messages sent later were acknowledged.
    InFlight {
        order: u64,
        sent_at: Instant,
        newer_acked: u32,
    },
    Lost,
    Acknowledged,
}
