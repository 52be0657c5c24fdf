//! Decides when the user is told that nothing has been acknowledged for long.

use std::time::{Duration, Instant};

/// After so long without an acknowledgement the user is told once.
const TELL_AFTER: Duration = Duration::from_secs(60);

/// Time in which nothing was read does not count: no acknowledgement could come.
#[derive(Debug, Default)]
pub(super) struct AckWatchdog {
    /// Whether the user was told of the present one.
    told: bool,
    /// Whether nothing is read at the moment.
    reading_paused: bool,
    /// Whether there is no connection at the moment (P71).
    is_cut_off: bool,
    /// When that ended last.
    reads_since: Option<Instant>,
}

impl AckWatchdog {
    /// When the user has to be told, if `waiting_since` is when the oldest unacknowledged message went out.
    pub(super) fn due_at(&self, waiting_since: Option<Instant>) -> Option<Instant> {
        let since =
            waiting_since.filter(|_| !self.told && !self.reading_paused && !self.is_cut_off)?;
        Some(self.reads_since.map_or(since, |reads| reads.max(since)) + TELL_AFTER)
    }

    /// The user was told.
    pub(super) const fn told(&mut self) {
        self.told = true;
    }

    /// Something was acknowledged.
    pub(super) const fn over(&mut self) {
        self.told = false;
    }

    /// There is no connection: what was sent over it may be lost, and is no reason to complain.
    pub(super) const fn disconnected(&mut self) {
        self.is_cut_off = true;
    }

    /// There is one again, over which everything is sent once more.
    pub(super) const fn connected(&mut self, now: Instant) {
        if self.is_cut_off {
            self.is_cut_off = false;
            self.reads_since = Some(now);
        }
    }

    /// Says whether anything is read at the moment.
    pub(super) const fn set_reading_paused(&mut self, reading_paused: bool, now: Instant) {
        if self.reading_paused && !reading_paused {
            self.reads_since = Some(now);
        }
        self.reading_paused = reading_paused;
    }
}
