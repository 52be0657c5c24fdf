//! Files to and from a target.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Client;
use super::copy::{Copied, Copier, CopyError, CopyOptions, MOST_SESSIONS};
use super::failure::ClientError;
use super::target::Target;
use super::watch::bounded;
use super::watch::watch;
use crate::network::{Cancel, Stop};

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
#[must_use = "nothing is copied before `upload` or `download`"]
pub struct Transfer {
    client: Client,
    target: Target,
    options: CopyOptions,
    timeout: Option<Duration>,
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
        }
    }

    /// Over how many sessions a large file is spread at most, 1 to 16; 4 unless it is said here.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.options.sessions = sessions.clamp(1, MOST_SESSIONS);
        self
    }

    /// Permissions and times are kept.
    pub const fn preserve(mut self) -> Self {
        self.options.preserve = true;
        self
    }

    /// Why, for the records of Session Manager.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.options.reason = Some(reason.into());
        self
    }

    /// How long one file may take. Without it as long as bytes come.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
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
        let (from, to) = (from.as_ref(), to.as_ref());
        self.run(|copier| copier.uploader().file(from, to))
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
        let (from, to) = (from.as_ref(), to.as_ref());
        self.run(|copier| copier.download(from, to))
    }

    fn run(
        &self,
        copy: impl FnOnce(&Copier) -> Result<Copied, CopyError>,
    ) -> Result<Copied, ClientError> {
        let no_resources = |error| ClientError::resources(&error);
        let cancel = Cancel::new().map_err(no_resources)?;
        let why = Arc::new(OnceLock::<Stop>::new());
        let deadline = self.timeout.map(|time| Instant::now() + bounded(time));
        let (end, tell) = (cancel.clone(), Arc::clone(&why));
        let watched = watch(deadline, self.client.cancel(), move |stop| {
            // Set once.
            let _ = tell.set(stop);
            end.cancel();
        });
        let _watched = watched.map_err(no_resources)?;
        let copier = Copier::new(
            &self.client,
            self.target.id(),
            self.options.clone(),
            &cancel,
        )?;
        let result = copy(&copier);
        copier.finish();
        result.map_err(|error| match why.get() {
            Some(stop) => ClientError::stopped(*stop, "copying"),
            None => error.into(),
        })
    }
}
