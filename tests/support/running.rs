//! The program, once it runs.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pty_process::blocking::{Pts, Pty};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Termios, tcgetattr};

use super::output::tail;
use super::{Io, Output, TIMEOUT, exit_code, lock, wait_until};

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
    stdin: Arc<Mutex<Option<Box<dyn Write + Send>>>>,
    held_stdout: Mutex<Option<OwnedFd>>,
    pty: Arc<Pty>,
    pts: Mutex<Option<Pts>>,
    status: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
    home: tempfile::TempDir,
}

/// What a process uses; all 0 when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The most memory that it ever had (`VmHWM`), bytes.
    pub peak: usize,
    /// The memory that it has now (`VmRSS`), bytes.
    pub resident: usize,
    /// Its threads.
    pub threads: usize,
    /// Its open descriptors.
    pub descriptors: usize,
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
    pub(super) fn new(
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
            stdin: Arc::new(Mutex::new(stdin)),
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

    /// Types something, once a second until it has its effect: what is read together with what was typed before counts as a paste, and a
    /// shell hands its terminal over to a command a moment after it was told to.
    pub fn type_until(&self, keys: &[u8], effect: &str, mut is_so: impl FnMut() -> bool) {
        let mut typed: Option<Instant> = None;
        wait_until(effect, || {
            if is_so() {
                return true;
            }
            if typed.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                self.type_in(keys);
                typed = Some(Instant::now());
            }
            false
        });
    }

    /// Stdin for a thread that writes much: what is written after its end is lost.
    pub fn stdin_writer(&self) -> impl Write + Send + 'static {
        StdinWriter(Arc::clone(&self.stdin))
    }

    /// How many bytes it has read from files, pipes and terminals (`rchar`): what recv(2) takes from sockets does not count.
    pub fn bytes_read(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.pid.as_raw_nonzero()));
        let io = io.unwrap_or_default();
        let rchar = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        rchar.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The end of stdin, if that is a pipe.
    pub fn close_stdin(&self) {
        lock(&self.stdin).take();
    }

    /// Begins to read a held stdout.
    pub fn read_stdout(&self) {
        self.stdout.read_or_end(lock(&self.held_stdout).take());
    }

    /// Waits until so many bytes are in a held stdout.
    pub fn wait_for_held(&self, count: usize) {
        wait_until("bytes on stdout", || {
            let held = lock(&self.held_stdout);
            let held = held.as_ref().expect("a held stdout");
            rustix::io::ioctl_fionread(held).is_ok_and(|bytes| bytes >= count as u64)
        });
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
        wait_until("the terminal's mode", || self.is_raw() == raw);
    }

    /// Whether the terminal passes every byte.
    pub fn is_raw(&self) -> bool {
        use rustix::termios::LocalModes;
        !self.settings().local_modes.contains(LocalModes::ICANON)
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
        self.wait_within(TIMEOUT)
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

    /// Waits for the line that says where it listens: the local port.
    pub fn listening_port(&self) -> u16 {
        self.stdout.wait_for(" opened for sessionId ");
        let text = self.stdout.text();
        let port = text.split("Port ").nth(1);
        let port = port.and_then(|rest| rest.split(' ').next()?.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {text:?}"))
    }

    /// What it uses now, and the most memory it ever used.
    pub fn usage(&self) -> Usage {
        let process = format!("/proc/{}", self.pid.as_raw_nonzero());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let digits = line.and_then(|line| line.split_whitespace().next());
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        Usage {
            peak: number("VmHWM:") * 1024,
            resident: number("VmRSS:") * 1024,
            threads: number("Threads:"),
            descriptors: std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count),
        }
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

struct StdinWriter(Arc<Mutex<Option<Box<dyn Write + Send>>>>);

impl Write for StdinWriter {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match lock(&self.0).as_mut() {
            Some(stdin) => stdin.write(buffer),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
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
