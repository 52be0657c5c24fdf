//! A folder of the target's: one session after the other walks through it and prints small files, in archives where the target has tar;
//! large ones follow.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::entry::{EntryOutcome, LONGEST_PATH, SMALL};
use super::place::{Root, make_folder};
use super::unpack::Batch;
use crate::client::copy::context::{Copied, CopyContext};
use crate::client::copy::digest::{Hash, HashKind, Hasher};
use crate::client::copy::down::{self, again};
use crate::client::copy::error::CopyError;
use crate::client::copy::remote::{READING, RemoteScript, SILENCE, Way};
use crate::client::copy::reply::{FileFacts, Reply, shown};
use crate::client::copy::script;
use crate::client::copy::tries::Tries;

/// The most that is kept of what a folder has for later, large files and permissions of folders: their names, in bytes, and what each takes
/// besides.
const MOST_KEPT: usize = 48 << 20;
const KEPT_OVERHEAD: usize = 100;

/// Downloads.
pub(in super::super) fn download(
    context: &CopyContext,
    from: &Path,
    to: &Path,
    tell: &mut dyn FnMut(EntryOutcome),
) -> Result<(), CopyError> {
    let mut receiver = Receiver {
        context,
        root: Root(to),
        tell,
        done: 0,
        one_by_one: None,
        large: Vec::new(),
        folders: Vec::new(),
        kept: 0,
    };
    let mut tries = Tries::default();
    loop {
        let before = receiver.done;
        match receiver.walk(from) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => again(context, error, tries.failed(receiver.done > before))?,
        }
    }
    for path in std::mem::take(&mut receiver.large) {
        let copied = Root(to)
            .file(&path)
            .and_then(|full| down::file(context, &from.join(&path), &full));
        let entry = match copied {
            Ok(copied) => EntryOutcome::File(path, copied),
            Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
            Err(error) => EntryOutcome::Failed(path, error.into()),
        };
        (receiver.tell)(entry);
    }
    // What is in them is there by now; the innermost first.
    for (path, facts) in receiver.folders.iter().rev() {
        if let Err(error) = receiver.root.keep(path, *facts) {
            (receiver.tell)(EntryOutcome::Failed(path.clone(), error.into()));
        }
    }
    Ok(())
}

/// What takes a walk over there apart.
struct Receiver<'a> {
    context: &'a CopyContext,
    root: Root<'a>,
    tell: &'a mut dyn FnMut(EntryOutcome),
    /// How many entries are finished: the next session skips them.
    done: u64,
    /// How many of the next entries are asked for one by one, without an archive.
    one_by_one: Option<u64>,
    large: Vec<PathBuf>,
    /// Permissions and times to be kept, at the end.
    folders: Vec<(PathBuf, FileFacts)>,
    /// What both take, in bytes.
    kept: usize,
}

impl Receiver<'_> {
    /// One session; false when there is more.
    fn walk(&mut self, from: &Path) -> Result<bool, CopyError> {
        let script = script::walk(from, self.done, self.one_by_one);
        let mut remote = RemoteScript::start(&self.context.starter, Way::Out, script)?;
        let mut is_root = true;
        let mut batch: Option<Batch> = None;
        loop {
            let line = remote.line(READING)?;
            if batch.as_ref().is_some_and(Batch::is_full) {
                return Err(remote.garbled());
            }
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let path = |word: &str| path_of(word).ok_or_else(|| remote.garbled());
            let entry = match word {
                "end" => return Ok(true),
                "more" => {
                    self.one_by_one = None;
                    return Ok(false);
                }
                "packs" => {
                    batch = Some(Batch::default());
                    continue;
                }
                "tar" => {
                    let (Some(batch), Some(kind)) = (&mut batch, HashKind::parse(rest)) else {
                        return Err(remote.garbled());
                    };
                    batch.archive(&mut remote, kind, self.root, self.context)?;
                    continue;
                }
                "batch" => {
                    let done = rest.parse().ok().filter(|done| *done > self.done);
                    let (Some(batch), Some(done)) = (&mut batch, done) else {
                        return Err(remote.garbled());
                    };
                    if batch.is_torn {
                        log::info!("files changed while they were packed: they come one by one");
                        self.one_by_one = Some(done - self.done);
                        return Ok(false);
                    }
                    self.finish(std::mem::take(batch), done)?;
                    continue;
                }
                "folder" if is_root => {
                    is_root = false;
                    let (facts, _) = described(&remote, rest)?;
                    let to = self.root.0;
                    if !to.is_dir() {
                        make_folder(to, facts).map_err(|error| CopyError::local(to, &error))?;
                    }
                    if self.done == 0 {
                        self.keep(PathBuf::new(), facts)?;
                    }
                    continue;
                }
                "folder" => {
                    let (facts, path) = described(&remote, rest)?;
                    let made = self.root.folder(&path, facts);
                    self.keep(path.clone(), facts)?;
                    made.err()
                        .map(|error| EntryOutcome::Failed(path, error.into()))
                }
                "link" => {
                    let (name, target) = rest.split_once(' ').ok_or_else(|| remote.garbled())?;
                    let (name, target) = (path(name)?, path(target)?);
                    let made = self.root.link(&name, &target);
                    made.err()
                        .map(|error| EntryOutcome::Failed(name, error.into()))
                }
                "file" => {
                    let (facts, path) = described(&remote, rest)?;
                    if facts.size > SMALL {
                        // That it does not lead out of the folder is checked now, and again when the file comes.
                        match self.root.inside(&path) {
                            Ok(_) => {
                                match &mut batch {
                                    Some(batch) => batch.large.push(path),
                                    None => self.carry_later(path)?,
                                }
                                None
                            }
                            Err(error) => Some(EntryOutcome::Failed(path, error.into())),
                        }
                    } else {
                        Some(self.small(&mut remote, facts, path)?)
                    }
                }
                "special" => Some(EntryOutcome::Skipped(path(rest)?)),
                "denied" => Some(EntryOutcome::Failed(path(rest)?, CopyError::Denied.into())),
                // Of a folder, which was counted.
                "shut" => {
                    let shut = EntryOutcome::Failed(path(rest)?, CopyError::Denied.into());
                    match &mut batch {
                        Some(batch) => batch.told.push(shut),
                        None => (self.tell)(shut),
                    }
                    continue;
                }
                _ => return Err(remote.garbled()),
            };
            match &mut batch {
                Some(batch) => batch.told.extend(entry),
                None => {
                    entry.into_iter().for_each(&mut *self.tell);
                    self.done += 1;
                }
            }
        }
    }

    /// Entries up to this number are finished.
    fn finish(&mut self, mut batch: Batch, done: u64) -> Result<(), CopyError> {
        for path in batch.large.drain(..) {
            self.carry_later(path)?;
        }
        batch.told.drain(..).for_each(&mut *self.tell);
        self.done = done;
        Ok(())
    }

    fn carry_later(&mut self, path: PathBuf) -> Result<(), CopyError> {
        self.remember(&path)?;
        self.large.push(path);
        Ok(())
    }

    fn keep(&mut self, path: PathBuf, facts: FileFacts) -> Result<(), CopyError> {
        if self.context.options.preserve {
            self.remember(&path)?;
            self.folders.push((path, facts));
        }
        Ok(())
    }

    /// Counts what is kept. An error where it is too much.
    fn remember(&mut self, path: &Path) -> Result<(), CopyError> {
        self.kept += path.as_os_str().len() + KEPT_OVERHEAD;
        if self.kept > MOST_KEPT {
            return Err(CopyError::Local(
                "there are more entries than can be remembered".to_owned(),
            ));
        }
        Ok(())
    }

    /// A file whose bytes and hash come with it.
    fn small(
        &mut self,
        remote: &mut RemoteScript,
        facts: FileFacts,
        path: PathBuf,
    ) -> Result<EntryOutcome, CopyError> {
        let mut bytes = Vec::new();
        let (mut left, mut is_longer) = (facts.size, false);
        let line = loop {
            match remote.next(SILENCE)? {
                Reply::Data(data) => {
                    bytes.extend_from_slice(down::clip(&data, &mut left, &mut is_longer));
                }
                Reply::Line(line) => break line,
            }
        };
        let theirs = line.strip_prefix("hash ").and_then(Hash::parse);
        let result = match theirs {
            // It is gone, or cannot be read.
            None if line.starts_with("hash") => Err(CopyError::Changed),
            None => return Err(remote.garbled()),
            Some(theirs) => {
                let mut hasher = Hasher::new(theirs.kind);
                hasher.update(&bytes);
                if hasher.finish() == theirs {
                    self.write(&path, &bytes, facts)
                        .map(|()| Copied::new(bytes.len() as u64, theirs))
                } else {
                    Err(CopyError::Changed)
                }
            }
        };
        self.context.progress.expect(bytes.len() as u64);
        self.context.progress.carry(bytes.len() as u64);
        Ok(match result {
            Ok(copied) => EntryOutcome::File(path, copied),
            Err(error) => EntryOutcome::Failed(path, error.into()),
        })
    }

    fn write(&self, path: &Path, bytes: &[u8], facts: FileFacts) -> Result<(), CopyError> {
        let part = self.root.part(path)?;
        let written = io::Write::write_all(&mut &part.file, bytes);
        written.map_err(|error| part.lost(&error))?;
        part.finish(facts, self.context.options.preserve)
    }
}

/// `SIZE MODE MODIFIED NAME`.
fn described(remote: &RemoteScript, text: &str) -> Result<(FileFacts, PathBuf), CopyError> {
    let (facts, name) = text.rsplit_once(' ').ok_or_else(|| remote.garbled())?;
    let facts = FileFacts::parse(facts).ok_or_else(|| remote.garbled())?;
    Ok((facts, path_of(name).ok_or_else(|| remote.garbled())?))
}

fn path_of(word: &str) -> Option<PathBuf> {
    let bytes = shown(word)?;
    let is_possible = !bytes.is_empty() && bytes.len() < LONGEST_PATH && !bytes.contains(&0);
    is_possible.then(|| PathBuf::from(OsString::from_vec(bytes)))
}
