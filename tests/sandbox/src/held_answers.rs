//! Answers of the API that are held back, once the operation has been carried out: a client may go while it waits for one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::threads::lock;

/// Holds the answers to one operation back.
#[derive(Default)]
pub(crate) struct HeldAnswers {
    held: Mutex<Held>,
    bell: Bell,
}

#[derive(Default)]
struct Held {
    /// Of this operation.
    operation: Option<String>,
    /// How many are.
    waiting: usize,
}

impl HeldAnswers {
    /// From now on those to this operation are held back.
    pub(crate) fn hold(&self, operation: &str) {
        lock(&self.held).operation = Some(operation.to_owned());
    }

    /// Whether those to this operation are held back.
    pub(crate) fn are_of(&self, operation: &str) -> bool {
        lock(&self.held).operation.as_deref() == Some(operation)
    }

    /// Waits until the answer to this operation may be given.
    pub(crate) fn pass(&self, operation: &str) {
        let mut held = lock(&self.held);
        held.waiting += 1;
        self.bell.ring();
        while held.operation.as_deref() == Some(operation) {
            held = self.bell.wait(held);
        }
        held.waiting -= 1;
    }

    /// Waits until so many are held back; false if they are not within this time.
    pub(crate) fn wait_for(&self, count: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut held = lock(&self.held);
        while held.waiting < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self.bell.wait_timeout(held, left);
        }
        true
    }

    /// Gives those that wait, and holds back no more.
    pub(crate) fn release(&self) {
        lock(&self.held).operation = None;
        self.bell.ring();
    }
}
