//! Bounded queues of frames between the agent's threads and the gateway's.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use session_manager_plugin::internals::waker::Waker;

use crate::bell::Bell;

/// What one frame costs besides its bytes.
const OVERHEAD: usize = 64;

/// A queue that a blocked writer waits for, and that can be closed.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    readable: Bell,
    writable: Bell,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
    /// Frames are thrown away.
    discarding: bool,
    /// A reader that sleeps in poll(2).
    reader: Option<Waker>,
    /// It is about to sleep, or does: it is told when something comes.
    asleep: bool,
    /// A writer that sleeps in poll(2): told when half of a full queue is free.
    writer: Option<Waker>,
    /// Somebody found no room.
    wanted: bool,
}

/// The queue is closed.
#[derive(Debug)]
pub(crate) struct Closed;

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            readable: Bell::default(),
            writable: Bell::default(),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader is a thread that sleeps in poll(2).
    pub(crate) fn set_reader(&self, waker: Option<Waker>) {
        self.lock().reader = waker;
    }

    /// The writer is a thread that sleeps in poll(2).
    pub(crate) fn set_writer(&self, waker: Option<Waker>) {
        self.lock().writer = waker;
    }

    /// Waits for room. A frame larger than the queue is taken when the queue is empty.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Closed> {
        let mut state = self.lock();
        while state.bytes >= self.capacity && !state.closed && !state.discarding {
            state = self.writable.wait(state);
        }
        self.add(state, frame)
    }

    /// Does not wait; to be called after [`has_room`](Self::has_room), a little too much is taken.
    pub(crate) fn push_now(&self, frame: Bytes) -> Result<(), Closed> {
        self.add(self.lock(), frame)
    }

    fn add(&self, mut state: MutexGuard<'_, State>, frame: Bytes) -> Result<(), Closed> {
        if state.closed {
            return Err(Closed);
        }
        if state.discarding {
            return Ok(());
        }
        state.bytes += frame.len() + OVERHEAD;
        state.frames.push_back(frame);
        self.tell(state);
        Ok(())
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        self.readable.ring();
        let wake = std::mem::take(&mut state.asleep)
            .then(|| state.reader.clone())
            .flatten();
        drop(state);
        if let Some(waker) = wake {
            waker.wake();
        }
    }

    /// All at once, without waiting.
    pub(crate) fn push_all(&self, frames: &mut VecDeque<Bytes>) {
        let mut state = self.lock();
        if state.closed || state.discarding {
            frames.clear();
        } else if !frames.is_empty() {
            state.bytes += frames.iter().map(|it| it.len() + OVERHEAD).sum::<usize>();
            state.frames.append(frames);
            self.tell(state);
        }
    }

    /// To be asked by a reader before it sleeps in poll(2): `false` when there is something.
    pub(crate) fn may_sleep(&self) -> bool {
        let mut state = self.lock();
        state.asleep = state.frames.is_empty();
        state.asleep
    }

    /// Whether a frame may be put in now; if not, the writer's waker is told when it may.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.lock();
        let room = state.bytes < self.capacity;
        state.wanted |= !room;
        room
    }

    /// Waits until there is something, and takes all of it; `false` when the queue is closed and empty.
    pub(crate) fn pop_all(&self, into: &mut VecDeque<Bytes>) -> bool {
        let mut state = self.lock();
        while state.frames.is_empty() && !state.closed {
            state = self.readable.wait(state);
        }
        !self.take(state, into, usize::MAX).is_empty_and_closed
    }

    /// Takes what is there, up to about `limit` bytes.
    pub(crate) fn take_some(&self, into: &mut VecDeque<Bytes>, limit: usize) {
        self.take(self.lock(), into, limit);
    }

    fn take(
        &self,
        mut state: MutexGuard<'_, State>,
        into: &mut VecDeque<Bytes>,
        limit: usize,
    ) -> Taken {
        if state.bytes <= limit && into.is_empty() {
            std::mem::swap(into, &mut state.frames);
            state.bytes = 0;
        } else {
            let mut taken = 0;
            while taken < limit
                && let Some(frame) = state.frames.pop_front()
            {
                taken += frame.len() + OVERHEAD;
                into.push_back(frame);
            }
            state.bytes -= taken;
        }
        if state.bytes < self.capacity {
            self.writable.ring();
        }
        if state.wanted && state.bytes <= self.capacity / 2 {
            state.wanted = false;
            if let Some(waker) = &state.writer {
                waker.wake();
            }
        }
        Taken {
            is_empty_and_closed: into.is_empty() && state.closed,
        }
    }

    /// Puts back what was taken, in front.
    pub(crate) fn put_back(&self, frames: VecDeque<Bytes>) {
        let mut state = self.lock();
        if !state.discarding {
            for frame in frames.into_iter().rev() {
                state.bytes += frame.len() + OVERHEAD;
                state.frames.push_front(frame);
            }
        }
    }

    /// Throws frames away from now on, those in the queue too; or no longer.
    pub(crate) fn discard(&self, discarding: bool) {
        let mut state = self.lock();
        state.discarding = discarding;
        if discarding {
            state.frames.clear();
            state.bytes = 0;
            self.writable.ring();
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().frames.is_empty()
    }

    /// Nothing more comes in; what is there can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.readable.ring();
        self.writable.ring();
        for waker in [&state.reader, &state.writer].into_iter().flatten() {
            waker.wake();
        }
    }
}

struct Taken {
    is_empty_and_closed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_makes_its_writer_wait_until_it_is_read() {
        let queue = Queue::new(1);
        queue.push(Bytes::from_static(b"a")).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| queue.push(Bytes::from_static(b"b")));
            let mut frames = VecDeque::new();
            while frames.len() < 2 {
                queue.take_some(&mut frames, usize::MAX);
                std::thread::yield_now();
            }
            assert_eq!(frames, [&b"a"[..], &b"b"[..]]);
            writer.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = Queue::new(100);
        queue.push(Bytes::from_static(b"a")).unwrap();
        queue.close();
        assert!(queue.push(Bytes::from_static(b"b")).is_err());
        let mut frames = VecDeque::new();
        assert!(queue.pop_all(&mut frames));
        frames.clear();
        assert!(!queue.pop_all(&mut frames));
    }
}
