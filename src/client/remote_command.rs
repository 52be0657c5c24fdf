//! A command that runs: its streams, its end, and how it is ended.

use std::io::{self, PipeWriter};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::exec::StartedCommand;
use super::failure::{ClientError, ErrorKind};
use super::output::OutputReader;
use super::pieces::{PieceSenders, Pieces};
use super::session::with_grace;
use super::watch::{Watch, watch};
use crate::datachannel::SessionType;
use crate::mutex::lock;
use crate::network::{Cancel, Stop};

/// How long ending a session may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the thread that carries a command's output.
pub(super) fn start(
    to: PieceSenders,
    ender: CommandEnder,
    deadline: Option<Instant>,
    cancel: Option<&Cancel>,
    stdin: Option<PipeWriter>,
    work: impl FnOnce(&Pieces) -> Result<Option<i32>, ClientError> + Send + 'static,
) -> Result<RemoteCommand, ClientError> {
    let (goes_on, is_stopped) = bounded(0);
    let (tell, end) = bounded(1);
    let state = Arc::new(CommandState {
        ender,
        why: OnceLock::new(),
        goes_on: Mutex::new(Some(goes_on)),
    });
    let failed = |error: io::Error| {
        state.stop(Stop::Cancelled);
        ClientError::resources(&error)
    };
    let watched = Arc::clone(&state);
    let watch = watch(deadline, cancel, move |stop| watched.stop(stop)).map_err(failed)?;
    let shared = Arc::clone(&state);
    thread::Builder::new()
        .name("command".to_owned())
        .spawn(move || {
            let pieces = Pieces::new(to, is_stopped);
            let result = work(&pieces);
            let result = match shared.why.get() {
                Some(stop) => Err(ClientError::stopped(*stop, "the command")),
                None => result,
            };
            // First its end, which is known when the streams are at theirs.
            let _ = tell.send(result);
            drop(pieces);
        })
        .map_err(failed)?;
    Ok(RemoteCommand {
        stdin,
        stdout: None,
        stderr: None,
        end,
        state,
        _watch: watch,
    })
}

/// A command that runs. When it is dropped the command is ended over there, in the background.
///
/// Both streams want to be read, in two threads or one after the other where one of them is short: a command whose output nobody takes
/// waits. [`Exec::output`](crate::Exec::output) and [`wait`](Self::wait) see to that by themselves.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let command = client.exec(&target, ["sh", "-c", "exit 7"]).spawn()?;
/// assert_eq!(command.wait()?, Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RemoteCommand {
    /// Where its stdin is written to, if that is [piped](crate::Stdin::piped). Drop it for the end.
    pub stdin: Option<PipeWriter>,
    /// What it prints to stdout.
    pub stdout: Option<OutputReader>,
    /// What it prints to stderr.
    pub stderr: Option<OutputReader>,
    end: Receiver<Result<Option<i32>, ClientError>>,
    state: Arc<CommandState>,
    _watch: Option<Watch>,
}

impl RemoteCommand {
    /// Waits for its end, and gives its exit code. Output that was not taken out of it is thrown away, and so is its stdin.
    ///
    /// # Errors
    /// As [`Exec::output`](crate::Exec::output).
    pub fn wait(mut self) -> Result<Option<i32>, ClientError> {
        drop(self.stdin.take());
        drop(self.stdout.take());
        drop(self.stderr.take());
        self.end.recv().unwrap_or_else(|_| {
            Err(ClientError::new(
                ErrorKind::SessionLost,
                "the command's thread ended unexpectedly; this is a defect of the library",
            ))
        })
    }

    /// Ends it, over there as well. Who waits for it gets [`ErrorKind::Cancelled`].
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::ErrorKind;
    ///
    /// let command = client.exec(&target, ["sleep", "60"]).spawn()?;
    /// command.stop();
    /// assert_eq!(command.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(&self) {
        self.state.stop(Stop::Cancelled);
    }
}

impl Drop for RemoteCommand {
    fn drop(&mut self) {
        if self.end.is_empty() {
            self.state.stop(Stop::Cancelled);
        }
    }
}

/// What ends a command.
#[derive(Debug)]
pub(super) enum CommandEnder {
    Session(Arc<StartedCommand>),
    Copier(Cancel),
}

/// What the command's handle and its threads share.
#[derive(Debug)]
struct CommandState {
    ender: CommandEnder,
    /// Why it was ended.
    why: OnceLock<Stop>,
    /// Dropped when it is ended: nobody waits for readers any more.
    goes_on: Mutex<Option<Sender<()>>>,
}

impl CommandState {
    /// Ends it. What takes its time is done in the background.
    fn stop(&self, why: Stop) {
        if self.why.set(why).is_err() {
            return;
        }
        let mut goes_on = lock(&self.goes_on);
        drop(goes_on.take());
        match &self.ender {
            CommandEnder::Copier(cancel) => cancel.cancel(),
            // As when it was waited for.
            CommandEnder::Session(started) if started.session().channel().has_ended() => {}
            CommandEnder::Session(started) => {
                let started = Arc::clone(started);
                let work = move || {
                    let channel = started.session().channel().clone();
                    with_grace(move || {
                        let end_by = Instant::now() + END_TIMEOUT;
                        let session = started.session();
                        let end = session.end_of_type(SessionType::NonInteractiveCommands, end_by);
                        if let Err(error) = end {
                            log::info!("the remote session could not be ended: {error}");
                        }
                    });
                    // Who waits for the command waits no longer.
                    channel.close();
                };
                // Without a thread it ends when it has been idle for its time.
                let _ = thread::Builder::new()
                    .name("terminate".to_owned())
                    .spawn(work);
            }
        }
    }
}
