//! Streams that wait for something, in their order.

use std::collections::VecDeque;

use super::StreamId;

/// That many streams that are gone may stay listed whatever the list's length.
const FEW: usize = 32;

/// A queue whose length is bounded by the streams that wait, however many come and go while nobody takes from it.
///
/// Who no longer waits stays listed, as finding it would take time, until it is met or until those are most of the list.
#[derive(Debug, Default)]
pub(super) struct StreamQueue {
    ids: VecDeque<StreamId>,
    /// How many of them wait no longer.
    gone: usize,
}

impl StreamQueue {
    /// A stream begins to wait. It is not listed twice: who has left must not come again.
    pub(super) fn push(&mut self, id: StreamId) {
        self.ids.push_back(id);
    }

    /// Takes the first that still waits.
    pub(super) fn pop(&mut self, waits: impl Fn(StreamId) -> bool) -> Option<StreamId> {
        while let Some(id) = self.ids.pop_front() {
            if waits(id) {
                return Some(id);
            }
            self.gone = self.gone.saturating_sub(1);
        }
        None
    }

    /// One that is listed waits no longer.
    pub(super) fn leave(&mut self, waits: impl Fn(StreamId) -> bool) {
        self.gone += 1;
        if self.gone > FEW && self.gone > self.ids.len() / 2 {
            self.ids.retain(|id| waits(*id));
            self.gone = 0;
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.len() <= self.gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p75_those_that_come_and_go_do_not_pile_up() {
        let mut stream_queue = StreamQueue::default();
        stream_queue.push(3);
        for number in 0..100_000 {
            let id = 5 + 2 * number;
            stream_queue.push(id);
            stream_queue.leave(|other| other == 3);
            assert!(stream_queue.ids.len() <= 2 * FEW + 2);
        }
        assert!(!stream_queue.is_empty());
        assert_eq!(stream_queue.pop(|id| id == 3), Some(3));
        assert_eq!(stream_queue.pop(|id| id == 3), None);
        assert!(stream_queue.is_empty());
    }
}
