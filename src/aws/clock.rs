//! What time it is for AWS, which refuses signatures that are more than minutes off.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use super::time;

/// A difference below this is none: signatures are good for five minutes in both directions.
const TOLERANCE: Duration = Duration::from_secs(60);

/// This machine's clock, corrected by what a server said.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Server's time less ours, in seconds.
    offset: AtomicI64,
}

impl Clock {
    /// The corrected time.
    pub(super) fn now(&self) -> SystemTime {
        let offset = self.offset.load(Ordering::Relaxed);
        let by = Duration::from_secs(offset.unsigned_abs());
        let now = SystemTime::now();
        let corrected = if offset < 0 {
            now.checked_sub(by)
        } else {
            now.checked_add(by)
        };
        corrected.unwrap_or(now)
    }

    /// Takes a server's time; true if it is so far from what we believed that a signature may have failed for it.
    pub(super) fn correct(&self, server: SystemTime) -> bool {
        let difference = |later: SystemTime, earlier: SystemTime| {
            later.duration_since(earlier).unwrap_or_default()
        };
        let believed = self.now();
        if difference(believed, server) < TOLERANCE && difference(server, believed) < TOLERANCE {
            return false;
        }
        let now = SystemTime::now();
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(0);
        let offset = seconds(difference(server, now)) - seconds(difference(now, server));
        log::warn!(
            "this machine's clock is {} s off: AWS's is used for signatures",
            -offset
        );
        self.offset.store(offset, Ordering::Relaxed);
        true
    }

    /// The time in a `Date` header.
    pub(super) fn parse_header(date: &str) -> Option<SystemTime> {
        httpdate::parse_http_date(date).ok()
    }

    /// The time in the words of a refusal: "Signature expired: A is now earlier than B (C - 5 min.)", C being the server's.
    pub(super) fn parse_message(message: &str) -> Option<SystemTime> {
        let (_, parenthesis) = message.rsplit_once('(')?;
        time::parse_compact(parenthesis.split_whitespace().next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_far_off_is_believed_once() {
        let clock = Clock::default();
        assert!(!clock.correct(SystemTime::now() + Duration::from_secs(30)));
        for server in [
            SystemTime::now() + Duration::from_secs(7200),
            SystemTime::now() - Duration::from_secs(7200),
        ] {
            assert!(clock.correct(server));
            assert!(!clock.correct(server));
            let difference = clock.now().duration_since(server - TOLERANCE).unwrap();
            assert!(difference < TOLERANCE * 2);
        }
    }

    #[test]
    fn the_servers_time_in_its_words() {
        let message = "Signature expired: 20150830T123600Z is now earlier than 20150830T124500Z (20150830T125000Z - 5 min.)";
        assert_eq!(
            Clock::parse_message(message),
            time::parse_compact("20150830T125000Z")
        );
        assert_eq!(Clock::parse_message("no (time) here"), None);
        assert!(Clock::parse_header("Sun, 30 Aug 2015 12:36:00 GMT").is_some());
    }
}
