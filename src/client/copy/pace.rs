//! Finds out that a session was fast and has become very slow.
//!
//! What an agent had sent when its connection broke is lost, and it sends it again one message each 100 ms: 10 kB a second, where a new
//! session begins at once with what is missing.

use std::time::{Duration, Instant};

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(4);
/// Less than this in a window is slow: more than such an agent sends, all of its messages full.
const SLOW: u64 = 64 * 1024;
/// As much as this in a window was fast.
const FAST: u64 = 4 * SLOW;

/// Counts bytes.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    bytes: u64,
    was_fast: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            bytes: 0,
            was_fast: false,
        }
    }

    /// So many bytes came.
    pub(super) fn note(&mut self, bytes: usize) {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.was_fast |= self.bytes >= FAST;
    }

    /// Nothing is expected for a while: what comes after it is looked at anew.
    pub(super) fn restart(&mut self, now: Instant) {
        self.began = now;
        self.bytes = 0;
    }

    /// When to look again.
    pub(super) fn next_look(&self) -> Instant {
        self.began + WINDOW
    }

    /// Whether the session is slow now, and was fast or had its connection broken since it began: that may happen before it was fast.
    pub(super) fn is_stalled(&mut self, now: Instant, was_broken: bool) -> bool {
        if now < self.next_look() {
            return false;
        }
        let is_stalled = (self.was_fast || was_broken) && self.bytes < SLOW;
        self.restart(now);
        is_stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_fast_is_stalled() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for (bytes, expected) in [
            (10_000, false),
            (0, false),
            (5_000_000, false),
            (70_000, false),
            (40_000, true),
            (0, true),
        ] {
            pace.note(bytes);
            assert!(!pace.is_stalled(now + WINDOW / 2, true));
            now += WINDOW;
            assert_eq!(pace.is_stalled(now, false), expected, "{bytes}");
        }
        let mut pace = Pace::new(now);
        pace.note(10_000);
        assert!(pace.is_stalled(now + WINDOW, true));
    }
}
