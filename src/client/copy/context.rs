//! Options and progress that all files of a copy share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::digest;
use super::remote::Starter;

/// How far copies are, for another thread: see [`Transfer::progress`](crate::Transfer::progress). Clones count the same.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let folder = tempfile::tempdir()?;
/// # let (here, there) = (folder.path().join("here"), folder.path().join("there"));
/// # std::fs::write(&here, vec![7; 100_000])?;
/// let copy = client.copy(&target);
/// let progress = copy.progress();
/// let copying = std::thread::spawn(move || copy.upload(&here, &there));
/// while !copying.is_finished() {
///     println!("{} of {} bytes", progress.carried(), progress.total());
///     std::thread::sleep(std::time::Duration::from_millis(50));
/// }
/// assert_eq!(progress.carried(), 100_000);
/// # assert_eq!(copying.join().unwrap()?.bytes, 100_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CopyProgress(Arc<CopyCounters>);

#[derive(Debug, Default)]
struct CopyCounters {
    carried: AtomicU64,
    total: AtomicU64,
}

impl CopyProgress {
    /// Bytes that have arrived, and those that an interrupted copy had left there.
    pub fn carried(&self) -> u64 {
        self.0.carried.load(Ordering::Relaxed)
    }

    /// Bytes of all that is known of: it grows while a folder is looked through.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    pub(super) fn carry(&self, bytes: u64) {
        self.0.carried.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
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
#[non_exhaustive]
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
    pub(super) progress: CopyProgress,
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
