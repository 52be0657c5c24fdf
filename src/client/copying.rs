//! Files and folders one after the other, in sessions that they share.

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::Client;
use super::copy::{
    Copied, Copier, CopyError, CopyOptions, CopyProgress, END_TIMEOUT, EntryOutcome, RemoteKind,
};
use super::failure::ClientError;
use super::session::GRACE;
use super::watch::{Watch, watch};
use crate::network::{Cancel, Stop};

/// Copies of many things, one after the other, in sessions that they share: see [`Transfer::begin`](crate::Transfer::begin).
///
/// When it is dropped, its sessions are ended in the background.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let folder = tempfile::tempdir()?;
/// # let (here, there) = (folder.path().join("here"), folder.path().join("there"));
/// # std::fs::create_dir_all(&here)?;
/// # std::fs::create_dir_all(&there)?;
/// # for name in ["a", "b", "c"] {
/// #     std::fs::write(here.join(name), name)?;
/// # }
/// let mut copying = client.copy(&target).begin()?;
/// for name in ["a", "b", "c"] {
///     copying.upload(here.join(name), there.join(name))?;
/// }
/// copying.finish();
/// assert_eq!(std::fs::read(there.join("c"))?, b"c");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Copying {
    copier: Copier,
    /// Why it was ended from outside.
    why: Arc<OnceLock<Stop>>,
    _watch: Option<Watch>,
}

/// How much of a folder was copied.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let folder = tempfile::tempdir()?;
/// # let (there, here) = (folder.path().join("there"), folder.path().join("here"));
/// # std::fs::create_dir(&there)?;
/// # std::os::unix::net::UnixListener::bind(there.join("socket"))?;
/// let copied = client.copy(&target).download_folder(&there, &here, |_| {})?;
/// assert_eq!((copied.files, copied.skipped, copied.failed), (0, 1, 0));
/// assert!(!copied.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "some of it may not have been copied"]
pub struct CopiedFolder {
    /// Files that were copied.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is none of what can be copied.
    pub skipped: u64,
    /// What was not copied and should have been.
    pub failed: u64,
}

impl CopiedFolder {
    /// Whether all of it was copied.
    pub const fn is_complete(&self) -> bool {
        self.skipped == 0 && self.failed == 0
    }

    /// Counts what a copy tells, and passes it on.
    fn counted(
        mut tell: impl FnMut(EntryOutcome),
        copy: impl FnOnce(&mut dyn FnMut(EntryOutcome)) -> Result<(), CopyError>,
    ) -> Result<Self, CopyError> {
        let mut copied = Self::default();
        copy(&mut |entry| {
            match &entry {
                EntryOutcome::File(_, file) => {
                    copied.files += 1;
                    copied.bytes = copied.bytes.saturating_add(file.bytes);
                }
                EntryOutcome::Skipped(_) => copied.skipped += 1,
                EntryOutcome::Failed(..) => copied.failed += 1,
            }
            tell(entry);
        })?;
        Ok(copied)
    }
}

impl Copying {
    pub(super) fn begin(
        client: &Client,
        target: &str,
        options: CopyOptions,
        progress: &CopyProgress,
        deadline: Option<Instant>,
    ) -> Result<Self, ClientError> {
        let no_resources = |error| ClientError::resources(&error);
        let cancel = Cancel::new().map_err(no_resources)?;
        let why = Arc::new(OnceLock::<Stop>::new());
        let (end, tell) = (cancel.clone(), Arc::clone(&why));
        let watched = watch(deadline, client.cancel(), move |stop| {
            // Set once.
            let _ = tell.set(stop);
            end.cancel();
        });
        Ok(Self {
            _watch: watched.map_err(no_resources)?,
            copier: Copier::new(client, target, options, &cancel)?.counting(progress),
            why,
        })
    }

    /// As [`Transfer::upload`](crate::Transfer::upload).
    ///
    /// # Errors
    /// See there.
    pub fn upload(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<Copied, ClientError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let result = self.copier.upload(|uploader| uploader.file(from, to));
        self.done(result)
    }

    /// What is read from a descriptor to its end, a pipe for one, to a file of the target's. Nothing is kept of it when it breaks off.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let folder = tempfile::tempdir()?;
    /// # let there = folder.path().join("there");
    /// use std::io::Write;
    ///
    /// let (reader, mut writer) = std::io::pipe()?;
    /// std::thread::spawn(move || writer.write_all(b"made on the way"));
    /// let mut copying = client.copy(&target).begin()?;
    /// assert_eq!(copying.upload_from(reader, &there)?.bytes, 15);
    /// # assert_eq!(std::fs::read(there)?, b"made on the way");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn upload_from(
        &mut self,
        from: impl AsFd,
        to: impl AsRef<Path>,
    ) -> Result<Copied, ClientError> {
        let to = to.as_ref();
        let result = self
            .copier
            .upload(|uploader| uploader.stream(from.as_fd(), to));
        self.done(result)
    }

    /// As [`Transfer::upload_folder`](crate::Transfer::upload_folder).
    ///
    /// # Errors
    /// See there.
    pub fn upload_folder(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        tell: impl FnMut(EntryOutcome),
    ) -> Result<CopiedFolder, ClientError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let result = CopiedFolder::counted(tell, |tell| {
            self.copier
                .upload(|uploader| uploader.folder(from, to, tell))
        });
        self.done(result)
    }

    /// As [`Transfer::download`](crate::Transfer::download).
    ///
    /// # Errors
    /// See there.
    pub fn download(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<Copied, ClientError> {
        let result = self.copier.download(from.as_ref(), to.as_ref());
        self.done(result)
    }

    /// A file of the target's to whoever takes its bytes, in order. Its hash is known only at the end:
    /// [`FileDiffers`](crate::ErrorKind::FileDiffers) then means that the bytes were wrong.
    ///
    /// # Errors
    /// As [`download`](Self::download); [`ErrorKind::Local`](crate::ErrorKind::Local) where writing fails.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// let mut hosts = Vec::new();
    /// let copied = client.copy(&target).begin()?.download_to("/etc/hosts", &mut hosts)?;
    /// assert_eq!(copied.bytes, hosts.len() as u64);
    /// # assert_eq!(hosts, std::fs::read("/etc/hosts")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn download_to(
        &mut self,
        from: impl AsRef<Path>,
        mut to: impl Write,
    ) -> Result<Copied, ClientError> {
        let mut take = |bytes: &[u8]| to.write_all(bytes);
        let result = self.copier.download_to(from.as_ref(), &mut take);
        self.done(result)
    }

    /// As [`Transfer::download_folder`](crate::Transfer::download_folder).
    ///
    /// # Errors
    /// See there.
    pub fn download_folder(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        tell: impl FnMut(EntryOutcome),
    ) -> Result<CopiedFolder, ClientError> {
        let result = CopiedFolder::counted(tell, |tell| {
            self.copier
                .download_folder(from.as_ref(), to.as_ref(), tell)
        });
        self.done(result)
    }

    /// What exists at a path of the target.
    ///
    /// # Errors
    /// What can go wrong with StartSession.
    pub fn kind(&mut self, path: impl AsRef<Path>) -> Result<RemoteKind, ClientError> {
        let result = self.copier.upload(|uploader| uploader.kind(path.as_ref()));
        self.done(result)
    }

    /// Ends its sessions, and waits until that is done: a few seconds at most.
    pub fn finish(self) {
        self.copier.finish(END_TIMEOUT);
    }

    /// The same; where its time is over or it was cancelled, no longer than a second.
    pub(super) fn finish_in_time(self) {
        let is_over = self.why.get().is_some();
        self.copier
            .finish(if is_over { GRACE } else { END_TIMEOUT });
    }

    fn done<T>(&self, result: Result<T, CopyError>) -> Result<T, ClientError> {
        result.map_err(|error| match self.why.get() {
            Some(stop) => ClientError::stopped(*stop, "copying"),
            None => error.into(),
        })
    }
}

impl fmt::Debug for Copying {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Copying").finish_non_exhaustive()
    }
}
