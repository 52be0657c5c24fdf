//! What a command prints: as it comes, or collected.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use crossbeam_channel::Receiver;

/// What a command left: see [`Exec`](crate::Exec).
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let output = client.exec(&target, ["false"]).output()?;
/// assert!(!output.is_success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Its exit code, which is 128 and the number where a signal ended it; nothing where the agent tells none.
    pub status: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended with 0.
    pub const fn is_success(&self) -> bool {
        matches!(self.status, Some(0))
    }
}

/// One stream of a command's output. It ends when the command has, or is lost:
/// [`RemoteCommand::wait`](crate::RemoteCommand::wait) tells which.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use std::io::{BufRead, BufReader};
///
/// let mut count = client.exec(&target, ["seq", "3"]).spawn()?;
/// let stdout = count.stdout.take().expect("a stream");
/// let lines: Vec<String> = BufReader::new(stdout).lines().collect::<Result<_, _>>()?;
/// assert_eq!(lines, ["1", "2", "3"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OutputReader {
    pieces: Receiver<Bytes>,
    current: Bytes,
}

impl OutputReader {
    pub(super) const fn new(pieces: Receiver<Bytes>) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
        }
    }
}

impl Read for OutputReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !buffer.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.current = piece,
                Err(_) => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
