//! A command that is to be run on a target.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::bounded;

use super::Client;
use super::copy::{Copier, CopyOptions, END_TIMEOUT, OutputStream};
use super::exec::{OutputPiece, StartedCommand, quoted};
use super::failure::{ClientError, ErrorKind};
use super::output::{Output, OutputReader};
use super::pieces::{PieceSenders, Pieces};
use super::remote_command::{CommandEnder, RemoteCommand, start};
use super::session::GRACE;
use super::stdin::{Stdin, StdinKind};
use super::target::Target;
use super::target::reach::INTERVAL;
use super::watch::bounded as bounded_time;
use crate::aws::ApiError;
use crate::network::{Cancel, Limit};

/// Pieces of output that wait for their reader, of each stream: behind a slow reader the command waits.
const PIECES: usize = 64;
/// The same of both streams together, which are taken as they come.
const PIECES_TOGETHER: usize = 8;
/// How much of each stream is collected unless somebody says otherwise, bytes.
const OUTPUT_LIMIT: usize = 64 << 20;

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

    /// How long it may take, all in all; then it is ended. Without it the command may take as long as it likes, and only its start has the
    /// client's time.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::ErrorKind;
    /// use std::time::Duration;
    ///
    /// let sleep = client.exec(&target, ["sleep", "60"]).timeout(Duration::from_millis(500));
    /// assert_eq!(sleep.output().unwrap_err().kind(), ErrorKind::TimedOut);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// How much of each stream [`output`](Self::output) collects, bytes: 64 MiB unless it is said here. A command that prints more is
    /// ended.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::ErrorKind;
    ///
    /// let yes = client.exec(&target, ["yes"]).output_limit(1000);
    /// assert_eq!(yes.output().unwrap_err().kind(), ErrorKind::OutputTooLong);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.hand_on(|stream, bytes| {
            let into = match stream {
                OutputStream::Stdout => &mut stdout,
                OutputStream::Stderr => &mut stderr,
            };
            if bytes.len() > limit.saturating_sub(into.len()) {
                return Err(ClientError::new(
                    ErrorKind::OutputTooLong,
                    format!("the command printed more than {limit} bytes"),
                ));
            }
            into.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(Output {
            status,
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
        self.hand_on(|stream, bytes| {
            take(stream, bytes).map_err(|error| {
                ClientError::new(ErrorKind::Local, format!("cannot write ({error})"))
            })
        })
    }

    fn hand_on(
        self,
        mut take: impl FnMut(OutputStream, &[u8]) -> Result<(), ClientError>,
    ) -> Result<Option<i32>, ClientError> {
        let (sender, pieces) = bounded(PIECES_TOGETHER);
        let mut command = self.begin(PieceSenders::Together(sender))?;
        // Who wants to write to it spawns it.
        drop(command.stdin.take());
        for (stream, bytes) in pieces {
            if let Err(error) = take(stream, &bytes) {
                command.stop();
                // Its session is to be ended as well.
                let _ = command.wait();
                return Err(error);
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
            self.begin_fed(to, &limit, deadline)
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
        limit: &Limit,
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
                // A pipe would end the process where SIGPIPE does that. Sockets raise none.
                let (reader, mut writer) = UnixStream::pair().map_err(no_resources)?;
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
        let copier = copier.begun_by(limit.deadline());
        let going_on = self.client.going().begin();
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
                copier.finish(if code.is_ok() { END_TIMEOUT } else { GRACE });
            }
            drop(going_on);
            Ok(code?.map(i32::from))
        };
        let ender = CommandEnder::Copier(cancel);
        start(to, ender, deadline, self.client.cancel(), writer, work)
    }
}
