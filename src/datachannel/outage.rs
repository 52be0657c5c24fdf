//! An outage: since when, how often it was tried to end it and with what success, when the next try begins, and the words for it all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Notice;
use crate::error::Failure;

/// An established session is worth an hour of trying: laptops sleep, networks come back.
pub(super) const LONGEST_OUTAGE: Duration = Duration::from_secs(60 * 60);
/// One that never began is not: somebody waits for the first prompt.
const LONGEST_OUTAGE_AT_START: Duration = Duration::from_secs(30);
/// An outage that is over sooner is not worth a line. A connection on which only pongs came is told to be back after this.
pub(super) const UNNOTICED: Duration = Duration::from_secs(3);

/// The first dials of an outage, which it may have in [`FIRST_TIME`]; by how much they are apart at most.
pub(super) const FIRST_GAPS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(4),
];
const FIRST_TIME: Duration = Duration::from_secs(10);
/// From then on, and after the first minute.
const GAP: Gap = Gap {
    least: Duration::from_secs(3),
    most: Duration::from_secs(8),
    after_work: Duration::from_secs(1),
};
const FIRST_MINUTE: Duration = Duration::from_secs(60);
const LATE_GAP: Gap = Gap {
    least: Duration::from_secs(5),
    most: Duration::from_secs(20),
    after_work: Duration::from_secs(5),
};
/// So many messages are more than a word: a connection that carried them was of use, however short it was.
pub(super) const WORK: u32 = 20;
/// However long the last connection or try took, the next dial comes within this; after the first minute only if nobody answered.
const LATEST: Duration = Duration::from_millis(500);

/// After a change of the path the next try begins within this: an address and its route come one after the other.
const PATH_SETTLES: Duration = Duration::from_millis(100);
/// How far such a try is from the one before it; and how far such tries are apart, but for so many in a row.
const PATH_GAP: Duration = Duration::from_millis(500);
const PATH_GAP_LATER: Duration = Duration::from_secs(5);
const PATH_TRIES: u32 = 5;

/// How far dials are apart.
#[derive(Debug, Clone, Copy)]
struct Gap {
    least: Duration,
    most: Duration,
    /// About this after a connection that was of use.
    after_work: Duration,
}

/// From the break of a proven connection to the next one that is.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) began: Instant,
    /// When trying ends.
    pub(super) until: Instant,
    /// Whether the session had begun; with one that had not there is less time.
    pub(super) had_started: bool,
    /// Tries so far, and when the last one began.
    pub(super) tries: u32,
    pub(super) last_try: Option<Instant>,
    /// When the next one begins, once it was asked for.
    pub(super) next_try: Option<Instant>,
    /// When a change of the path may bring a try forward without being one of [`PATH_TRIES`] in a row.
    path_free_at: Instant,
    /// Whether the last connection carried [`WORK`], though it did not last.
    pub(super) worked: bool,
    /// Dials in a row that were refused, but for those that are excused.
    pub(super) refusals: u32,
    pub(super) is_excused: bool,
    pub(super) reasons: Reasons,
    /// Whether the user was told that there is one, and not yet that it is over.
    pub(super) told: bool,
    /// Whether it was told to be over, and was not.
    pub(super) returned: bool,
    /// When the newest connection broke.
    pub(super) broken_at: Instant,
}

/// What went wrong last: of those who answer, and on the way to them.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    answer: Option<String>,
    /// Failures without an answer since then, and the last of them.
    unanswered: (u32, Option<String>),
}

/// Why a session that broke is not going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// In words for the user: the last answer of the service, and how often and how long it was tried (P119).
    pub reason: String,
}

impl Outage {
    /// One that begins now, with an hour where the session had started.
    pub(super) fn new(had_started: bool, now: Instant) -> Self {
        let longest = if had_started {
            LONGEST_OUTAGE
        } else {
            LONGEST_OUTAGE_AT_START
        };
        Self {
            began: now,
            until: now + longest,
            had_started,
            tries: 0,
            last_try: None,
            next_try: None,
            path_free_at: now,
            worked: false,
            refusals: 0,
            is_excused: false,
            reasons: Reasons::default(),
            told: false,
            returned: false,
            broken_at: now,
        }
    }

    /// When the next try begins; decided once a try. `chance` is from 0 to 1.
    pub(super) fn next_try(&mut self, chance: f64, now: Instant) -> Instant {
        if let Some(at) = self.next_try {
            return at;
        }
        let chance = chance.clamp(0.0, 1.0);
        let last = self.last_try.unwrap_or(self.began);
        // A try that nobody answers connects afresh every second until its time is over: the sooner the next one follows, the sooner a path
        // that is there again is found. Where somebody answers, it is the service that needs time.
        let is_unanswered = !self.reasons.is_answer_last();
        let between = |gap: Gap| {
            if self.worked {
                gap.after_work + gap.after_work.mul_f64(chance / 5.0)
            } else if is_unanswered && last + gap.least <= now {
                gap.least
            } else {
                gap.least + gap.most.saturating_sub(gap.least).mul_f64(chance)
            }
        };
        let first = usize::try_from(self.tries).ok();
        let at = match first.and_then(|tries| FIRST_GAPS.get(tries)) {
            Some(gap) if self.tries == 0 => last + gap.mul_f64(chance),
            Some(gap) => last + gap.mul_f64(0.25 + chance * 0.75),
            None => (last + between(GAP)).max(self.began + FIRST_TIME),
        };
        // A connection or a try may have outlasted it.
        let mut at = at.max(
            now + LATEST
                .min(at.saturating_duration_since(last))
                .mul_f64(chance),
        );
        if at >= self.began + FIRST_MINUTE {
            at = at.max(last + between(LATE_GAP));
        }
        let at = at.min(self.until);
        self.next_try = Some(at);
        at
    }

    /// The path is another: what was not answered is tried again soon.
    pub(super) fn path_changed(&mut self, now: Instant) {
        let Some(next_try) = self.next_try else {
            return;
        };
        let tries_left = self
            .path_free_at
            .checked_sub(PATH_GAP_LATER * (PATH_TRIES - 1));
        let mut at = (now + PATH_SETTLES).max(tries_left.unwrap_or(now));
        if let Some(last) = self.last_try {
            at = at.max(last + PATH_GAP);
        }
        if at < next_try && !self.reasons.is_answer_last() {
            self.path_free_at = self.path_free_at.max(now) + PATH_GAP_LATER;
            self.next_try = Some(at);
        }
    }

    /// When the user is told that the connection is broken.
    pub(super) fn notice_at(&self) -> Instant {
        let since = if self.returned {
            self.broken_at
        } else {
            self.began
        };
        since + UNNOTICED
    }

    pub(super) fn tell_return(&mut self, notices: &mut VecDeque<Notice>) {
        if std::mem::take(&mut self.told) {
            self.returned = true;
            notices.push_back(Notice::Reconnected);
        }
    }

    pub(super) fn gave_up(&self, now: Instant) -> GaveUp {
        let reason = self.reasons.text();
        let times = match self.tries {
            0 => return GaveUp { reason },
            1 => "one try".to_owned(),
            tries => format!("{tries} tries"),
        };
        let seconds = now.saturating_duration_since(self.began).as_secs();
        let time = match seconds {
            0 | 1 => "a second".to_owned(),
            2..120 => format!("{seconds} seconds"),
            _ => format!("{} minutes", seconds / 60),
        };
        GaveUp {
            reason: format!("{reason}; gave up after {times} in {time}"),
        }
    }
}

impl Reasons {
    pub(super) fn note(&mut self, failure: &Failure) {
        let reason = failure.reason.clone();
        if failure.is_answer {
            self.answer = Some(reason);
            self.unanswered = (0, None);
        } else {
            self.unanswered = (self.unanswered.0.saturating_add(1), Some(reason));
        }
    }

    /// Whether what failed last was answered.
    const fn is_answer_last(&self) -> bool {
        self.answer.is_some() && self.unanswered.0 == 0
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.answer.is_none() && self.unanswered.1.is_none()
    }

    /// An answer says more than silence, unless that has lasted since.
    pub(super) fn text(&self) -> String {
        match (&self.answer, &self.unanswered) {
            (Some(answer), (2.., Some(reason))) => format!("{answer}; since then: {reason}"),
            (Some(answer), _) => answer.clone(),
            (None, (_, reason)) => reason.clone().unwrap_or_default(),
        }
    }
}
