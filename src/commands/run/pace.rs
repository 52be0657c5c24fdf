//! How often the service is called while a command is followed. No I/O, and the time is a parameter.

use std::time::{Duration, Instant};

/// Between two calls at least: ten a second.
const SHORTEST: Duration = Duration::from_millis(100);
/// Between two calls at most, however often the service says that it is too much.
const LONGEST: Duration = Duration::from_secs(2);

/// When the next call may be made: further apart when the service throttles, closer again when it does not.
#[derive(Debug, Clone)]
pub(super) struct CallPace {
    interval: Duration,
    next: Option<Instant>,
}

impl Default for CallPace {
    fn default() -> Self {
        Self {
            interval: SHORTEST,
            next: None,
        }
    }
}

impl CallPace {
    /// When a call may be made; none for at once.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A call is made.
    pub(super) fn called(&mut self, now: Instant) {
        self.next = Some(now + self.interval);
    }

    /// The service took a call.
    pub(super) fn accepted(&mut self) {
        self.interval = (self.interval * 3 / 4).max(SHORTEST);
    }

    /// The service did not take a call because there were too many.
    pub(super) fn throttled(&mut self, now: Instant) {
        self.interval = (self.interval * 2).min(LONGEST);
        self.next = Some(now + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_ten_a_second_at_most_and_fewer_after_throttling() {
        let start = Instant::now();
        let mut pace = CallPace::default();
        assert_eq!(pace.next(), None);
        pace.called(start);
        assert_eq!(pace.next(), Some(start + SHORTEST));
        for _ in 0..20 {
            pace.throttled(start);
        }
        assert_eq!(pace.next(), Some(start + LONGEST));
        for _ in 0..20 {
            pace.accepted();
        }
        pace.called(start);
        assert_eq!(pace.next(), Some(start + SHORTEST));
    }
}
