//! Whether the gateway is still there (P72). No I/O and no clock.
//!
//! | | silence until a ping asks | and until the path is dead |
//! |---|---|---|
//! | while something is awaited | 10 s | 10 s more |
//! | idle | 30 s | 15 s more |
//! | after a change of the system's routes or addresses, and after a sleep of the machine | none | 3 s |
//! | after one that leads new connections elsewhere | 0.1 s | 1.1 s more |

use std::time::{Duration, Instant, SystemTime};

/// While something is awaited: the silence before a ping goes out, and how long that may be unanswered. Together 20 s show a dead path.
const AWAITED: Rule = Rule {
    silence: Duration::from_secs(10),
    answer: Duration::from_secs(10),
};
/// While nothing is awaited: often enough to keep entries of address translators alive, and rarely enough to be idle.
const IDLE: Rule = Rule {
    silence: Duration::from_secs(30),
    answer: Duration::from_secs(15),
};
/// How long the first ping may be unanswered. It goes out as soon as the connection is open.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// How long a probe may be unanswered. That is a ping which goes out because the path may have changed.
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// When new connections would begin at another address, this one is most likely dead. The probe goes out after this pause, so that a pong
/// to an earlier ping, which was under way at the change, is not taken for its answer.
const MOVED_PAUSE: Duration = Duration::from_millis(100);
const MOVED_ANSWER: Duration = Duration::from_millis(1100);
/// What comes within this time after a probe may have been under way when the path changed: only a pong counts.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Probes are this far apart: a burst of changes, or several bursts in a row, bring one.
const PROBES_APART: Duration = Duration::from_secs(3);
/// The machine has slept when one clock is ahead of the other by this much.
const JUMP: Duration = Duration::from_secs(10);
/// The process has stood still when a check is late by this much: what it could not receive is no silence.
const OVERSLEPT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
struct Rule {
    silence: Duration,
    answer: Duration,
}

/// Watches what comes, and when.
#[derive(Debug)]
pub struct Liveness {
    /// The last sign of life.
    received_at: Instant,
    /// Since when something is awaited of the agent or the gateway.
    awaited_since: Option<Instant>,
    /// A ping that is due whatever was received.
    wanted: Option<Wanted>,
    /// The ping that is not answered yet.
    asked: Option<AwaitedPong>,
    /// The last probe.
    probed_at: Option<Instant>,
    /// Both clocks at the last look: only one of them runs while the machine sleeps.
    clocks: (Instant, SystemTime),
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    at: Instant,
    answer: Duration,
    is_probe: bool,
}

#[derive(Debug, Clone, Copy)]
struct AwaitedPong {
    at: Instant,
    answer_by: Instant,
    is_probe: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessAction {
    /// Nothing.
    Fine,
    /// Send a ping.
    Ping,
    /// The path is dead.
    Lost,
}

impl Liveness {
    /// A connection that is open from now on. The first ping is due at once, as the original client does.
    pub const fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            received_at: now,
            awaited_since: None,
            wanted: Some(Wanted {
                at: now,
                answer: FIRST_ANSWER,
                is_probe: false,
            }),
            asked: None,
            probed_at: None,
            clocks: (now, wall),
        }
    }

    /// Something came; `is_pong`: the answer to a ping.
    pub fn received(&mut self, is_pong: bool, now: Instant) {
        self.received_at = now;
        let is_answer =
            |asked: &AwaitedPong| is_pong || !asked.is_probe || now >= asked.at + UNDER_WAY;
        self.asked = self.asked.filter(|asked| !is_answer(asked));
    }

    /// Says whether something is awaited of the agent or the gateway.
    pub fn set_awaited(&mut self, is_awaited: bool, now: Instant) {
        self.awaited_since = is_awaited.then(|| self.awaited_since.unwrap_or(now));
    }

    /// The system's routes or addresses are not what they were: the path may be gone.
    pub fn path_changed(&mut self, now: Instant) {
        let free_at = self.probed_at.map_or(now, |at| at + PROBES_APART);
        if self.wanted.is_none_or(|wanted| !wanted.is_probe) {
            self.wanted = Some(Wanted {
                at: now.max(free_at),
                answer: PROBE_ANSWER,
                is_probe: true,
            });
        }
    }

    /// The system would make a new connection from another address than this one has: the path is another, and this connection is likely
    /// to be without one.
    pub fn path_moved(&mut self, now: Instant) {
        self.wanted = Some(Wanted {
            at: now + MOVED_PAUSE,
            answer: MOVED_ANSWER,
            is_probe: true,
        });
    }

    /// Reading begins again after a time in which nothing could be received.
    pub const fn resume_reading(&mut self, now: Instant) {
        self.received_at = now;
        self.asked = None;
        self.wanted = Some(Wanted {
            at: now,
            answer: IDLE.answer,
            is_probe: false,
        });
    }

    /// When [`check`](Self::check) is due at the latest; `reading_paused` while nothing is read.
    pub fn next_check(&self, reading_paused: bool) -> Instant {
        let ping_at = self.ping_at(reading_paused);
        let dead_at = self.asked.filter(|_| !reading_paused);
        dead_at.map_or(ping_at, |asked| ping_at.min(asked.answer_by))
    }

    fn ping_at(&self, reading_paused: bool) -> Instant {
        let regular = match (self.asked, self.awaited_since) {
            // A ping is under way. While reading is paused its answer is not seen, and the next one keeps entries of address translators
            // alive.
            (Some(asked), _) => asked.at + IDLE.silence,
            (None, Some(since)) if !reading_paused => {
                let silent_at = self.received_at.max(since) + AWAITED.silence;
                silent_at.min(self.received_at + IDLE.silence)
            }
            (None, _) => self.received_at + IDLE.silence,
        };
        self.wanted.map_or(regular, |wanted| wanted.at.min(regular))
    }

    /// Looks at the clocks. What cannot be received (`reading_paused`) is no sign that the path is dead.
    pub fn check(
        &mut self,
        now: Instant,
        wall: SystemTime,
        reading_paused: bool,
    ) -> LivenessAction {
        let (then, wall_then) = std::mem::replace(&mut self.clocks, (now, wall));
        let slept = wall
            .duration_since(wall_then)
            .unwrap_or_default()
            .saturating_sub(now - then);
        if slept > JUMP || now > self.next_check(reading_paused) + OVERSLEPT {
            self.asked = None;
            self.path_changed(now);
        }
        if !reading_paused && self.asked.is_some_and(|asked| asked.answer_by <= now) {
            return LivenessAction::Lost;
        }
        if self.ping_at(reading_paused) <= now {
            self.ask(now);
            return LivenessAction::Ping;
        }
        LivenessAction::Fine
    }

    /// A ping goes out.
    fn ask(&mut self, now: Instant) {
        let wanted = self.wanted.take_if(|wanted| wanted.at <= now);
        let rule = if self.awaited_since.is_some() {
            AWAITED
        } else {
            IDLE
        };
        let answer = wanted.map_or(rule.answer, |wanted| wanted.answer);
        let is_probe = wanted.is_some_and(|wanted| wanted.is_probe);
        if is_probe {
            self.probed_at = Some(now);
        }
        let answer_by = now + answer;
        self.asked = Some(AwaitedPong {
            at: now,
            answer_by: self
                .asked
                .map_or(answer_by, |asked| asked.answer_by.min(answer_by)),
            is_probe: is_probe || self.asked.is_some_and(|asked| asked.is_probe),
        });
    }
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
