//! What the threads of a channel and its handles share, and the one way to change it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::Notice;
use super::inbox::Inbox;
use super::lent::Lent;
use super::sequence_state::SequenceState;
use crate::error::Error;
use crate::mutex::lock;
use crate::network::Cancel;
use crate::waker::Waker;

/// What a sender writes itself at most, in messages: more is the websocket thread's.
const DIRECT_MESSAGES: usize = 4;

/// What all threads of a channel share.
#[derive(Debug)]
pub(super) struct ChannelState {
    pub(super) sequence: Mutex<SequenceState>,
    pub(super) inbox: Inbox,
    pub(super) lent: Lent,
    /// Wakes the websocket thread.
    pub(super) websocket: Waker,
    /// Calls the retransmit thread back; one token is enough.
    pub(super) rearm: Sender<()>,
    /// Brings a token when all is acknowledged, or the session is over.
    pub(super) drained: (Sender<()>, Receiver<()>),
    /// Wakes whoever waits for room.
    pub(super) writable: Mutex<Option<Waker>>,
    /// Wakes whoever looks when all is acknowledged.
    pub(super) acknowledged: Mutex<Option<Waker>>,
    /// What the user may want to know; sent under the lock of `sequence`, which orders it.
    pub(super) notices: Sender<Notice>,
    /// The session wants no more of this. Ends what the websocket thread blocks in: dialling and resuming.
    pub(super) cancel: Cancel,
    /// Disconnected when all threads have ended.
    pub(super) threads: Receiver<()>,
    /// Bytes of data in a message.
    pub(super) payload_size: usize,
}

impl ChannelState {
    pub(super) fn sequence(&self) -> MutexGuard<'_, SequenceState> {
        lock(&self.sequence)
    }

    /// Changes the sequence state, tells whom it concerns, and has the websocket thread look at it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut SequenceState) -> T) -> T {
        let mut sequence = self.sequence();
        let changed = change(&mut sequence);
        self.tell(&mut sequence);
        drop(sequence);
        self.websocket.wake();
        changed
    }

    /// Changes the sequence state by a message to be sent, and tells whom it concerns. Writes it to the connection that the websocket
    /// thread has lent, or has that thread do so where it does not sleep, the socket takes less, or more waits.
    pub(super) fn change_and_write(&self, change: impl FnOnce(&mut SequenceState)) {
        let lent = self.lent.borrow();
        let mut frames = Vec::new();
        let mut sequence = self.sequence();
        change(&mut sequence);
        let now = Instant::now();
        if lent.is_some() {
            let next = std::iter::from_fn(|| sequence.poll_transmit(now));
            frames.extend(next.take(DIRECT_MESSAGES));
        }
        let is_all = !sequence.can_transmit(now);
        self.tell(&mut sequence);
        drop(sequence);
        let is_written = lent.is_some_and(|lent| lent.write(frames));
        if !(is_written && is_all) {
            self.websocket.wake();
        }
    }

    /// What everybody who has changed the sequence state does before the lock is given back. Nothing of it blocks.
    pub(super) fn tell(&self, sequence: &mut SequenceState) {
        if sequence.must_rearm() {
            // One that is there already does.
            let _ = self.rearm.try_send(());
        }
        while let Some(notice) = sequence.poll_notice() {
            // Nobody receives them any more when the session is just ending.
            let _ = self.notices.send(notice);
        }
        let wake = |waker: &Mutex<Option<Waker>>| {
            if let Some(waker) = &*lock(waker) {
                waker.wake();
            }
        };
        let has_drained = sequence.poll_drained();
        if has_drained {
            let _ = self.drained.0.try_send(());
            wake(&self.acknowledged);
        }
        if sequence.poll_writable() || (has_drained && sequence.has_ended()) {
            wake(&self.writable);
        }
    }
}

/// What each thread of the channel holds. Whatever ends one of them unexpectedly ends the session: none goes on whose data nobody takes.
#[derive(Debug)]
pub(super) struct ThreadGuard {
    pub(super) name: &'static str,
    pub(super) shared: Arc<ChannelState>,
    /// Dropped last: see [`DataChannel::join`](super::DataChannel::join).
    pub(super) _alive: Sender<()>,
}

impl ThreadGuard {
    /// The thread ends, and the session is over, if it was not.
    pub(super) fn end_session(&self) {
        let error = Error::defect(&format!("the {} thread", self.name));
        self.shared.change(|sequence| sequence.fail(error));
        // The retransmit thread looks at the end of the session, whether a timer is due or not.
        let _ = self.shared.rearm.try_send(());
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end_session();
        }
    }
}
