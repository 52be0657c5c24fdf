//! Our own lines on stdout and stderr. They never block for long: who does not read them loses them, and the session goes on.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::bounded_write::{WRITE_TIMEOUT, draw, write};
use super::{raw, status_line};
use crate::sanitise;

/// The first error of [`to_stdout`]; 0 for none.
static STDOUT_ERROR: AtomicI32 = AtomicI32::new(0);

/// Prints to stdout. Whether it could be written is told by [`stdout_error`].
pub fn to_stdout(text: &str) {
    to_stdout_within(text, WRITE_TIMEOUT);
}

/// The same for a reader that is waited for so long; whether it took all of it.
pub fn to_stdout_within(text: &str, timeout: Duration) -> bool {
    let _hidden = status_line::hide();
    write(rustix::stdio::stdout(), text.as_bytes(), timeout).unwrap_or_else(|error| {
        let first = error.raw_os_error();
        // Only the first one says what is wrong.
        let _ = STDOUT_ERROR.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        false
    })
}

/// Why something of what was printed to stdout could not be written, a full disk for one; in words for the user.
pub fn stdout_error() -> Option<String> {
    match STDOUT_ERROR.load(Ordering::Relaxed) {
        0 => None,
        error => Some(unwritable(Errno::from_raw_os_error(error))),
    }
}

/// That stdout cannot be written, in words for the user.
pub fn unwritable(error: Errno) -> String {
    format!("cannot write to stdout ({error})")
}

/// Prints to stderr.
pub fn to_stderr(text: &str) {
    let _hidden = status_line::hide();
    draw(text);
}

/// A line of the log on stderr: at once, or not at all.
pub fn log_line(line: &str) {
    let _ = write(rustix::stdio::stderr(), line.as_bytes(), Duration::ZERO);
}

/// One line on stderr that begins with the program's name.
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
