//! Peers that have sent nothing and have ended before their streams were opened, as health checks do.

use std::collections::VecDeque;

/// How many of them are kept while their streams cannot be opened: they may still want to read, but most of them are gone.
const ENDED_EARLY: usize = 128;

/// The latest of them. Those that are gone, or were opened, may still be listed.
#[derive(Debug)]
pub(crate) struct EndedEarly<T>(VecDeque<T>);

impl<T> Default for EndedEarly<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy + PartialEq> EndedEarly<T> {
    /// Adds one; the oldest, where they are more than are kept.
    #[must_use]
    pub(crate) fn add(&mut self, id: T) -> Option<T> {
        if self.0.contains(&id) {
            return None;
        }
        self.0.push_back(id);
        (self.0.len() > ENDED_EARLY).then(|| self.0.pop_front())?
    }
}
