//! When a connection that broke is followed by another, and when not: all that recovery decides, without I/O or clock.
//!
//! One clock runs over a whole outage, from the break to a connection that has [proven](Recovery) itself. Dials that lead to nothing change
//! neither that clock nor the back-off: a gateway that accepts, answers and closes must not be dialled without pause (P65), and must not
//! keep a session for ever that leads nowhere (P66). It is under the state's lock, so that one clock orders what the user is told (P70).
//!
//! | an outage's age | dials begin |
//! |---|---|
//! | up to 10 s | at once, then after up to 1, 2, 4 and 4 s (a quarter of it at least): five at most |
//! | up to a minute | 3 to 8 s apart; about 1 s after a connection that was of use |
//! | from then on | 5 to 20 s apart; about 5 s after one that was of use |
//!
//! After the first 10 s the next dial follows at once on one that took longer than the least of these and that nobody answered.
//!
//! A change of the system's routes or addresses brings the next try forward, unless the last one was answered: then there is a path, and it
//! is the service that needs time. Such tries are bounded on their own, for machines whose routes change all the time.
//!
//! A try has less time than would keep the next one waiting beyond that, and full jitter is within these bounds: many clients that lose the
//! same gateway must not come back in step.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outage::{FIRST_GAPS, GaveUp, LONGEST_OUTAGE, Outage, UNNOTICED, WORK};
use super::{Notice, OutageStatus};
use crate::error::{Failure, Meaning};

/// A connection that has carried messages for so long is a good one.
const PROOF: Duration = Duration::from_secs(10);
/// So is one of an idle session, which carries nothing but pongs, after so long.
const IDLE_PROOF: Duration = Duration::from_secs(60);
/// Being refused once may be a token that has just expired; twice in a row is an answer.
const REFUSALS: u32 = 2;
/// So many silent connections in a row are an answer, where nothing was ever heard or the service says no.
const SILENT_CONNECTIONS: u32 = 3;
/// Tries of the first connection, where the service answers that it has trouble.
const FIRST_TRIES: u32 = 3;

/// When the first try has to be over, and how long a later one may take.
const FIRST_TRY_TIME: Duration = Duration::from_secs(11);
const TRY_TIME: Duration = Duration::from_secs(24);

/// Follows the connections of one session.
///
/// A connection is proven when it carried messages of the session and lasted 10 s, or answered pings for 60 s. Nothing less
/// ends an outage.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The present connection.
    connection: Option<Carried>,
    /// Since the last proven connection broke.
    outage: Option<Outage>,
    silent: SilentConnections,
    notices: VecDeque<Notice>,
    /// Connections so far.
    connections: u32,
    /// Whether the user wants another connection at once.
    is_hurried: bool,
}

/// A connection that is up.
#[derive(Debug)]
struct Carried {
    since: Instant,
    /// A pong, or anything else that no message is.
    has_sign: bool,
    /// Messages of the session.
    messages: u32,
}

/// Counts connections in a row that ended in silence, or with the service's refusal.
#[derive(Debug, Default)]
struct SilentConnections(u32);

impl Recovery {
    /// There is a connection, the first or another one.
    pub fn connected(&mut self, now: Instant) {
        self.connection = Some(Carried {
            since: now,
            has_sign: false,
            messages: 0,
        });
        self.connections = self.connections.saturating_add(1);
        self.is_hurried = false;
        if let Some(outage) = &mut self.outage {
            outage.refusals = 0;
        }
    }

    /// The other side gave a sign of life that is no message: a pong.
    pub fn sign(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.has_sign = true;
        }
    }

    /// A message of the session came.
    pub fn message(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.messages = connection.messages.saturating_add(1);
            if connection.messages > 1 {
                return;
            }
            if let Some(outage) = self.outage.as_mut().filter(|outage| !outage.returned) {
                outage.tell_return(&mut self.notices);
            }
        }
    }

    /// The connection broke, or led to nothing; `had_started` says whether the session ever began.
    ///
    /// # Errors
    /// When another one would end the same.
    pub fn disconnected(
        &mut self,
        failure: &Failure,
        had_started: bool,
        now: Instant,
    ) -> Result<(), GaveUp> {
        self.handle_timeout(now);
        let connection = self.connection.take();
        let messages = connection.map_or(0, |connection| connection.messages);
        let outage = self
            .outage
            .get_or_insert_with(|| Outage::new(had_started, now));
        let is_refusal = failure.meaning == Meaning::Denied && !outage.is_excused;
        if messages == 0 || is_refusal {
            self.silent.0 = self.silent.0.saturating_add(1);
        }
        if had_started && !outage.had_started {
            outage.had_started = true;
            outage.until = outage.began + LONGEST_OUTAGE;
        }
        outage.broken_at = now;
        outage.worked = messages >= WORK;
        outage.next_try = None;
        outage.reasons.note(failure);
        if self.silent.is_an_answer() && (!had_started || is_refusal) {
            return Err(outage.gave_up(now));
        }
        Ok(())
    }

    /// When the next try begins. `chance` is from 0 to 1, and counts once a try.
    pub fn next_try(&mut self, chance: f64, now: Instant) -> Instant {
        if self.is_hurried {
            return now;
        }
        let outage = self.outage.get_or_insert_with(|| Outage::new(false, now));
        outage.next_try(chance, now)
    }

    /// The next try begins: how long it may take, so that another can follow in time.
    ///
    /// # Errors
    /// When trying has lasted long enough.
    pub fn begin_try(&mut self, now: Instant) -> Result<Duration, GaveUp> {
        let outage = self.outage.get_or_insert_with(|| Outage::new(false, now));
        if now >= outage.until {
            return Err(outage.gave_up(now));
        }
        self.is_hurried = false;
        let most = if outage.tries == 0 {
            (outage.began + FIRST_TRY_TIME).saturating_duration_since(now)
        } else {
            TRY_TIME
        };
        outage.tries = outage.tries.saturating_add(1);
        outage.last_try = Some(now);
        outage.is_excused = false;
        outage.worked = false;
        outage.next_try = None;
        Ok(most.min(outage.until.saturating_duration_since(now)))
    }

    /// The user wants another connection at once, however soon that is after the last (`~r`).
    pub const fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// The system's routes or addresses have changed: what failed for want of a path may work now, and the next try begins soon.
    pub fn path_changed(&mut self, now: Instant) {
        if let Some(outage) = self.outage.as_mut().filter(|_| self.connection.is_none()) {
            outage.path_changed(now);
        }
    }

    /// Whether the present connection is to be given up for another.
    pub const fn is_to_break(&self) -> bool {
        self.is_hurried && self.connection.is_some()
    }

    /// The outage, while there is no connection.
    pub fn status(&self) -> Option<OutageStatus> {
        let outage = self.outage.as_ref().filter(|_| self.connection.is_none())?;
        Some(OutageStatus {
            began: outage.notice_at() - UNNOTICED,
            next_try: outage.next_try,
        })
    }

    /// Connections after the first.
    pub const fn reconnects(&self) -> u32 {
        self.connections.saturating_sub(1)
    }

    /// When trying ends; none while nothing is broken.
    pub fn ends_at(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.until)
    }

    /// The present try lacks what a later one may have, a signature for one: if it is refused, that is no answer (P67).
    pub fn excuse_try(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.is_excused = true;
        }
    }

    /// The service gave no token, and no connection was tried.
    ///
    /// # Errors
    /// When another try would end the same.
    pub fn resume_failed(&mut self, failure: &Failure, now: Instant) -> Result<(), GaveUp> {
        self.failed(failure, false, now)
    }

    /// No connection was made.
    ///
    /// # Errors
    /// When another try would end the same.
    pub fn dial_failed(&mut self, failure: &Failure, now: Instant) -> Result<(), GaveUp> {
        self.failed(failure, failure.meaning == Meaning::Denied, now)
    }

    fn failed(&mut self, failure: &Failure, is_refusal: bool, now: Instant) -> Result<(), GaveUp> {
        let Some(outage) = &mut self.outage else {
            return Ok(());
        };
        match (is_refusal, outage.is_excused) {
            (true, true) => {}
            (true, false) => outage.refusals += 1,
            (false, _) => outage.refusals = 0,
        }
        // A try that is cut off by the end of all trying says nothing.
        if now < outage.until || failure.is_answer || outage.reasons.is_empty() {
            outage.reasons.note(failure);
        }
        if failure.meaning == Meaning::Gone {
            let reason = failure.reason.clone();
            return Err(GaveUp { reason });
        }
        if outage.refusals >= REFUSALS {
            return Err(outage.gave_up(now));
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let outage = self.outage.as_ref()?;
        let Some(connection) = &self.connection else {
            return (!outage.told).then(|| outage.notice_at());
        };
        let notice = (!outage.told && !connection.is_heard()).then(|| outage.notice_at());
        let back = (outage.told && !outage.returned && connection.has_sign)
            .then(|| connection.since + UNNOTICED);
        [notice, back, connection.proven_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(outage) = &mut self.outage else {
            return;
        };
        let is_heard = self.connection.as_ref().is_some_and(Carried::is_heard);
        if !outage.told && !is_heard && outage.notice_at() <= now {
            outage.told = true;
            let reason = outage.reasons.text();
            self.notices.push_back(Notice::Reconnecting { reason });
        }
        let Some(connection) = &self.connection else {
            return;
        };
        if !outage.returned && connection.has_sign && connection.since + UNNOTICED <= now {
            outage.tell_return(&mut self.notices);
        }
        if connection.proven_at().is_some_and(|at| at <= now) {
            outage.tell_return(&mut self.notices);
            self.outage = None;
            self.silent = SilentConnections::default();
        }
    }

    /// What the user may want to know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}

impl Carried {
    const fn is_heard(&self) -> bool {
        self.has_sign || self.messages > 0
    }

    fn proven_at(&self) -> Option<Instant> {
        match (self.messages, self.has_sign) {
            (1.., _) => Some(self.since + PROOF),
            (0, true) => Some(self.since + IDLE_PROOF),
            (0, false) => None,
        }
    }
}

impl SilentConnections {
    const fn is_an_answer(&self) -> bool {
        self.0 >= SILENT_CONNECTIONS
    }
}

/// The tries of the very first connection. Nobody wants to wait for a prompt that may never come: only what the service itself calls
/// trouble is tried again, a few times.
#[derive(Debug, Default)]
pub struct FirstTries {
    failed: u32,
    /// The last answer, in words for the user.
    answer: Option<String>,
}

impl FirstTries {
    /// A dial failed: how long to wait before the next, if there is one.
    pub fn failed(&mut self, failure: &Failure, is_excused: bool, chance: f64) -> Option<Duration> {
        self.failed += 1;
        if failure.is_answer {
            self.answer = Some(failure.reason.clone());
        }
        let is_trouble = failure.is_answer && (failure.meaning == Meaning::Temporary || is_excused);
        let gap = FIRST_GAPS.get(usize::try_from(self.failed).ok()?)?;
        (is_trouble && self.failed < FIRST_TRIES).then(|| gap.mul_f64(chance.clamp(0.0, 1.0)))
    }

    /// Why there is no connection after this failure. One that the end of all tries cut off says less than an answer before it (P119).
    pub fn reason(&self, failure: &Failure, is_cut_off: bool) -> String {
        let answer = self.answer.as_ref();
        let answer = answer.filter(|_| is_cut_off && !failure.is_answer);
        answer.unwrap_or(&failure.reason).clone()
    }
}

#[cfg(test)]
#[path = "reconnect_tests.rs"]
mod tests;
