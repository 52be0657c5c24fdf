//! The timers of the sequence state: what each is for, and a table of when each is due.
//!
//! None is set or stopped by hand: a timer is due when what it watches says so, so it can neither be forgotten nor fire for something
//! that is over. Without a connection all but that of the outage do not run.

use std::time::Instant;

/// What expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The oldest message in flight is not acknowledged in time: it is lost.
    Retransmission,
    /// The service asked for a pause: one message goes out to see whether it is over.
    PauseProbe,
    /// More data may go to a slow destination.
    HoldUp,
    /// The agent said that the handshake is complete, and is ready by now.
    Ready,
    /// The agent has not said anything: a size is sent to see whether it is there.
    OpeningProbe,
    /// The agent has not said anything for so long, at the beginning or within its handshake, that the user is told.
    OpeningSilence,
    /// The client refused what the handshake asks for, and the agent does not end the session.
    RefusedHandshake,
    /// The agent is there and makes no handshake.
    NoHandshake,
    /// The beginning of the stream does not come: it went to another client.
    MissingBeginning,
    /// Nothing but unreadable frames has come.
    DecodeFailures,
    /// Nothing was acknowledged for so long that the user is told.
    AckWatchdog,
    /// What the user is told of an outage, and the proof that it is over.
    Outage,
}

impl Timer {
    /// In the order in which they are handled when several are due.
    const ALL: [Self; 12] = [
        Self::Retransmission,
        Self::PauseProbe,
        Self::HoldUp,
        Self::Outage,
        Self::Ready,
        Self::AckWatchdog,
        Self::DecodeFailures,
        Self::RefusedHandshake,
        Self::OpeningSilence,
        Self::OpeningProbe,
        Self::NoHandshake,
        Self::MissingBeginning,
    ];
}

/// When each timer is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TimerTable([Option<Instant>; Timer::ALL.len()]);

impl TimerTable {
    /// Sets a timer, or leaves it unset.
    pub fn set(&mut self, timer: Timer, at: Option<Instant>) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = at;
        }
    }

    /// When a timer is due.
    pub fn get(&self, timer: Timer) -> Option<Instant> {
        self.0.get(timer as usize).copied().flatten()
    }

    /// When the first is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// One that is due.
    pub fn expired(&self, now: Instant) -> Option<Timer> {
        let is_due = |timer: &Timer| self.get(*timer).is_some_and(|at| at <= now);
        Timer::ALL.into_iter().find(is_due)
    }
}
