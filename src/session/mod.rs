//! What a person does with the stream: sessions start, run by their type, and end with the texts and exit codes of the contract.

pub mod announce;
mod ending;
mod port;
mod shell;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never, select};
use rustix::io::Errno;

pub use ending::{Ending, Leaving, Outcome, RemoteEnd};

use crate::datachannel::{DataChannel, Delivery, End, Notice, SessionType, Started};
use crate::error::Error;
use crate::sanitise;
use crate::settings::{Environment, Settings};
use crate::terminal::signals::{Signal, Signals};
use crate::terminal::{print, size};
use announce::Announcer;

/// How long threads may take to end when the session has.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Ends the remote session by the API, until the deadline.
pub type TerminateSession = dyn Fn(Instant) -> Result<(), Error> + Send + Sync;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caller {
    /// Somebody takes stdout apart by the prefix of its lines, and so wants stderr on it.
    pub stderr_to_stdout: bool,
    /// Our own `exec`: stdout is the command's alone, and its exit code is ours.
    pub is_exec: bool,
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
                Outcome::from(Ending::Left(Leaving::Failed(error), RemoteEnd::Api))
            })
        }
        Err(end) => Outcome::from(Ending::Over(end)),
    };
    log::info!("the session ends: {:?}", outcome.ending);
    let result = ending::conclude(context, outcome);
    context.channel.close();
    context.channel.join(Instant::now() + JOIN_TIMEOUT);
    result
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
                if let Ok(signal) = signal {
                    return Err(Error::Signal(signal.number()));
                }
            }
            recv(notices) -> notice => match notice {
                Ok(notice) => tell(&notice, "Ctrl-C leaves"),
                // The connection thread has ended; its last delivery is on the way.
                Err(_) => notices = never(),
            },
        }
    }
}

/// The registry of session types.
fn run_by_type(context: &Context, started: &Started) -> Result<Outcome, Error> {
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

/// The error of a session whose output cannot be written, though somebody wants it: the disk is full, for one.
fn unwritable(error: Errno) -> Error {
    Error::Lost(format!(
        "cannot write the session's output to stdout ({error})"
    ))
}

/// Whether a signal asks the program to end.
fn is_deadly(signal: Signal) -> bool {
    matches!(signal, Signal::Terminate | Signal::HangUp)
}
