//! The local file of an upload.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::context::seconds;
use super::error::CopyError;
use super::reply::FileFacts;

/// A local file that is uploaded.
pub(super) struct LocalFile<'a> {
    pub(super) path: &'a Path,
    pub(super) file: File,
    pub(super) facts: FileFacts,
}

impl<'a> LocalFile<'a> {
    /// Opens it.
    ///
    /// # Errors
    /// [`CopyError::Directory`] and [`CopyError::Special`] for what is no file, and what the system says.
    pub(super) fn open(path: &'a Path) -> Result<Self, CopyError> {
        let failed = |error: io::Error| CopyError::local(path, &error);
        // Before it is opened: that alone does something to some devices.
        let found = path.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(CopyError::Directory);
        }
        if !found.is_file() {
            return Err(CopyError::Special);
        }
        let file = File::open(path).map_err(failed)?;
        let facts = facts(&file).map_err(failed)?;
        Ok(Self { path, file, facts })
    }

    /// Compares it with what it was when it was opened.
    ///
    /// # Errors
    /// [`CopyError::Changed`].
    pub(super) fn same(&self) -> Result<(), CopyError> {
        match facts(&self.file) {
            Ok(facts) if facts == self.facts => Ok(()),
            _ => Err(CopyError::Changed),
        }
    }
}

/// What is known of a local file.
pub(super) fn facts(file: &File) -> io::Result<FileFacts> {
    let found = file.metadata()?;
    Ok(FileFacts {
        size: found.len(),
        mode: Some(found.mode() & 0o777),
        modified: seconds(found.modified()),
    })
}
