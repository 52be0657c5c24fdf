//! What happens when the receive budget is used up: nothing more is taken from the channel, so one stream that nobody reads blocks all
//! others.

use std::time::{Duration, Instant};

/// Unread for so long, the stream that blocks the others is named.
pub(super) const NAME_AFTER: Duration = Duration::from_secs(30);
/// Unread for so long while others wait, it is reset.
pub(super) const RESET_AFTER: Duration = Duration::from_secs(300);

/// The times that matter while the budget is used up.
#[derive(Debug)]
pub(super) struct ReceiveBlocked {
    /// Since when it is.
    since: Instant,
    /// Since when there are other streams that wait.
    others_since: Option<Instant>,
    /// When to look again.
    pub check_at: Option<Instant>,
}

impl ReceiveBlocked {
    pub(super) fn new(now: Instant, others: bool) -> Self {
        Self {
            since: now,
            others_since: others.then_some(now),
            check_at: Some(now + NAME_AFTER),
        }
    }

    /// The number of streams has changed.
    pub(super) fn set_others(&mut self, others: bool, now: Instant) {
        match (others, self.others_since) {
            (true, None) => {
                self.others_since = Some(now);
                self.check_at = Some(now);
            }
            (false, Some(_)) => self.others_since = None,
            _ => {}
        }
    }

    /// When a stream whose local side took something last at `last_progress` is to be named.
    pub(super) fn name_at(&self, last_progress: Instant) -> Instant {
        self.since.max(last_progress) + NAME_AFTER
    }

    /// When it is to be reset; never while it blocks only itself.
    pub(super) fn reset_at(&self, last_progress: Instant) -> Option<Instant> {
        Some(self.others_since?.max(last_progress) + RESET_AFTER)
    }
}
