//! Files to and from a target that has nothing but a POSIX shell with `dd`, `base64` and `sha256sum`, `shasum` or `cksum`.
//!
//! An agent pauses 1 ms after each KiB that a port or a terminal sends, but neither after what a command with separate streams prints nor
//! after input. So downloads are ranges that commands print as base64, several at a time; uploads go into a terminal in raw mode as they
//! are, in frames with a length, and what was written is reported. The far side's part is a script of a few lines (`script.rs`), what it
//! prints is decoded by `reply.rs`, the ranges that are still to be carried are in `plan.rs`, and `remote.rs` is a session with such a
//! script. `down.rs` and `up.rs` carry files, `tree` folders, `fed.rs` the stdin of a command.
//!
//! A file is written beside its name, as `NAME.part`, and renamed when its hash is the other side's. What is there of it is compared piece
//! by piece the next time, and only what is missing is carried.

mod context;
mod digest;
mod down;
mod error;
mod fed;
mod first_start;
mod kind;
mod local_file;
mod pace;
mod part;
mod plan;
mod remote;
mod reply;
mod script;
mod tree;
mod tries;
mod up;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use context::{Copied, CopyOptions, CopyProgress};
pub use error::CopyError;
pub use fed::OutputStream;
pub use kind::RemoteKind;
pub(in crate::client) use remote::END_TIMEOUT;
pub use tree::EntryOutcome;
pub use up::Uploader;

use crate::client::Client;
use crate::network::Cancel;
use context::CopyContext;
use remote::{Ender, Starter};
use up::UploadSession;

/// The most sessions at a time.
pub const MOST_SESSIONS: usize = 16;

/// Copies files to and from one target.
pub struct Copier {
    context: CopyContext,
    /// Of uploads, for the next one.
    session: Option<UploadSession>,
    ender: Ender,
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
            context: CopyContext {
                starter: Starter {
                    client: client.clone(),
                    target: target.to_owned(),
                    reason: options.reason.clone(),
                    wait: options.wait.map(|wait| (wait, Instant::now() + wait)),
                    cancel: cancel.clone(),
                    begun_by: None,
                    ender: ender.sender(),
                    first: Arc::default(),
                },
                options,
                progress: CopyProgress::default(),
            },
            session: None,
            ender,
        })
    }

    /// The same, whose first session must be established by then.
    pub fn begun_by(mut self, deadline: Instant) -> Self {
        self.context.starter.begun_by = Some(deadline);
        self
    }

    /// The same, which counts here.
    pub fn counting(mut self, progress: &CopyProgress) -> Self {
        self.context.progress = progress.clone();
        self
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
        tell: &mut dyn FnMut(EntryOutcome),
    ) -> Result<(), CopyError> {
        tree::download(&self.context, from, to, tell)
    }

    /// Uploads, in a session that the next uploads share.
    ///
    /// # Errors
    /// What `work` gives.
    pub fn upload<T>(
        &mut self,
        work: impl FnOnce(&mut Uploader<'_>) -> Result<T, CopyError>,
    ) -> Result<T, CopyError> {
        let mut uploader = Uploader::new(&self.context, self.session.take());
        let result = work(&mut uploader);
        self.session = uploader.into_session();
        result
    }

    /// Runs a command whose stdin is what is read from a descriptor, to its end: these words, as they are. `take` gets what it prints. Its
    /// exit code, which is 128 and the number where a signal ended it, or nothing where it is not known.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn run_fed(
        &self,
        words: &[String],
        from: BorrowedFd<'_>,
        take: &mut dyn FnMut(OutputStream, &[u8]) -> io::Result<()>,
    ) -> Result<Option<u8>, CopyError> {
        fed::run(&self.context, words, from, take)
    }

    /// Waits until all sessions are ended, so long at most. Then that goes on in the background.
    pub fn finish(self, timeout: Duration) {
        drop((self.session, self.context));
        self.ender.finish(timeout);
    }
}
