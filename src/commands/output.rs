//! stdout and stderr of commands whose output is somebody's data: it is written whole, however slow its reader is.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;

use crate::terminal::print;
use crate::terminal::signals::{Signal, Signals};

/// How often it is looked whether a signal came while nobody reads.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};
/// How long a reader is waited for after a signal.
const HURRIED: Duration = Duration::from_secs(1);

/// It was not written, or not whole: its reader is gone, a signal came before that took it, or the system refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unwritten;

/// stdout or stderr, at its reader's pace.
#[derive(Debug)]
pub(super) struct PacedOutput {
    descriptor: BorrowedFd<'static>,
    signals: Receiver<Signal>,
    is_hurried: bool,
    /// Something may be there by half: nothing follows it.
    is_broken: bool,
    /// Why, where it was neither the reader nor a signal.
    failure: Option<Errno>,
}

impl PacedOutput {
    pub(super) fn stdout(signals: &Signals) -> Self {
        Self::new(rustix::stdio::stdout(), signals)
    }

    pub(super) fn stderr(signals: &Signals) -> Self {
        Self::new(rustix::stdio::stderr(), signals)
    }

    fn new(descriptor: BorrowedFd<'static>, signals: &Signals) -> Self {
        Self {
            descriptor,
            signals: signals.incoming().clone(),
            is_hurried: false,
            is_broken: false,
            failure: None,
        }
    }

    /// A signal was handled: from now on a reader is not waited for longer than a second.
    pub(super) const fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// Whether the system refused something: no room on the disk, for one. It was said on stderr.
    pub(super) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Writes all of it. A signal that waits to be handled ends it where nobody reads.
    pub(super) fn write(&mut self, text: &str) -> Result<(), Unwritten> {
        if self.is_broken {
            return Err(Unwritten);
        }
        self.write_all(text.as_bytes()).map_err(|error| {
            self.is_broken = true;
            if let Some(errno) = error.filter(|errno| *errno != Errno::PIPE) {
                self.failure = Some(errno);
                print::complaint(print::unwritable(errno));
            }
            Unwritten
        })
    }

    /// An error without a number is that nobody reads.
    fn write_all(&self, mut bytes: &[u8]) -> Result<(), Option<Errno>> {
        let in_a_hurry = || Some(Instant::now() + HURRIED);
        let mut deadline = if self.is_hurried { in_a_hurry() } else { None };
        while !bytes.is_empty() {
            let mut polled = [PollFd::from_borrowed_fd(self.descriptor, PollFlags::OUT)];
            match poll(&mut polled, Some(&LOOK)) {
                Ok(0) => match deadline {
                    Some(deadline) if deadline <= Instant::now() => return Err(None),
                    None if !self.signals.is_empty() => deadline = in_a_hurry(),
                    _ => {}
                },
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Some(errno)),
                // poll(2) tells of a pipe that there is room for so much, and a blocking write of it does not block. AGAIN comes only where
                // another process made it non-blocking and took that room first: the next poll(2) waits for more.
                Ok(_) => {
                    match rustix::io::write(self.descriptor, &bytes[..bytes.len().min(PIPE_BUF)]) {
                        Ok(written) => bytes = &bytes[written..],
                        Err(Errno::INTR | Errno::AGAIN) => {}
                        Err(errno) => return Err(Some(errno)),
                    }
                }
            }
        }
        Ok(())
    }
}
