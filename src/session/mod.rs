//! What a person does with the stream: sessions start, run by their type, and end with the texts and exit codes of the contract.

pub(crate) mod announce;
mod asked;
mod conclude;
mod context;
mod ending;
mod outage;
pub(crate) mod port;
mod shell;

use std::time::Instant;

use crossbeam_channel::{bounded, never, select};

pub(crate) use asked::Asked;
pub(crate) use conclude::{SessionOutcome, give_up};
pub(crate) use context::{Caller, SessionContext, out_of_resources};
pub(crate) use ending::{
    Command, Ending, Leaving, OutputTarget, RemoteEnd, Stage, Text, to_exit_code,
};
pub(crate) use outage::OutageLine;

use crate::datachannel::{Delivery, End, SessionType, Started};
use crate::error::Error;
use crate::terminal::signals::Signal;
use crate::terminal::size;
use context::{JOIN_TIMEOUT, start, tell_on_terminal};

/// Runs a session whose channel is being opened, to its end. The exit code.
///
/// # Errors
/// When it could not start or is lost for good, or when a signal ended it.
pub(crate) fn run(context: &SessionContext) -> Result<u8, Error> {
    // In time for agents that make no handshake and wait for the size. Sessions without a pty do not get it.
    if let Some(size) = size::current(&context.environment) {
        context.channel.resize(size);
    }
    let outcome = match wait_for_start(context)? {
        FirstEvent::Started(started) => {
            log::info!(
                "the session is established: {:?}, agent {:?}",
                started.session_type,
                started.agent_version
            );
            run_by_type(context, &started).unwrap_or_else(|error| {
                let ending = Ending::Left(Leaving::Failed(error), RemoteEnd::Api);
                SessionOutcome::new(ending, Stage::Silent)
            })
        }
        FirstEvent::Ended(end) => {
            // Agents make no handshake for a pty: a command that prints nothing is over before anything came.
            let is_pty = context.caller.asked.as_ref().is_some_and(Asked::is_pty);
            let stage = if is_pty {
                Stage::Silent
            } else {
                Stage::Opening
            };
            SessionOutcome::new(Ending::Over(end), stage)
        }
        // What this program has started it ends.
        FirstEvent::Signal(signal) if context.caller.command != Command::Contract => {
            let leaving = Leaving::Failed(Error::Signal(signal.number()));
            SessionOutcome::new(Ending::Left(leaving, RemoteEnd::Api), Stage::Opening)
        }
        FirstEvent::Signal(signal) => return Err(Error::Signal(signal.number())),
    };
    context.outage.stop();
    log::info!("the session ends: {outcome:?}");
    let code = conclude::conclude(context, outcome);
    context.channel.close();
    context.channel.join(Instant::now() + JOIN_TIMEOUT);
    Ok(code)
}

/// What happens first in a session.
enum FirstEvent {
    Started(Started),
    Ended(End),
    /// INT, QUIT, TERM or HUP, which end the program until the session is established.
    Signal(Signal),
}

/// Waits until the session is established.
fn wait_for_start(context: &SessionContext) -> Result<FirstEvent, Error> {
    let (alive, over) = bounded::<()>(0);
    let channel = context.channel.clone();
    let first = start("first-delivery", move || {
        let delivery = channel.receive(None);
        drop(alive);
        delivery
    })?;
    let mut notices = context.notices.clone();
    loop {
        select! {
            recv(over) -> _ => return match first.join() {
                Ok(Some(Delivery::Started(started))) => Ok(FirstEvent::Started(started)),
                Ok(Some(Delivery::Ended(end))) => Ok(FirstEvent::Ended(end)),
                Ok(Some(Delivery::Payload(..)) | None) | Err(_) => Err(Error::defect("the data channel")),
            },
            recv(context.signals.incoming()) -> signal => {
                match signal {
                    // Nobody else will end it.
                    Ok(Signal::ParentGone) => return Ok(FirstEvent::Ended(End::Failed(Error::Start(
                        "the program that started this session is gone".to_owned(),
                    )))),
                    Ok(signal) => return Ok(FirstEvent::Signal(signal)),
                    Err(_) => {}
                }
            }
            recv(notices) -> notice => match notice {
                Ok(notice) => tell_on_terminal(context, &notice, "Ctrl-C leaves"),
                // Cannot be: the channel holds the sender.
                Err(_) => notices = never(),
            },
        }
    }
}

/// The registry of session types.
fn run_by_type(context: &SessionContext, started: &Started) -> Result<SessionOutcome, Error> {
    if let Some(asked) = &context.caller.asked {
        asked.check(started)?;
    }
    let is_port = started.session_type == SessionType::Port;
    if is_port && port::uses_stdout(started) {
        context.announcer.leave_stdout();
    }
    context
        .announcer
        .customer_message(&started.customer_message);
    match started.session_type {
        SessionType::StandardStream
        | SessionType::InteractiveCommands
        | SessionType::NonInteractiveCommands => shell::run(context, started),
        SessionType::Port => port::run(context, started),
    }
}
