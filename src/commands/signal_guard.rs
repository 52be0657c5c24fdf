//! What signals do before a command handles them itself.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};

use crate::client::{Cancel, end_programs};
use crate::error::Error;
use crate::mutex::lock;
use crate::session::out_of_resources;
use crate::terminal::print;
use crate::terminal::signals::{InheritedActions, Signal, Signals};

/// After this the user is told that something is still being ended.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// What a signal ends.
#[derive(Debug, Default)]
enum Guarded {
    /// Nothing that would be left: this process ends at once.
    #[default]
    Nothing,
    /// Work that undoes what it has begun once this is cancelled.
    Work(Cancel),
    /// The same, and this signal came.
    Interrupted(Signal),
}

/// Catches signals, and ends this process as they would; programs that run for it end first, and so does what it has begun elsewhere. A
/// second signal ends it at once.
#[derive(Debug)]
pub(super) struct SignalGuard {
    signals: Signals,
    guarded: Arc<Mutex<Guarded>>,
    over: Sender<()>,
    thread: JoinHandle<()>,
}

impl SignalGuard {
    pub(super) fn start(signals: Signals) -> Result<Self, Error> {
        let guarded = Arc::<Mutex<Guarded>>::default();
        let (over, is_over) = bounded(0);
        let watch = GuardWatch {
            incoming: signals.incoming().clone(),
            is_over,
            inherited: signals.inherited(),
            guarded: Arc::clone(&guarded),
        };
        let thread = thread::Builder::new()
            .name("signal-guard".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| out_of_resources(&error))?;
        Ok(Self {
            signals,
            guarded,
            over,
            thread,
        })
    }

    /// Does work that a signal cancels. Where one came, the result is undone and the process ended.
    pub(super) fn run<T>(
        &self,
        cancel: &Cancel,
        work: impl FnOnce() -> T,
        undo: impl FnOnce(T),
    ) -> Result<T, Error> {
        *lock(&self.guarded) = Guarded::Work(cancel.clone());
        let result = work();
        let signal = {
            let mut guarded = lock(&self.guarded);
            match *guarded {
                Guarded::Interrupted(signal) => signal,
                Guarded::Nothing | Guarded::Work(_) => {
                    *guarded = Guarded::Nothing;
                    return Ok(result);
                }
            }
        };
        undo(result);
        end(signal);
        Err(Error::Signal(signal.number()))
    }

    /// From here on the caller handles signals.
    pub(super) fn hand_over(self) -> Signals {
        drop(self.over);
        // It has nothing to give.
        let _ = self.thread.join();
        self.signals
    }
}

/// The guard's thread.
struct GuardWatch {
    incoming: Receiver<Signal>,
    is_over: Receiver<()>,
    inherited: InheritedActions,
    guarded: Arc<Mutex<Guarded>>,
}

impl GuardWatch {
    fn run(self) {
        let mut remark = never();
        loop {
            select! {
                recv(self.is_over) -> _ => return,
                recv(self.incoming) -> signal => match signal {
                    Ok(signal) => if self.handle(signal) {
                        remark = after(QUIET_TIME);
                    },
                    Err(_) => return,
                },
                recv(remark) -> _ => print::complaint(
                    "ending what was begun, which takes a few seconds at most; a second signal ends this at once",
                ),
            }
        }
    }

    /// Whether something is being ended from now on.
    fn handle(&self, signal: Signal) -> bool {
        match signal {
            Signal::WindowChange | Signal::Continue | Signal::Stop => return false,
            // No signal of the system's.
            Signal::ParentGone => {}
            signal if self.inherited.ignores(signal) => return false,
            _ => {}
        }
        let mut guarded = lock(&self.guarded);
        match &*guarded {
            Guarded::Work(cancel) => {
                cancel.cancel();
                *guarded = Guarded::Interrupted(signal);
                true
            }
            // A parent's end is no second request.
            Guarded::Interrupted(_) if signal == Signal::ParentGone => false,
            Guarded::Nothing | Guarded::Interrupted(_) => {
                end(signal);
                false
            }
        }
    }
}

/// Ends this process as the signal does where nobody catches it.
fn end(signal: Signal) {
    end_programs();
    signal.act();
}
