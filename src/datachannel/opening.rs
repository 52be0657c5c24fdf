//! The time before it is known what kind of session this is.
//!
//! Agents make a handshake for ports, commands and encrypted sessions. A plain shell has none and just begins to talk; an interactive
//! command without one may say nothing until it is talked to. Input that reaches an agent in the middle of a handshake is acknowledged
//! and lost, so nothing but a size, which may be lost, is sent before it is known which of these it is.

use std::time::{Duration, Instant};

use super::timers::{Timer, TimerTable};

/// Silence before a size is sent to see whether an agent is there.
const PROBE: Duration = Duration::from_secs(3);
/// An agent that took the size and still does not begin a handshake makes none.
const NO_HANDSHAKE: Duration = Duration::from_secs(2);
/// Silence before the user is told, from the beginning or in the middle of a handshake.
const SILENCE: Duration = Duration::from_secs(15);
/// An agent whose handshake was refused ends the session at once. After this the client does.
const REFUSED: Duration = Duration::from_secs(10);
/// So long the beginning of the stream may be missing. The agent resends it ten times a second.
const BEGINNING: Duration = Duration::from_secs(10);

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// When the connection was made.
    since: Option<Instant>,
    /// When the agent last said anything, if it ever did. What the service says does not count.
    heard_at: Option<Instant>,
    /// Whether the user was told of the silence.
    told: bool,
    /// Whether a handshake has begun.
    requested: bool,
    /// When the client refused what the handshake asks for.
    refused_at: Option<Instant>,
    /// When something came without the stream's beginning.
    early_since: Option<Instant>,
    /// When the first message came whose number is far beyond the beginning, and how many did.
    afar: Option<(Instant, u32)>,
    probe: SizeProbe,
}

/// One message with a strange number says nothing; the stream of another client repeats itself.
const AFAR: u32 = 3;

#[derive(Debug, Default)]
enum SizeProbe {
    #[default]
    Unsent,
    Sent(i64),
    Acknowledged(Instant),
}

impl Opening {
    /// There is a connection.
    pub(super) fn connected(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        // Without a connection the agent cannot be heard.
        self.heard_at = self.heard_at.map(|_| now);
        // What was missing may have been lost with the old connection.
        self.early_since = self.early_since.map(|_| now);
        self.afar = None;
        // Nobody could have begun a handshake while there was no connection.
        if let SizeProbe::Acknowledged(at) = &mut self.probe {
            *at = now;
        }
    }

    /// A message of the agent came.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
    }

    /// The handshake has begun.
    pub(super) const fn requested(&mut self) {
        self.requested = true;
    }

    /// The response to the handshake refuses something.
    pub(super) fn refused(&mut self, now: Instant) {
        self.refused_at.get_or_insert(now);
    }

    /// A message came too early, while `expected` is the next in order.
    pub(super) fn came_early(&mut self, expected: i64, now: Instant) {
        if expected == 0 {
            self.early_since.get_or_insert(now);
        }
    }

    /// A message came whose number is too far ahead of `expected`, the next in order, to be one of ours.
    pub(super) fn came_from_afar(&mut self, expected: i64, now: Instant) {
        if expected == 0 {
            let (_, count) = self.afar.get_or_insert((now, 0));
            *count = count.saturating_add(1);
        }
    }

    /// The size went out under this number.
    pub(super) const fn probed(&mut self, number: i64) {
        self.probe = SizeProbe::Sent(number);
    }

    /// A message of ours was acknowledged.
    pub(super) fn acknowledged(&mut self, number: i64, now: Instant) {
        if matches!(self.probe, SizeProbe::Sent(probe) if probe == number) {
            self.probe = SizeProbe::Acknowledged(now);
        }
    }

    /// The user was told of the silence.
    pub(super) const fn told(&mut self) {
        self.told = true;
    }

    /// When its timers are due.
    pub(super) fn set_timers(&self, table: &mut TimerTable) {
        let silent_since = self.heard_at.or(self.since).filter(|_| !self.told);
        table.set(Timer::OpeningSilence, silent_since.map(|at| at + SILENCE));
        let refused = self.refused_at.map(|at| at + REFUSED);
        table.set(Timer::RefusedHandshake, refused);
        let is_unprobed = self.heard_at.is_none() && matches!(self.probe, SizeProbe::Unsent);
        let unprobed = self.since.filter(|_| is_unprobed);
        table.set(Timer::OpeningProbe, unprobed.map(|at| at + PROBE));
        let no_handshake = match self.probe {
            SizeProbe::Acknowledged(at) if !self.requested && self.early_since.is_none() => {
                Some(at + NO_HANDSHAKE)
            }
            _ => None,
        };
        table.set(Timer::NoHandshake, no_handshake);
        let afar = self.afar.filter(|(_, count)| *count >= AFAR);
        let missing = self.early_since.or(afar.map(|(since, _)| since));
        let missing = missing.filter(|_| !self.requested);
        table.set(Timer::MissingBeginning, missing.map(|at| at + BEGINNING));
    }
}
