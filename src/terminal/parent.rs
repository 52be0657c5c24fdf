//! Notices when the process is gone that started this one (P116).

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, getppid};
#[cfg(target_os = "linux")]
use rustix::process::{PidfdFlags, pidfd_open};

use crate::waker::{Waker, waker};

/// Where the system has no descriptor for a process (Linux before 5.3, some containers, other systems): how often to ask for the parent's
/// number.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// What ends the parent (a signal to the whole group, a terminal that is gone) often reaches this process a moment later. That signal tells
/// better what is wanted, and would count as a second one after the parent's end. So long it is waited for.
const SIGNAL_FIRST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 300_000_000,
};

/// Ends the thread when dropped.
#[derive(Debug)]
pub(super) struct ParentWatch {
    waker: Waker,
}

/// Calls `gone` when the parent has ended, in a thread that sleeps until then. None where the parent is in another namespace and cannot be
/// seen. `expected` is the parent's number, where the caller told it: if the parent is another process by now, the expected one has ended.
///
/// # Errors
/// When the process is out of descriptors or threads.
pub(super) fn watch(
    expected: Option<Pid>,
    gone: impl FnOnce() + Send + 'static,
) -> io::Result<Option<ParentWatch>> {
    let Some(parent) = expected.or_else(getppid) else {
        return Ok(None);
    };
    let (waker, wake_receiver) = waker()?;
    let process = open(parent);
    thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            // Asked for again: it may have gone before it was opened, and its number may be another's.
            while getppid() == Some(parent) {
                let mut polled = vec![PollFd::new(&wake_receiver, PollFlags::IN)];
                if let Some(process) = &process {
                    polled.push(PollFd::new(process, PollFlags::IN));
                }
                let time = process.is_none().then_some(&LOOK_EVERY);
                // INTR is the only error that there can be: look again.
                if poll(&mut polled, time).is_err() {
                    continue;
                }
                if !polled[0].revents().is_empty() {
                    return;
                }
                if polled
                    .get(1)
                    .is_some_and(|process| !process.revents().is_empty())
                {
                    break;
                }
            }
            let mut polled = [PollFd::new(&wake_receiver, PollFlags::IN)];
            if poll(&mut polled, Some(&SIGNAL_FIRST)) == Ok(0) {
                gone();
            }
        })?;
    Ok(Some(ParentWatch { waker }))
}

impl Drop for ParentWatch {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

/// A descriptor that can be read when the process has ended.
#[cfg(target_os = "linux")]
fn open(process: Pid) -> Option<OwnedFd> {
    pidfd_open(process, PidfdFlags::empty()).ok()
}

/// Linux alone has such descriptors.
#[cfg(not(target_os = "linux"))]
fn open(_: Pid) -> Option<OwnedFd> {
    None
}
