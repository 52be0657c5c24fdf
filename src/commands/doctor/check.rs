//! The result of a step, and what the user can do about it.

use serde::Serialize;

use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;

/// How wide the names are, with a space.
const NAME_WIDTH: usize = 13;

/// Whether a step went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckOutcome {
    /// It did, and nothing has to be done.
    #[serde(rename = "ok")]
    Fine,
    /// Something is not as it should be but does not prevent sessions, or it could not be found out.
    Warning,
    /// It prevents sessions.
    Problem,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// `credentials` and the like.
    pub(super) name: &'static str,
    #[serde(rename = "result")]
    pub(super) outcome: CheckOutcome,
    /// What was found.
    pub(super) detail: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_step: Option<String>,
}

impl Check {
    pub(super) fn fine(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            outcome: CheckOutcome::Fine,
            detail: detail.into(),
            next_step: None,
        }
    }

    pub(super) fn warning(
        name: &'static str,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            outcome: CheckOutcome::Warning,
            next_step: Some(next_step.into()),
            ..Self::fine(name, detail)
        }
    }

    pub(super) fn problem(
        name: &'static str,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            outcome: CheckOutcome::Problem,
            ..Self::warning(name, detail, next_step)
        }
    }

    fn text(&self) -> String {
        let outcome = match self.outcome {
            CheckOutcome::Fine => "ok",
            CheckOutcome::Warning => "warning",
            CheckOutcome::Problem => "PROBLEM",
        };
        let indent = " ".repeat(9);
        let mut text = format!("{outcome:8} {:NAME_WIDTH$}{}\n", self.name, self.detail);
        if let Some(next_step) = &self.next_step {
            text.push_str(&format!("{indent}{:NAME_WIDTH$}-> {next_step}\n", ""));
        }
        text
    }
}

/// Shows the steps, and remembers whether one of them prevents sessions.
#[derive(Debug)]
pub(super) struct DoctorReport {
    json: bool,
    redactor: Redactor,
    worst: CheckOutcome,
}

impl DoctorReport {
    pub(super) fn new(json: bool, redactor: Redactor) -> Self {
        Self {
            json,
            redactor,
            worst: CheckOutcome::Fine,
        }
    }

    /// Shows a finished step, without secrets and without control characters.
    pub(super) fn add(&mut self, check: &Check) {
        self.worst = self.worst.max(check.outcome);
        let clean = |text: &str| sanitise::line(&self.redactor.clean(text));
        let check = Check {
            name: check.name,
            outcome: check.outcome,
            detail: clean(&check.detail),
            next_step: check.next_step.as_deref().map(clean),
        };
        if self.json {
            event(&CheckEvent::Check(&check));
        } else {
            print::to_stdout(&check.text());
        }
    }

    /// Shows the end and returns the exit code.
    pub(super) fn end(self) -> u8 {
        let code = u8::from(self.worst == CheckOutcome::Problem);
        if self.json {
            event(&CheckEvent::End { code });
        } else {
            print::to_stdout(match self.worst {
                CheckOutcome::Fine => "\nNothing stands in the way.\n",
                CheckOutcome::Warning => "\nNothing stands in the way; see the warnings.\n",
                CheckOutcome::Problem => {
                    "\nSomething stands in the way: begin with the first PROBLEM.\n"
                }
            });
        }
        code
    }
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum CheckEvent<'a> {
    Check(&'a Check),
    End { code: u8 },
}

fn event(event: &CheckEvent<'_>) {
    // Serialising texts and numbers does not fail.
    if let Ok(line) = serde_json::to_string(event) {
        print::to_stdout(&format!("{line}\n"));
    }
}
