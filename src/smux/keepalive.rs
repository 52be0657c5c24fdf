//! Signs of life inside smux, for agents that insist on them. They keep the service from ending an idle session, so newer agents do
//! without.

use std::time::{Duration, Instant};

/// How often NOP goes out (smux's default).
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// How long the agent's multiplexer may say nothing (smux's default).
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct KeepAlive {
    next_nop: Instant,
    last_received: Instant,
    /// The silence was told already.
    is_silent: bool,
}

impl KeepAlive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_nop: now + INTERVAL,
            last_received: now,
            is_silent: false,
        }
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.is_silent = false;
    }

    /// Whether a NOP is due; the next one is an interval from now.
    pub(super) fn take_nop(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next_nop;
        if is_due {
            self.next_nop = now + INTERVAL;
        }
        is_due
    }

    /// Whether it has just become silent. The agent has the same timeout, so it has ended the multiplexer as well by then.
    /// While nothing is read, silence means nothing.
    pub(super) fn take_silence(&mut self, now: Instant, is_reading: bool) -> bool {
        if self.is_silent || now < self.last_received + TIMEOUT {
            return false;
        }
        if !is_reading {
            self.last_received = now;
            return false;
        }
        self.is_silent = true;
        true
    }

    pub(super) fn next_timeout(&self) -> Instant {
        if self.is_silent {
            return self.next_nop;
        }
        self.next_nop.min(self.last_received + TIMEOUT)
    }
}
