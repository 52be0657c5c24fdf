//! Data on stdin where nobody reads it (P118): a command that is started with it would never get it, and nobody would know.
//!
//! Many start programs with a pipe on stdin that is never written to or closed (Ansible, schedulers, services), or with `/dev/null`: that
//! is no data. A file has data up to its end, from where it is read on; a pipe or a socket when there is some at this moment. A terminal
//! never: what is typed ahead is for whoever reads it next.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat, tell};
use rustix::io::{Errno, ioctl_fionread};
use rustix::stdio::stdin;

use crate::waker::timespec;

/// What there is on stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadInput {
    /// Nothing, and nothing will come.
    Nothing,
    /// Nothing yet: somebody has the other end of the pipe.
    NotYet,
    /// Something.
    Data,
}

/// Looks at stdin without reading it; waits until this moment for what a pipe may bring.
pub fn look(until: Instant) -> UnreadInput {
    let Ok(status) = fstat(stdin()) else {
        return UnreadInput::Nothing;
    };
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {
            let size = u64::try_from(status.st_size).unwrap_or(0);
            match tell(stdin()) {
                Ok(position) if position < size => UnreadInput::Data,
                _ => UnreadInput::Nothing,
            }
        }
        FileType::Fifo | FileType::Socket => look_at_pipe(until),
        _ => UnreadInput::Nothing,
    }
}

fn look_at_pipe(until: Instant) -> UnreadInput {
    loop {
        let left: Duration = until.saturating_duration_since(Instant::now());
        let time = timespec(left);
        let mut polled = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        return match poll(&mut polled, Some(&time)) {
            Ok(0) => UnreadInput::NotYet,
            // At its end it can be read as well.
            Ok(_) if ioctl_fionread(stdin()).is_ok_and(|count| count > 0) => UnreadInput::Data,
            Err(Errno::INTR) => continue,
            Ok(_) | Err(_) => UnreadInput::Nothing,
        };
    }
}
