//! What a folder has in it.

use std::path::PathBuf;

use crate::client::copy::context::Copied;
use crate::client::failure::ClientError;

/// Files up to this size are carried together; `walk.sh` has it as well.
pub(super) const SMALL: u64 = 1 << 20;
/// No path is as long as this, in bytes: `PATH_MAX` of Linux, which is the most of all systems.
pub(super) const LONGEST_PATH: usize = 4096;

/// What became of one thing in a folder. Paths are relative to the folder, and empty for the folder itself.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let folder = tempfile::tempdir()?;
/// # let (there, here) = (folder.path().join("there"), folder.path().join("here"));
/// # std::fs::create_dir(&there)?;
/// # std::fs::write(there.join("log"), "a log")?;
/// use session_manager_plugin::EntryOutcome;
///
/// let copied = client.copy(&target).download_folder(&there, &here, |entry| match entry {
///     EntryOutcome::File(path, copied) => println!("{} ({} bytes)", path.display(), copied.bytes),
///     EntryOutcome::Skipped(path) => println!("{} is no file", path.display()),
///     EntryOutcome::Failed(path, error) => eprintln!("{}: {error}", path.display()),
///     _ => {}
/// })?;
/// assert!(copied.is_complete());
/// # assert_eq!(std::fs::read(here.join("log"))?, b"a log");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryOutcome {
    /// A file was copied.
    File(PathBuf, Copied),
    /// It is none of what can be copied: a device, a socket and so on.
    Skipped(PathBuf),
    /// It was not copied.
    Failed(PathBuf, ClientError),
}
