//! How much may be on its way: as much as the path bears without filling every buffer on it. No I/O and no clock.
//!
//! What waits on a path beyond its own delay drains within 2 s, however slow it has become. The window doubles each round trip, grows
//! slowly while a queue shows, holds when the queue is long enough, shrinks when it does not drain, and halves when the path drops more
//! than a bad line does. Random losses alone say nothing about the path's capacity, and neither does the first queue: what doubles comes
//! in bursts, which queue up long before the path is full, and drain again (RFC 9406 goes back to doubling then, too).

use std::time::{Duration, Instant};

use super::standing_queue::Queue;

/// Messages on their way before anything is known of the path.
pub(super) const INITIAL_WINDOW: usize = 32;
/// The window never shrinks below this.
pub(super) const MINIMUM_WINDOW: usize = 8;
/// A share of losses that says "too fast" rather than "a bad line": where 5 % of the messages and 5 % of their acknowledgements are
/// lost, nearly 10 % are.
const CONGESTION_LOSS_SHARE: f64 = 0.15;
/// Weight of one message in the smoothed share of losses: small enough that chance alone does not pass for congestion.
const LOSS_SHARE_WEIGHT: f64 = 1.0 / 256.0;
/// While a queue shows, and always after congestion, the window grows by this share of a message for each acknowledgement, instead of
/// by one.
const CAUTIOUS_GROWTH: f64 = 1.0 / 8.0;
/// The same where both is so: the path is full, and only looks for more.
const FULL_GROWTH: f64 = 1.0 / 32.0;

/// A message may wait for so long on a path beyond its own delay. The agent must read a pong within 6 s, and does so behind our data (P73).
const MAXIMUM_DELAY: Duration = Duration::from_secs(2);
/// A window that was too large shrinks to what the path drains in this.
const DRAINED_IN: Duration = Duration::from_millis(1500);

/// The size of the send window, in messages.
#[derive(Debug)]
pub(super) struct Congestion {
    window: f64,
    /// Whether the path was congested, so that the window grows slowly.
    cautious: bool,
    /// The smoothed share of messages that are lost.
    loss_share: f64,
    /// When the window was last halved.
    halved_at: Option<Instant>,
}

impl Default for Congestion {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW as f64,
            cautious: false,
            loss_share: 0.0,
            halved_at: None,
        }
    }
}

impl Congestion {
    /// Messages that may be on their way.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 8 and some thousands"
    )]
    pub(super) const fn window(&self) -> usize {
        self.window as usize
    }

    /// A message was acknowledged; `may_grow` says whether the window is what held the sender back, and the path's queue is short,
    /// `is_filling` whether there is one. Nor does it grow beyond `most`: the agent buffers far more, so this bounds our own memory only.
    #[allow(clippy::cast_precision_loss, reason = "some thousand messages at most")]
    pub(super) fn acknowledged(&mut self, may_grow: bool, is_filling: bool, most: usize) {
        self.loss_share -= self.loss_share * LOSS_SHARE_WEIGHT;
        if may_grow && self.window < most as f64 {
            let growth = match (self.cautious, is_filling) {
                (false, false) => 1.0,
                (true, true) => FULL_GROWTH,
                _ => CAUTIOUS_GROWTH,
            };
            self.window += growth;
        }
    }

    /// A message was lost.
    pub(super) fn lost(&mut self, now: Instant, timeout: Duration) {
        self.loss_share += (1.0 - self.loss_share) * LOSS_SHARE_WEIGHT;
        if self.loss_share > CONGESTION_LOSS_SHARE {
            self.halve(now, timeout);
        }
    }

    /// At most once a timeout: one full queue loses many messages.
    pub(super) fn halve(&mut self, now: Instant, timeout: Duration) {
        if self
            .halved_at
            .is_none_or(|at| now.saturating_duration_since(at) >= timeout)
        {
            self.halved_at = Some(now);
            self.cautious = true;
            self.window = (self.window / 2.0).max(MINIMUM_WINDOW as f64);
        }
    }

    /// A message came back after `rtt`, on a path whose own delay is `minimum`, that had so many in flight when it was sent. When it waited
    /// for too long, that is more than the path drains in time (P73): the window shrinks to what it does.
    #[allow(clippy::cast_precision_loss, reason = "some thousand messages at most")]
    pub(super) fn bound_delay(&mut self, flight: usize, rtt: Duration, minimum: Duration) {
        if rtt > minimum + MAXIMUM_DELAY && flight >= MINIMUM_WINDOW {
            // By Little's law the path carries `flight` messages in each `rtt`.
            let share = (minimum + DRAINED_IN).as_secs_f64() / rtt.as_secs_f64();
            let drained = (flight as f64 * share).max(MINIMUM_WINDOW as f64);
            self.window = self.window.min(drained);
        }
    }

    /// A queue stands on the path: the window shrinks to what fits on the path and a little more.
    #[allow(clippy::cast_precision_loss, reason = "some thousand messages at most")]
    pub(super) fn drain(&mut self, queue: Queue) {
        let share = queue.target.as_secs_f64() / queue.rtt.as_secs_f64();
        let drained = (queue.flight as f64 * share).max(MINIMUM_WINDOW as f64);
        if drained < self.window {
            self.window = drained;
            self.cautious = true;
        }
    }

    /// It was no queue: so many messages in flight were not too many.
    #[allow(clippy::cast_precision_loss, reason = "some thousand messages at most")]
    pub(super) fn restore(&mut self, flight: usize) {
        self.window = self.window.max(flight as f64);
        self.cautious = false;
    }

    /// A window of a given size.
    #[cfg(test)]
    pub(super) fn with_window(window: usize) -> Self {
        Self {
            window: window as f64,
            ..Self::default()
        }
    }
}
