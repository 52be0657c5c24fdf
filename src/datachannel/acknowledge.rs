//! The thread that writes acknowledgements.
//!
//! The websocket thread hands over what it has accepted, and gets frames back. It waits for neither: what the acknowledge thread cannot
//! take is not acknowledged now, and the agent sends it again.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

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
    /// A token ends the gathering early.
    hurry: Sender<()>,
    frames: Receiver<Vec<Bytes>>,
    /// Messages that were handed over since the last token.
    since_token: usize,
    /// Frames that came back and wait for the socket.
    ready: VecDeque<Bytes>,
    /// How many went out since the last message.
    in_a_row: usize,
}

impl AcknowledgeLink {
    /// Starts the thread, which ends when this is dropped. It wakes the websocket thread when there are frames.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(guard: ThreadGuard, websocket: Waker) -> io::Result<Self> {
        let (batches, received) = bounded(BATCHES);
        let (hurry, hurried) = bounded(1);
        let (back, frames) = bounded(BATCHES_BACK);
        let thread = AcknowledgeThread {
            acknowledgements: Acknowledgements::default(),
            received,
            hurried,
            frames: back,
            websocket,
            _guard: guard,
        };
        std::thread::Builder::new()
            .name("acknowledge".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            batches,
            hurry,
            frames,
            since_token: 0,
            ready: VecDeque::new(),
            in_a_row: 0,
        })
    }

    /// Hands over what came, if the thread has room for it; what `is_gathered` already is not gathered again.
    pub(super) fn hand_over(&mut self, batch: Vec<Received>, is_gathered: bool) {
        if batch.is_empty() {
            return;
        }
        let is_urgent = |received: &Received| {
            matches!(
                received,
                Received::Message {
                    is_urgent: true,
                    ..
                }
            )
        };
        self.since_token += batch.len();
        let is_urgent = is_gathered || self.since_token >= BATCH || batch.iter().any(is_urgent);
        if self.batches.try_send(batch).is_err() {
            log::debug!("not acknowledged now: too many acknowledgements wait");
        } else if is_urgent {
            self.since_token = 0;
            // One that is there already does.
            let _ = self.hurry.try_send(());
        }
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
    hurried: Receiver<()>,
    frames: Sender<Vec<Bytes>>,
    websocket: Waker,
    _guard: ThreadGuard,
}

impl AcknowledgeThread {
    /// Until the websocket thread is gone.
    fn run(mut self) {
        while let Ok(batch) = self.received.recv() {
            self.take(batch);
            if !self.gather() {
                return;
            }
            let now = Instant::now();
            while let Some(frames) = self.acknowledgements.poll_transmit(now) {
                if self.frames.send(frames).is_err() {
                    return;
                }
                self.websocket.wake();
            }
        }
    }

    fn take(&mut self, batch: Vec<Received>) {
        let now = Instant::now();
        for batch in std::iter::once(batch).chain(self.received.try_iter()) {
            for received in batch {
                self.acknowledgements.receive(received, now);
            }
        }
    }

    /// Waits until it is time to write; false when the websocket thread is gone. It waits for tokens, not for what comes: each thing that
    /// came would wake it.
    fn gather(&mut self) -> bool {
        while let Some(at) = self.acknowledgements.next_timeout()
            && at > Instant::now()
        {
            match self.hurried.recv_deadline(at) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => self.take(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }
}
