//! A node on which a command has ended, and what it wrote.

use crate::client::api::{CommandInvocation, CommandOutput};

/// Output in a list that may not be all: it is cut at 2,500 characters, in a way that agents differ in.
const WHOLE_OUTPUT: usize = 2_400;
/// What agents put between stdout and stderr in a list.
const ERROR_MARK: &str = "----------ERROR-------";
/// The most characters of stdout and stderr that the service keeps.
const MOST_STDOUT: usize = 24_000;
const MOST_STDERR: usize = 8_000;
/// What agents write where they cut output.
const CUT_MARK: &str = "--output truncated--";

/// A node on which the command has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndedInvocation {
    /// The node's id.
    pub(super) node: String,
    /// The computer's own name; may be empty.
    pub(super) name: String,
    /// `Success`, `Failed`, `DeliveryTimedOut`, …
    pub(super) how: String,
    /// The exit code, where there is one.
    pub(super) code: Option<i32>,
    /// As it came.
    pub(super) stdout: String,
    /// As it came.
    pub(super) stderr: String,
    /// Which of them are not all that was written.
    pub(super) is_cut: [bool; 2],
    /// Where all of it is.
    pub(super) places: Vec<String>,
    /// Why the output is not there.
    pub(super) unread: Option<String>,
}

impl EndedInvocation {
    /// Whether the command did what it should.
    pub(super) fn is_success(&self) -> bool {
        self.how == "Success"
    }

    /// What a list says of a node, and whether that is complete. It is not where output may be cut or contains stderr.
    pub(super) fn of(invocation: CommandInvocation) -> (Self, bool) {
        let is_short = invocation.output.chars().count() < WHOLE_OUTPUT;
        let is_whole = is_short && !invocation.output.contains(ERROR_MARK);
        let how = if invocation.details.is_empty() || invocation.status == "Success" {
            invocation.status
        } else {
            invocation.details
        };
        let ended = Self {
            node: invocation.node,
            name: invocation.name,
            how,
            code: invocation.code.filter(|code| *code >= 0),
            stdout: if is_whole {
                invocation.output
            } else {
                String::new()
            },
            stderr: String::new(),
            is_cut: [false; 2],
            places: Vec::new(),
            unread: None,
        };
        (ended, is_whole)
    }

    /// Takes its output.
    pub(super) fn read(&mut self, output: CommandOutput) {
        let is_cut =
            |text: &str, most| text.chars().count() >= most || text.trim_end().ends_with(CUT_MARK);
        self.is_cut = [
            is_cut(&output.stdout, MOST_STDOUT),
            is_cut(&output.stderr, MOST_STDERR),
        ];
        self.stdout = output.stdout;
        self.stderr = output.stderr;
        self.places = output.places;
    }
}

/// Whether this state is final. An unknown state counts as final.
pub(super) fn is_final(status: &str) -> bool {
    !matches!(
        status,
        "" | "Pending" | "InProgress" | "Delayed" | "Cancelling"
    )
}
