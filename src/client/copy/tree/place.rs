//! The local side of a folder that is downloaded. What the far side names must not lead out of it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::client::copy::error::CopyError;
use crate::client::copy::part::PartFile;
use crate::client::copy::reply::FileFacts;

/// The folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a>(pub &'a Path);

impl Root<'_> {
    /// Where something goes.
    pub(super) fn inside(&self, path: &Path) -> Result<PathBuf, CopyError> {
        let mut full = self.0.to_owned();
        let mut components = path.components().peekable();
        if components.peek().is_none() {
            return Err(leads_out());
        }
        while let Some(component) = components.next() {
            let Component::Normal(part) = component else {
                return Err(leads_out());
            };
            full.push(part);
            if components.peek().is_some() && !is_folder(&full) {
                return Err(CopyError::Local("it is not in a directory".to_owned()));
            }
        }
        Ok(full)
    }

    /// Makes a folder, if there is none.
    pub(super) fn folder(&self, path: &Path, facts: FileFacts) -> Result<(), CopyError> {
        let full = self.inside(path)?;
        match make_folder(&full, facts) {
            Err(error) if !is_folder(&full) => Err(CopyError::local(&full, &error)),
            _ => Ok(()),
        }
    }

    /// Makes a link.
    pub(super) fn link(&self, path: &Path, target: &Path) -> Result<(), CopyError> {
        let full = self.inside(path)?;
        let make = || {
            match fs::symlink_metadata(&full) {
                Ok(found) if found.is_symlink() || found.is_file() => fs::remove_file(&full)?,
                _ => {}
            }
            std::os::unix::fs::symlink(target, &full)
        };
        make().map_err(|error| CopyError::local(&full, &error))
    }

    /// Where a file goes. A link that stands there may lead anywhere: it is taken away.
    pub(super) fn file(&self, path: &Path) -> Result<PathBuf, CopyError> {
        let full = self.inside(path)?;
        if fs::symlink_metadata(&full).is_ok_and(|found| found.is_symlink()) {
            fs::remove_file(&full).map_err(|error| CopyError::local(&full, &error))?;
        }
        Ok(full)
    }

    /// The empty part of a small file.
    pub(super) fn part(&self, path: &Path) -> Result<PartFile, CopyError> {
        let part = PartFile::open(&self.file(path)?)?;
        part.file.set_len(0).map_err(|error| part.failed(&error))?;
        Ok(part)
    }

    /// Gives a folder the permissions and the time that it has over there.
    pub(super) fn keep(&self, path: &Path, facts: FileFacts) -> Result<(), CopyError> {
        let path = self.0.join(path);
        let keep = || {
            if let Some(mode) = facts.mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777))?;
            }
            match facts.modified {
                Some(modified) => {
                    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(modified));
                    File::open(&path)?.set_modified(time.ok_or(io::ErrorKind::InvalidData)?)
                }
                None => Ok(()),
            }
        };
        keep().map_err(|error| CopyError::local(&path, &error))
    }
}

/// Makes a folder with the permissions that it has over there, less what the umask takes away, and those that filling it needs.
pub(super) fn make_folder(path: &Path, facts: FileFacts) -> io::Result<()> {
    let mode = facts.mode.unwrap_or(0o777) & 0o777;
    DirBuilder::new().mode(mode | 0o700).create(path)
}

fn leads_out() -> CopyError {
    CopyError::Local("its name leads out of the directory".to_owned())
}

/// A folder itself, and no link to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}
