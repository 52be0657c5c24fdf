//! Which ranges of a file are still to be carried: a state machine without I/O or clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::script::{BLOCK, HASHED};

/// So many failures one after the other without a byte in between are the end: fewer where nothing ever worked.
const FAILURES: u32 = 8;
const FAILURES_AT_FIRST: u32 = 4;
/// The wait after the first of them; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A piece of a file; it begins at a multiple of [`BLOCK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    pub(super) fn len(self) -> u64 {
        self.end - self.start
    }
}

/// Identifies a range that is being carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// More came for a range than there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Whether to try again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on, after a wait.
    After(Duration),
    /// There were too many failures.
    GiveUp,
}

/// A range that is not finished.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// What is still to be carried.
    left: Range,
    /// Where carrying it began, or how far it came the last time: before that there is no progress.
    reached: u64,
    /// How often in a row it came no further.
    without_progress: u32,
}

impl Open {
    const fn new(left: Range) -> Self {
        Self {
            left,
            reached: left.start,
            without_progress: 0,
        }
    }

    const fn has_progress(&self) -> bool {
        self.left.start > self.reached
    }
}

/// The ranges of one file.
#[derive(Debug)]
pub(super) struct Plan {
    waiting: VecDeque<Open>,
    active: HashMap<Ticket, Open>,
    tickets: u64,
    /// In a row, without a byte in between.
    failures: u32,
    has_worked: bool,
}

impl Plan {
    /// All of a file of this size but for the pieces of [`HASHED`] bytes that are there already, in ranges of at most `longest`, which is a
    /// multiple of [`BLOCK`].
    pub(super) fn new(size: u64, longest: u64, is_good: impl Fn(u64) -> bool) -> Self {
        let mut waiting: VecDeque<Range> = VecDeque::new();
        let longest = longest.max(BLOCK) / BLOCK * BLOCK;
        for index in 0..size.div_ceil(HASHED) {
            if is_good(index) {
                continue;
            }
            let piece = Range {
                start: index * HASHED,
                end: size.min((index + 1).saturating_mul(HASHED)),
            };
            match waiting.back_mut() {
                Some(last) if last.end == piece.start => last.end = piece.end,
                _ => waiting.push_back(piece),
            }
        }
        let cut = waiting.into_iter().flat_map(|whole| {
            let count = whole.len().div_ceil(longest);
            (0..count).map(move |index| Range {
                start: whole.start + index * longest,
                end: whole.end.min(whole.start + (index + 1) * longest),
            })
        });
        Self {
            waiting: cut.map(Open::new).collect(),
            active: HashMap::new(),
            tickets: 0,
            failures: 0,
            has_worked: false,
        }
    }

    /// Bytes that are not carried yet.
    pub(super) fn left(&self) -> u64 {
        let open = self.active.values().chain(&self.waiting);
        open.map(|open| open.left.len()).sum()
    }

    /// How many ranges are not being carried yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next range to be carried.
    pub(super) fn take(&mut self) -> Option<(Ticket, Range)> {
        let open = self.waiting.pop_front()?;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.active.insert(ticket, open);
        Some((ticket, open.left))
    }

    /// So many further bytes of it are there.
    pub(super) fn advance(&mut self, ticket: Ticket, bytes: u64) -> Result<(), TooMuch> {
        let active = self.active.get_mut(&ticket).ok_or(TooMuch)?;
        if bytes > active.left.len() {
            return Err(TooMuch);
        }
        active.left.start += bytes;
        Ok(())
    }

    /// Whether all of it is there.
    pub(super) fn is_carried(&self, ticket: Ticket) -> bool {
        self.active
            .get(&ticket)
            .is_none_or(|active| active.left.len() == 0)
    }

    /// Whether it came no further this time, and neither the time before.
    pub(super) fn is_stuck(&self, ticket: Ticket) -> bool {
        let open = self.active.get(&ticket);
        open.is_some_and(|open| open.without_progress > 0 && !open.has_progress())
    }

    /// All of it is there; nothing happens if that is not so.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        if self.is_carried(ticket) {
            self.active.remove(&ticket);
            self.failures = 0;
            self.has_worked = true;
        }
    }

    /// Carrying it has failed: what is left of it, from the last multiple of [`BLOCK`] on, can be taken again.
    pub(super) fn fail(&mut self, ticket: Ticket) -> Next {
        let Some(open) = self.active.remove(&ticket) else {
            return Next::After(Duration::ZERO);
        };
        let has_progress = open.has_progress();
        let left = open.left;
        if left.len() > 0 {
            self.waiting.push_front(Open {
                left: Range {
                    start: left.start / BLOCK * BLOCK,
                    end: left.end,
                },
                reached: left.start.max(open.reached),
                without_progress: if has_progress {
                    0
                } else {
                    open.without_progress + 1
                },
            });
        }
        self.failed(has_progress)
    }

    /// Something failed that carries no range.
    pub(super) fn failed(&mut self, has_progress: bool) -> Next {
        if has_progress {
            self.failures = 0;
            self.has_worked = true;
            return Next::After(Duration::ZERO);
        }
        self.failures += 1;
        let most = match self.has_worked {
            true => FAILURES,
            false => FAILURES_AT_FIRST,
        };
        if self.failures >= most {
            return Next::GiveUp;
        }
        Next::After(FIRST_WAIT * 2_u32.pow(self.failures - 1))
    }

    /// Whether all is there.
    pub(super) fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
