//! Small files that come as archives of tar(1). They get their names when all of an archive has come and its hash is right.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::entry::{EntryOutcome, LONGEST_PATH, SMALL};
use super::place::Root;
use crate::client::copy::context::{Copied, CopyContext};
use crate::client::copy::digest::{Hash, HashKind, Hasher};
use crate::client::copy::error::CopyError;
use crate::client::copy::part::CompletePart;
use crate::client::copy::remote::{READING, RemoteScript, SILENCE};
use crate::client::copy::reply::{FileFacts, Reply};

/// The most that stands between two files of an archive, in bytes: headers, with long names, and what fills up the block before.
const HEADERS: u64 = 64 * 1024;
/// The most after the last of them.
const TRAILER: u64 = 1 << 20;
/// The most that a small file may have grown to before it was packed: the next session takes it for a large one.
const MOST_GROWN: u64 = 2 * SMALL;
/// The most entries of one batch, whatever becomes of them: ten times as many as `walk.sh` puts into one.
const MOST: usize = 4_000;
/// What is read and written at once.
const PIECE: usize = 64 * 1024;

/// Entries that are finished together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Parts without their names, of archives that are not verified.
    files: Vec<(PathBuf, CompletePart, Copied)>,
    links: Vec<(PathBuf, PathBuf)>,
    /// What is to be told.
    pub told: Vec<EntryOutcome>,
    /// Files that are carried one by one.
    pub large: Vec<PathBuf>,
    /// An archive and the files differ: the entries are asked for one by one.
    pub is_torn: bool,
}

impl Batch {
    /// Whether there are more entries than one batch has.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() + self.links.len() + self.told.len() + self.large.len() >= MOST
    }

    /// Takes an archive, up to its hash.
    pub(super) fn archive(
        &mut self,
        remote: &mut RemoteScript,
        kind: HashKind,
        root: Root<'_>,
        context: &CopyContext,
    ) -> Result<(), CopyError> {
        let budget = Cell::new(HEADERS);
        let mut stream = ArchiveReader {
            remote,
            hasher: Hasher::new(kind),
            data: Vec::new(),
            at: 0,
            end: None,
            failure: None,
            budget: &budget,
        };
        let taken = self.entries(&mut stream, &budget, root, context);
        // What fills up its last block; or it is no archive, as the target's tar is another kind of program.
        budget.set(TRAILER);
        let drained = io::copy(&mut stream, &mut io::sink());
        self.is_torn |= taken.is_err();
        let ArchiveReader {
            remote,
            hasher,
            end,
            failure,
            ..
        } = stream;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let end = match (drained, end) {
            (Ok(_), Some(end)) => end,
            _ => return Err(remote.garbled()),
        };
        let is_right = match end.strip_prefix("hash ").map(Hash::parse) {
            Some(Some(theirs)) => theirs == hasher.finish(),
            None if end == "torn" => false,
            _ => return Err(remote.garbled()),
        };
        if is_right && !self.is_torn {
            self.rename(root);
        } else {
            self.is_torn = true;
        }
        Ok(())
    }

    fn entries(
        &mut self,
        stream: &mut ArchiveReader<'_>,
        budget: &Cell<u64>,
        root: Root<'_>,
        context: &CopyContext,
    ) -> io::Result<()> {
        let mut archive = Archive::new(stream);
        let mut entries = archive.entries()?;
        loop {
            budget.set(HEADERS);
            let Some(entry) = entries.next() else {
                return Ok(());
            };
            let mut entry = entry?;
            if self.is_full() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let path = path_of(&entry.path_bytes());
            let header = entry.header();
            let kind = header.entry_type();
            let facts = FileFacts {
                size: entry.size(),
                mode: header.mode().ok().map(|mode| mode & 0o7777),
                modified: header.mtime().ok(),
            };
            if facts.size > MOST_GROWN {
                return Err(io::ErrorKind::InvalidData.into());
            }
            budget.set(HEADERS.saturating_add(facts.size));
            let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
            let longest = target
                .as_ref()
                .map_or(0, Vec::len)
                .max(path.as_os_str().len());
            if longest >= LONGEST_PATH {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let written = match (kind, target) {
                (EntryType::Symlink, Some(target)) => {
                    self.links
                        .push((path, PathBuf::from(OsStr::from_bytes(&target))));
                    continue;
                }
                (EntryType::Link, Some(first)) => {
                    self.again(&path_of(&first), &path, facts, root, context)
                }
                (EntryType::Regular | EntryType::Continuous, _) => {
                    write(&mut entry, &path, facts, root, context)?
                }
                _ => continue,
            };
            match written {
                Ok((part, copied)) => self.files.push((path, part, copied)),
                Err(error) => self.told.push(EntryOutcome::Failed(path, error.into())),
            }
        }
    }

    /// A further name of a file that is in the archive already.
    fn again(
        &self,
        first: &Path,
        path: &Path,
        facts: FileFacts,
        root: Root<'_>,
        context: &CopyContext,
    ) -> Result<(CompletePart, Copied), CopyError> {
        let first = self.files.iter().find(|(path, ..)| path == first);
        // It was no regular file, or could not be written.
        let (_, first, _) = first.ok_or(CopyError::Changed)?;
        let mut file =
            File::open(&first.path).map_err(|error| CopyError::local(&first.path, &error))?;
        let size = file.metadata().map_or(0, |found| found.len());
        let facts = FileFacts { size, ..facts };
        write(&mut file, path, facts, root, context)
            .unwrap_or_else(|error| Err(CopyError::local(&first.path, &error)))
    }

    /// Gives the verified parts their names.
    fn rename(&mut self, root: Root<'_>) {
        for (path, part, copied) in self.files.drain(..) {
            self.told.push(match part.rename() {
                Ok(()) => EntryOutcome::File(path, copied),
                Err(error) => EntryOutcome::Failed(path, error.into()),
            });
        }
        for (path, target) in self.links.drain(..) {
            if let Err(error) = root.link(&path, &target) {
                self.told.push(EntryOutcome::Failed(path, error.into()));
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for (_, part, _) in self.files.drain(..) {
            part.discard();
        }
    }
}

/// Writes a file's part. The outer error is the reader's.
fn write(
    from: &mut dyn Read,
    path: &Path,
    facts: FileFacts,
    root: Root<'_>,
    context: &CopyContext,
) -> io::Result<Result<(CompletePart, Copied), CopyError>> {
    context.progress.expect(facts.size);
    let part = match root.part(path) {
        Ok(part) => part,
        Err(error) => return Ok(Err(error)),
    };
    let mut hasher = Hasher::new(HashKind::Sha256);
    let mut buffer = vec![0; PIECE.min(usize::try_from(facts.size).unwrap_or(PIECE))];
    let mut left = facts.size;
    while left > 0 {
        let count = from.read(&mut buffer).inspect_err(|_| part.discard())?;
        if count == 0 {
            part.discard();
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..count]);
        if let Err(error) = (&part.file).write_all(&buffer[..count]) {
            return Ok(Err(part.lost(&error)));
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        left = left.saturating_sub(count);
        context.progress.carry(count);
    }
    let copied = Copied::new(facts.size, hasher.finish());
    Ok(part
        .complete(facts, context.options.preserve)
        .map(|part| (part, copied)))
}

fn path_of(name: &[u8]) -> PathBuf {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    PathBuf::from(OsStr::from_bytes(name))
}

/// What a session prints between two lines, as long as it keeps to its budget.
struct ArchiveReader<'a> {
    remote: &'a mut RemoteScript,
    hasher: Hasher,
    data: Vec<u8>,
    at: usize,
    /// The line at its end.
    end: Option<String>,
    failure: Option<CopyError>,
    budget: &'a Cell<u64>,
}

impl Read for ArchiveReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.data.len() {
            if self.end.is_some() {
                return Ok(0);
            }
            // The archive is packed when the first byte comes, or within a batch's time.
            let silence = if self.data.is_empty() {
                READING
            } else {
                SILENCE
            };
            match self.remote.next(silence) {
                Ok(Reply::Data(data)) => {
                    self.hasher.update(&data);
                    self.data = data;
                    self.at = 0;
                }
                Ok(Reply::Line(line)) => self.end = Some(line),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        let ready = &self.data[self.at..];
        let count = ready.len().min(out.len());
        let left = self.budget.get();
        let taken = u64::try_from(count).unwrap_or(u64::MAX);
        if taken > left {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.budget.set(left - taken);
        out[..count].copy_from_slice(&ready[..count]);
        self.at += count;
        Ok(count)
    }
}
