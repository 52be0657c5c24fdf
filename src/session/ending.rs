//! How the program ends: the one place that looks at all that has happened, and decides what is said, where, and with which exit code
//! (sections 2 and 3 of the contract). No I/O, no clock; `conclude.rs` does what is decided here.

use rustix::io::Errno;

use crate::datachannel::End;
use crate::error::Error;
use crate::sanitise;
use crate::terminal::signals::Signal;

/// What our own `exec` ends with when the command's exit code never came: as ssh does.
const UNKNOWN_EXIT_CODE: u8 = 255;

/// Where our own lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum OutputTarget {
    /// As callers expect.
    Stdout,
    /// `SSM_PLUGIN_QUIET`, and whatever follows the first banner where stdout carries SSH's bytes.
    Stderr,
    /// Our own subcommands that do without: stdout is the remote command's, and stderr as well.
    Nowhere,
}

/// Who called us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Command {
    /// The AWS CLI or one of its like.
    #[default]
    Contract,
    /// Our own `start-session`.
    StartSession,
    /// Our own `port-forward`.
    PortForward,
    /// Our own `exec`: stdout is the command's alone, and its exit code is ours.
    Exec,
    /// Our own `ssh-proxy`.
    SshProxy,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// At the far end, or on the way there.
    Over(End),
    /// On our side: the remote session is still to be ended.
    Left(Leaving, RemoteEnd),
}

/// Why it ended on our side.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// The user wanted so, by an escape, by INT and the like.
    User,
    /// Nobody reads what comes.
    ReaderGone,
    /// TERM or HUP.
    Signal(Signal),
    /// Something cannot be done here; a local port is taken, for one.
    Failed(Error),
}

/// What ends the remote session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemoteEnd {
    /// The TerminateSession flag; the API if it is not acknowledged. For ports.
    Flag,
    /// The API: for shells, whose agents take no notice of flags, and ports with old agents.
    Api,
}

/// How far the session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The agent has not said what kind of session this is.
    Opening,
    /// It has, and then nothing: a reason that comes now is why it could not start.
    Silent,
    /// Something of the far end's has come, or it had its time to say that it could not start.
    Begun,
}

/// What became of the session's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// All that came is written; or it was left unwritten by somebody who left.
    All,
    /// Nobody wants it any more.
    ReaderGone,
    /// It could not be written, though somebody wants it: the disk is full, for one.
    Failed(Errno),
    /// Somebody asked not to wait for the rest of it.
    Cut(Signal),
}

/// All that has happened.
#[derive(Debug)]
pub(super) struct EndingFacts<'a> {
    /// Who called us.
    pub command: Command,
    /// Where our own lines go by now.
    pub place: OutputTarget,
    /// Whether stdin and stdout carry the session's bytes, as for ssh.
    pub is_stdio: bool,
    /// Whether the remote exit code is to be ours (`SSM_PLUGIN_PROPAGATE_EXIT_CODE`).
    pub propagates: bool,
    /// How far the session came.
    pub stage: Stage,
    /// How it ended.
    pub ending: &'a Ending,
    /// What became of its output.
    pub written: Written,
    /// What the agent told of the remote command, if it did.
    pub exit_code: Option<i64>,
    /// A signal that came while output was written or the remote session ended.
    pub late_signal: Option<Signal>,
}

/// Where one of the contract's texts goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextStream {
    /// To stdout.
    Stdout,
    /// To stderr.
    Stderr,
}

/// One of the contract's texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// `Exiting session with …`.
    Exiting,
    /// `SessionId: … : …`.
    Closed(String),
    /// `… timed out.`
    TimedOut,
    /// `Cannot perform start session: …`.
    CannotStart(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The last words.
    pub text: Option<(TextStream, Text)>,
    /// Lines on stderr that say what went wrong.
    pub errors: Vec<String>,
    /// The exit code.
    pub code: u8,
}

/// Decides.
pub(super) fn decide(facts: &EndingFacts<'_>) -> Verdict {
    let mut verdict = match facts.ending {
        Ending::Over(End::Closed { output }) => closed(facts, &sanitise::text(output)),
        Ending::Over(End::TimedOut) => timed_out(facts),
        Ending::Over(End::Failed(error)) | Ending::Left(Leaving::Failed(error), _) => {
            failed(facts, error)
        }
        Ending::Left(Leaving::User, _) => left(facts, Some(user_left(facts.command))),
        Ending::Left(Leaving::Signal(signal), _) => left(facts, Some(code_of(*signal))),
        Ending::Left(Leaving::ReaderGone, _) => left(facts, None),
    };
    match facts.written {
        Written::All | Written::ReaderGone => {}
        Written::Failed(errno) => {
            verdict.errors.push(unwritable(errno));
            // What was not written is never a success.
            verdict.code = verdict.code.max(1);
        }
        Written::Cut(signal) => verdict.code = code_of(signal),
    }
    let is_failure = matches!(
        facts.ending,
        Ending::Over(End::Failed(_)) | Ending::Left(Leaving::Failed(_), _)
    );
    if let Some(signal) = facts.late_signal
        && is_deadly(signal)
        && !is_failure
    {
        verdict.code = code_of(signal);
    }
    verdict
}

/// The service closed the channel, and says why, or nothing.
fn closed(facts: &EndingFacts<'_>, reason: &str) -> Verdict {
    let has_reason = !reason.trim().is_empty();
    if !has_reason {
        return match facts.stage {
            Stage::Opening if facts.place == OutputTarget::Nowhere => Verdict {
                text: None,
                errors: vec!["the session ended before it began".to_owned()],
                code: 1,
            },
            // A normal end: whoever has SSH's bytes on stdout wants to see nothing else, on stderr neither.
            _ if facts.is_stdio => over(facts, None, None),
            _ => over(facts, Some(Text::Exiting), None),
        };
    }
    let text = Text::Closed(reason.to_owned());
    if facts.stage == Stage::Begun {
        return over(facts, Some(text), Some(reason));
    }
    // It could not be started.
    let errors = match facts.place {
        // There the text is on stderr already.
        OutputTarget::Stderr => Vec::new(),
        OutputTarget::Stdout | OutputTarget::Nowhere => vec![reason.trim().to_owned()],
    };
    Verdict {
        text: facts.place_of(text),
        errors,
        code: 1,
    }
}

/// The service does not know the session any more.
fn timed_out(facts: &EndingFacts<'_>) -> Verdict {
    over(facts, Some(Text::TimedOut), Some("the session timed out"))
}

/// A session that ran to its end. `reason` is for those who do not get the contract's texts.
fn over(facts: &EndingFacts<'_>, text: Option<Text>, reason: Option<&str>) -> Verdict {
    let reason = reason.filter(|_| facts.place == OutputTarget::Nowhere);
    let mut errors: Vec<_> = reason.into_iter().map(|text| text.trim().into()).collect();
    let code = match (facts.remote_code(), facts.command) {
        (Some(code), _) => code,
        (None, Command::Exec) => {
            errors.push("the session ended without the command's exit code".to_owned());
            UNKNOWN_EXIT_CODE
        }
        (None, _) => 0,
    };
    Verdict {
        text: text.and_then(|text| facts.place_of(text)),
        errors,
        code,
    }
}

/// It could not start, or is lost for good.
fn failed(facts: &EndingFacts<'_>, error: &Error) -> Verdict {
    let text = match error {
        Error::Start(_)
        | Error::NoTarget(_)
        | Error::Credentials(_)
        | Error::Refused { .. }
        | Error::Unreachable(_)
        | Error::OldAgent(_)
        | Error::Taken(_)
        | Error::NoRegion => facts.place_of(Text::CannotStart(error.to_string())),
        Error::Lost(reason) if facts.place == OutputTarget::Stdout => {
            facts.place_of(Text::Closed(reason.clone()))
        }
        Error::Lost(_) | Error::Usage(_) | Error::Signal(_) => None,
    };
    let errors = match error {
        // Who sent it knows.
        Error::Signal(_) => Vec::new(),
        error => vec![error.to_string()],
    };
    let remote = facts.remote_code().filter(|code| *code != 0);
    let code = match error {
        Error::Lost(_) => remote.unwrap_or(error.exit_code()),
        error => error.exit_code(),
    };
    Verdict { text, errors, code }
}

/// It was left. `code`: nothing where it just ends with its reader.
fn left(facts: &EndingFacts<'_>, code: Option<u8>) -> Verdict {
    let is_silent = code.is_none() || facts.is_stdio;
    Verdict {
        text: (!is_silent)
            .then(|| facts.place_of(Text::Exiting))
            .flatten(),
        errors: Vec::new(),
        code: code.or(facts.remote_code()).unwrap_or(0),
    }
}

/// The user's own way out is no failure, but an `exec` ends as a command of this machine would have.
fn user_left(command: Command) -> u8 {
    match command {
        Command::Exec => code_of(Signal::Interrupt),
        _ => 0,
    }
}

impl EndingFacts<'_> {
    /// Where a text of the contract goes, if anywhere.
    fn place_of(&self, text: Text) -> Option<(TextStream, Text)> {
        match self.place {
            OutputTarget::Stdout => Some((TextStream::Stdout, text)),
            OutputTarget::Stderr => Some((TextStream::Stderr, text)),
            OutputTarget::Nowhere => None,
        }
    }

    /// The remote exit code, where it is ours as well.
    fn remote_code(&self) -> Option<u8> {
        let is_ours = self.propagates || self.command == Command::Exec;
        self.exit_code.filter(|_| is_ours).map(to_exit_code)
    }
}

/// The lowest byte, as the system cuts it; but what is not 0 does not become 0.
pub(crate) fn to_exit_code(code: i64) -> u8 {
    match code.to_le_bytes()[0] {
        0 if code != 0 => 1,
        byte => byte,
    }
}

/// Of a program that a signal ended.
fn code_of(signal: Signal) -> u8 {
    Error::Signal(signal.number()).exit_code()
}

/// Whether a signal asks the program to end.
pub(super) fn is_deadly(signal: Signal) -> bool {
    matches!(
        signal,
        Signal::Terminate | Signal::HangUp | Signal::ParentGone
    )
}

/// That output cannot be written, though somebody wants it.
pub(super) fn unwritable(errno: Errno) -> String {
    format!("cannot write the session's output ({errno})")
}

#[cfg(test)]
#[path = "ending_tests.rs"]
mod tests;
