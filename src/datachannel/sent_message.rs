//! The messages of the sending window, each from the promise of room for it to its acknowledgement.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

/// Messages that their queue keeps its memory for.
const USUAL_MESSAGES: usize = 256;

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
pub(super) struct SentMessage {
    /// Empty once acknowledged.
    pub frame: Bytes,
    pub urgency: Urgency,
    pub state: MessageState,
    /// How often it was sent.
    pub transmissions: u32,
    /// When the first copy was sent.
    pub first_sent: Option<Instant>,
    /// When the last copy was sent, and the one before it.
    pub last_sent: Option<Instant>,
    pub sent_before: Option<Instant>,
    /// How many messages were in flight when it was last sent, with it.
    pub flight: usize,
    /// Bytes of frames that were acknowledged by then.
    pub delivered: u64,
}

impl SentMessage {
    pub(super) const fn new(frame: Bytes, reservation: &Reservation) -> Self {
        Self {
            frame,
            urgency: reservation.urgency,
            state: MessageState::Unsent,
            transmissions: 0,
            first_sent: None,
            last_sent: None,
            sent_before: None,
            flight: 0,
            delivered: 0,
        }
    }
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageState {
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

/// Every message from the oldest unacknowledged one on, by their numbers, which have no gaps.
#[derive(Debug, Default)]
pub(super) struct SentMessages {
    first: i64,
    messages: VecDeque<SentMessage>,
}

impl SentMessages {
    /// The number of the oldest, or that of the next message when there is none.
    pub(super) const fn first(&self) -> i64 {
        self.first
    }

    /// The number of the next message.
    pub(super) fn next_number(&self) -> i64 {
        self.number_at(self.messages.len())
    }

    /// The number of the message that has so many older ones here.
    pub(super) const fn number_at(&self, older: usize) -> i64 {
        self.first.saturating_add_unsigned(older as u64)
    }

    /// How many older messages this number has here; none for one that is acknowledged with all before it.
    pub(super) fn older_than(&self, number: i64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn get(&self, number: i64) -> Option<&SentMessage> {
        self.messages.get(self.older_than(number)?)
    }

    pub(super) fn get_mut(&mut self, number: i64) -> Option<&mut SentMessage> {
        let index = self.older_than(number)?;
        self.messages.get_mut(index)
    }

    /// Each with its number, oldest first.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (i64, &mut SentMessage)> {
        (self.first..).zip(&mut self.messages)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &SentMessage> {
        self.messages.iter()
    }

    pub(super) fn push(&mut self, message: SentMessage) {
        self.messages.push_back(message);
    }

    /// Forgets the oldest, as far as they are acknowledged: how many those were.
    pub(super) fn forget_acknowledged(&mut self) -> usize {
        let mut count = 0;
        while self
            .messages
            .front()
            .is_some_and(|message| message.state == MessageState::Acknowledged)
        {
            self.messages.pop_front();
            self.first += 1;
            count += 1;
        }
        if self.messages.is_empty() {
            // What a long path needed is given back.
            self.messages.shrink_to(USUAL_MESSAGES);
        }
        count
    }
}
