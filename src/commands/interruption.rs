//! Work in another thread that signals end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never};

use crate::client::Cancel;
use crate::terminal::signals::Signal;

/// How long the work may take to end its sessions after a signal.
const END_TIMEOUT: Duration = Duration::from_secs(8);

/// What signals do to work in another thread: the first cancels it, and it is waited for; after a second one, or too long, it is not.
pub(super) struct Interruption<'a> {
    cancel: &'a Cancel,
    by: Option<Signal>,
    give_up: Receiver<Instant>,
}

impl<'a> Interruption<'a> {
    pub(super) fn new(cancel: &'a Cancel) -> Self {
        Self {
            cancel,
            by: None,
            give_up: never(),
        }
    }

    /// Comes when the work has not ended in its time.
    pub(super) const fn give_up(&self) -> &Receiver<Instant> {
        &self.give_up
    }

    /// Handles a signal; breaks where the work is not waited for any more.
    pub(super) fn handle(&mut self, signal: Signal) -> ControlFlow<()> {
        match (signal, self.by) {
            (Signal::WindowChange | Signal::Continue | Signal::Stop, _) => {}
            (signal, None) => {
                self.by = Some(signal);
                self.cancel.cancel();
                self.give_up = after(END_TIMEOUT);
            }
            (_, Some(_)) => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// The signal that ended the work.
    pub(super) const fn by(&self) -> Option<Signal> {
        self.by
    }
}
