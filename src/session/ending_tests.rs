//! The table of endings (sections 2 and 3 of the contract), and what holds for every combination of all that can happen.

use super::*;

const TEXT: &str = "Unable to start";

/// As a row of the table names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Closed,
    ClosedWith(&'static str),
    TimedOut,
    CannotStart,
    Lost,
    User,
    ReaderGone,
    Signal(Signal),
    Failed,
}

const ALL: [How; 9] = [
    How::Closed,
    How::ClosedWith(TEXT),
    How::TimedOut,
    How::CannotStart,
    How::Lost,
    How::User,
    How::ReaderGone,
    How::Signal(Signal::Terminate),
    How::Failed,
];

impl How {
    fn ending(self) -> Ending {
        let closed = |output: &str| {
            Ending::Over(End::Closed {
                output: output.to_owned(),
            })
        };
        let left = |leaving| Ending::Left(leaving, RemoteEnd::Api);
        match self {
            Self::Closed => closed(""),
            Self::ClosedWith(text) => closed(text),
            Self::TimedOut => Ending::Over(End::TimedOut),
            Self::CannotStart => Ending::Over(End::Failed(Error::Start("start".into()))),
            Self::Lost => Ending::Over(End::Failed(Error::Lost("lost".into()))),
            Self::User => left(Leaving::User),
            Self::ReaderGone => left(Leaving::ReaderGone),
            Self::Signal(signal) => left(Leaving::Signal(signal)),
            Self::Failed => left(Leaving::Failed(Error::Start("taken".into()))),
        }
    }
}

/// Who called, and what stdin and stdout are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// The AWS CLI: a shell, a command, a listening port.
    Contract,
    /// The same with `SSM_PLUGIN_QUIET`.
    Quiet,
    /// The AWS CLI as ssh's ProxyCommand.
    ContractSsh,
    StartSession,
    PortForward,
    Exec,
    SshProxy,
}

const CALLERS: [Caller; 7] = [
    Caller::Contract,
    Caller::Quiet,
    Caller::ContractSsh,
    Caller::StartSession,
    Caller::PortForward,
    Caller::Exec,
    Caller::SshProxy,
];

impl Caller {
    fn command(self) -> Command {
        match self {
            Self::Contract | Self::Quiet | Self::ContractSsh => Command::Contract,
            Self::StartSession => Command::StartSession,
            Self::PortForward => Command::PortForward,
            Self::Exec => Command::Exec,
            Self::SshProxy => Command::SshProxy,
        }
    }

    /// Ssh's mode is known as soon as the agent has said what kind of session it is.
    fn is_stdio(self, stage: Stage) -> bool {
        matches!(self, Self::ContractSsh | Self::SshProxy) && stage != Stage::Opening
    }

    fn place(self, stage: Stage) -> OutputTarget {
        match self {
            Self::Exec | Self::SshProxy => OutputTarget::Nowhere,
            Self::Quiet => OutputTarget::Stderr,
            Self::ContractSsh if stage != Stage::Opening => OutputTarget::Stderr,
            _ => OutputTarget::Stdout,
        }
    }
}

/// What can vary besides caller, stage and ending.
#[derive(Debug, Clone, Copy)]
struct More {
    written: Written,
    exit_code: Option<i64>,
    propagates: bool,
    late_signal: Option<Signal>,
}

const NO_MORE: More = More {
    written: Written::All,
    exit_code: None,
    propagates: false,
    late_signal: None,
};

fn of(caller: Caller, stage: Stage, how: How, more: More) -> Verdict {
    decide(&EndingFacts {
        command: caller.command(),
        place: caller.place(stage),
        is_stdio: caller.is_stdio(stage),
        propagates: more.propagates,
        stage,
        ending: &how.ending(),
        written: more.written,
        exit_code: more.exit_code,
        late_signal: more.late_signal,
    })
}

/// Every combination.
fn combinations() -> impl Iterator<Item = (Caller, Stage, How, More)> {
    let written = [
        Written::All,
        Written::ReaderGone,
        Written::Failed(Errno::NOSPC),
        Written::Cut(Signal::Interrupt),
    ];
    let more = written.into_iter().flat_map(|written| {
        [None, Some(0), Some(3)]
            .into_iter()
            .flat_map(move |exit_code| {
                [false, true].into_iter().flat_map(move |propagates| {
                    [None, Some(Signal::Interrupt), Some(Signal::HangUp)].map(move |late_signal| {
                        More {
                            written,
                            exit_code,
                            propagates,
                            late_signal,
                        }
                    })
                })
            })
    });
    more.flat_map(|more| {
        CALLERS.into_iter().flat_map(move |caller| {
            [Stage::Opening, Stage::Silent, Stage::Begun]
                .into_iter()
                .flat_map(move |stage| ALL.map(move |how| (caller, stage, how, more)))
        })
    })
}

/// A row: what goes to stdout, what to stderr as a text of the contract, how many lines of ours on stderr, and the exit code.
fn row(verdict: &Verdict) -> (Option<Text>, Option<Text>, Vec<&str>, u8) {
    let (stdout, stderr) = match verdict.text.clone() {
        Some((TextStream::Stdout, text)) => (Some(text), None),
        Some((TextStream::Stderr, text)) => (None, Some(text)),
        None => (None, None),
    };
    let errors = verdict.errors.iter().map(String::as_str).collect();
    (stdout, stderr, errors, verdict.code)
}

#[test]
fn the_table_of_endings() {
    use Caller::{Contract, ContractSsh, Exec, PortForward, Quiet, SshProxy, StartSession};
    use How::{CannotStart, Closed, ClosedWith, Failed, Lost, ReaderGone, TimedOut, User};
    use Stage::{Begun, Opening, Silent};
    const NO_CODE: &str = "the session ended without the command's exit code";
    let exiting = || Some(Text::Exiting);
    let text = || Some(Text::Closed(TEXT.to_owned()));
    let timed_out = || Some(Text::TimedOut);
    let start = || Some(Text::CannotStart("start".to_owned()));
    let lost = || Some(Text::Closed("lost".to_owned()));
    let term = How::Signal(Signal::Terminate);
    for (caller, stage, how, expected) in [
        // The far end's end.
        (Contract, Begun, Closed, (exiting(), None, vec![], 0)),
        (StartSession, Begun, Closed, (exiting(), None, vec![], 0)),
        (PortForward, Silent, Closed, (exiting(), None, vec![], 0)),
        (Quiet, Begun, Closed, (None, exiting(), vec![], 0)),
        (ContractSsh, Begun, Closed, (None, None, vec![], 0)),
        (SshProxy, Begun, Closed, (None, None, vec![], 0)),
        (SshProxy, Silent, Closed, (None, None, vec![], 0)),
        (Exec, Begun, Closed, (None, None, vec![NO_CODE], 255)),
        // With a text.
        (Contract, Begun, ClosedWith(TEXT), (text(), None, vec![], 0)),
        (
            ContractSsh,
            Begun,
            ClosedWith(TEXT),
            (None, text(), vec![], 0),
        ),
        (
            PortForward,
            Begun,
            ClosedWith(TEXT),
            (text(), None, vec![], 0),
        ),
        (
            SshProxy,
            Begun,
            ClosedWith(TEXT),
            (None, None, vec![TEXT], 0),
        ),
        (
            Exec,
            Begun,
            ClosedWith(TEXT),
            (None, None, vec![TEXT, NO_CODE], 255),
        ),
        // Before the session began: why it could not.
        (
            Contract,
            Opening,
            ClosedWith(TEXT),
            (text(), None, vec![TEXT], 1),
        ),
        (
            Contract,
            Silent,
            ClosedWith(TEXT),
            (text(), None, vec![TEXT], 1),
        ),
        (Quiet, Silent, ClosedWith(TEXT), (None, text(), vec![], 1)),
        (
            ContractSsh,
            Silent,
            ClosedWith(TEXT),
            (None, text(), vec![], 1),
        ),
        (
            StartSession,
            Opening,
            ClosedWith(TEXT),
            (text(), None, vec![TEXT], 1),
        ),
        (
            PortForward,
            Silent,
            ClosedWith(TEXT),
            (text(), None, vec![TEXT], 1),
        ),
        (Exec, Opening, ClosedWith(TEXT), (None, None, vec![TEXT], 1)),
        (Exec, Silent, ClosedWith(TEXT), (None, None, vec![TEXT], 1)),
        (
            SshProxy,
            Opening,
            ClosedWith(TEXT),
            (None, None, vec![TEXT], 1),
        ),
        (
            SshProxy,
            Silent,
            ClosedWith(TEXT),
            (None, None, vec![TEXT], 1),
        ),
        // What would be nothing on a screen is no text.
        (
            Contract,
            Silent,
            ClosedWith("\u{1b}\u{7}\n"),
            (exiting(), None, vec![], 0),
        ),
        (SshProxy, Begun, ClosedWith("\r\n"), (None, None, vec![], 0)),
        // Before it began, without a reason.
        (Contract, Opening, Closed, (exiting(), None, vec![], 0)),
        (
            SshProxy,
            Opening,
            Closed,
            (None, None, vec!["the session ended before it began"], 1),
        ),
        // Timed out.
        (Contract, Begun, TimedOut, (timed_out(), None, vec![], 0)),
        (ContractSsh, Begun, TimedOut, (None, timed_out(), vec![], 0)),
        (
            SshProxy,
            Begun,
            TimedOut,
            (None, None, vec!["the session timed out"], 0),
        ),
        (
            Exec,
            Begun,
            TimedOut,
            (None, None, vec!["the session timed out", NO_CODE], 255),
        ),
        // Failures.
        (
            Contract,
            Opening,
            CannotStart,
            (start(), None, vec!["start"], 1),
        ),
        (Exec, Opening, CannotStart, (None, None, vec!["start"], 1)),
        (Contract, Begun, Lost, (lost(), None, vec!["lost"], 1)),
        (ContractSsh, Begun, Lost, (None, None, vec!["lost"], 1)),
        (SshProxy, Begun, Lost, (None, None, vec!["lost"], 1)),
        (
            PortForward,
            Silent,
            Failed,
            (
                Some(Text::CannotStart("taken".to_owned())),
                None,
                vec!["taken"],
                1,
            ),
        ),
        // Left from here.
        (Contract, Begun, User, (exiting(), None, vec![], 0)),
        (PortForward, Silent, User, (exiting(), None, vec![], 0)),
        (Exec, Begun, User, (None, None, vec![], 130)),
        (Contract, Begun, ReaderGone, (None, None, vec![], 0)),
        (ContractSsh, Begun, ReaderGone, (None, None, vec![], 0)),
        (Exec, Begun, ReaderGone, (None, None, vec![], 0)),
        (Contract, Begun, term, (exiting(), None, vec![], 143)),
        (ContractSsh, Begun, term, (None, None, vec![], 143)),
        (
            SshProxy,
            Begun,
            How::Signal(Signal::HangUp),
            (None, None, vec![], 129),
        ),
    ] {
        let verdict = of(caller, stage, how, NO_MORE);
        assert_eq!(row(&verdict), expected, "{caller:?} {stage:?} {how:?}");
    }
}

#[test]
fn the_remote_exit_code_is_ours_where_it_is_wanted() {
    let end = |caller, how, exit_code, propagates, written| {
        let more = More {
            written,
            exit_code: Some(exit_code),
            propagates,
            late_signal: None,
        };
        of(caller, Stage::Begun, how, more).code
    };
    let all = Written::All;
    assert_eq!(end(Caller::Exec, How::Closed, 3, false, all), 3);
    assert_eq!(end(Caller::Exec, How::Closed, 0, false, all), 0);
    assert_eq!(end(Caller::Contract, How::Closed, 3, false, all), 0);
    assert_eq!(end(Caller::Contract, How::Closed, 3, true, all), 3);
    assert_eq!(end(Caller::Exec, How::ClosedWith(TEXT), 4, false, all), 4);
    assert_eq!(end(Caller::Exec, How::ReaderGone, 4, false, all), 4);
    // It is known, and yet something went wrong afterwards.
    assert_eq!(end(Caller::Exec, How::Lost, 4, false, all), 4);
    assert_eq!(end(Caller::Exec, How::Lost, 0, false, all), 1);
    let full = Written::Failed(Errno::NOSPC);
    assert_eq!(end(Caller::Exec, How::Closed, 0, false, full), 1);
    assert_eq!(end(Caller::Exec, How::Closed, 4, false, full), 4);
    // What the system cuts does not become a success.
    for (remote, ours) in [(255, 255), (256, 1), (-1, 255), (1 << 40, 1)] {
        assert_eq!(end(Caller::Exec, How::Closed, remote, false, all), ours);
    }
}

#[test]
fn p115_what_was_not_written_is_never_a_success_whatever_else_happened() {
    for (caller, stage, how, more) in combinations() {
        let verdict = of(caller, stage, how, more);
        let what = format!("{caller:?} {stage:?} {how:?} {more:?}: {verdict:?}");
        match more.written {
            Written::Failed(_) => {
                assert_ne!(verdict.code, 0, "{what}");
                let is_told = |line: &String| line.contains("cannot write");
                assert!(verdict.errors.iter().any(is_told), "{what}");
            }
            Written::Cut(_) => assert_ne!(verdict.code, 0, "{what}"),
            Written::All | Written::ReaderGone => {}
        }
    }
}

#[test]
fn p112_a_normal_end_of_the_stdin_stdout_mode_is_silent() {
    let mut count = 0;
    for (caller, stage, how, more) in combinations() {
        let is_normal = matches!(
            how,
            How::Closed | How::User | How::ReaderGone | How::Signal(_)
        );
        let is_written = !matches!(more.written, Written::Failed(_));
        if !caller.is_stdio(stage) || !is_normal || !is_written {
            continue;
        }
        let verdict = of(caller, stage, how, more);
        assert_eq!(verdict.text, None, "{caller:?} {stage:?} {how:?} {more:?}");
        assert_eq!(verdict.errors, [""; 0], "{caller:?} {stage:?} {how:?}");
        count += 1;
    }
    assert!(count > 500, "{count}");
}

#[test]
fn p110_a_reason_is_always_told_and_never_a_success_before_the_beginning() {
    for (caller, stage, how, more) in combinations() {
        let reason = match how {
            How::ClosedWith(text) => text,
            How::CannotStart => "start",
            How::Lost => "lost",
            How::Failed => "taken",
            _ => continue,
        };
        let verdict = of(caller, stage, how, more);
        let what = format!("{caller:?} {stage:?} {how:?} {more:?}: {verdict:?}");
        let is_text = match &verdict.text {
            Some((TextStream::Stderr, Text::Closed(text) | Text::CannotStart(text))) => {
                text == reason
            }
            _ => false,
        };
        let is_on_stderr = is_text || verdict.errors.iter().any(|line| line == reason);
        let has_begun = matches!(how, How::ClosedWith(_)) && stage == Stage::Begun;
        if has_begun && caller.place(stage) == OutputTarget::Stdout {
            let text = Text::Closed(reason.to_owned());
            assert_eq!(verdict.text, Some((TextStream::Stdout, text)), "{what}");
        } else {
            assert!(is_on_stderr, "{what}");
        }
        if !has_begun {
            assert_ne!(verdict.code, 0, "{what}");
        }
    }
}

#[test]
fn nothing_of_ours_is_on_a_stdout_that_is_not_ours() {
    for (caller, stage, how, more) in combinations() {
        let verdict = of(caller, stage, how, more);
        let is_ours = caller.place(stage) == OutputTarget::Stdout;
        let is_there = matches!(verdict.text, Some((TextStream::Stdout, _)));
        assert!(is_ours || !is_there, "{caller:?} {stage:?} {how:?}");
    }
}

#[test]
fn a_signal_that_asks_for_the_end_is_the_exit_code() {
    for (caller, stage, how, more) in combinations() {
        let verdict = of(caller, stage, how, more);
        let what = format!("{caller:?} {stage:?} {how:?} {more:?}");
        if how == How::Signal(Signal::Terminate)
            && more.late_signal.is_none()
            && !matches!(more.written, Written::Cut(_))
        {
            assert_eq!(verdict.code, 143, "{what}");
        }
        let is_failure = matches!(how, How::CannotStart | How::Lost | How::Failed);
        if more.late_signal == Some(Signal::HangUp) && !is_failure {
            assert_eq!(verdict.code, 129, "{what}");
        }
    }
}
