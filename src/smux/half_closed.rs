//! Streams whose local side has ended, and whose FIN waits so that the remote can still answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::StreamId;

/// How long the remote may be quiet before FIN goes out all the same.
const FIN_DELAY: Duration = Duration::from_secs(5);
/// The same while many wait: each holds a local socket.
const FIN_DELAY_WITH_MANY: Duration = Duration::from_secs(1);
/// That many are still few.
const FEW: usize = 256;

/// Which streams to look at, and when. A stream that sent something meanwhile, or is gone, is found out when its time comes.
#[derive(Debug, Default)]
pub(super) struct HalfClosed {
    /// By the activity that the entry knows of.
    entries: BinaryHeap<Reverse<(Instant, StreamId)>>,
    /// Half-closed streams; entries of those that are gone are not among them.
    count: usize,
}

impl HalfClosed {
    /// The local side of a stream has ended.
    pub(super) fn begin(&mut self, stream: StreamId, now: Instant) {
        self.count += 1;
        self.entries.push(Reverse((now, stream)));
    }

    /// A stream is no longer half-closed, whatever the reason.
    pub(super) fn end(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// The next stream whose time, as far as known here, has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<StreamId> {
        if self.next_timeout()? > now {
            return None;
        }
        self.entries.pop().map(|Reverse((_, stream))| stream)
    }

    /// Whether the FIN of a stream that was last active then is due.
    pub(super) fn is_over(&self, last_activity: Instant, now: Instant) -> bool {
        last_activity + self.fin_delay() <= now
    }

    /// Looks at the stream again when the delay, counted from `last_activity`, is over.
    pub(super) fn again(&mut self, stream: StreamId, last_activity: Instant) {
        self.entries.push(Reverse((last_activity, stream)));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let Reverse((activity, _)) = self.entries.peek()?;
        Some(*activity + self.fin_delay())
    }

    const fn fin_delay(&self) -> Duration {
        if self.count > FEW {
            FIN_DELAY_WITH_MANY
        } else {
            FIN_DELAY
        }
    }
}
