//! A command with a stdin: what we read goes to it in frames, and what it prints comes back as base64, stdout and stderr apart.
//!
//! Only one frame at a time is on its way beyond what the command has taken. Its reader over there has taken all of it before it writes, so
//! a command that does not read never keeps the agent from reading: it would lose its connection after two minutes.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::context::CopyContext;
use super::error::CopyError;
use super::remote::{RemoteScript, Way};
use super::reply::Reply;
use super::script;
use super::up::is_readable;

/// The data of a frame, in bytes.
const FRAME: usize = 256 * 1024;
/// A command may be silent for as long as it likes.
const EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where a command prints: see [`Exec::run`](crate::Exec::run).
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::OutputStream;
///
/// let (mut lines, mut complaints) = (0, 0);
/// client.exec(&target, ["sh", "-c", "echo a; echo b >&2; echo c"]).run(|stream, bytes| {
///     let count = bytes.iter().filter(|byte| **byte == b'\n').count();
///     match stream {
///         OutputStream::Stdout => lines += count,
///         OutputStream::Stderr => complaints += count,
///     }
///     Ok(())
/// })?;
/// assert_eq!((lines, complaints), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Its stdout.
    Stdout,
    /// Its stderr.
    Stderr,
}

/// Runs a command to its end; its exit code, which is 128 and the number where a signal ended it, or nothing where it is not known.
pub(super) fn run(
    context: &CopyContext,
    words: &[String],
    from: BorrowedFd<'_>,
    take: &mut dyn FnMut(OutputStream, &[u8]) -> io::Result<()>,
) -> Result<Option<u8>, CopyError> {
    let script = script::exec(words.iter().map(String::as_str));
    let mut remote = RemoteScript::start(&context.starter, Way::Terminal, script)?;
    remote.begin(&context.starter)?;
    let mut buffer = vec![0; FRAME];
    let mut stream = OutputStream::Stdout;
    let (mut is_on_its_way, mut reads) = (false, true);
    loop {
        while let Some(reply) = remote.try_next()? {
            let line = match reply {
                Reply::Data(data) => {
                    let taken = take(stream, &data);
                    taken.map_err(|error| CopyError::Local(format!("cannot write ({error})")))?;
                    continue;
                }
                Reply::Line(line) => line,
            };
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("out", _) => stream = OutputStream::Stdout,
                ("err", _) => stream = OutputStream::Stderr,
                ("wrote", _) => is_on_its_way = false,
                // It wants no more of it.
                ("closed", _) => reads = false,
                ("exit", code) => return Ok(code.trim().parse().ok()),
                _ => return Err(remote.garbled()),
            }
        }
        if !reads || is_on_its_way {
            remote.wait_with(EVER, None)?;
            continue;
        }
        if !is_readable(from) {
            remote.wait_with(EVER, Some(from))?;
            continue;
        }
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => {
                reads = false;
                remote.order("end")?;
            }
            Ok(count) => {
                is_on_its_way = true;
                remote.order(&format!("write {count}"))?;
                remote.send(&buffer[..count])?;
                context
                    .progress
                    .carry(u64::try_from(count).unwrap_or(u64::MAX));
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // Closed: there is nothing.
            Err(rustix::io::Errno::BADF) => {
                reads = false;
                remote.order("end")?;
            }
            Err(error) => return Err(CopyError::Local(format!("cannot read stdin ({error})"))),
        }
    }
}
