//! Which messages are lost: the packet and time thresholds of RFC 9002, section 6.1, with numbers that may be sent again. No I/O and no
//! clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::sent_message::{MessageState, SentMessages};

/// So many messages sent later must be acknowledged before one counts as lost (RFC 5681's three, which RFC 9002 keeps).
const LOSS_THRESHOLD: u32 = 3;
/// A path that reorders is given more time, but not for ever.
const MAXIMUM_LOSS_THRESHOLD: u32 = 64;

/// The order in which messages were sent, and what the path does to it.
#[derive(Debug)]
pub(super) struct LossDetection {
    /// (order of sending, number) of what is in flight, oldest first; messages that no longer are are skipped when met.
    send_order: VecDeque<(u64, i64)>,
    /// The order of the next sending.
    next_order: u64,
    /// Acknowledged later messages that make one lost.
    threshold: u32,
}

impl Default for LossDetection {
    fn default() -> Self {
        Self {
            send_order: VecDeque::new(),
            next_order: 0,
            threshold: LOSS_THRESHOLD,
        }
    }
}

impl LossDetection {
    /// A message goes out: its place in the order.
    pub(super) fn sent(&mut self, number: i64) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        self.send_order.push_back((order, number));
        order
    }

    /// Acknowledged later messages that make one lost.
    pub(super) const fn threshold(&self) -> u32 {
        self.threshold
    }

    /// A message that was sent once only was acknowledged after so many that were sent later: the path reorders by as much.
    pub(super) fn reordered(&mut self, newer_acked: u32) {
        if newer_acked > 0 {
            let threshold = self.threshold.max(newer_acked + 1);
            self.threshold = threshold.min(MAXIMUM_LOSS_THRESHOLD);
        }
    }

    /// An acknowledgement was for a copy before the last: that one was given up too early.
    pub(super) fn given_up_too_early(&mut self) {
        self.threshold = (self.threshold + self.threshold / 2).min(MAXIMUM_LOSS_THRESHOLD);
    }

    /// What was sent as `order` was acknowledged. Marks everything sent before it, and says what is lost by that: too many later ones
    /// were acknowledged, or one was, and it is out for `loss_delay`.
    pub(super) fn detect(
        &mut self,
        order: u64,
        loss_delay: Duration,
        messages: &mut SentMessages,
        now: Instant,
    ) -> Vec<i64> {
        let mut lost = Vec::new();
        let mut still = Vec::new();
        while let Some(&(earlier, number)) = self
            .send_order
            .front()
            .filter(|(earlier, _)| *earlier < order)
        {
            self.send_order.pop_front();
            let Some(message) = messages.get_mut(number) else {
                continue;
            };
            match &mut message.state {
                MessageState::InFlight {
                    order,
                    newer_acked,
                    sent_at,
                } if *order == earlier => {
                    *newer_acked += 1;
                    let time = now.saturating_duration_since(*sent_at);
                    if *newer_acked >= self.threshold || time >= loss_delay {
                        message.state = MessageState::Lost;
                        lost.push(number);
                    } else {
                        still.push((earlier, number));
                    }
                }
                _ => {}
            }
        }
        for kept in still.into_iter().rev() {
            self.send_order.push_front(kept);
        }
        lost
    }

    /// Forgets what is no longer in flight, as far as it is the oldest: the timer hangs on the front.
    pub(super) fn forget_landed(&mut self, messages: &SentMessages) {
        while let Some(&(order, number)) = self.send_order.front() {
            let state = messages.get(number).map(|message| message.state);
            if matches!(state, Some(MessageState::InFlight { order: current, .. }) if current == order)
            {
                break;
            }
            self.send_order.pop_front();
        }
    }

    /// The number of the oldest in flight.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.send_order.front().map(|(_, number)| *number)
    }

    /// Nothing is in flight any more.
    pub(super) fn clear(&mut self) {
        self.send_order.clear();
    }
}
