//! The texts of the contract (section 2), byte for byte, and where they go.

use std::sync::atomic::{AtomicU8, Ordering};

use super::ending::{OutputTarget, Text};
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;

/// Says what the contract wants said.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// As it may be shown.
    session_id: String,
    place: AtomicU8,
    /// Texts of the service may repeat what it was told.
    redactor: Redactor,
}

impl Announcer {
    /// For this session.
    pub(crate) fn new(session_id: &str, place: OutputTarget) -> Self {
        Self {
            session_id: sanitise::line(session_id),
            place: AtomicU8::new(place as u8),
            redactor: Redactor::default(),
        }
    }

    /// The same, with what must not be shown.
    #[must_use]
    pub(crate) fn hiding(self, redactor: &Redactor) -> Self {
        Self {
            redactor: redactor.clone(),
            ..self
        }
    }

    /// What must not be shown.
    pub(crate) const fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The session's name as it may be shown.
    pub(crate) fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Where the lines go now.
    pub(crate) fn place(&self) -> OutputTarget {
        match self.place.load(Ordering::SeqCst) {
            0 => OutputTarget::Stdout,
            1 => OutputTarget::Stderr,
            _ => OutputTarget::Nowhere,
        }
    }

    /// From now on nothing of ours goes to stdout, which is for the session's bytes alone.
    pub(crate) fn leave_stdout(&self) {
        if self.place() == OutputTarget::Stdout {
            self.place
                .store(OutputTarget::Stderr as u8, Ordering::SeqCst);
        }
    }

    /// Says a text of the contract.
    pub(crate) fn say(&self, text: &str) {
        let text = sanitise::text(&self.redactor.clean(text));
        match self.place() {
            OutputTarget::Stdout => print::to_stdout(&text),
            OutputTarget::Stderr => print::to_stderr(&text),
            OutputTarget::Nowhere => {}
        }
    }

    /// The first banner; callers wait for it.
    pub(crate) fn starting(&self) {
        self.say(&format!(
            "\nStarting session with SessionId: {}\n",
            self.session_id
        ));
    }

    /// One line on stderr that may hold words of others.
    pub(crate) fn complain(&self, what: impl std::fmt::Display) {
        print::complaint(self.redactor.clean(&what.to_string()));
    }

    /// What the agent wants the user to read, if anything.
    pub(crate) fn customer_message(&self, message: &str) {
        if !message.is_empty() {
            self.say(&format!("{}\n", sanitise::text(message)));
        }
    }

    /// The last words, as they are spelled.
    pub(crate) fn text(&self, text: &Text) -> String {
        let id = &self.session_id;
        match text {
            Text::Exiting => format!("\n\nExiting session with sessionId: {id}.\n\n"),
            Text::Closed(reason) => {
                let reason = sanitise::text(&self.redactor.clean(reason));
                format!("\n\nSessionId: {id} : {reason}\n\n")
            }
            Text::TimedOut => format!("Session: {id} timed out.\n"),
            Text::CannotStart(reason) => {
                let reason = sanitise::text(&self.redactor.clean(reason));
                format!("Cannot perform start session: {reason}\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p56_control_characters_of_the_service_are_removed() {
        let announcer = Announcer::new("s\u{1b}[2J\n-1", OutputTarget::Stdout);
        assert_eq!(announcer.session_id(), "s[2J -1");
        let announcer = Announcer::new("s-1", OutputTarget::Stdout);
        assert_eq!(
            announcer.text(&Text::Closed("\u{1b}[2J".to_owned())),
            "\n\nSessionId: s-1 : [2J\n\n"
        );
    }

    #[test]
    fn the_last_words_are_those_of_the_contract() {
        let announcer = Announcer::new("s-1", OutputTarget::Stdout);
        for (text, spelled) in [
            (
                Text::Exiting,
                "\n\nExiting session with sessionId: s-1.\n\n",
            ),
            (
                Text::Closed("Session terminated".to_owned()),
                "\n\nSessionId: s-1 : Session terminated\n\n",
            ),
            (Text::TimedOut, "Session: s-1 timed out.\n"),
            (
                Text::CannotStart("why".to_owned()),
                "Cannot perform start session: why\n",
            ),
        ] {
            assert_eq!(announcer.text(&text), spelled);
        }
    }

    #[test]
    fn only_lines_on_stdout_leave_it() {
        for (place, after) in [
            (OutputTarget::Stdout, OutputTarget::Stderr),
            (OutputTarget::Stderr, OutputTarget::Stderr),
            (OutputTarget::Nowhere, OutputTarget::Nowhere),
        ] {
            let announcer = Announcer::new("s-1", place);
            announcer.leave_stdout();
            assert_eq!(announcer.place(), after);
        }
    }
}
