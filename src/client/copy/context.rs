//! Options and progress that all files of a copy share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::digest;
use super::remote::Starter;

/// How far the copy is. Read by the thread that shows it.
#[derive(Debug, Default)]
pub struct Progress {
    carried: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes that are there, those of earlier calls included.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Bytes of all that is known of.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn carry(&self, bytes: u64) {
        self.carried.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How files are copied.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Sessions at a time, 1 to [`MOST_SESSIONS`](super::MOST_SESSIONS).
    pub sessions: usize,
    /// Whether permissions and times are kept.
    pub preserve: bool,
    /// How long, from the beginning, a target is waited for that is not connected.
    pub wait: Option<Duration>,
    /// The reason that is recorded with each session.
    pub reason: Option<String>,
}

/// A file that was copied, hash compared.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let folder = tempfile::tempdir()?;
/// # let (here, there) = (folder.path().join("here"), folder.path().join("there"));
/// # std::fs::write(&here, "a file")?;
/// let copied = client.copy(&target).upload(&here, &there)?;
/// assert_eq!(copied.bytes, 6);
/// assert!(copied.sha256.is_some_and(|digits| digits.starts_with("7365d029")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its size.
    pub bytes: u64,
    /// Digits of its SHA-256; nothing where the target has only cksum.
    pub sha256: Option<String>,
}

impl Copied {
    pub(super) fn new(bytes: u64, hash: digest::Hash) -> Self {
        let is_sha256 = hash.kind == digest::HashKind::Sha256;
        Self {
            bytes,
            sha256: is_sha256.then_some(hash.digits),
        }
    }
}

/// What all files of a copy share.
pub(super) struct CopyContext {
    pub(super) starter: Starter,
    pub(super) options: CopyOptions,
    pub(super) progress: Arc<Progress>,
}

impl CopyContext {
    pub(super) fn is_cancelled(&self) -> bool {
        self.starter.cancel.is_cancelled()
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}
