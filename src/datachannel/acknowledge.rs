//! The thread that writes acknowledgements.
//!
//! The websocket thread hands over what it has accepted, and gets frames back. It waits for neither: what the acknowledge thread cannot
//! take is not acknowledged now, and the agent sends it again.
//!
//! The thread sleeps parked, and not in the channel's `recv`: that spins and yields four times before it sleeps. In a paced download, where
//! the thread sleeps and wakes all the time, this was two fifths of all system calls.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::acknowledgements::{Acknowledgements, BATCH, Received};
use super::shared::ThreadGuard;
use crate::waker::Waker;

/// Batches from the websocket thread that may wait, and batches of frames back.
const BATCHES: usize = 256;
const BATCHES_BACK: usize = 64;
/// After so many in a row a message goes out. Where the way out is slower than what comes in makes acknowledgements (330 bytes for
/// each message), some always wait, and a keystroke behind them all would wait for ever.
const IN_A_ROW: usize = 8;

/// The websocket thread's ends of the channels from and to the acknowledge thread.
#[derive(Debug)]
pub(super) struct AcknowledgeLink {
    batches: Sender<Vec<Received>>,
    /// Dropped after `batches`.
    thread: AcknowledgeWaker,
    frames: Receiver<Vec<Bytes>>,
    /// Messages that were handed over since it was last woken for as many.
    since_woken: usize,
    /// Frames that came back and wait for the socket.
    ready: VecDeque<Bytes>,
    /// How many went out since the last message.
    in_a_row: usize,
    /// Whether the websocket thread looks for frames by itself, in a moment.
    is_quiet: Arc<AtomicBool>,
}

/// The thread, which is woken when this is dropped.
#[derive(Debug)]
struct AcknowledgeWaker {
    thread: Thread,
    /// Whether it sleeps until it is woken, and not until a time.
    is_idle: Arc<AtomicBool>,
}

impl Drop for AcknowledgeWaker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

impl AcknowledgeLink {
    /// Starts the thread, which ends when this is dropped. It wakes the websocket thread when there are frames.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(guard: ThreadGuard, websocket: Waker) -> io::Result<Self> {
        let (batches, received) = bounded(BATCHES);
        let is_idle = Arc::new(AtomicBool::new(false));
        let is_quiet = Arc::new(AtomicBool::new(false));
        let (back, frames) = bounded(BATCHES_BACK);
        let thread = AcknowledgeThread {
            acknowledgements: Acknowledgements::default(),
            received,
            is_idle: Arc::clone(&is_idle),
            frames: back,
            websocket,
            is_quiet: Arc::clone(&is_quiet),
            _guard: guard,
        };
        let handle = thread::Builder::new()
            .name("acknowledge".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            batches,
            thread: AcknowledgeWaker {
                thread: handle.thread().clone(),
                is_idle,
            },
            frames,
            since_woken: 0,
            ready: VecDeque::new(),
            in_a_row: 0,
            is_quiet,
        })
    }

    /// Hands over what came, if the thread has room for it; what `is_gathered` already is not gathered again.
    pub(super) fn hand_over(&mut self, mut batch: Vec<Received>, is_gathered: bool) {
        let Some(last) = batch.last_mut() else {
            return;
        };
        if is_gathered && let Received::Message { is_urgent, .. } = last {
            *is_urgent = true;
        }
        // The flag is put up before the thread can look at it.
        self.set_quiet(is_gathered);
        let is_urgent = |received: &Received| {
            matches!(
                received,
                Received::Message {
                    is_urgent: true,
                    ..
                }
            )
        };
        self.since_woken += batch.len();
        let is_urgent = self.since_woken >= BATCH || batch.iter().any(is_urgent);
        if self.batches.try_send(batch).is_err() {
            log::debug!("not acknowledged now: too many acknowledgements wait");
            return;
        }
        if is_urgent {
            self.since_woken = 0;
        }
        if is_urgent || self.thread.is_idle.load(Ordering::SeqCst) {
            self.thread.thread.unpark();
        }
    }

    /// Whether the websocket thread wakes within a few milliseconds and collects what is there then: it need not be woken for that. It
    /// says so, or takes it back, before it [looks](Self::is_empty) and sleeps.
    pub(super) fn set_quiet(&self, is_quiet: bool) {
        self.is_quiet.store(is_quiet, Ordering::SeqCst);
    }

    /// Takes what came back. Before this frames are not seen.
    pub(super) fn collect(&mut self) {
        // While some wait for the socket, the rest may wait where it is bounded.
        while self.ready.len() < BATCH
            && let Ok(frames) = self.frames.try_recv()
        {
            self.ready.extend(frames);
        }
    }

    /// The next frame for the socket.
    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        let frame = self.ready.pop_front()?;
        self.in_a_row += 1;
        Some(frame)
    }

    /// Whether a message goes before the next acknowledgement.
    pub(super) fn make_way(&mut self) -> bool {
        let makes_way = self.ready.is_empty() || self.in_a_row >= IN_A_ROW;
        if makes_way {
            self.in_a_row = 0;
        }
        makes_way
    }

    /// Whether nothing that was collected waits, nor anything else.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.frames.is_empty()
    }
}

struct AcknowledgeThread {
    acknowledgements: Acknowledgements,
    received: Receiver<Vec<Received>>,
    is_idle: Arc<AtomicBool>,
    frames: Sender<Vec<Bytes>>,
    websocket: Waker,
    is_quiet: Arc<AtomicBool>,
    _guard: ThreadGuard,
}

impl AcknowledgeThread {
    /// Until the websocket thread is gone.
    fn run(mut self) {
        while self.take() {
            let now = Instant::now();
            while let Some(frames) = self.acknowledgements.poll_transmit(now) {
                if self.frames.send(frames).is_err() {
                    return;
                }
                // Who is quiet now collects it later: the flag is taken down before it looks.
                if !self.is_quiet.load(Ordering::SeqCst) {
                    self.websocket.wake();
                }
            }
            // While it gathers only a full batch wakes it, or an urgent one: each thing that came would do so otherwise.
            match self.acknowledgements.next_timeout() {
                Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
                None => self.idle(),
            }
        }
    }

    /// Sleeps until something is handed over. What was before this thread was seen to be idle is seen here.
    fn idle(&self) {
        self.is_idle.store(true, Ordering::SeqCst);
        if self.received.is_empty() {
            thread::park();
        }
        self.is_idle.store(false, Ordering::SeqCst);
    }

    /// Takes what was handed over; false when the websocket thread is gone.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        loop {
            match self.received.try_recv() {
                Ok(batch) => {
                    for received in batch {
                        self.acknowledgements.receive(received, now);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}
