//! `NAME.part`, the local file that a download writes, and its renaming at the end.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

use super::error::CopyError;
use super::reply::FileFacts;

/// What a file's name has until it is whole.
const PART: &[u8] = b".part";
/// The longest name of most file systems, in bytes.
const LONGEST_NAME: usize = 255;

/// `NAME.part`, open and locked.
pub(super) struct PartFile {
    pub file: File,
    path: PathBuf,
    /// Its final path.
    to: PathBuf,
}

impl PartFile {
    /// Opens what is there, or makes it.
    pub(super) fn open(to: &Path) -> Result<Self, CopyError> {
        // A link stays one: what it leads to is replaced.
        let to = match fs::symlink_metadata(to) {
            Ok(found) if found.is_symlink() => {
                fs::canonicalize(to).map_err(|error| CopyError::local(to, &error))?
            }
            _ => to.to_owned(),
        };
        match fs::metadata(&to) {
            Ok(found) if found.is_dir() => {
                return Err(CopyError::local(&to, &io::ErrorKind::IsADirectory.into()));
            }
            Ok(found) if !found.is_file() => {
                let error = io::Error::other("it is no regular file");
                return Err(CopyError::local(&to, &error));
            }
            _ => {}
        }
        let path = path_of(&to);
        let failed = |error: io::Error| CopyError::local(&path, &error);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
        let mut file = options.create(true).open(&path).map_err(failed)?;
        let mut found = file.metadata().map_err(failed)?;
        if found.is_file() && !is_ours_alone(&found) {
            // Whoever made it could change it after its hash was compared; or it is another file as well.
            fs::remove_file(&path).map_err(failed)?;
            file = options.create_new(true).open(&path).map_err(failed)?;
            found = file.metadata().map_err(failed)?;
        }
        if !found.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| failed(io::Error::other("another copy writes it at the moment")))?;
        Ok(Self { file, path, to })
    }

    /// How much is there.
    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |found| found.len())
    }

    /// What could not be done with it.
    pub(super) fn failed(&self, error: &io::Error) -> CopyError {
        CopyError::local(&self.path, error)
    }

    /// The same of one that is not kept: a small file begins anew anyway.
    pub(super) fn lost(&self, error: &io::Error) -> CopyError {
        self.discard();
        self.failed(error)
    }

    /// Removes it.
    pub(super) fn discard(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// It is whole: gives it its permissions, its time and its name.
    pub(super) fn finish(self, facts: FileFacts, preserve: bool) -> Result<(), CopyError> {
        self.complete(facts, preserve)?.rename()
    }

    /// It is whole, and gets its permissions and its time; its name it gets later.
    pub(super) fn complete(
        self,
        facts: FileFacts,
        preserve: bool,
    ) -> Result<CompletePart, CopyError> {
        let found = fs::metadata(&self.to).ok();
        let mode = match (facts.mode, &found) {
            (Some(mode), _) if preserve => mode & 0o777,
            (_, Some(found)) => found.mode() & 0o7777,
            (mode, None) => mode.unwrap_or(0o666) & 0o777 & !umask(),
        };
        let finish = || {
            self.file
                .set_permissions(fs::Permissions::from_mode(mode))?;
            if let Some(modified) = facts.modified.filter(|_| preserve) {
                let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(modified));
                self.file
                    .set_modified(time.ok_or(io::ErrorKind::InvalidData)?)?;
            }
            Ok(())
        };
        finish().map_err(|error: io::Error| self.failed(&error))?;
        let Self { path, to, .. } = self;
        Ok(CompletePart { path, to })
    }

    /// Removes it where there is nothing to go on from.
    pub(super) fn discard_if_empty(&self) {
        if self.length() == 0 {
            self.discard();
        }
    }
}

/// A part that is whole and has no name yet. It is no longer open.
#[derive(Debug)]
pub(super) struct CompletePart {
    pub path: PathBuf,
    to: PathBuf,
}

impl CompletePart {
    /// Gives it its name.
    pub(super) fn rename(self) -> Result<(), CopyError> {
        fs::rename(&self.path, &self.to).map_err(|error| CopyError::local(&self.path, &error))
    }

    /// It is not wanted.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a file is this user's and has no other name.
fn is_ours_alone(found: &Metadata) -> bool {
    found.uid() == geteuid().as_raw() && found.nlink() == 1
}

/// `NAME.part`; of a name that has no room for that less of it. What is there is compared by its hashes, whatever it is of.
fn path_of(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().as_bytes();
    let kept = &name[..name.len().min(LONGEST_NAME - PART.len())];
    let mut part = kept.to_vec();
    part.extend_from_slice(PART);
    to.with_file_name(OsStr::from_bytes(&part))
}

/// Bits that files of this process do not get. Asking the system would change it for a moment; Linux tells it in a file as well.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let digits = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    digits
        .and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok())
        .unwrap_or(0o022)
}
