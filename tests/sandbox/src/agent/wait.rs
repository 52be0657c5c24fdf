//! Waiting for a descriptor, but not through an end.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use session_manager_plugin::internals::waker::{WakeReceiver, Waker, waker};

/// Makes one waiting thread stop.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    stopped: Arc<AtomicBool>,
    waker: Waker,
}

impl Stop {
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// The waiting thread's half.
#[derive(Debug)]
pub(super) struct Waiter {
    stopped: Arc<AtomicBool>,
    wake_receiver: WakeReceiver,
}

/// A connected pair.
pub(super) fn waiter() -> io::Result<(Stop, Waiter)> {
    let (waker, wake_receiver) = waker()?;
    let stopped = Arc::new(AtomicBool::new(false));
    Ok((
        Stop {
            stopped: Arc::clone(&stopped),
            waker,
        },
        Waiter {
            stopped,
            wake_receiver,
        },
    ))
}

impl Waiter {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Waits until the descriptor can be read; `false` when it is time to stop.
    pub(super) fn readable(&self, descriptor: &impl AsFd) -> bool {
        self.wait(descriptor, PollFlags::IN)
    }

    /// Waits until the descriptor can be written; `false` when it is time to stop.
    pub(super) fn writable(&self, descriptor: &impl AsFd) -> bool {
        self.wait(descriptor, PollFlags::OUT)
    }

    fn wait(&self, descriptor: &impl AsFd, flags: PollFlags) -> bool {
        if self.is_stopped() {
            return false;
        }
        let mut descriptors = [
            PollFd::new(descriptor, flags),
            PollFd::new(&self.wake_receiver, PollFlags::IN),
        ];
        let _ = poll(&mut descriptors, None);
        !self.is_stopped()
    }

    /// Sleeps; `false` when it is time to stop.
    pub(super) fn sleep(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_stopped() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut descriptors = [PollFd::new(&self.wake_receiver, PollFlags::IN)];
            let _ = poll(&mut descriptors, Some(&timeout));
        }
    }
}
