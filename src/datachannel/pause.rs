//! A pause that the service asked for: new data waits, and a probe now and then shows whether it is over. No I/O and no clock.

use std::time::Instant;

/// A pause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    /// When the next probe goes; none when one is to go now.
    pub(super) probe_at: Option<Instant>,
    /// The message whose acknowledgement ends the pause.
    pub(super) probe: Option<i64>,
}

impl Pause {
    /// Whether a probe is to go.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.probe_at.is_none_or(|at| at <= now)
    }
}
