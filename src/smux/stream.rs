//! One stream: what came and was not read yet, and which of its two directions are still open.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Buf, Bytes};

/// The number of a stream: odd, from 3 on, in those that a client opens.
pub type StreamId = u32;

/// What a piece of unread data costs in memory besides its bytes (its place in the queue, which has room for twice as many, and the
/// allocator's part), so that a flood of tiny frames stays within the budget too.
const PIECE_OVERHEAD: usize = 128;
/// A piece smaller than this part of the message it came in is copied: it would keep the whole message in memory.
const COPY_BELOW_ONE_IN: usize = 4;

/// The direction from the local side to the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendState {
    /// There may be more to send.
    Open,
    /// The local side has no more to send; FIN waits, because it would cut what is still to come.
    HalfClosed,
    /// FIN was sent or is queued.
    Finished,
}

#[derive(Debug)]
pub(super) struct SmuxStream {
    pub outgoing: SendState,
    /// The remote's FIN has come.
    pub remote_finished: bool,
    /// SYN was handed out.
    pub is_opened: bool,
    /// It is in the queue of those that want to send.
    pub wants_to_send: bool,
    /// An event that says "look at it" is queued.
    pub has_event: bool,
    /// Some data has come, ever: the remote was reached.
    pub was_reached: bool,
    /// When the remote last sent something, or the local side ended: the later.
    pub last_activity: Instant,
    /// When the local side last took something, or, if nothing was there to take, when that changed.
    pub last_progress: Instant,
    /// It was named as the one that blocks the others.
    pub is_named: bool,
    unread: VecDeque<Bytes>,
    cost: usize,
}

impl SmuxStream {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outgoing: SendState::Open,
            remote_finished: false,
            is_opened: false,
            wants_to_send: false,
            has_event: false,
            was_reached: false,
            last_activity: now,
            last_progress: now,
            is_named: false,
            unread: VecDeque::new(),
            cost: 0,
        }
    }

    /// What its unread data costs of the budget, bytes.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Keeps data that came in a message of `message_length` bytes, and hands back what it costs. `copies`: in memory of its own.
    pub(super) fn receive(
        &mut self,
        data: Bytes,
        message_length: usize,
        copies: bool,
        now: Instant,
    ) -> usize {
        self.was_reached = true;
        self.last_activity = now;
        if self.unread.is_empty() {
            self.last_progress = now;
        }
        let cost = data.len() + PIECE_OVERHEAD;
        let is_small = data.len().saturating_mul(COPY_BELOW_ONE_IN) < message_length;
        self.unread.push_back(if is_small || copies {
            Bytes::copy_from_slice(&data)
        } else {
            data
        });
        self.cost += cost;
        cost
    }

    pub(super) fn unread(&self) -> impl Iterator<Item = &[u8]> {
        self.unread.iter().map(AsRef::as_ref)
    }

    /// Forgets the first `count` unread bytes, and hands back what they had cost.
    pub(super) fn consume(&mut self, mut count: usize, now: Instant) -> usize {
        let before = self.cost;
        while let Some(piece) = self.unread.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                self.cost -= count;
                break;
            }
            count -= piece.len();
            self.cost -= piece.len() + PIECE_OVERHEAD;
            self.unread.pop_front();
        }
        self.last_progress = now;
        self.is_named = false;
        before - self.cost
    }
}
