//! What follows when stdin, no terminal, is at its end and a pty is at the other end. No I/O, no clock.
//!
//! A pty knows no end of file but the byte 0x04 at the start of a line. After an unfinished line the first one only ends the line. A
//! program that edits lines itself takes neither; it gets a carriage return once it is quiet.

use std::time::{Duration, Instant};

/// The end of file for a pty.
const END_OF_FILE: u8 = 0x04;
/// How long the remote must be quiet before the carriage return.
const QUIET: Duration = Duration::from_secs(2);
/// How long it must be quiet before we say what we wait for.
const SILENCE: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndOfInputStep {
    /// Send these bytes.
    Send(&'static [u8]),
    /// Tell the user what we wait for.
    Tell,
}

/// Counts from the end of stdin on.
#[derive(Debug)]
pub(super) struct EndOfInput {
    at: Instant,
    wants_return: bool,
    wants_line: bool,
}

impl EndOfInput {
    /// Stdin ended; and the bytes to be sent for it.
    pub(super) fn new(now: Instant, unfinished_line: bool) -> (Self, &'static [u8]) {
        let rules = Self {
            at: now,
            wants_return: unfinished_line,
            wants_line: true,
        };
        let bytes: &[u8] = if unfinished_line {
            &[END_OF_FILE, END_OF_FILE]
        } else {
            &[END_OF_FILE]
        };
        (rules, bytes)
    }

    /// When [`step`](Self::step) is to be called, given when output last came.
    pub(super) fn next_timeout(&self, last_output: Option<Instant>) -> Option<Instant> {
        let since = last_output.map_or(self.at, |output| output.max(self.at));
        let quiet = self.wants_return.then(|| since + QUIET);
        let silence = self.wants_line.then(|| since + SILENCE);
        quiet.into_iter().chain(silence).min()
    }

    /// What is due by now.
    pub(super) fn step(
        &mut self,
        now: Instant,
        last_output: Option<Instant>,
    ) -> Option<EndOfInputStep> {
        let since = last_output.map_or(self.at, |output| output.max(self.at));
        let quiet = now.saturating_duration_since(since);
        if self.wants_return && quiet >= QUIET {
            self.wants_return = false;
            Some(EndOfInputStep::Send(&[b'\r', END_OF_FILE]))
        } else if self.wants_line && quiet >= SILENCE {
            self.wants_line = false;
            Some(EndOfInputStep::Tell)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn p40_a_finished_line_takes_one_end_of_file() {
        let start = Instant::now();
        let (mut rules, bytes) = EndOfInput::new(start, false);
        assert_eq!(bytes, [4]);
        assert_eq!(rules.next_timeout(None), Some(start + seconds(10)));
        assert_eq!(rules.step(start + seconds(9), None), None);
        assert_eq!(
            rules.step(start + seconds(10), None),
            Some(EndOfInputStep::Tell)
        );
        assert_eq!(rules.step(start + seconds(60), None), None);
        assert_eq!(rules.next_timeout(None), None);
    }

    #[test]
    fn p40_an_unfinished_line_takes_more() {
        let start = Instant::now();
        let (mut rules, bytes) = EndOfInput::new(start, true);
        assert_eq!(bytes, [4, 4]);
        // Output, the echo for one, starts the two seconds anew.
        let echo = Some(start + seconds(1));
        assert_eq!(rules.next_timeout(echo), Some(start + seconds(3)));
        assert_eq!(rules.step(start + seconds(2), echo), None);
        assert_eq!(
            rules.step(start + seconds(3), echo),
            Some(EndOfInputStep::Send(b"\r\x04"))
        );
        assert_eq!(rules.next_timeout(echo), Some(start + seconds(11)));
        assert_eq!(
            rules.step(start + seconds(11), echo),
            Some(EndOfInputStep::Tell)
        );
    }

    #[test]
    fn output_from_before_the_end_does_not_count() {
        let start = Instant::now();
        let (rules, _) = EndOfInput::new(start + seconds(5), true);
        assert_eq!(rules.next_timeout(Some(start)), Some(start + seconds(7)));
    }
}
