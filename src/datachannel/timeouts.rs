//! When each timer of the sequence state is due, and what happens then.

use std::time::Instant;

use super::sequence_state::{Phase, SequenceState};
use super::timers::{Timer, TimerTable};
use super::{Notice, Started};
use crate::error::Error;
use crate::message::PayloadType;
use crate::message::content::{Size, to_json};

/// The size that an agent is probed with where there is no terminal.
const PROBE_SIZE: Size = Size {
    cols: 300,
    rows: 100,
};

impl SequenceState {
    /// When each timer is due, as things are.
    pub fn timers(&self) -> TimerTable {
        let mut table = TimerTable::default();
        if self.has_ended() {
            return table;
        }
        table.set(Timer::Outage, self.recovery.next_timeout());
        if !self.is_connected {
            return table;
        }
        match &self.phase {
            Phase::Opening(opening) => opening.set_timers(&mut table),
            Phase::Running { ready_at, .. } => table.set(Timer::Ready, *ready_at),
            Phase::Ended => {}
        }
        if let Some((timer, at)) = self.window.timer() {
            table.set(timer, Some(at));
        }
        table.set(Timer::HoldUp, self.window.hold_up_timer());
        table.set(Timer::DecodeFailures, self.decode_failures.due_at());
        let waiting_since = self.window.waiting_since();
        table.set(Timer::AckWatchdog, self.watchdog.due_at(waiting_since));
        table
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called at the latest, unless something else happens before. After that
    /// call it lies in the future, if there is one.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers().next_timeout()
    }

    /// Does what is due; whether anything was, so that there may be something to transmit or to deliver.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut has_expired = false;
        // Each takes away its own reason to be due.
        while let Some(timer) = self.timers().expired(now) {
            log::debug!("timer expired: {timer:?}");
            self.expire(timer, now);
            has_expired = true;
        }
        has_expired
    }

    fn expire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Retransmission | Timer::PauseProbe => self.window.handle_timeout(now),
            Timer::HoldUp => self.window.handle_hold_up(now),
            Timer::Outage => self.recovery.handle_timeout(now),
            Timer::Ready => self.become_ready(),
            Timer::AckWatchdog => {
                self.watchdog.told();
                self.notices.push_back(Notice::Unacknowledged);
            }
            Timer::DecodeFailures => {
                if let Some(text) = self.decode_failures.verdict(now) {
                    self.fail_because(&text);
                }
            }
            Timer::NoHandshake => self.start(Started::shell_without_handshake(), None),
            Timer::MissingBeginning => self.fail(Error::Taken(
                "This session already belongs to another client process".to_owned(),
            )),
            Timer::RefusedHandshake => {
                let refusal = self.handshake.refusal().unwrap_or_default().to_owned();
                self.fail(Error::Start(refusal));
            }
            Timer::OpeningSilence => {
                self.notices.push_back(Notice::Silent);
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.told();
                }
            }
            Timer::OpeningProbe => {
                let size = self.size.0.unwrap_or(PROBE_SIZE);
                let number = self.control(PayloadType::Size, &to_json(&size));
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.probed(number);
                }
            }
        }
    }

    /// When whoever runs the timers is to call [`handle_timeout`](Self::handle_timeout) again, if it is not called back before by
    /// [`must_rearm`](Self::must_rearm). Call it under the same lock as `handle_timeout`, after it.
    #[must_use]
    pub fn arm(&mut self, now: Instant) -> Option<Instant> {
        self.armed_until = self.next_timeout().filter(|at| *at > now);
        self.armed_until
    }

    /// Whether whoever runs the timers sleeps for too long, after a change that was made under the lock. Says so once.
    pub fn must_rearm(&mut self) -> bool {
        let Some(next) = self.next_timeout() else {
            return false;
        };
        let is_late = self.armed_until.is_none_or(|until| next < until);
        if is_late {
            self.armed_until = Some(next);
        }
        is_late
    }
}
