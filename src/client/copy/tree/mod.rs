//! Folders: many small files in one session, each large one as a file of its own.

mod download;
mod entry;
mod pack;
mod place;
mod unpack;
mod upload;

pub(super) use download::download;
pub use entry::EntryOutcome;
