//! Acknowledgements, out and in. No I/O and no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::ack_loss::AckLoss;
use crate::message::AcknowledgeEncoder;

/// What came is gathered for so long, or up to so many messages: the agent's stream does not wait for acknowledgements, and it sends again
/// after 200 ms at the earliest. A download of 1,000 messages a second so takes 200 wake-ups and TLS records, instead of 1,000.
const GATHER: Duration = Duration::from_millis(5);
pub(super) const BATCH: usize = 64;
/// So many of the last acknowledgements can be repeated.
const RECENT: usize = 1024;

/// What the acknowledge thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The message of this number came for the first time.
    Message {
        /// Its number.
        number: i64,
        /// Its id.
        id: Uuid,
        /// Whether it is acknowledged at once.
        is_urgent: bool,
    },
    /// It came again.
    Duplicate {
        /// Its number.
        number: i64,
        /// Its id.
        id: Uuid,
        /// After so long an acknowledgement has certainly arrived.
        round_trip: Duration,
    },
    /// There is a new connection: what was on its way over the old one is lost.
    Reconnected,
}

/// What came and is to be acknowledged. No I/O and no clock.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    waiting: VecDeque<(i64, Uuid)>,
    /// When what waits goes out.
    due_at: Option<Instant>,
    /// What was acknowledged last, and once only.
    recent: VecDeque<(i64, Uuid)>,
    loss: AckLoss,
    encoder: AcknowledgeEncoder,
}

impl Acknowledgements {
    /// Something came.
    pub fn receive(&mut self, received: Received, now: Instant) {
        match received {
            Received::Message {
                number,
                id,
                is_urgent,
            } => {
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back((number, id));
                self.waiting.push_back((number, id));
                self.loss.is_new(number, RECENT, now);
                if is_urgent {
                    self.due_at = Some(now);
                }
            }
            Received::Duplicate {
                number,
                id,
                round_trip,
            } => {
                // Those that still wait here are late, and not lost.
                let is_late = self.waiting.iter().any(|(waiting, _)| *waiting == number);
                self.waiting.push_back((number, id));
                if !is_late {
                    let most = self.loss.came_again(number, round_trip, now);
                    self.repeat_after(number, most);
                }
            }
            Received::Reconnected => {
                self.loss.reconnected();
                return;
            }
        }
        let due_at = if self.waiting.len() >= BATCH {
            now
        } else {
            now + GATHER
        };
        self.due_at = Some(self.due_at.map_or(due_at, |at| at.min(due_at)));
    }

    /// Where acknowledgements are lost, what was acknowledged since goes again, each once: the agent finds only one of them each 100 ms.
    fn repeat_after(&mut self, number: i64, most: usize) {
        if most > 0 {
            let later = self.recent.drain(..).filter(|(later, _)| *later > number);
            self.waiting.extend(later.take(most));
        }
    }

    /// When [`poll_transmit`](Self::poll_transmit) has something.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.due_at
    }

    /// Some frames, if it is time for them. Ask until there are none.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        self.due_at.filter(|at| *at <= now)?;
        let count = self.waiting.len().min(BATCH);
        let encoder = &mut self.encoder;
        let frames = self.waiting.drain(..count);
        let frames = frames
            .map(|(number, id)| encoder.encode(number, id))
            .collect();
        if self.waiting.is_empty() {
            self.due_at = None;
        }
        Some(frames)
    }
}

/// Which message the payload of an acknowledgement is for. Receivers look at nothing but the number.
pub(super) fn acknowledged_number(payload: &[u8]) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Number {
        #[serde(rename = "AcknowledgedMessageSequenceNumber")]
        number: i64,
    }
    serde_json::from_slice::<Number>(payload)
        .ok()
        .map(|content| content.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Harness {
        acknowledgements: Acknowledgements,
        start: Instant,
    }

    impl Harness {
        fn new() -> Self {
            Self {
                acknowledgements: Acknowledgements::default(),
                start: Instant::now(),
            }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        fn message(&mut self, number: i64, milliseconds: u64) {
            let received = Received::Message {
                number,
                id: Uuid::nil(),
                is_urgent: false,
            };
            let now = self.at(milliseconds);
            self.acknowledgements.receive(received, now);
        }

        fn duplicate(&mut self, number: i64, milliseconds: u64) {
            let duplicate = Received::Duplicate {
                number,
                id: Uuid::nil(),
                round_trip: Duration::from_millis(200),
            };
            let now = self.at(milliseconds);
            self.acknowledgements.receive(duplicate, now);
        }

        /// How many frames go out by now.
        fn sent(&mut self, milliseconds: u64) -> usize {
            let now = self.at(milliseconds);
            let batches = std::iter::from_fn(|| self.acknowledgements.poll_transmit(now));
            batches.map(|batch| batch.len()).sum()
        }
    }

    #[test]
    fn gathers_for_five_milliseconds_or_sixty_four_messages() {
        let mut harness = Harness::new();
        harness.message(0, 0);
        harness.message(1, 4);
        assert_eq!(harness.sent(4), 0);
        assert_eq!(harness.acknowledgements.next_timeout(), Some(harness.at(5)));
        assert_eq!(harness.sent(5), 2);
        assert_eq!(harness.acknowledgements.next_timeout(), None);
        for number in 2..66 {
            assert_eq!(harness.sent(10), 0);
            harness.message(number, 10);
        }
        assert_eq!(harness.sent(10), 64);
    }

    #[test]
    fn what_is_urgent_does_not_wait() {
        let mut harness = Harness::new();
        harness.message(0, 0);
        let urgent = Received::Message {
            number: 1,
            id: Uuid::nil(),
            is_urgent: true,
        };
        harness.acknowledgements.receive(urgent, harness.at(1));
        assert_eq!(harness.sent(1), 2);
    }

    #[test]
    fn p05_a_duplicate_is_acknowledged_each_time() {
        let mut harness = Harness::new();
        harness.message(0, 0);
        for again in 0..3 {
            harness.duplicate(0, again);
        }
        assert_eq!(harness.sent(10), 4);
    }
}
