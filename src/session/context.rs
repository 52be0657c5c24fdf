//! What all kinds of sessions get, and what they have in common.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::io::Errno;

use super::announce::Announcer;
use super::asked::Asked;
use super::ending::{self, Command, Stage};
use super::outage::{OutageLine, tell};
use crate::datachannel::{DataChannel, Notice};
use crate::error::Error;
use crate::session_api::TerminateSession;
use crate::settings::{Environment, Settings};
use crate::terminal::signals::Signals;
use crate::terminal::status_line;

/// How long threads may take to end when the session has.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an agent has to say that it could not start what was asked for. After that, a reason is one for the end.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// All that a session needs.
pub(crate) struct SessionContext {
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
    /// What is shown of an outage.
    pub outage: OutageLine,
}

/// Who called us, as far as sessions care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Somebody takes stdout apart by the prefix of its lines, and so wants stderr on it.
    pub stderr_to_stdout: bool,
    /// By the contract, or one of our own commands.
    pub command: Command,
    /// What our own command asked for. By the contract, what the service says is right.
    pub asked: Option<Asked>,
}

/// Like [`tell`], with an outage on a line of its own where there is a terminal for it.
pub(super) fn tell_on_terminal(context: &SessionContext, notice: &Notice, how_to_leave: &str) {
    match notice {
        Notice::Reconnecting { reason } => {
            context.outage.stop();
            let is_possible = status_line::is_possible(context.environment.get("TERM"));
            if is_possible && context.outage.start(&context.channel, reason, how_to_leave) {
                return;
            }
        }
        Notice::Reconnected if context.outage.stop() => return,
        Notice::Reconnected | Notice::Silent | Notice::Unacknowledged => {}
    }
    tell(notice, how_to_leave);
}

/// A thread with a name.
///
/// # Errors
/// When the process is out of threads.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    start(name, run).map(drop)
}

/// Starts a thread that gives something when it ends.
pub(super) fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| out_of_resources(&error))
}

/// The error of a session that cannot get a thread or a descriptor.
pub(crate) fn out_of_resources(error: &std::io::Error) -> Error {
    Error::Start(format!(
        "the system gives no thread or descriptor ({error}): raise the limits of this process"
    ))
}

/// How far a session came that began at `since`. `has_spoken`: whether anything came of it.
pub(super) fn stage(has_spoken: bool, since: Instant, start_timeout: Duration) -> Stage {
    if has_spoken || since.elapsed() >= start_timeout {
        Stage::Begun
    } else {
        Stage::Silent
    }
}

/// The error of a session whose output cannot be written, though somebody wants it.
pub(super) fn unwritable(error: Errno) -> Error {
    Error::Lost(ending::unwritable(error))
}
