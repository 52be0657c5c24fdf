//! Writes of our own that never block for long.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;

use crate::waker::timespec;

/// How long a line of ours may wait for its reader.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints to stderr, also where the status line is shown.
pub(super) fn draw(text: &str) {
    // There is nowhere else to say it.
    let _ = write(rustix::stdio::stderr(), text.as_bytes(), WRITE_TIMEOUT);
}

/// Writes what its reader takes within this time; whether that was all of it.
///
/// # Errors
/// When it cannot be written at all, as on a full disk. A reader that is gone, or slow, is no error.
pub(super) fn write(
    descriptor: BorrowedFd<'_>,
    mut bytes: &[u8],
    timeout: Duration,
) -> Result<bool, Errno> {
    let deadline = Instant::now() + timeout;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = timespec(left);
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Ok(false),
        }
        if !polled[0].revents().contains(PollFlags::OUT) {
            if polled[0].revents().is_empty() && !left.is_zero() {
                continue;
            }
            return Ok(false);
        }
        match rustix::io::write(descriptor, &bytes[..bytes.len().min(PIPE_BUF)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            // EIO: the terminal is gone.
            Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
