//! Our own lines on stdout and stderr. They never block for long: who does not read them loses them, and the session goes on.

use std::time::Duration;

use super::bounded_write::{WRITE_TIMEOUT, draw, write};
use super::{raw, status_line};
use crate::sanitise;

/// Prints to stdout.
pub fn to_stdout(text: &str) {
    let _hidden = status_line::hide();
    write(rustix::stdio::stdout(), text.as_bytes(), WRITE_TIMEOUT);
}

/// Prints to stderr.
pub fn to_stderr(text: &str) {
    let _hidden = status_line::hide();
    draw(text);
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
