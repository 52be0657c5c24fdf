//! What a folder has in it.

use std::path::PathBuf;

use crate::client::copy::context::Copied;
use crate::client::copy::error::CopyError;

/// A file up to this size travels with others; `walk.sh` has it as well.
pub(super) const SMALL: u64 = 1 << 20;

/// What became of one thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryOutcome {
    /// A file was copied.
    File(PathBuf, Copied),
    /// It is none of what can be copied: a device, a socket and so on.
    Skipped(PathBuf),
    /// It was not copied.
    Failed(PathBuf, CopyError),
}
