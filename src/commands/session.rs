//! Commands that are one session, with stdin and stdout as the contract has them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Surroundings, catch_signals, context};
use crate::aws::StartRequest;
use crate::cli::SessionCommand;
use crate::error::Error;
use crate::network::Limit;
use crate::session::OutputTarget;
use crate::session::announce::Announcer;
use crate::session::{self, Asked, Caller, Command, give_up};
use crate::terminal::signals::Parent;
use crate::terminal::unread::{self, UnreadInput};

/// StartSession with all its retries and the search for credentials, which may run a program that asks somewhere.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long after our own start the other program of a pipe may take to write its first data, before `exec` starts a command without it.
const STDIN_TIMEOUT: Duration = Duration::from_millis(50);

/// A session that we start ourselves.
pub(super) fn run(own: &SessionCommand, around: Surroundings) -> Result<u8, Error> {
    let began = Instant::now();
    let start = own.start(&around.environment)?;
    let place = if own.is_quiet() {
        OutputTarget::Nowhere
    } else if around.settings.quiet {
        OutputTarget::Stderr
    } else {
        OutputTarget::Stdout
    };
    let caller = Caller {
        stderr_to_stdout: false,
        command: match own {
            SessionCommand::StartSession { .. } => Command::StartSession,
            SessionCommand::Exec { .. } => Command::Exec,
            SessionCommand::PortForward { .. } => Command::PortForward,
            SessionCommand::SshProxy { .. } => Command::SshProxy,
        },
        asked: Some(Asked::new(
            start.document_name.as_deref(),
            &start.parameters,
        )),
    };
    let started = around.client(&start.connection).and_then(|client| {
        let request = StartRequest {
            target: start.target,
            document_name: start.document_name,
            parameters: start.parameters,
            reason: start.connection.reason,
        };
        if matches!(own, SessionCommand::Exec { .. }) {
            refuse_unread(began + STDIN_TIMEOUT)?;
        }
        // Signals end the program meanwhile: there is nothing to clean up.
        let session = client.start(&request, &Limit::within(START_TIMEOUT));
        let session = session.map_err(|error| Error::Start(error.to_string()))?;
        Ok((session, Arc::clone(client.settings())))
    });
    let (session, settings) = match started {
        Ok(started) => started,
        Err(error) => {
            return Ok(give_up(
                &Announcer::new("", place).hiding(&around.redactor),
                error,
            ));
        }
    };
    let announcer = Arc::new(Announcer::new(session.id(), place).hiding(&around.redactor));
    let run = || {
        let signals = catch_signals(Parent::MayGo)?;
        announcer.starting();
        let context = context(
            &session,
            signals,
            caller,
            &announcer,
            &settings,
            around.environment,
        );
        session::run(&context)
    };
    Ok(run().unwrap_or_else(|error| give_up(&announcer, error)))
}

/// Refuses to start a command whose data, which is on stdin or comes there until this moment, it would not get (P118).
fn refuse_unread(until: Instant) -> Result<(), Error> {
    match unread::look(until) {
        UnreadInput::Data => Err(Error::Usage(
            "there is data on stdin, but exec does not read stdin and the command would not get it: \
             add </dev/null if it is not for the command, or put it where the command finds it"
                .to_owned(),
        )),
        UnreadInput::Nothing | UnreadInput::NotYet => Ok(()),
    }
}
