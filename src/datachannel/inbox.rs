//! What has come and was not taken yet, in order and bounded: when too much waits, reading stops.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Delivery;
use crate::message::PayloadType;
use crate::mutex::lock;
use crate::waker::Waker;

/// When so many bytes of ready output wait, nothing more is read from the connection, unless another bound was
/// [set](super::DataChannel::limit_waiting). When half of it waits, it is read again.
pub const GATE_CLOSES: usize = 4 * 1024 * 1024;
/// When more than this waits, bytes, payloads that are small beside what was read with them are copied: a slice keeps all of the buffer
/// alive that it was cut from.
const COPIES_FROM: usize = 64 * 1024;

/// Who can handle what has come in the websocket thread itself, while the thread whose work it is sleeps.
pub trait Recipient: Send + Sync {
    /// Receives what waits and handles it, without waiting for anything, if the thread whose work it is does nothing at the moment. False
    /// when it does, or is needed: then it is woken.
    fn receive_directly(&self) -> bool;
}

/// The channel between the websocket thread and the session. What it holds is bounded by the gate, in bytes.
pub(super) struct Inbox {
    sender: Sender<Delivery>,
    receiver: Receiver<Delivery>,
    /// What waits in it; counted before it is sent, and after it is received.
    bytes: AtomicUsize,
    gate_is_closed: AtomicBool,
    /// When the gate closes, in bytes.
    limit: AtomicUsize,
    /// What was read lately, and what of it was payload: bytes, the past counting less and less. The websocket thread's alone.
    read: AtomicUsize,
    kept: AtomicUsize,
    /// Wakes whoever polls instead of waiting for the channel.
    readable: Mutex<Option<Waker>>,
    /// It holds the handle to this channel: both would stay for ever otherwise.
    recipient: OnceLock<Weak<dyn Recipient>>,
    /// Wakes the websocket thread when the gate opens.
    websocket: Waker,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inbox")
            .field("bytes", &self.bytes)
            .field("gate_is_closed", &self.gate_is_closed)
            .finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(websocket: Waker) -> Self {
        let (sender, receiver) = unbounded();
        Self {
            sender,
            receiver,
            bytes: AtomicUsize::new(0),
            gate_is_closed: AtomicBool::new(false),
            limit: AtomicUsize::new(GATE_CLOSES),
            read: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            readable: Mutex::default(),
            recipient: OnceLock::new(),
            websocket,
        }
    }

    fn readable(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        lock(&self.readable)
    }

    /// Takes all of `deliveries`, for which so many bytes were read. For the websocket thread alone: their order is that of the calls.
    /// Where they are no more than `direct` bytes of output, the recipient may handle them within this call.
    pub(super) fn push(&self, deliveries: &mut Vec<Delivery>, read: usize, direct: usize) {
        let kept_now: usize = deliveries.iter().map(Delivery::payload_size).sum();
        let lately = |sum: &AtomicUsize, more: usize| {
            let sum_now = (sum.load(Ordering::Relaxed) / 2).saturating_add(more);
            sum.store(sum_now, Ordering::Relaxed);
            sum_now
        };
        let (read, kept) = (lately(&self.read, read), lately(&self.kept, kept_now));
        if deliveries.is_empty() {
            return;
        }
        if self.bytes.load(Ordering::SeqCst) > COPIES_FROM && read > kept.saturating_mul(2) {
            deliveries.iter_mut().for_each(Delivery::detach);
        }
        let bytes = deliveries.iter().map(Delivery::cost).sum();
        let is_output =
            |delivery: &Delivery| matches!(delivery, Delivery::Payload(PayloadType::Output, _));
        let is_direct = kept_now <= direct && deliveries.iter().all(is_output);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        for delivery in deliveries.drain(..) {
            // The receiver is here, too.
            let _ = self.sender.send(delivery);
        }
        let recipient = self.recipient.get().filter(|_| is_direct);
        let recipient = recipient.and_then(Weak::upgrade);
        if recipient.is_some_and(|recipient| recipient.receive_directly()) {
            return;
        }
        if let Some(waker) = &*self.readable() {
            waker.wake();
        }
    }

    /// Whether the connection may be read; closes the gate, if too much waits. For the websocket thread alone.
    pub(super) fn is_open(&self) -> bool {
        if !self.gate_is_closed.load(Ordering::SeqCst) {
            if self.bytes.load(Ordering::SeqCst) < self.limit.load(Ordering::SeqCst) {
                return true;
            }
            self.gate_is_closed.store(true, Ordering::SeqCst);
            // Who has taken everything meanwhile may not have seen that the gate is closed.
            if self.bytes.load(Ordering::SeqCst) <= self.opens_at() {
                self.gate_is_closed.store(false, Ordering::SeqCst);
            }
        }
        !self.gate_is_closed.load(Ordering::SeqCst)
    }

    fn opens_at(&self) -> usize {
        self.limit.load(Ordering::SeqCst) / 2
    }

    /// Another bound than [`GATE_CLOSES`]. A gate that is closed by then opens at half of the new one.
    pub(super) fn limit(&self, bytes: usize) {
        self.limit.store(bytes.max(1), Ordering::SeqCst);
        // A larger one may open the gate: nobody may take anything more who would do so.
        if self.bytes.load(Ordering::SeqCst) <= self.opens_at()
            && self.gate_is_closed.swap(false, Ordering::SeqCst)
        {
            self.websocket.wake();
        }
    }

    pub(super) fn on_readable(&self, waker: Waker) {
        // In this order: what comes in between must wake it.
        *self.readable() = Some(waker.clone());
        waker.wake();
    }

    pub(super) fn set_recipient(&self, recipient: Weak<dyn Recipient>) {
        // There is one session, and so one recipient.
        let _ = self.recipient.set(recipient);
    }

    pub(super) fn try_receive(&self) -> Option<Delivery> {
        self.receiver
            .try_recv()
            .ok()
            .map(|delivery| self.taken(delivery))
    }

    /// Waits for the next, at most until the deadline.
    pub(super) fn receive(&self, deadline: Option<Instant>) -> Option<Delivery> {
        let delivery = match deadline {
            None => self.receiver.recv().ok(),
            Some(deadline) => self.receiver.recv_deadline(deadline).ok(),
        };
        delivery.map(|delivery| self.taken(delivery))
    }

    fn taken(&self, delivery: Delivery) -> Delivery {
        let cost = delivery.cost();
        let before = self.bytes.fetch_sub(cost, Ordering::SeqCst);
        if before.saturating_sub(cost) <= self.opens_at()
            && self.gate_is_closed.load(Ordering::SeqCst)
            && self.gate_is_closed.swap(false, Ordering::SeqCst)
        {
            self.websocket.wake();
        }
        delivery
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waker::waker;
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn p61_the_gate_closes_at_its_bound_and_opens_at_half() {
        let (websocket, _wake_receiver) = waker().unwrap();
        let inbox = Inbox::new(websocket);
        let payload = Delivery::Payload(PayloadType::Output, Bytes::from(vec![0; 1 << 20]));
        for _ in 0..3 {
            inbox.push(&mut vec![payload.clone()], 1 << 20, 0);
            assert!(inbox.is_open());
        }
        inbox.push(&mut vec![payload.clone()], 1 << 20, 0);
        assert!(!inbox.is_open());
        inbox.push(&mut Vec::new(), 0, 0);
        assert!(!inbox.is_open());
        let mut taken = 0;
        while !inbox.is_open() {
            assert!(inbox.try_receive().is_some());
            taken += 1;
        }
        assert_eq!(taken, 3);
        assert_eq!(inbox.receive(Some(Instant::now())), Some(payload));
        assert_eq!(inbox.receive(Some(Instant::now())), None);
    }

    #[test]
    fn another_bound_takes_its_place_at_once() {
        let (websocket, _wake_receiver) = waker().unwrap();
        let inbox = Inbox::new(websocket);
        inbox.limit(1 << 20);
        let payload = Delivery::Payload(PayloadType::Output, Bytes::from(vec![0; 400_000]));
        inbox.push(&mut vec![payload.clone(); 3], 1 << 20, 0);
        assert!(!inbox.is_open());
        inbox.limit(8 << 20);
        assert!(inbox.is_open());
        inbox.limit(1 << 20);
        assert!(!inbox.is_open());
        assert_eq!(inbox.receive(None), Some(payload.clone()));
        assert!(!inbox.is_open());
        assert_eq!(inbox.receive(None), Some(payload));
        assert!(inbox.is_open());
    }

    /// Says whether it handled what came, and what waited then.
    struct Counting(Inbox, AtomicBool, AtomicUsize);

    impl Recipient for Counting {
        fn receive_directly(&self) -> bool {
            while self.0.try_receive().is_some() {
                self.2.fetch_add(1, Ordering::SeqCst);
            }
            self.1.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn who_handles_a_few_bytes_at_once_is_not_woken_for_them() {
        let (websocket, _) = waker().unwrap();
        let (readable, wake_receiver) = waker().unwrap();
        let recipient = Arc::new(Counting(
            Inbox::new(websocket),
            AtomicBool::new(true),
            AtomicUsize::new(0),
        ));
        let inbox = &recipient.0;
        inbox.on_readable(readable);
        let weak: Weak<Counting> = Arc::downgrade(&recipient);
        inbox.set_recipient(weak);
        let was_woken = |deliveries: &[Delivery], direct: usize| {
            wake_receiver.disarm();
            inbox.push(&mut deliveries.to_vec(), 0, direct);
            !wake_receiver.arm()
        };
        let output = Delivery::Payload(PayloadType::Output, Bytes::from_static(&[0; 100]));
        let flag = Delivery::Payload(PayloadType::Flag, Bytes::from_static(&[0; 4]));
        assert!(!was_woken(&[output.clone(), output.clone()], 200));
        assert_eq!(recipient.2.load(Ordering::SeqCst), 2);
        // More than a few bytes, a flag among them, or the end, are somebody else's.
        assert!(was_woken(&[output.clone(), output.clone()], 199));
        assert!(was_woken(&[output.clone(), flag], 1000));
        assert_eq!(recipient.2.load(Ordering::SeqCst), 2);
        // Who is needed is woken, though all was received.
        recipient.1.store(false, Ordering::SeqCst);
        assert!(was_woken(&[output], 1000));
        assert_eq!(recipient.2.load(Ordering::SeqCst), 7);
    }
}
