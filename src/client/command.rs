//! A command on a target: its streams and its exit code.

use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::Client;
use super::copy::{Copier, CopyOptions, OutputStream};
use super::exec::{OutputPiece, StartedCommand, quoted};
use super::failure::{ClientError, ErrorKind};
use super::output::{Output, OutputReader, collect};
use super::pieces::{PieceSenders, Pieces};
use super::stdin::{Stdin, StdinKind};
use super::target::Target;
use super::target::reach::INTERVAL;
use super::watch::{Watch, bounded as bounded_time, watch};
use crate::aws::ApiError;
use crate::datachannel::SessionType;
use crate::network::{Cancel, Limit, Stop};

/// Pieces of output that wait for their reader, of each stream: behind a slow reader the command waits.
const PIECES: usize = 64;
/// The same of both streams together, which are taken as they come.
const PIECES_TOGETHER: usize = 8;
/// How much of each stream is collected unless somebody says otherwise, bytes.
const OUTPUT_LIMIT: usize = 64 << 20;
/// How long ending a session may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A command that is to be run: see [`Client::exec`].
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use std::time::Duration;
///
/// let output = client
///     .exec(&target, ["sh", "-c", "tr a-z A-Z; echo done >&2; exit 3"])
///     .stdin("hello\n")
///     .timeout(Duration::from_secs(60))
///     .output()?;
/// assert_eq!(output.status, Some(3));
/// assert_eq!(output.stdout, b"HELLO\n");
/// assert_eq!(output.stderr, b"done\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing runs before `output`, `run` or `spawn`"]
pub struct Exec {
    client: Client,
    target: Target,
    words: Vec<String>,
    stdin: Stdin,
    timeout: Option<Duration>,
    wait: Option<Duration>,
    reason: Option<String>,
    limit: usize,
}

impl Exec {
    pub(super) fn new(client: &Client, target: &Target, words: Vec<String>) -> Self {
        Self {
            client: client.clone(),
            target: target.clone(),
            words,
            stdin: Stdin::nothing(),
            timeout: None,
            wait: None,
            reason: None,
            limit: OUTPUT_LIMIT,
        }
    }

    /// What it reads.
    pub fn stdin(mut self, stdin: impl Into<Stdin>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// How long it may take, all in all. Without it the command may take as long as it likes, and only its start has the client's time.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a target is waited for, at the beginning, that is not connected. Without it that is an error at once.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = Some(bounded_time(time));
        self
    }

    /// Why, for the records of Session Manager.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// How much of each stream [`output`](Self::output) collects, bytes: 64 MiB unless it is said here.
    pub const fn output_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Runs it to its end, and collects what it prints.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`], [`ErrorKind::Cancelled`] and [`ErrorKind::OutputTooLong`], for which the command is ended over there; what
    /// can go wrong with StartSession; a session that is lost. A command that fails is no error: see [`Output::status`].
    pub fn output(self) -> Result<Output, ClientError> {
        let limit = self.limit;
        let mut command = self.spawn()?;
        // Who wants to write to it spawns it.
        drop(command.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let (Some(out), Some(err)) = (command.stdout.take(), command.stderr.take()) {
            collect(&out, &mut stdout, &err, &mut stderr, limit)?;
        }
        Ok(Output {
            status: command.wait()?,
            stdout,
            stderr,
        })
    }

    /// Runs it to its end, and hands on what it prints as it comes, both streams in one order; its exit code. Where `take` fails, the
    /// command is ended.
    ///
    /// # Errors
    /// As [`output`](Self::output); [`ErrorKind::Local`] where `take` fails.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::OutputStream;
    /// use std::io::Write;
    ///
    /// let status = client.exec(&target, ["make", "-C", "/srv/app"]).run(|stream, bytes| match stream {
    ///     OutputStream::Stdout => std::io::stdout().write_all(bytes),
    ///     OutputStream::Stderr => std::io::stderr().write_all(bytes),
    /// })?;
    /// assert_ne!(status, Some(0)); // There is no such folder.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(
        self,
        mut take: impl FnMut(OutputStream, &[u8]) -> io::Result<()>,
    ) -> Result<Option<i32>, ClientError> {
        let (sender, pieces) = bounded(PIECES_TOGETHER);
        let command = self.begin(PieceSenders::Together(sender))?;
        for (stream, bytes) in pieces {
            if let Err(error) = take(stream, &bytes) {
                command.stop();
                // Its session is to be ended as well.
                let _ = command.wait();
                let text = format!("cannot write ({error})");
                return Err(ClientError::new(ErrorKind::Local, text));
            }
        }
        command.wait()
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]: no word, a NUL in one, or a container of ECS, which carries only commands on a pty. What can go wrong
    /// with StartSession.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::Stdin;
    /// use std::io::{BufRead, BufReader, Write};
    ///
    /// let mut sort = client.exec(&target, ["sort"]).stdin(Stdin::piped()).spawn()?;
    /// let mut stdin = sort.stdin.take().expect("a pipe");
    /// stdin.write_all(b"b\na\n")?;
    /// drop(stdin);
    /// let stdout = BufReader::new(sort.stdout.take().expect("a stream"));
    /// let lines: Vec<String> = stdout.lines().collect::<Result<_, _>>()?;
    /// assert_eq!(lines, ["a", "b"]);
    /// assert_eq!(sort.wait()?, Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(self) -> Result<RemoteCommand, ClientError> {
        let (to_stdout, stdout) = bounded(PIECES);
        let (to_stderr, stderr) = bounded(PIECES);
        let mut command = self.begin(PieceSenders::Apart {
            stdout: to_stdout,
            stderr: to_stderr,
        })?;
        command.stdout = Some(OutputReader::new(stdout));
        command.stderr = Some(OutputReader::new(stderr));
        Ok(command)
    }

    fn begin(self, to: PieceSenders) -> Result<RemoteCommand, ClientError> {
        let invalid = |text: &str| Err(ClientError::new(ErrorKind::InvalidInput, text));
        if self.words.is_empty() {
            return invalid("there is no command");
        }
        if self.words.iter().any(|word| word.contains('\0')) {
            return invalid("a word of the command holds a NUL character");
        }
        if self.target.container().is_some() {
            return invalid(
                "the target is a container of ECS, which carries only commands on a terminal",
            );
        }
        let deadline = self.timeout.map(|time| Instant::now() + bounded_time(time));
        let limit = self.client.limit_with(self.wait.unwrap_or_default());
        let limit = match self.timeout {
            Some(time) => limit.at_most(bounded_time(time)),
            None => limit,
        };
        limit
            .remaining()
            .map_err(|stop| ClientError::stopped(stop, "the command"))?;
        if self.stdin.is_nothing() {
            self.begin_plain(to, &limit, deadline)
        } else {
            self.begin_fed(to, deadline)
        }
    }

    fn begin_plain(
        self,
        to: PieceSenders,
        limit: &Limit,
        deadline: Option<Instant>,
    ) -> Result<RemoteCommand, ClientError> {
        let started = self.start_plain(limit)?;
        let begin = limit.clone();
        let started = Arc::new(started);
        let running = Arc::clone(&started);
        let work = move |pieces: &Pieces| {
            let result = running.run(&begin, |piece| match piece {
                OutputPiece::Stdout(bytes) => pieces.put(OutputStream::Stdout, bytes),
                OutputPiece::Stderr(bytes) => pieces.put(OutputStream::Stderr, bytes),
            });
            result.map(|code| i32::try_from(code).ok())
        };
        let ender = CommandEnder::Session(started);
        start(to, ender, deadline, self.client.cancel(), None, work)
    }

    fn start_plain(&self, limit: &Limit) -> Result<StartedCommand, ClientError> {
        let line = quoted(&self.words);
        let until = self.wait.map(|wait| Instant::now() + wait);
        loop {
            let (client, reason) = (&self.client, self.reason.as_deref());
            let error = match client.start_command(&self.target, &line, reason, limit) {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            let is_away =
                matches!(&error, ApiError::Refused { refusal, .. } if refusal.is_not_connected());
            let is_time_left = until.is_some_and(|until| Instant::now() < until);
            if !is_away || !is_time_left || limit.pause(INTERVAL).is_err() {
                return Err(ClientError::from(error).within(limit));
            }
        }
    }

    fn begin_fed(
        self,
        to: PieceSenders,
        deadline: Option<Instant>,
    ) -> Result<RemoteCommand, ClientError> {
        let no_resources = |error: io::Error| ClientError::resources(&error);
        let (descriptor, writer) = match self.stdin.into_kind() {
            StdinKind::File(descriptor) => (descriptor, None),
            StdinKind::Piped => {
                let (reader, writer) = io::pipe().map_err(no_resources)?;
                (reader.into(), Some(writer))
            }
            StdinKind::Nothing => {
                let (reader, _) = io::pipe().map_err(no_resources)?;
                (reader.into(), None)
            }
            StdinKind::Bytes(bytes) => {
                let (reader, mut writer) = io::pipe().map_err(no_resources)?;
                thread::Builder::new()
                    .name("stdin".to_owned())
                    // It ends when the command wants no more: the reader is gone then.
                    .spawn(move || io::Write::write_all(&mut writer, &bytes))
                    .map_err(no_resources)?;
                (reader.into(), None)
            }
        };
        let cancel = Cancel::new().map_err(no_resources)?;
        let options = CopyOptions {
            sessions: 1,
            preserve: false,
            wait: self.wait,
            reason: self.reason,
        };
        let copier = Copier::new(&self.client, self.target.id(), options, &cancel)?;
        let words = self.words;
        let work = move |pieces: &Pieces| {
            let mut take = |stream, bytes: &[u8]| {
                pieces.put(stream, Bytes::copy_from_slice(bytes));
                Ok(())
            };
            let code = copier.run_fed(&words, descriptor.as_fd(), &mut take);
            drop(descriptor);
            // Otherwise they are ended in the background.
            if pieces.are_together() {
                copier.finish();
            }
            Ok(code?.map(i32::from))
        };
        let ender = CommandEnder::Copier(cancel);
        start(to, ender, deadline, self.client.cancel(), writer, work)
    }
}

/// Starts the thread that carries a command's output.
fn start(
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
/// waits. [`Exec::output`] and [`wait`](Self::wait) see to that by themselves.
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
    /// Where its stdin is written to, if that is [piped](Stdin::piped). Drop it for the end.
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
    /// As [`Exec::output`].
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
enum CommandEnder {
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
        let mut goes_on = self.goes_on.lock().unwrap_or_else(PoisonError::into_inner);
        drop(goes_on.take());
        match &self.ender {
            CommandEnder::Copier(cancel) => cancel.cancel(),
            CommandEnder::Session(started) => {
                let started = Arc::clone(started);
                let work = move || {
                    let session = started.session();
                    let end_by = Instant::now() + END_TIMEOUT;
                    let end = session.end_of_type(SessionType::NonInteractiveCommands, end_by);
                    if let Err(error) = end {
                        log::info!("the remote session could not be ended: {error}");
                    }
                    session.channel().close();
                };
                // Without a thread it ends when it has been idle for its time.
                let _ = thread::Builder::new()
                    .name("terminate".to_owned())
                    .spawn(work);
            }
        }
    }
}
