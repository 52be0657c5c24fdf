//! What a person does with the stream: sessions start, run by their type, and end with the texts and exit codes of the contract.

pub mod announce;
mod asked;
mod conclude;
mod ending;
mod port;
mod shell;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never, select};
use rustix::io::Errno;

pub use asked::Asked;
pub use conclude::{Outcome, give_up};
pub use ending::{Command, Ending, Leaving, RemoteEnd, Stage, Written};

use crate::datachannel::{DataChannel, Delivery, End, Notice, SessionType, Started};
use crate::error::Error;
use crate::sanitise;
use crate::session_api::TerminateSession;
use crate::settings::{Environment, Settings};
use crate::terminal::signals::{Signal, Signals};
use crate::terminal::{print, size};
use announce::Announcer;

/// How long threads may take to end when the session has.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// All that a session needs.
pub struct Context {
    /// The stream.
    pub channel: DataChannel,
    /// What the channel wants the user to know.
    pub notices: Receiver<Notice>,
    /// INT, QUIT, TERM and HUP, and whatever a session catches besides.
    pub signals: Signals,
    /// Says the texts of the contract.
    pub announcer: Arc<Announcer>,
    /// The `SSM_PLUGIN_*` variables.
    pub settings: Arc<Settings>,
    /// The other variables.
    pub environment: Arc<Environment>,
    /// Who called us, as far as sessions care.
    pub caller: Caller,
    /// Nothing where there are no credentials to do it with.
    pub terminate: Option<Arc<TerminateSession>>,
}

/// Who called us, as far as sessions care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Somebody takes stdout apart by the prefix of its lines, and so wants stderr on it.
    pub stderr_to_stdout: bool,
    /// By the contract, or one of our own commands.
    pub command: Command,
    /// What our own command asked for. By the contract, what the service says is right.
    pub asked: Option<Asked>,
}

/// Runs a session whose channel is being opened, to its end. The exit code.
///
/// # Errors
/// When it could not start or is lost for good, or when a signal ended it.
pub fn run(context: &Context) -> Result<u8, Error> {
    // In time for agents that make no handshake and wait for the size. Sessions without a pty do not get it.
    if let Some(size) = size::current(&context.environment) {
        context.channel.resize(size);
    }
    let outcome = match wait_for_start(context)? {
        Ok(started) => {
            log::info!(
                "the session stands: {:?}, agent {:?}",
                started.session_type,
                started.agent_version
            );
            run_by_type(context, &started).unwrap_or_else(|error| {
                let ending = Ending::Left(Leaving::Failed(error), RemoteEnd::Api);
                Outcome::new(ending, Stage::Silent)
            })
        }
        Err(end) => Outcome::new(Ending::Over(end), Stage::Opening),
    };
    log::info!("the session ends: {outcome:?}");
    let code = conclude::conclude(context, outcome);
    context.channel.close();
    context.channel.join(Instant::now() + JOIN_TIMEOUT);
    Ok(code)
}

/// Waits until the session stands. INT, QUIT, TERM and HUP end the program at once until then.
fn wait_for_start(context: &Context) -> Result<Result<Started, End>, Error> {
    let (sender, first) = bounded(1);
    let channel = context.channel.clone();
    spawn("start", move || {
        // Nobody waits any more when a signal came first.
        let _ = sender.send(channel.receive(None));
    })?;
    let mut notices = context.notices.clone();
    loop {
        select! {
            recv(first) -> delivery => return match delivery {
                Ok(Some(Delivery::Started(started))) => Ok(Ok(started)),
                Ok(Some(Delivery::Ended(end))) => Ok(Err(end)),
                Ok(Some(Delivery::Payload(..)) | None) | Err(_) => Err(Error::Lost(
                    "the data channel ended unexpectedly; this is a defect of the plugin".to_owned(),
                )),
            },
            recv(context.signals.incoming()) -> signal => {
                match signal {
                    // Nobody else will end it.
                    Ok(Signal::ParentGone) => return Ok(Err(End::Failed(Error::Start(
                        "the program that started this session is gone".to_owned(),
                    )))),
                    Ok(signal) => return Err(Error::Signal(signal.number())),
                    Err(_) => {}
                }
            }
            recv(notices) -> notice => match notice {
                Ok(notice) => tell(&notice, "Ctrl-C leaves"),
                // Cannot be: the channel holds the sender.
                Err(_) => notices = never(),
            },
        }
    }
}

/// The registry of session types.
fn run_by_type(context: &Context, started: &Started) -> Result<Outcome, Error> {
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
        | SessionType::NonInteractiveCommands => shell::run(context, started.session_type),
        SessionType::Port => port::run(context, started),
    }
}

/// One line on stderr about the connection.
pub fn tell(notice: &Notice, how_to_leave: &str) {
    match notice {
        Notice::Silent => print::notice(format!(
            "the target has not said anything for 15 seconds; still waiting ({how_to_leave})"
        )),
        Notice::Unacknowledged => print::notice(
            "what was sent 60 seconds ago has not been acknowledged by the target yet; still trying",
        ),
        Notice::Reconnecting { reason } => print::notice(format!(
            "the connection is broken ({}); reconnecting ({how_to_leave})",
            sanitise::line(reason)
        )),
        Notice::Reconnected => print::notice("the connection is back"),
    }
}

/// A thread with a name.
///
/// # Errors
/// When the process is out of threads.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|error| out_of_resources(&error))
}

/// The error of a session that cannot get a thread or a descriptor.
pub fn out_of_resources(error: &std::io::Error) -> Error {
    Error::Start(format!(
        "the system gives no thread or descriptor ({error}): raise the limits of this process"
    ))
}

/// How long an agent has to say that it could not start what was asked for. After that, a reason is one for the end.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How far a session came that began at `since`. `has_spoken`: whether anything came of it.
fn stage(has_spoken: bool, since: Instant, start_timeout: Duration) -> Stage {
    if has_spoken || since.elapsed() >= start_timeout {
        Stage::Begun
    } else {
        Stage::Silent
    }
}

/// The error of a session whose output cannot be written, though somebody wants it.
fn unwritable(error: Errno) -> Error {
    Error::Lost(ending::unwritable(error))
}
