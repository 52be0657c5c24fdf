//! Whether anything of a client goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Counts what goes on: sessions until nothing more can be done for their end, and what starts sessions in the background.
#[derive(Debug, Clone)]
pub(super) struct Going(Arc<GoingState>);

#[derive(Debug)]
struct GoingState {
    count: Mutex<usize>,
    /// A token for each time that the count became 0, one at most.
    none: (Sender<()>, Receiver<()>),
}

/// One of what goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct GoingOn(Going);

impl Default for Going {
    fn default() -> Self {
        Self(Arc::new(GoingState {
            count: Mutex::default(),
            none: bounded(1),
        }))
    }
}

impl Going {
    pub(super) fn begin(&self) -> GoingOn {
        *self.count() += 1;
        GoingOn(self.clone())
    }

    /// Waits until nothing goes on; false where something does at the deadline.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        let (told, none) = &self.0.none;
        loop {
            if *self.count() == 0 {
                // Others may wait, too.
                let _ = told.try_send(());
                return true;
            }
            if none.recv_deadline(deadline).is_err() {
                return *self.count() == 0;
            }
        }
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        let count = &self.0.count;
        count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        let mut count = self.0.count();
        *count = count.saturating_sub(1);
        if *count == 0 {
            let _ = self.0.0.none.0.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_who_wait_are_told_when_the_last_is_over() {
        let going = Going::default();
        let soon = || Instant::now() + Duration::from_millis(5);
        let late = Instant::now() + Duration::from_secs(60);
        assert!(going.wait(soon()));
        let (first, second) = (going.begin(), going.begin());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let going = going.clone();
                thread::spawn(move || going.wait(late))
            })
            .collect();
        drop(first);
        assert!(!going.wait(soon()));
        drop(second);
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
        // A token of before does not count.
        let _third = going.begin();
        assert!(!going.wait(soon()));
    }
}
