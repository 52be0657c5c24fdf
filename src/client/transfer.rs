//! Files to and from a target.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Client;
use super::copy::{Copied, CopyOptions, CopyProgress, EntryOutcome, MOST_SESSIONS};
use super::copying::{CopiedFolder, Copying};
use super::failure::ClientError;
use super::target::Target;
use super::watch::bounded;

/// How many sessions a large file is worth unless somebody says otherwise.
const SESSIONS: usize = 4;

/// Copies files to and from a target that has a POSIX shell with `dd`, `base64` and one of `sha256sum`, `shasum` and `cksum`: see
/// [`Client::copy`].
///
/// A file is written beside its name, as `NAME.part`, and gets its name when its hash is the other side's; what is there of an interrupted
/// copy is not carried again. Relative paths over there begin in the home of the agent's user.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let folder = tempfile::tempdir()?;
/// # let (there, here) = (folder.path().join("there"), folder.path().join("here"));
/// # std::fs::write(&there, "a log")?;
/// let copied = client.copy(&target).sessions(2).preserve().download(&there, &here)?;
/// assert_eq!(copied.bytes, 5);
/// # assert_eq!(std::fs::read(here)?, b"a log");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is copied before `upload`, `download` and the like"]
pub struct Transfer {
    client: Client,
    target: Target,
    options: CopyOptions,
    timeout: Option<Duration>,
    progress: CopyProgress,
}

impl Transfer {
    pub(super) fn new(client: &Client, target: &Target) -> Self {
        Self {
            client: client.clone(),
            target: target.clone(),
            options: CopyOptions {
                sessions: SESSIONS,
                preserve: false,
                wait: None,
                reason: None,
            },
            timeout: None,
            progress: CopyProgress::default(),
        }
    }

    /// Over how many sessions a large file is spread at most, 1 to 16; 4 unless it is said here.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.options.sessions = sessions.clamp(1, MOST_SESSIONS);
        self
    }

    /// Permissions and times are kept.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let folder = tempfile::tempdir()?;
    /// # let (script, there) = (folder.path().join("script"), folder.path().join("there"));
    /// # std::fs::write(&script, "#!/bin/sh\n")?;
    /// use std::fs::{self, Permissions};
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// fs::set_permissions(&script, Permissions::from_mode(0o700))?;
    /// client.copy(&target).preserve().upload(&script, &there)?;
    /// # // This machine is the target.
    /// assert_eq!(fs::metadata(&there)?.permissions().mode() & 0o777, 0o700);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn preserve(mut self) -> Self {
        self.options.preserve = true;
        self
    }

    /// Why, for the records of Session Manager.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.options.reason = Some(reason.into());
        self
    }

    /// How long a target is waited for, at the beginning, that is not connected. Without it that is an error at once.
    pub fn wait(mut self, time: Duration) -> Self {
        self.options.wait = Some(bounded(time));
        self
    }

    /// How long the copy of a file or a folder may take, or all from [`begin`](Self::begin) on. Without it as long as bytes come.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How far all copies of this transfer are.
    pub fn progress(&self) -> CopyProgress {
        self.progress.clone()
    }

    /// A local file to one of the target's, which is replaced when all of it is there.
    ///
    /// # Errors
    /// [`ErrorKind::FileDenied`](crate::ErrorKind::FileDenied), [`FileDiffers`](crate::ErrorKind::FileDiffers) and the like; what can go
    /// wrong with StartSession.
    pub fn upload(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<Copied, ClientError> {
        self.once(|copying| copying.upload(from, to))
    }

    /// A file of the target's to a local one, which is replaced when all of it is there.
    ///
    /// # Errors
    /// [`ErrorKind::FileNotFound`](crate::ErrorKind::FileNotFound), [`FileDiffers`](crate::ErrorKind::FileDiffers) and the like; what can
    /// go wrong with StartSession.
    pub fn download(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<Copied, ClientError> {
        self.once(|copying| copying.download(from, to))
    }

    /// What is in a local folder, into one of the target's, which is made if there is none. `tell` hears of each entry.
    ///
    /// # Errors
    /// What ends the copy as a whole. An entry that is not copied does not: the result counts them.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let folder = tempfile::tempdir()?;
    /// # let (site, there) = (folder.path().join("site"), folder.path().join("there"));
    /// # std::fs::create_dir_all(site.join("images"))?;
    /// # std::fs::write(site.join("index.html"), "<p>")?;
    /// # std::fs::write(site.join("images/1.png"), "PNG")?;
    /// let copied = client.copy(&target).upload_folder(&site, &there, |entry| println!("{entry:?}"))?;
    /// assert_eq!((copied.files, copied.bytes), (2, 6));
    /// assert!(copied.is_complete());
    /// # assert_eq!(std::fs::read(there.join("images/1.png"))?, b"PNG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn upload_folder(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        tell: impl FnMut(EntryOutcome),
    ) -> Result<CopiedFolder, ClientError> {
        self.once(|copying| copying.upload_folder(from, to, tell))
    }

    /// What is in a folder of the target's, into a local one, which is made if there is none. `tell` hears of each entry. Nothing that the
    /// target names leads out of the folder.
    ///
    /// # Errors
    /// As [`upload_folder`](Self::upload_folder), and [`FileNotFound`](crate::ErrorKind::FileNotFound) where there is no such folder.
    pub fn download_folder(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        tell: impl FnMut(EntryOutcome),
    ) -> Result<CopiedFolder, ClientError> {
        self.once(|copying| copying.download_folder(from, to, tell))
    }

    /// Begins to copy many things, one after the other, in sessions that they share. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Local`](crate::ErrorKind::Local) when the system gives no thread or descriptor.
    pub fn begin(&self) -> Result<Copying, ClientError> {
        let deadline = self.timeout.map(|time| Instant::now() + bounded(time));
        Copying::begin(
            &self.client,
            self.target.id(),
            self.options.clone(),
            &self.progress,
            deadline,
        )
    }

    fn once<T>(
        &self,
        copy: impl FnOnce(&mut Copying) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut copying = self.begin()?;
        let result = copy(&mut copying);
        copying.finish_in_time();
        result
    }
}
