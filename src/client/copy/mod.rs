//! Files to and from a target that has nothing but a POSIX shell with `dd`, `base64` and `sha256sum`, `shasum` or `cksum`.
//!
//! An agent pauses 1 ms after each KiB that a port or a terminal sends, but neither after what a command with separate streams prints nor
//! after input. So downloads are ranges that commands print as base64, several at a time; uploads go into a terminal in raw mode as they
//! are, in frames with a length, and what was written is reported. The far side's part is a script of a few lines
//! ([`script`]), what it says is taken apart by [`reply`], which ranges are still to be carried is the business of [`plan`], and
//! [`remote`] is a session with such a script. [`down`] and [`up`] carry files, [`tree`] folders.
//!
//! A file is written beside its name, as `NAME.part`, and renamed when its hash is the other side's. What is there of it is compared piece by
//! piece the next time, and only what is missing is carried.

mod digest;
mod down;
mod pace;
mod part;
mod plan;
mod remote;
mod reply;
mod script;
mod tree;
mod up;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

pub use tree::Entry;
pub use up::{FarKind, Uploader};

use crate::client::Client;
use crate::network::Cancel;
use crate::sanitise;
use remote::{Ender, Starter};

/// The most sessions at a time.
pub const MOST_SESSIONS: usize = 16;

/// Why something was not copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// No session can be had.
    #[error("{0}")]
    Start(String),
    /// A session broke, or what came was damaged, and trying again did not help. The same call goes on from where it was.
    #[error("{0}")]
    Broken(String),
    /// [`Cancel::cancel`] was called.
    #[error("interrupted")]
    Cancelled,
    /// The target has no such file.
    #[error("no such file or directory on the target")]
    Missing,
    /// The path is a folder's, and a file's was expected.
    #[error("it is a directory (-r copies directories)")]
    Directory,
    /// Neither a file nor a folder.
    #[error("it is neither a file nor a directory")]
    Special,
    /// The target's user may not read it.
    #[error("permission denied on the target")]
    Denied,
    /// A program is missing over there.
    #[error("the target has no {0}")]
    Tool(String),
    /// What the target's tools say.
    #[error("on the target: {0}")]
    Far(String),
    /// The file changed while it was copied.
    #[error("it changed while it was copied")]
    Changed,
    /// The two sides have different bytes, and the second try did not mend it.
    #[error("the hashes differ: what arrived is not what was sent")]
    Different,
    /// Something on this side.
    #[error("{0}")]
    Local(String),
}

impl CopyError {
    fn is_temporary(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// `!error …` of a script.
    fn of_script(words: &str) -> Self {
        match words.split_once(' ') {
            Some(("tool", name)) => Self::Tool(sanitise::line(name)),
            _ => match words {
                "missing" => Self::Missing,
                "directory" => Self::Directory,
                "special" => Self::Special,
                "denied" => Self::Denied,
                other => Self::Far(sanitise::line(other)),
            },
        }
    }

    /// `!no …` of a script.
    fn of_refusal(words: &str) -> Self {
        let (word, text) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "directory" => Self::Directory,
            "special" => Self::Special,
            "hash" => Self::Different,
            "mode" => Self::Far("its permissions could not be set".to_owned()),
            "time" => Self::Far("its time could not be set".to_owned()),
            _ if text.trim().is_empty() => Self::Far(format!("{} failed", sanitise::line(word))),
            _ => Self::Far(sanitise::line(text.trim())),
        }
    }

    fn local(path: &Path, error: &io::Error) -> Self {
        Self::Local(sanitise::line(&format!("{}: {error}", path.display())))
    }

    fn resources(error: &io::Error) -> Self {
        Self::Local(format!(
            "the system gives no thread or descriptor ({error})"
        ))
    }
}

/// How far it is, for whoever shows it.
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

    fn carry(&self, bytes: u64) {
        self.carried.fetch_add(bytes, Ordering::Relaxed);
    }

    fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How files are copied.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Sessions at a time, 1 to [`MOST_SESSIONS`].
    pub sessions: usize,
    /// Whether permissions and times are kept.
    pub preserve: bool,
    /// Why, for the records.
    pub reason: Option<String>,
}

/// A file that was copied, hash compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its size.
    pub bytes: u64,
    /// Digits of its SHA-256; nothing where the target has only cksum.
    pub sha256: Option<String>,
}

impl Copied {
    fn new(bytes: u64, hash: digest::Hash) -> Self {
        let is_sha256 = hash.kind == digest::Kind::Sha256;
        Self {
            bytes,
            sha256: is_sha256.then_some(hash.digits),
        }
    }
}

/// Copies files to and from one target.
pub struct Copier {
    context: Context,
    ender: Ender,
}

/// What all that is copied has in common.
struct Context {
    starter: Starter,
    options: CopyOptions,
    progress: Arc<Progress>,
}

impl Context {
    fn is_cancelled(&self) -> bool {
        self.starter.cancel.is_cancelled()
    }
}

impl Copier {
    /// Nothing is sent yet. `cancel` ends everything early.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(
        client: &Client,
        target: &str,
        options: CopyOptions,
        cancel: &Cancel,
    ) -> Result<Self, CopyError> {
        let ender = Ender::start().map_err(|error| CopyError::resources(&error))?;
        Ok(Self {
            context: Context {
                starter: Starter {
                    client: client.clone(),
                    target: target.to_owned(),
                    reason: options.reason.clone(),
                    cancel: cancel.clone(),
                    ender: ender.sender(),
                },
                options,
                progress: Arc::default(),
            },
            ender,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.context.progress
    }

    /// A file of the target's to a local one, which is replaced when all of it is there. A relative path begins in the home over there.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn download(&self, from: &Path, to: &Path) -> Result<Copied, CopyError> {
        down::file(&self.context, from, to)
    }

    /// A file of the target's to whoever takes the bytes, in order. Its hash is known only at the end: an error then means that the bytes
    /// were wrong.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn download_to(
        &self,
        from: &Path,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Copied, CopyError> {
        down::stream(&self.context, from, take)
    }

    /// What is in a folder of the target's into a local folder, which is made. `tell` hears of each entry; what is told there does not end
    /// the rest.
    ///
    /// # Errors
    /// See [`CopyError`]; what it says is about the folder as a whole.
    pub fn download_folder(
        &self,
        from: &Path,
        to: &Path,
        tell: &mut dyn FnMut(Entry),
    ) -> Result<(), CopyError> {
        tree::download(&self.context, from, to, tell)
    }

    /// Uploads, in sessions that several files share.
    pub fn uploader(&self) -> Uploader<'_> {
        Uploader::new(&self.context)
    }

    /// Waits until all sessions are ended, a few seconds at most.
    pub fn finish(self) {
        drop(self.context);
        self.ender.finish();
    }
}

/// Seconds since 1970.
fn seconds(time: io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}
