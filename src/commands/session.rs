//! Commands that are one session, with stdin and stdout as the contract has them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::termios::isatty;

use super::{Surroundings, context, public_key};
use crate::cli::{PushKey, SessionCommand, Start};
use crate::client::target::{Target, TargetError};
use crate::client::{ApiError, StartRequest};
use crate::client::{Cancel, Limit};
use crate::client::{Client, RawSession};
use crate::error::Error;
use crate::session::OutputTarget;
use crate::session::announce::Announcer;
use crate::session::{self, Asked, Caller, Command, give_up};
use crate::settings::Environment;
use crate::terminal::unread::{self, UnreadInput};

/// How long it may take to send a key.
const PUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end a session that is not used: its key was not taken, or a signal came.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after our own start the other program of a pipe may take to write its first data, before `exec` starts a command without it.
pub(super) const STDIN_TIMEOUT: Duration = Duration::from_millis(50);

/// A session that this program starts itself.
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
            SessionCommand::Exec(_) => Command::Exec,
            SessionCommand::PortForward(_) => Command::PortForward,
            SessionCommand::SshProxy(_) => Command::SshProxy,
            SessionCommand::StartSession { .. } => Command::StartSession,
        },
        asked: Some(Asked::new(
            start.document_name.as_deref(),
            &start.parameters,
        )),
    };
    let begin = |cancel: &Cancel| {
        let client = around.client(&start.starting.account)?.with_cancel(cancel);
        if matches!(own, SessionCommand::Exec(exec) if !exec.tty) {
            refuse_unread(began + STDIN_TIMEOUT)?;
        }
        let wait = start.starting.wait();
        let reached = client.reach(&start.target, wait, |target, limit| {
            start_on(&client, &start, target, limit)
        });
        let (target, session) = reached.map_err(TargetError::into_error)?;
        if let SessionCommand::SshProxy(proxy) = own {
            let limit = Limit::within(PUSH_TIMEOUT).or_cancelled(cancel);
            let pushed = push_key(&client, &proxy.push, &target, &around.environment, &limit);
            pushed.inspect_err(|_| end(&session))?;
        }
        Ok((session, Arc::clone(client.settings())))
    };
    let undo = |begun: Result<(RawSession, _), Error>| {
        if let Ok((session, _)) = begun {
            end(&session);
        }
    };
    let (session, settings) = match around.interruptible(begin, undo).flatten() {
        Ok(started) => started,
        Err(error) => {
            // Who reads both streams in one place is told once.
            let place = if isatty(rustix::stdio::stdout()) && isatty(rustix::stdio::stderr()) {
                OutputTarget::Nowhere
            } else {
                place
            };
            return Ok(give_up(
                &Announcer::new("", place).hiding(&around.redactor),
                error,
            ));
        }
    };
    let announcer = Arc::new(Announcer::new(session.id(), place).hiding(&around.redactor));
    let run = || {
        let signals = around.catch_signals()?;
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

/// Starts what was asked for on a target.
fn start_on(
    client: &Client,
    start: &Start,
    target: &Target,
    limit: &Limit,
) -> Result<RawSession, ApiError> {
    if let (Some(line), Some(container)) = (&start.ecs_command, target.container()) {
        return client.execute(target, container, line, limit);
    }
    let request = StartRequest {
        target: target.id().to_owned(),
        document_name: start.document_name.clone(),
        parameters: start.parameters.clone(),
        reason: start.starting.reason.clone(),
    };
    client.start(&request, limit)
}

/// Sends the key with which ssh will come, once the target is known to be there: it is good for a minute only.
fn push_key(
    client: &Client,
    push: &PushKey,
    target: &Target,
    environment: &Environment,
    limit: &Limit,
) -> Result<(), Error> {
    let Some(key) = push.key() else {
        return Ok(());
    };
    let found = public_key::find(&key, environment)?;
    let user = public_key::user(push.user.as_deref(), environment)?;
    if !target.id().starts_with("i-") {
        return Err(Error::Usage(format!(
            "--push-key is for instances of EC2, which {} is not: its key must stand in authorized_keys over there",
            target.label()
        )));
    }
    log::info!("sending the key of {}", found.source);
    let sent = client
        .api()
        .send_ssh_public_key(target.id(), user, &found.line, limit);
    sent.map_err(ApiError::into_error)
}

/// Ends a session that is not used.
fn end(session: &RawSession) {
    let end = session
        .terminate()
        .map(|terminate| terminate(Instant::now() + END_TIMEOUT));
    if let Some(Err(error)) = end {
        log::info!("the remote session could not be ended: {error}");
    }
}

/// Refuses to start a command whose data, which is on stdin or comes there until this moment, it would not get (P118).
pub(super) fn refuse_unread(until: Instant) -> Result<(), Error> {
    match unread::look(until) {
        UnreadInput::Data => Err(Error::Usage(
            "there is data on stdin, but exec reads stdin only with -i, and the command would not get it: \
             add -i if it is for the command, or </dev/null if it is not"
                .to_owned(),
        )),
        UnreadInput::Nothing | UnreadInput::NotYet => Ok(()),
    }
}
