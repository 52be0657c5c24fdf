//! Our own lines on stdout and stderr. They never block for long: who does not read them loses them, and the session goes on.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;

use crate::waker::timespec;

use super::{raw, status_line};
use crate::sanitise;

/// How long a line of ours may wait for its reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints to stdout.
pub fn to_stdout(text: &str) {
    status_line::hide();
    write(rustix::stdio::stdout(), text.as_bytes(), WRITE_TIMEOUT);
}

/// Prints to stderr.
pub fn to_stderr(text: &str) {
    status_line::hide();
    draw(text);
}

/// Prints to stderr as it is, whatever stands there.
pub(super) fn draw(text: &str) {
    write(rustix::stdio::stderr(), text.as_bytes(), WRITE_TIMEOUT);
}

/// A line of the log on stderr: at once, or not at all.
pub fn log_line(line: &str) {
    write(rustix::stdio::stderr(), line.as_bytes(), Duration::ZERO);
}

/// One line on stderr that says who speaks.
pub fn complaint(what: impl std::fmt::Display) {
    let what = sanitise::text(&what.to_string());
    to_stderr(&format!("session-manager-plugin: {what}\n"));
}

/// [`complaint`] while a session runs: on lines of its own even where the terminal is raw and the cursor anywhere.
pub fn notice(what: impl std::fmt::Display) {
    if raw::is_raw() {
        let what = sanitise::text(&what.to_string()).replace('\n', "\r\n");
        to_stderr(&format!("\r\nsession-manager-plugin: {what}\r\n"));
    } else {
        complaint(what);
    }
}

fn write(descriptor: BorrowedFd<'_>, mut bytes: &[u8], timeout: Duration) {
    let deadline = Instant::now() + timeout;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = timespec(left);
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !polled[0].revents().contains(PollFlags::OUT) {
            if polled[0].revents().is_empty() && !left.is_zero() {
                continue;
            }
            return;
        }
        match rustix::io::write(descriptor, &bytes[..bytes.len().min(PIPE_BUF)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}
