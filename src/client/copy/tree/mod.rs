//! Folders: many small files in one session, each large one as a file of its own.

mod download;
mod upload;

use std::path::PathBuf;

use super::context::Copied;
use super::error::CopyError;

pub(super) use download::download;

/// A file up to this size travels with others; `walk.sh` has it as well.
const SMALL: u64 = 1 << 20;

/// What happened to one entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryOutcome {
    /// A file was copied.
    File(PathBuf, Copied),
    /// It is none of what can be copied: a device, a socket and so on.
    Skipped(PathBuf),
    /// It was not copied.
    Failed(PathBuf, CopyError),
}
