//! Whether the other side still lives. No I/O and no clock.

use std::time::{Duration, Instant, SystemTime};

/// A ping goes out this often: often enough for the network's address translators, rarely enough to be idle.
const PING_EVERY: Duration = Duration::from_secs(30);
/// No frame for so long is a broken connection: three pings went without an answer.
const DEAD_AFTER: Duration = Duration::from_secs(90);
/// A clock that runs ahead of the other by this much says that the machine slept.
const JUMP: Duration = Duration::from_secs(60);
/// After such a sleep the other side answers within this, or is gone.
const DEAD_AFTER_JUMP: Duration = Duration::from_secs(5);

/// Watches what comes, and when.
#[derive(Debug)]
pub struct Liveness {
    /// The last sign of life.
    heard_at: Instant,
    ping_at: Instant,
    /// When a sign of life is due after a sleep.
    answer_by: Option<Instant>,
    /// Both clocks at the last look: only one of them runs while the machine sleeps.
    clocks: (Instant, SystemTime),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    Fine,
    /// Send a ping.
    Ping,
    /// The other side is gone.
    Dead,
}

impl Liveness {
    /// A connection that stands since now. The first ping is due at once, as the original client does.
    pub const fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            heard_at: now,
            ping_at: now,
            answer_by: None,
            clocks: (now, wall),
        }
    }

    /// Something came.
    pub const fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.answer_by = None;
    }

    /// Reading begins again after a time in which nothing could be heard.
    pub const fn listen(&mut self, now: Instant) {
        self.heard_at = now;
        self.ping_at = now;
        self.answer_by = None;
    }

    /// When [`check`](Self::check) is due at the latest; `reading_paused` while nothing is read.
    pub fn next_check(&self, reading_paused: bool) -> Instant {
        let dead_at = self.dead_at();
        if reading_paused {
            self.ping_at
        } else {
            self.ping_at.min(dead_at)
        }
    }

    fn dead_at(&self) -> Instant {
        let dead_at = self.heard_at + DEAD_AFTER;
        self.answer_by
            .map_or(dead_at, |answer_by| answer_by.min(dead_at))
    }

    /// Looks at the clocks. What cannot be heard (`reading_paused`) is not dead.
    pub fn check(&mut self, now: Instant, wall: SystemTime, reading_paused: bool) -> Check {
        let (then, wall_then) = std::mem::replace(&mut self.clocks, (now, wall));
        let slept = wall
            .duration_since(wall_then)
            .unwrap_or_default()
            .saturating_sub(now - then);
        if slept > JUMP {
            self.ping_at = now + PING_EVERY;
            self.answer_by = (!reading_paused).then_some(now + DEAD_AFTER_JUMP);
            return Check::Ping;
        }
        if !reading_paused && self.dead_at() <= now {
            return Check::Dead;
        }
        if self.ping_at <= now {
            self.ping_at = now + PING_EVERY;
            return Check::Ping;
        }
        Check::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Harness {
        liveness: Liveness,
        start: (Instant, SystemTime),
    }

    impl Harness {
        fn new() -> Self {
            let start = (Instant::now(), SystemTime::now());
            Self {
                liveness: Liveness::new(start.0, start.1),
                start,
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start.0 + Duration::from_secs(seconds)
        }

        fn check_slept(&mut self, seconds: u64, slept: u64) -> Check {
            let now = self.at(seconds);
            self.liveness.check(
                now,
                self.start.1 + Duration::from_secs(seconds + slept),
                false,
            )
        }

        fn check(&mut self, seconds: u64) -> Check {
            self.check_slept(seconds, 0)
        }
    }

    #[test]
    fn p24_pings_every_thirty_seconds_and_gives_up_after_ninety_of_silence() {
        let mut harness = Harness::new();
        let checks: Vec<_> = [0, 1, 30, 31, 60, 89]
            .into_iter()
            .map(|second| harness.check(second))
            .collect();
        assert_eq!(
            checks,
            [
                Check::Ping,
                Check::Fine,
                Check::Ping,
                Check::Fine,
                Check::Ping,
                Check::Fine
            ]
        );
        assert_eq!(harness.liveness.next_check(false), harness.at(90));
        assert_eq!(harness.check(90), Check::Dead);
        let now = harness.at(90);
        harness.liveness.heard(now);
        assert_eq!(harness.check(90), Check::Ping);
        assert_eq!(harness.check(119), Check::Fine);
    }

    #[test]
    fn p24_after_a_sleep_the_answer_is_due_in_five_seconds() {
        let mut harness = Harness::new();
        harness.check(0);
        assert_eq!(harness.check_slept(10, 3600), Check::Ping);
        assert_eq!(harness.liveness.next_check(false), harness.at(15));
        assert_eq!(harness.check_slept(14, 3600), Check::Fine);
        assert_eq!(harness.check_slept(15, 3600), Check::Dead);
        let now = harness.at(15);
        harness.liveness.heard(now);
        assert_eq!(harness.check_slept(16, 3600), Check::Fine);
    }

    #[test]
    fn p61_what_cannot_be_heard_is_not_dead() {
        let mut harness = Harness::new();
        harness.check(0);
        let (late, wall) = (harness.at(500), harness.start.1 + Duration::from_secs(500));
        assert_eq!(harness.liveness.check(late, wall, true), Check::Ping);
        harness.liveness.listen(late);
        assert_eq!(
            harness.check(500),
            Check::Ping,
            "on opening a ping goes out"
        );
        assert_eq!(harness.check(501), Check::Fine);
        assert_eq!(harness.liveness.next_check(false), harness.at(530));
    }
}
