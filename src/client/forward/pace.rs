//! How often sessions are started for one destination: the bounds of dials in an outage (P65), for StartSession.
//!
//! A session was of use when something came through it. One that was not, and one that could not be started, count as failures, however
//! often something asks for the next.

use std::time::{Duration, Instant};

/// Starts after sessions that were of use are so far apart.
const AFTER_USE: Duration = Duration::from_secs(1);
/// Failures in a row, and how far the next start is from the one before at most: five within the first ten seconds.
const GAPS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(4),
];
/// From then on.
const LATE_GAP: Duration = Duration::from_secs(8);
/// Once failures have lasted for this long.
const FIRST_MINUTE: Duration = Duration::from_secs(60);
const LAST_GAP: Duration = Duration::from_secs(20);

/// When the next session may be started.
#[derive(Debug, Default)]
pub(super) struct StartPace {
    last_start: Option<Instant>,
    failures: usize,
    first_failure: Option<Instant>,
}

impl StartPace {
    /// When the next start may be; `chance` between 0 and 1 makes many clients not come back in step.
    pub(super) fn next(&self, now: Instant, chance: f64) -> Instant {
        let Some(last) = self.last_start else {
            return now;
        };
        let gap = match self.failures {
            0 => AFTER_USE,
            _ if self
                .first_failure
                .is_some_and(|at| now.saturating_duration_since(at) >= FIRST_MINUTE) =>
            {
                LAST_GAP
            }
            failures => GAPS.get(failures - 1).copied().unwrap_or(LATE_GAP),
        };
        let part = if self.failures == 0 {
            1.0
        } else {
            0.75 + 0.25 * chance.clamp(0.0, 1.0)
        };
        let gap = gap.mul_f64(part);
        now.max(last + gap)
    }

    /// One is started; sessions of the same moment count as one.
    pub(super) fn started(&mut self, now: Instant) {
        self.last_start = Some(now);
    }

    /// Whether the last one was a failure.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Something came through a session.
    pub(super) fn was_of_use(&mut self) {
        self.failures = 0;
        self.first_failure = None;
    }

    /// It could not be started, or ended without having been of use.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures += 1;
        self.first_failure.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts as often as it may for so long, each of which fails at once.
    fn starts(time: Duration, chance: f64) -> Vec<Duration> {
        let begin = Instant::now();
        let (mut pace, mut now, mut starts) = (StartPace::default(), begin, Vec::new());
        loop {
            now = pace.next(now, chance);
            if now - begin > time {
                return starts;
            }
            pace.started(now);
            pace.failed(now);
            starts.push(now - begin);
        }
    }

    #[test]
    fn p65_failures_are_paced_and_what_comes_back_is_found() {
        for chance in [0.0, 0.5, 1.0] {
            let starts = starts(Duration::from_secs(300), chance);
            let within = |seconds| starts.iter().filter(|at| at.as_secs() < seconds).count();
            assert!(within(10) <= 5, "{starts:?}");
            assert!(within(2) >= 2 && within(12) >= 4, "{starts:?}");
            let late: Vec<_> = starts.iter().filter(|at| at.as_secs() >= 61).collect();
            let gaps = late.windows(2).map(|pair| *pair[1] - *pair[0]);
            for gap in gaps {
                assert!((5..=25).contains(&gap.as_secs()), "{gap:?}");
            }
        }
    }

    #[test]
    fn after_a_session_that_was_of_use_the_next_comes_within_a_second() {
        let now = Instant::now();
        let mut pace = StartPace::default();
        assert_eq!(pace.next(now, 1.0), now);
        pace.started(now);
        pace.failed(now);
        pace.was_of_use();
        assert_eq!(pace.next(now, 1.0), now + AFTER_USE);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.next(later, 1.0), later);
    }
}
