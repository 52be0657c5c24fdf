//! `exec -i`: stdin goes to the command.

use std::io;
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{bounded, select, unbounded};

use super::super::Surroundings;
use super::super::interruption::Interruption;
use super::super::outages::Outages;
use super::super::write_all::write_all;
use super::TERMINATE_TIMEOUT;
use super::report::{ExecReport, TargetEvent};
use crate::cli::ExecOptions;
use crate::client::copy::OutputStream;
use crate::client::exec::OutputPiece;
use crate::client::target::TargetError;
use crate::client::{Cancel, ClientError, Stdin};
use crate::error::Error;
use crate::session::out_of_resources;
use crate::terminal::print;

/// The exit code when the command's own is not known, as in ssh.
const UNKNOWN_EXIT_CODE: u8 = 255;

/// Where its output goes.
enum FedOutput {
    /// To stdout and stderr, unchanged.
    Bytes,
    /// To stdout, as objects.
    Objects(Box<ExecReport>),
}

impl FedOutput {
    fn take(&mut self, stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
        match (self, stream) {
            (Self::Bytes, OutputStream::Stdout) => write_all(rustix::stdio::stdout(), bytes),
            (Self::Bytes, OutputStream::Stderr) => write_all(rustix::stdio::stderr(), bytes),
            (Self::Objects(report), stream) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let output = match stream {
                    OutputStream::Stdout => OutputPiece::Stdout(bytes),
                    OutputStream::Stderr => OutputPiece::Stderr(bytes),
                };
                report.take(0, TargetEvent::Output(output))
            }
        }
    }

    fn over(&mut self, code: Option<i32>) -> CommandOutcome {
        let result = code.map(i64::from).ok_or_else(|| {
            Error::Lost("the session ended without the command's exit code".to_owned())
        });
        match self {
            Self::Bytes => CommandOutcome::Over(code.and_then(|code| u8::try_from(code).ok())),
            Self::Objects(report) => tell(report, result),
        }
    }

    fn failed(&mut self, error: ClientError) -> CommandOutcome {
        match self {
            Self::Bytes => CommandOutcome::Failed(error),
            Self::Objects(report) => tell(report, Err(error.into_error())),
        }
    }
}

/// Writes the end as JSON objects. Errors are ignored: without a reader there is nothing to do.
fn tell(report: &mut ExecReport, result: Result<i64, Error>) -> CommandOutcome {
    match report.take(0, TargetEvent::Ended(result)) {
        Ok(()) => CommandOutcome::Told(report.finish()),
        Err(_) => CommandOutcome::ReaderGone,
    }
}

/// How the command ended.
enum CommandOutcome {
    Over(Option<u8>),
    /// The same, and it is written already.
    Told(u8),
    /// The reader of stdout is gone.
    ReaderGone,
    Failed(ClientError),
}

/// Runs the command and returns the exit code.
///
/// # Errors
/// What prevents its start.
pub(in super::super) fn run(exec: &ExecOptions, around: &Surroundings) -> Result<u8, Error> {
    let words = exec.words()?;
    let targets = exec.targets(&around.environment)?;
    let (notices, heard) = unbounded();
    let client = around.client_telling(&exec.starting.account, notices)?;
    // Signals end the program meanwhile: there is nothing to clean up.
    let wait = exec.starting.wait();
    let (target, ()) = client
        .reach(&targets[0], wait, |_, _| Ok(()))
        .map_err(TargetError::into_error)?;
    let signals = around.catch_signals()?;
    let cancel = Cancel::new().map_err(|error| out_of_resources(&error))?;
    // A closed stdin is an empty one.
    let stdin = rustix::stdio::stdin().try_clone_to_owned();
    let mut command = client
        .with_cancel(&cancel)
        .exec(&target, words)
        .stdin(stdin.map_or_else(|_| Stdin::from(Vec::new()), Stdin::from));
    if let Some(wait) = wait {
        command = command.wait(wait);
    }
    if let Some(reason) = &exec.starting.reason {
        command = command.reason(reason);
    }
    let mut output = if exec.json {
        let mut report = ExecReport::new(exec, &targets, around.redactor.clone());
        // It writes nothing.
        let _ = report.take(0, TargetEvent::Found(target.id().to_owned()));
        FedOutput::Objects(Box::new(report))
    } else {
        FedOutput::Bytes
    };
    let (alive, done) = bounded::<()>(0);
    let running = thread::Builder::new()
        .name("exec".to_owned())
        .spawn(move || {
            let mut is_reader_gone = false;
            let result = command.run(|stream, bytes| {
                let written = output.take(stream, bytes);
                is_reader_gone = written
                    .as_ref()
                    .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
                written
            });
            let outcome = match result {
                Ok(code) => output.over(code),
                Err(_) if is_reader_gone => CommandOutcome::ReaderGone,
                Err(error) => output.failed(error),
            };
            // The end of the process would leave a session that is still being ended.
            client.wait_idle(TERMINATE_TIMEOUT);
            drop(alive);
            outcome
        })
        .map_err(|error| out_of_resources(&error))?;
    let mut interruption = Interruption::new(&cancel);
    let mut outages = Outages::new(around.redactor.clone());
    let outcome = loop {
        select! {
            // The client holds a sender.
            recv(heard) -> notice => if let Ok(notice) = notice {
                outages.tell(&notice);
            },
            recv(done) -> _ => break running.join().ok(),
            recv(signals.incoming()) -> signal => if let Ok(signal) = signal
                && interruption.handle(signal).is_break()
            {
                break None;
            },
            recv(interruption.give_up()) -> _ => break None,
        }
    };
    if let Some(signal) = interruption.by() {
        let error = Error::Signal(signal.number());
        return if exec.json {
            Err(error)
        } else {
            Ok(error.exit_code())
        };
    }
    Ok(match outcome {
        Some(CommandOutcome::Over(Some(code)) | CommandOutcome::Told(code)) => code,
        Some(CommandOutcome::ReaderGone) => 0,
        Some(CommandOutcome::Failed(error)) => {
            print::complaint(around.redactor.clean(&error.to_string()));
            UNKNOWN_EXIT_CODE
        }
        Some(CommandOutcome::Over(None)) | None => {
            print::complaint("the session ended without the command's exit code");
            UNKNOWN_EXIT_CODE
        }
    })
}
