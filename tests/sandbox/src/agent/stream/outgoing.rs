//! Agent to client: numbered, kept until acknowledged, the oldest sent again when it takes too long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_manager_plugin::internals::message::{
    Flags, Message, MessageType, PayloadType, number,
};

use super::{Received, RttEstimator};

/// How many unacknowledged messages are kept.
pub const MAX_UNACKNOWLEDGED: usize = 100_000;
/// How often the oldest is looked at.
pub const RESEND_INTERVAL: Duration = Duration::from_millis(100);

/// The sending half of the stream.
#[derive(Debug)]
pub struct Outgoing {
    /// The number that the next message gets.
    next_number: i64,
    /// By rising number; an acknowledged one leaves a hole until it is the first.
    unacknowledged: VecDeque<Unacknowledged>,
    /// Those of `unacknowledged` that are no holes.
    kept: usize,
    paused: bool,
    rtt: RttEstimator,
    /// When the oldest is looked at next; may be past while there is none.
    next_look: Instant,
    resent: u64,
}

#[derive(Debug)]
struct Unacknowledged {
    number: i64,
    /// Nothing once it is acknowledged.
    frame: Option<Bytes>,
    last_sent: Instant,
}

impl Outgoing {
    /// The looks each 100 ms count from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            next_number: 0,
            unacknowledged: VecDeque::new(),
            kept: 0,
            paused: false,
            rtt: RttEstimator::default(),
            next_look: now + RESEND_INTERVAL,
            resent: 0,
        }
    }

    /// Numbers and keeps a message; hands back the frame to be sent now, which is none in a pause (it is sent by the looks each 100 ms
    /// then).
    pub fn send(
        &mut self,
        payload_type: PayloadType,
        payload: &[u8],
        now: Instant,
    ) -> Option<Bytes> {
        if payload.is_empty() {
            return None;
        }
        let mut message = Message::stream(MessageType::OutputStreamData, payload_type, payload);
        if self.next_number == 0 {
            message.flags = Flags::SYN;
        }
        let mut frame = message.encode();
        number(&mut frame, self.next_number);
        let frame = Bytes::from(frame);
        self.align(now);
        if self.kept < MAX_UNACKNOWLEDGED {
            self.unacknowledged.push_back(Unacknowledged {
                number: self.next_number,
                frame: Some(frame.clone()),
                last_sent: now,
            });
            self.kept += 1;
        }
        self.next_number += 1;
        (!self.paused).then_some(frame)
    }

    /// While nothing was unacknowledged nobody counted the looks: finds the next one.
    fn align(&mut self, now: Instant) {
        if self.kept == 0 && self.next_look <= now {
            let missed = (now - self.next_look).as_nanos() / RESEND_INTERVAL.as_nanos() + 1;
            self.next_look += RESEND_INTERVAL * u32::try_from(missed).unwrap_or(u32::MAX);
        }
    }

    /// Does what a received frame means for this half: acknowledgements, pauses.
    pub fn note(&mut self, received: &Received, now: Instant) {
        match received {
            Received::Pause => self.paused = true,
            Received::Start
            | Received::Handled { .. }
            | Received::Buffered(_)
            | Received::NoRoom(_)
            | Received::Duplicate(_)
            | Received::Refused(..)
            | Received::Stuck(..) => self.unpause(),
            Received::Acknowledge(number) => {
                self.unpause();
                self.acknowledged(*number, now);
            }
            Received::ChannelClosed(_) | Received::Ignored | Received::Invalid(_) => {}
        }
    }

    /// Ends a pause. Nothing is sent because of it: what was held back waits for the looks each 100 ms.
    pub fn unpause(&mut self) {
        self.paused = false;
    }

    fn acknowledged(&mut self, number: i64, now: Instant) {
        let Ok(index) = self
            .unacknowledged
            .binary_search_by_key(&number, |message| message.number)
        else {
            return;
        };
        let message = &mut self.unacknowledged[index];
        if message.frame.take().is_none() {
            return;
        }
        self.rtt
            .sample(now.saturating_duration_since(message.last_sent));
        self.kept -= 1;
        while self
            .unacknowledged
            .front()
            .is_some_and(|message| message.frame.is_none())
        {
            self.unacknowledged.pop_front();
        }
    }

    /// When the oldest is looked at next, if there is one and no pause.
    pub fn next_timeout(&self) -> Option<Instant> {
        (self.kept > 0 && !self.paused).then_some(self.next_look)
    }

    /// Looks at the oldest unacknowledged message if it is time to; hands it back if it is to be sent again.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Bytes> {
        if now < self.next_look {
            return None;
        }
        // The real one sleeps 100 ms between looks: late ones are not made up for.
        self.next_look = now + RESEND_INTERVAL;
        if self.paused {
            return None;
        }
        let timeout = self.rtt.timeout();
        let oldest = self.unacknowledged.front_mut()?;
        if now.saturating_duration_since(oldest.last_sent) <= timeout {
            return None;
        }
        oldest.last_sent = now;
        self.resent += 1;
        oldest.frame.clone()
    }

    /// How many messages are kept because they are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.kept
    }

    /// The number that the next message gets; so many were sent.
    pub fn next_number(&self) -> i64 {
        self.next_number
    }

    /// How many times a message was sent again.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// The state of the estimator.
    pub fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }
}
