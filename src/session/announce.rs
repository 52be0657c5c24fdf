//! The texts of the contract (section 2), byte for byte, and where they go.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::Error;
use crate::sanitise;
use crate::terminal::print;

/// Where our own lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// As callers expect.
    Stdout,
    /// `SSM_PLUGIN_QUIET`, and whatever follows the first banner where stdout carries SSH's bytes.
    Stderr,
    /// Our own subcommands that do without: stdout is the remote command's, and stderr as well.
    Nowhere,
}

/// Says what the contract wants said.
#[derive(Debug)]
pub struct Announcer {
    /// As it may be shown.
    session_id: String,
    place: AtomicU8,
}

impl Announcer {
    /// For this session.
    pub fn new(session_id: &str, place: Place) -> Self {
        Self {
            session_id: sanitise::line(session_id),
            place: AtomicU8::new(place as u8),
        }
    }

    /// The session's name as it may be shown.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Where the lines go now.
    pub fn place(&self) -> Place {
        match self.place.load(Ordering::SeqCst) {
            0 => Place::Stdout,
            1 => Place::Stderr,
            _ => Place::Nowhere,
        }
    }

    /// From now on nothing of ours goes to stdout: the session's bytes are to be alone there.
    pub fn leave_stdout(&self) {
        if self.place() == Place::Stdout {
            self.place.store(Place::Stderr as u8, Ordering::SeqCst);
        }
    }

    /// Says a text of the contract.
    pub fn say(&self, text: &str) {
        let text = sanitise::text(text);
        match self.place() {
            Place::Stdout => print::to_stdout(&text),
            Place::Stderr => print::to_stderr(&text),
            Place::Nowhere => {}
        }
    }

    /// The first banner; callers wait for it.
    pub fn starting(&self) {
        self.say(&format!(
            "\nStarting session with SessionId: {}\n",
            self.session_id
        ));
    }

    /// Why there is no session, or none any more: on stdout as callers expect, and on stderr.
    pub fn failed(&self, error: &Error) {
        match error {
            Error::Start(_) | Error::Taken(_) | Error::NoRegion => {
                self.say(&format!("Cannot perform start session: {error}\n"));
            }
            Error::Lost(reason) if self.place() == Place::Stdout => self.say(&self.exiting(reason)),
            Error::Lost(_) | Error::Usage(_) => {}
            // Who sent it knows.
            Error::Signal(_) => return,
        }
        print::complaint(error);
    }

    /// What the agent wants the user to read, if anything.
    pub fn customer_message(&self, message: &str) {
        if !message.is_empty() {
            self.say(&format!("{}\n", sanitise::text(message)));
        }
    }

    /// The last words of a session that was closed, or left.
    pub fn exiting(&self, output: &str) -> String {
        let id = &self.session_id;
        match sanitise::text(output).as_str() {
            "" => format!("\n\nExiting session with sessionId: {id}.\n\n"),
            output => format!("\n\nSessionId: {id} : {output}\n\n"),
        }
    }

    /// The last words of a session that the service does not know any more.
    pub fn timed_out(&self) -> String {
        format!("Session: {} timed out.\n", self.session_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p56_control_characters_of_the_service_are_removed() {
        let announcer = Announcer::new("s\u{1b}[2J\n-1", Place::Stdout);
        assert_eq!(announcer.session_id(), "s[2J -1");
        let announcer = Announcer::new("s-1", Place::Stdout);
        assert_eq!(
            announcer.exiting("\u{1b}[2J"),
            "\n\nSessionId: s-1 : [2J\n\n"
        );
    }

    #[test]
    fn the_last_words_are_those_of_the_contract() {
        let announcer = Announcer::new("s-1", Place::Stdout);
        assert_eq!(
            announcer.exiting(""),
            "\n\nExiting session with sessionId: s-1.\n\n"
        );
        assert_eq!(
            announcer.exiting("Session terminated"),
            "\n\nSessionId: s-1 : Session terminated\n\n"
        );
        assert_eq!(announcer.timed_out(), "Session: s-1 timed out.\n");
    }

    #[test]
    fn only_lines_on_stdout_leave_it() {
        for (place, after) in [
            (Place::Stdout, Place::Stderr),
            (Place::Stderr, Place::Stderr),
            (Place::Nowhere, Place::Nowhere),
        ] {
            let announcer = Announcer::new("s-1", place);
            announcer.leave_stdout();
            assert_eq!(announcer.place(), after);
        }
    }
}
