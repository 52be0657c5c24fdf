//! Drives the built program: every form of call, any mix of pipes, files, terminals and closed descriptors, and waiting without fixed sleeps.
//!
//! ```ignore
//! let sandbox = support::sandbox();
//! let started = sandbox.start_session(Document::Shell);
//! let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
//! plugin.terminal.wait_for("$ ");
//! plugin.type_in(b"exit\r");
//! assert_eq!(plugin.wait().code(), Some(0));
//! ```
#![allow(dead_code, reason = "not every test needs all of it")]

mod output;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pty_process::blocking::{Pts, Pty};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Termios, tcgetattr};
use sandbox::{Config, Sandbox, Started};
use serde_json::json;

pub use output::Output;

/// Longer than anything takes, on however slow a machine; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox with the defaults.
pub fn sandbox() -> Sandbox {
    Sandbox::start(Config::default()).expect("a sandbox")
}

/// Where a standard descriptor of the program leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Io {
    /// To the test: [`Running::stdin`], [`Running::stdout`], [`Running::stderr`].
    Pipe,
    /// To the test, which does not read yet: [`Running::read_stdout`] begins, [`Running::close_stdout`] breaks it.
    HeldPipe,
    /// `/dev/null`.
    Null,
    /// Nowhere.
    Closed,
    /// To the one terminal of the test: [`Running::terminal`]. It is the program's controlling terminal.
    Terminal,
    /// A file: read for stdin, created for the others.
    File(PathBuf),
}

/// The program, about to be run.
pub struct Plugin {
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    streams: [Io; 3],
    before: String,
    size: (u16, u16),
    home: tempfile::TempDir,
}

impl Plugin {
    /// Called by nobody in particular, with pipes and an environment that has next to nothing in it, and a home that is empty.
    pub fn bare<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let environment = vec![
            ("HOME".to_owned(), home.path().into()),
            ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".into()),
            // Where the AWS CLI is not: the plugin would ask it for credentials, and that takes a second.
            ("PATH".to_owned(), "/usr/bin:/bin".into()),
        ];
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment,
            streams: [Io::Pipe, Io::Pipe, Io::Pipe],
            before: String::new(),
            size: (80, 24),
            home,
        }
    }

    /// Called as the AWS CLI does it: the response in a variable, six arguments.
    pub fn new(sandbox: &Sandbox, started: &Started) -> Self {
        let request = json!({ "Target": "i-0123456789abcdef0" }).to_string();
        Self::bare([
            "AWS_SSM_START_SESSION_RESPONSE",
            "eu-central-1",
            "StartSession",
            "",
            &request,
            "",
        ])
        .env(
            "AWS_SSM_START_SESSION_RESPONSE",
            started.response().to_string(),
        )
        .reaching(sandbox)
    }

    /// Called with these arguments; the first is the response as it is, if it is given as `{}`.
    pub fn arguments(mut self, started: &Started, arguments: &[&str]) -> Self {
        self.environment
            .retain(|(name, _)| name != "AWS_SSM_START_SESSION_RESPONSE");
        self.arguments = arguments
            .iter()
            .map(|argument| match *argument {
                "{}" => started.response().to_string().into(),
                other => other.into(),
            })
            .collect();
        self
    }

    /// May dial the sandbox, and trusts it.
    pub fn reaching(self, sandbox: &Sandbox) -> Self {
        self.env("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.gateway_host())
            .env("AWS_CA_BUNDLE", sandbox.ca_file())
    }

    /// Has the sandbox's credentials and API.
    pub fn with_api(mut self, sandbox: &Sandbox) -> Self {
        for (name, value) in sandbox.environment() {
            self = self.env(name, value);
        }
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Unsets a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// Stdin.
    pub fn stdin(mut self, io: Io) -> Self {
        self.streams[0] = io;
        self
    }

    /// Stdout.
    pub fn stdout(mut self, io: Io) -> Self {
        self.streams[1] = io;
        self
    }

    /// Stderr.
    pub fn stderr(mut self, io: Io) -> Self {
        self.streams[2] = io;
        self
    }

    /// All three on a terminal.
    pub fn terminal(mut self) -> Self {
        self.streams = [Io::Terminal, Io::Terminal, Io::Terminal];
        self
    }

    /// The terminal's size at the start, columns and rows.
    pub fn size(mut self, columns: u16, rows: u16) -> Self {
        self.size = (columns, rows);
        self
    }

    /// Shell commands to be run before, in the process that becomes the program: `trap '' INT`, `ulimit -n 20`.
    pub fn before(mut self, commands: &str) -> Self {
        self.before = format!("{commands}; ");
        self
    }

    /// Runs it.
    pub fn spawn(self) -> Running {
        let (columns, rows) = self.size;
        let (pty, pts) = pty_process::blocking::open().expect("a terminal");
        pty.resize(pty_process::Size::new(rows, columns))
            .expect("a size");
        let mut redirections = String::new();
        for (number, io) in self.streams.iter().enumerate() {
            if *io == Io::Closed {
                redirections.push_str(&format!(" {number}>&-"));
            }
        }
        let program = env!("CARGO_BIN_EXE_session-manager-plugin");
        let mut command = if self.before.is_empty() && redirections.is_empty() {
            Command::new(program)
        } else {
            let mut shell = Command::new("/bin/sh");
            shell.args([
                "-c",
                &format!("{}exec \"$0\" \"$@\"{redirections}", self.before),
                program,
            ]);
            shell
        };
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut command = pty_process::blocking::Command::from(command);
        let [stdin, stdout, stderr] = &self.streams;
        if let Some(stdio) = stdio(stdin, true) {
            command = command.stdin(stdio);
        }
        if let Some(stdio) = stdio(stdout, false) {
            command = command.stdout(stdio);
        }
        if let Some(stdio) = stdio(stderr, false) {
            command = command.stderr(stdio);
        }
        let child = command.spawn_borrowed(&pts).expect("to run the program");
        Running::new(child, pty, pts, &self.streams, self.home)
    }

    /// Runs it to its end, with this on stdin and then its end.
    pub fn run(self, stdin: &[u8]) -> Finished {
        let plugin = self.spawn();
        plugin.type_in(stdin);
        plugin.close_stdin();
        plugin.finish()
    }
}

/// Nothing for the terminal.
fn stdio(io: &Io, is_input: bool) -> Option<Stdio> {
    Some(match io {
        Io::Terminal => return None,
        Io::Pipe | Io::HeldPipe => Stdio::piped(),
        // The shell in between closes it.
        Io::Null | Io::Closed => Stdio::null(),
        Io::File(path) if is_input => File::open(path).expect("the file").into(),
        Io::File(path) => File::create(path).expect("the file").into(),
    })
}

/// The program, running. It is killed when this goes.
pub struct Running {
    /// Its process.
    pub pid: Pid,
    /// What comes on stdout, if that is a pipe.
    pub stdout: Output,
    /// What comes on stderr, if that is a pipe.
    pub stderr: Output,
    /// What comes on the terminal.
    pub terminal: Output,
    stdin: Mutex<Option<Box<dyn Write + Send>>>,
    held_stdout: Mutex<Option<OwnedFd>>,
    pty: Arc<Pty>,
    pts: Mutex<Option<Pts>>,
    status: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
    home: tempfile::TempDir,
}

/// How it ended, and what came.
#[derive(Debug)]
pub struct Finished {
    /// The exit status.
    pub status: ExitStatus,
    /// What came on stdout, if that was a pipe.
    pub stdout: String,
    /// What came on stderr, if that was a pipe.
    pub stderr: String,
    /// What came on the terminal.
    pub terminal: String,
}

impl Running {
    fn new(
        mut child: Child,
        pty: Pty,
        pts: Pts,
        streams: &[Io; 3],
        home: tempfile::TempDir,
    ) -> Self {
        let pid = Pid::from_child(&child);
        let pty = Arc::new(pty);
        let terminal = Output::default();
        terminal.read(PtyReader(Arc::clone(&pty)));
        let stdin: Option<Box<dyn Write + Send>> = match child.stdin.take() {
            Some(pipe) => Some(Box::new(pipe)),
            None if streams[0] == Io::Terminal => Some(Box::new(PtyReader(Arc::clone(&pty)))),
            None => None,
        };
        let stdout = Output::default();
        let mut held = child.stdout.take().map(OwnedFd::from);
        if streams[1] != Io::HeldPipe {
            stdout.read_or_end(held.take());
        }
        let stderr = Output::default();
        stderr.read_or_end(child.stderr.take().map(OwnedFd::from));
        let status = Arc::new((Mutex::new(None), Condvar::new()));
        let ended = Arc::clone(&status);
        thread::spawn(move || {
            let result = child.wait().expect("a child");
            *lock(&ended.0) = Some(result);
            ended.1.notify_all();
        });
        Self {
            pid,
            stdout,
            stderr,
            terminal,
            stdin: Mutex::new(stdin),
            held_stdout: Mutex::new(held),
            pty,
            pts: Mutex::new(Some(pts)),
            status,
            home,
        }
    }

    /// Writes to stdin: the pipe, or the terminal.
    pub fn type_in(&self, bytes: &[u8]) {
        if let Some(stdin) = lock(&self.stdin).as_mut() {
            // A program that has ended reads nothing: what it did before is what the test looks at.
            let _ = stdin.write_all(bytes);
        }
    }

    /// The end of stdin, if that is a pipe.
    pub fn close_stdin(&self) {
        lock(&self.stdin).take();
    }

    /// Begins to read a held stdout.
    pub fn read_stdout(&self) {
        self.stdout.read_or_end(lock(&self.held_stdout).take());
    }

    /// Closes a held stdout: what is written to it then gets EPIPE.
    pub fn close_stdout(&self) {
        lock(&self.held_stdout).take();
        self.stdout.read_or_end(None);
    }

    /// Another size of the terminal, columns and rows.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.pty
            .resize(pty_process::Size::new(rows, columns))
            .expect("another size");
    }

    /// The terminal's settings now.
    pub fn settings(&self) -> Termios {
        tcgetattr(&*self.pty).expect("the terminal's settings")
    }

    /// Sets the terminal as a shell has it.
    pub fn make_cooked(&self) {
        use rustix::termios::{InputModes, LocalModes, OptionalActions, tcsetattr};
        let mut settings = self.settings();
        settings.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        settings.input_modes |= InputModes::ICRNL | InputModes::IXON;
        tcsetattr(&*self.pty, OptionalActions::Now, &settings).expect("other settings");
    }

    /// Waits until the terminal passes every byte, or does not.
    pub fn wait_for_raw(&self, raw: bool) {
        wait_until("the terminal's mode", || {
            use rustix::termios::LocalModes;
            self.settings().local_modes.contains(LocalModes::ICANON) != raw
        });
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("to signal it");
    }

    /// The exit status, if it has ended.
    pub fn try_wait(&self) -> Option<ExitStatus> {
        *lock(&self.status.0)
    }

    /// Waits for its end.
    pub fn wait(&self) -> ExitStatus {
        self.wait_within(PATIENCE)
            .unwrap_or_else(|| panic!("still running; {}", self.seen()))
    }

    /// Waits for its end for so long.
    pub fn wait_within(&self, time: Duration) -> Option<ExitStatus> {
        let (status, changed) = &*self.status;
        let (status, _) = changed
            .wait_timeout_while(lock(status), time, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *status
    }

    /// Waits for its end, and for all that it wrote.
    pub fn finish(self) -> Finished {
        let status = self.wait();
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        // The last one who has the terminal open.
        lock(&self.pts).take();
        self.terminal.wait_for_end();
        Finished {
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            terminal: self.terminal.text(),
        }
    }

    /// The empty home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The letter of its state: `S` sleeps, `R` runs, `T` is stopped.
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()));
        let stat = stat.unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
        after_name
            .and_then(|rest| rest.chars().next())
            .unwrap_or('X')
    }

    fn seen(&self) -> String {
        format!(
            "stdout {:?}, stderr {:?}, terminal {:?}",
            tail(&self.stdout.text()),
            tail(&self.stderr.text()),
            tail(&self.terminal.text())
        )
    }
}

/// The end of a text, where the interesting part is.
fn tail(text: &str) -> String {
    const SHOWN: usize = 2000;
    let skipped = text.chars().count().saturating_sub(SHOWN);
    let end: String = text.chars().skip(skipped).collect();
    if skipped == 0 {
        end
    } else {
        format!("({skipped} characters …){end}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

impl Finished {
    /// The exit code; 128 and its number if a signal ended it.
    pub fn code(&self) -> i32 {
        exit_code(self.status)
    }
}

/// The exit code; 128 and its number if a signal ended it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Waits until something that nobody tells about is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

struct PtyReader(Arc<Pty>);

impl Read for PtyReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for PtyReader {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
