//! How long the first session of a copy may take to be started, and the others.

use std::time::{Duration, Instant};

/// StartSession with all its retries, waits for a throttled account among them.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(90);
/// The same until there has been a session, further tries included: nothing is lost yet, and somebody waits for a word.
const FIRST_START_TIMEOUT: Duration = Duration::from_secs(60);

/// How far the first session of a copy is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum FirstStart {
    /// It is not wanted yet; or it was tried in vain, and is tried anew where it is wanted again.
    #[default]
    Unwanted,
    /// It is tried until then.
    Until(Instant),
    /// It has been started.
    Done,
}

impl FirstStart {
    /// Until when a session may be started now.
    pub(super) fn deadline(&mut self, now: Instant) -> Instant {
        match *self {
            Self::Unwanted => {
                let until = now + FIRST_START_TIMEOUT;
                *self = Self::Until(until);
                until
            }
            Self::Until(until) => until,
            Self::Done => now + START_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tries_of_the_first_session_have_one_deadline() {
        let now = Instant::now();
        let mut first = FirstStart::default();
        let deadline = first.deadline(now);
        assert_eq!(deadline, now + FIRST_START_TIMEOUT);
        assert_eq!(first.deadline(now + FIRST_START_TIMEOUT / 2), deadline);
        first = FirstStart::Done;
        assert_eq!(first.deadline(now), now + START_TIMEOUT);
    }
}
