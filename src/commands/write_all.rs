//! Writes that wait for their reader.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Writes all of it, however slow its reader is.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Another process that shares the descriptor made it non-blocking.
            Err(Errno::AGAIN) => {
                let mut polled = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                poll(&mut polled, None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
