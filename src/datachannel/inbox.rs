//! What has come and was not taken yet, in order and bounded: when too much waits, reading stops.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Delivery;
use super::sequence_state::USUAL_DELIVERIES;
use crate::waker::Waker;

/// When so many bytes of ready output wait, nothing more is read from the connection.
pub const GATE_CLOSES: usize = 4 * 1024 * 1024;
/// When no more than this waits, it is read again.
const GATE_OPENS: usize = GATE_CLOSES / 2;
/// When more than this waits, bytes, payloads that are small beside what was read with them are copied: a slice keeps all of the buffer
/// alive that it was cut from.
const COPIES_FROM: usize = 64 * 1024;

/// The queue between the connection thread and the session.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// Wakes the connection thread when the gate opens.
    connection: Waker,
}

#[derive(Debug, Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    gate_is_closed: bool,
    /// What was read lately, and what of it was payload: bytes, the past counting less and less.
    read: usize,
    kept: usize,
    /// How many threads wait here: to notify nobody is a system call all the same.
    waiting: usize,
    /// Wakes whoever polls instead of waiting here.
    readable: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(connection: Waker) -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            connection,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of `deliveries`, for which so many bytes were read. Whether more may be read.
    pub(super) fn push(&self, deliveries: &mut Vec<Delivery>, read: usize) -> bool {
        let mut queue = self.queue();
        let kept: usize = deliveries.iter().map(Delivery::payload_size).sum();
        queue.read = queue.read / 2 + read;
        queue.kept = queue.kept / 2 + kept;
        if queue.bytes > COPIES_FROM && queue.read > queue.kept.saturating_mul(2) {
            deliveries.iter_mut().for_each(Delivery::detach);
        }
        if !deliveries.is_empty() {
            queue.bytes += deliveries.iter().map(Delivery::cost).sum::<usize>();
            queue.deliveries.extend(deliveries.drain(..));
            if queue.waiting > 0 {
                self.arrived.notify_all();
            }
            if let Some(waker) = &queue.readable {
                waker.wake();
            }
        }
        queue.gate_is_closed |= queue.bytes >= GATE_CLOSES;
        !queue.gate_is_closed
    }

    /// Whether the connection may be read.
    pub(super) fn is_open(&self) -> bool {
        !self.queue().gate_is_closed
    }

    pub(super) fn on_readable(&self, waker: Waker) {
        // In this order: what comes in between must wake it.
        self.queue().readable = Some(waker.clone());
        waker.wake();
    }

    pub(super) fn try_receive(&self) -> Option<Delivery> {
        self.take(&mut self.queue())
    }

    /// Waits for the next, at most until the deadline.
    pub(super) fn receive(&self, deadline: Option<Instant>) -> Option<Delivery> {
        let mut queue = self.queue();
        loop {
            if let Some(delivery) = self.take(&mut queue) {
                return Some(delivery);
            }
            let left = match deadline {
                None => None,
                Some(deadline) => Some(deadline.checked_duration_since(Instant::now())?),
            };
            queue.waiting += 1;
            queue = match left {
                None => self
                    .arrived
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.arrived
                        .wait_timeout(queue, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
            queue.waiting -= 1;
        }
    }

    fn take(&self, queue: &mut Queue) -> Option<Delivery> {
        let Some(delivery) = queue.deliveries.pop_front() else {
            // What a burst needed is given back.
            queue.deliveries.shrink_to(USUAL_DELIVERIES);
            return None;
        };
        queue.bytes -= delivery.cost();
        if queue.gate_is_closed && queue.bytes <= GATE_OPENS {
            queue.gate_is_closed = false;
            self.connection.wake();
        }
        Some(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::PayloadType;
    use crate::waker::waker;
    use bytes::Bytes;

    #[test]
    fn p61_the_gate_closes_at_its_bound_and_opens_at_half() {
        let (connection, _sleeper) = waker().unwrap();
        let inbox = Inbox::new(connection);
        let payload = Delivery::Payload(PayloadType::Output, Bytes::from(vec![0; 1 << 20]));
        for _ in 0..3 {
            assert!(inbox.push(&mut vec![payload.clone()], 1 << 20));
        }
        assert!(!inbox.push(&mut vec![payload.clone()], 1 << 20));
        assert!(!inbox.push(&mut Vec::new(), 0));
        let mut taken = 0;
        while !inbox.is_open() {
            assert!(inbox.try_receive().is_some());
            taken += 1;
        }
        assert_eq!(taken, 3);
        assert_eq!(inbox.receive(Some(Instant::now())), Some(payload));
        assert_eq!(inbox.receive(Some(Instant::now())), None);
    }
}
