//! Acknowledgements, out and in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::ack_loss::AckLoss;
use crate::message::AcknowledgeEncoder;

/// Acknowledgements that wait to be sent. What comes beyond is not acknowledged now; the agent sends it again.
pub const LIMIT: usize = 16_384;
/// After so many in a row a message has its turn. Where the way out is slower than what comes in makes acknowledgements (330 bytes for
/// each message), some always wait, and a keystroke behind them all would wait for ever.
const IN_A_ROW: usize = 8;
/// So many of the last acknowledgements can be repeated.
const RECENT: usize = 1024;

/// What came and is to be acknowledged.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    waiting: VecDeque<(i64, Uuid)>,
    /// What was acknowledged last, and once only.
    recent: VecDeque<(i64, Uuid)>,
    loss: AckLoss,
    encoder: AcknowledgeEncoder,
    /// How many went out since a message had its turn.
    in_a_row: usize,
}

impl Acknowledgements {
    /// The connection is another one: acknowledgements on their way may be lost.
    pub fn reconnected(&mut self) {
        self.loss.reconnected();
    }

    /// The message of this number came for the first time.
    pub fn acknowledge(&mut self, number: i64, id: Uuid, now: Instant) {
        if self.waiting.len() < LIMIT {
            self.waiting.push_back((number, id));
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((number, id));
            self.loss.is_new(number, RECENT, now);
        }
    }

    /// The message came again. Where that is a sign that acknowledgements are lost, what was acknowledged since goes again, each once: the
    /// agent finds only one lost acknowledgement each 100 ms. `round_trip`: after so long an acknowledgement has certainly arrived.
    pub fn acknowledge_again(&mut self, number: i64, id: Uuid, now: Instant, round_trip: Duration) {
        // Those that still wait here are late, and not lost.
        let most = if self.waiting.is_empty() {
            self.loss.came_again(number, round_trip, now)
        } else {
            0
        };
        if self.waiting.len() < LIMIT {
            self.waiting.push_back((number, id));
        }
        if most > 0 {
            let room = LIMIT.saturating_sub(self.waiting.len()).min(most);
            let later = self.recent.drain(..).filter(|(later, _)| *later > number);
            self.waiting.extend(later.take(room));
        }
    }

    /// The next one, as a frame.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let (number, id) = self.waiting.pop_front()?;
        self.in_a_row += 1;
        Some(self.encoder.encode(number, id))
    }

    /// Whether a message has its turn now.
    pub fn make_way(&mut self) -> bool {
        let makes_way = self.waiting.is_empty() || self.in_a_row >= IN_A_ROW;
        if makes_way {
            self.in_a_row = 0;
        }
        makes_way
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Which message the payload of an acknowledgement is for. Receivers look at nothing but the number.
pub fn acknowledged_number(payload: &[u8]) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Number {
        #[serde(rename = "AcknowledgedMessageSequenceNumber")]
        number: i64,
    }
    serde_json::from_slice::<Number>(payload)
        .ok()
        .map(|content| content.number)
}
