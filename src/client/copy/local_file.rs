//! The local file of an upload.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
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
    /// [`CopyError::Directory`] and [`CopyError::Special`] for what is no file, [`CopyError::Sizeless`], and what the system says.
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
        let opened = Self { path, file, facts };
        if facts.size == 0 {
            // Before there is something over there: a file in /proc has no size, and is not empty.
            opened.same()?;
        }
        Ok(opened)
    }

    /// Compares it with what it was when it was opened.
    ///
    /// # Errors
    /// As [`same`].
    pub(super) fn same(&self) -> Result<(), CopyError> {
        same(&self.file, self.facts)
    }

    /// Less could be read of it than there was.
    pub(super) fn shorter(&self) -> CopyError {
        shorter(&self.file, self.facts)
    }
}

/// Whether what was read of a file up to its size can be all of what it was: see [`FileFacts::allow`].
///
/// # Errors
/// [`CopyError::Changed`], and [`CopyError::Sizeless`] for a file of which more can be read.
pub(super) fn same(file: &File, before: FileFacts) -> Result<(), CopyError> {
    // Before its size is looked at again: it may grow in between.
    let is_longer = file
        .read_at(&mut [0], before.size)
        .is_ok_and(|count| count > 0);
    let now = facts(file).map_err(|_| CopyError::Changed)?;
    before.allow(now, is_longer)
}

/// Why less could be read of a file than there was.
pub(super) fn shorter(file: &File, before: FileFacts) -> CopyError {
    match facts(file) {
        Ok(now) if now == before => CopyError::Sizeless,
        _ => CopyError::Changed,
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
