//! Which ranges of a file are still to be carried: a state machine without I/O or clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::script::{BLOCK, HASHED};
use super::tries::{Next, Tries};

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
    const fn new(start: u64, end: u64) -> Self {
        Self {
            left: Range { start, end },
            reached: start,
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
    /// As they were found or left: they are cut when they are taken. A file may be said to have any size, and ranges that are cut take
    /// memory.
    waiting: VecDeque<Open>,
    /// The longest range that is taken, bytes; a multiple of [`BLOCK`].
    longest: u64,
    active: HashMap<Ticket, Open>,
    tickets: u64,
    tries: Tries,
}

impl Plan {
    /// All of a file of this size but for the pieces of [`HASHED`] bytes that are `good`, which are counted from the beginning. Ranges of
    /// at most `longest` are taken, which is a multiple of [`BLOCK`].
    pub(super) fn new(size: u64, longest: u64, good: &[bool]) -> Self {
        let mut waiting = VecDeque::new();
        let mut add = |start, end| {
            if start < end {
                waiting.push_back(Open::new(start, end));
            }
        };
        // Where what is missing begins.
        let mut missing = None;
        let mut start = 0;
        for is_good in good {
            if !is_good {
                missing.get_or_insert(start);
            } else if let Some(begun) = missing.take() {
                add(begun, start);
            }
            start = size.min(start.saturating_add(HASHED));
        }
        add(missing.unwrap_or(start), size);
        Self {
            waiting,
            longest: longest.max(BLOCK) / BLOCK * BLOCK,
            active: HashMap::new(),
            tickets: 0,
            tries: Tries::default(),
        }
    }

    /// Bytes that are not carried yet.
    pub(super) fn left(&self) -> u64 {
        let open = self.active.values().chain(&self.waiting);
        open.map(|open| open.left.len()).sum()
    }

    /// How many ranges are not being carried yet.
    pub(super) fn waiting(&self) -> usize {
        let ranges = self.waiting.iter();
        let ranges: u64 = ranges
            .map(|open| open.left.len().div_ceil(self.longest))
            .sum();
        usize::try_from(ranges).unwrap_or(usize::MAX)
    }

    /// The next range to be carried.
    pub(super) fn take(&mut self) -> Option<(Ticket, Range)> {
        let mut open = self.waiting.pop_front()?;
        if open.left.len() > self.longest {
            let cut = open.left.start + self.longest;
            self.waiting.push_front(Open::new(cut, open.left.end));
            open.left.end = cut;
        }
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
            self.tries.worked();
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
        self.tries.failed(has_progress)
    }

    /// Whether all is there.
    pub(super) fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
