//! Frames that are no messages. A few of them mean a bad line; when nothing else comes for a while, this is no gateway.

use std::time::{Duration, Instant};

use crate::message::DecodeError;

/// When nothing but unreadable frames has come for so long, this is no gateway of Session Manager.
const TOLERATED_FOR: Duration = Duration::from_secs(10);
/// Fewer unreadable frames than this mean a bad line.
const ENOUGH: usize = 3;

/// Counts unreadable frames since the last readable one.
#[derive(Debug, Default)]
pub(super) struct DecodeFailures {
    /// The first, how many, and when the last came that brought the count up to [`ENOUGH`].
    seen: Option<(DecodeError, usize, Instant)>,
}

impl DecodeFailures {
    /// A frame that is no message.
    pub(super) fn came(&mut self, error: DecodeError, now: Instant) {
        // A type of message that is new to us is nothing bad.
        if matches!(error, DecodeError::UnknownMessageType(_)) {
            return;
        }
        let (_, count, since) = self.seen.get_or_insert((error, 0, now));
        *count += 1;
        if *count <= ENOUGH {
            *since = now;
        }
    }

    /// A frame that is one, or another connection.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// When it has lasted too long.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.seen
            .as_ref()
            .filter(|(_, count, _)| *count >= ENOUGH)
            .map(|(.., since)| *since + TOLERATED_FOR)
    }

    /// What is wrong, when it has lasted too long.
    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        let (error, ..) = self
            .seen
            .as_ref()
            .filter(|_| self.due_at().is_some_and(|at| at <= now))?;
        Some(format!(
            "the other side sends what is no message of Session Manager ({error}); is something between that changes it?"
        ))
    }
}
