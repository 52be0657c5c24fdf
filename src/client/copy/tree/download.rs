//! A folder of the target's: one session after the other walks through it and prints small files; large ones follow.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{EntryOutcome, SMALL};
use crate::client::copy::context::{Copied, CopyContext};
use crate::client::copy::digest::{Hash, Hasher};
use crate::client::copy::down::{self, again};
use crate::client::copy::error::CopyError;
use crate::client::copy::part::PartFile;
use crate::client::copy::plan::Plan;
use crate::client::copy::remote::{READING, RemoteScript, SILENCE, Way};
use crate::client::copy::reply::{FileFacts, Reply, shown};
use crate::client::copy::script::{self, BLOCK};

/// The most that is kept of what a folder has for later: large files, and permissions of folders.
const MOST_KEPT: usize = 200_000;

/// Downloads.
pub(in super::super) fn download(
    context: &CopyContext,
    from: &Path,
    to: &Path,
    tell: &mut dyn FnMut(EntryOutcome),
) -> Result<(), CopyError> {
    let mut receiver = Receiver {
        context,
        to,
        tell,
        done: 0,
        large: Vec::new(),
        folders: Vec::new(),
    };
    let mut tries = Plan::new(0, BLOCK, |_| true);
    loop {
        let before = receiver.done;
        match receiver.walk(from) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => again(context, error, tries.failed(receiver.done > before))?,
        }
    }
    for path in std::mem::take(&mut receiver.large) {
        let full = to.join(&path);
        let copied = unlink(&full).and_then(|()| down::file(context, &from.join(&path), &full));
        let entry = match copied {
            Ok(copied) => EntryOutcome::File(path, copied),
            Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
            Err(error) => EntryOutcome::Failed(path, error),
        };
        (receiver.tell)(entry);
    }
    // What is in them is there by now; the innermost first.
    for (path, facts) in receiver.folders.iter().rev() {
        if let Err(error) = keep_folder(&to.join(path), *facts) {
            (receiver.tell)(EntryOutcome::Failed(path.clone(), error));
        }
    }
    Ok(())
}

fn keep_folder(path: &Path, facts: FileFacts) -> Result<(), CopyError> {
    let keep = || {
        if let Some(mode) = facts.mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o777))?;
        }
        match facts.modified {
            Some(modified) => {
                let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(modified));
                File::open(path)?.set_modified(time.ok_or(io::ErrorKind::InvalidData)?)
            }
            None => Ok(()),
        }
    };
    keep().map_err(|error| CopyError::local(path, &error))
}

/// Handles what the remote walk through a folder prints.
struct Receiver<'a> {
    context: &'a CopyContext,
    to: &'a Path,
    tell: &'a mut dyn FnMut(EntryOutcome),
    /// Entries that are done with: the next session passes over so many.
    done: u64,
    large: Vec<PathBuf>,
    /// Permissions and times to be kept, at the end.
    folders: Vec<(PathBuf, FileFacts)>,
}

impl Receiver<'_> {
    /// One session; false when there is more.
    fn walk(&mut self, from: &Path) -> Result<bool, CopyError> {
        let script = script::walk(from, self.done);
        let mut remote = RemoteScript::start(&self.context.starter, Way::Out, script)?;
        let mut is_root = true;
        loop {
            let line = remote.line(READING)?;
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "end" => return Ok(true),
                "more" => return Ok(false),
                "folder" if is_root => {
                    is_root = false;
                    let (facts, _) = described(&remote, rest)?;
                    if !self.to.is_dir() {
                        let made = fs::create_dir(self.to);
                        made.map_err(|error| CopyError::local(self.to, &error))?;
                    }
                    if self.done == 0 {
                        self.keep(PathBuf::new(), facts)?;
                    }
                    continue;
                }
                "folder" => {
                    let (facts, path) = described(&remote, rest)?;
                    let made = self
                        .inside(&path)
                        .and_then(|full| match fs::create_dir(&full) {
                            Err(error) if !is_folder(&full) => Err(CopyError::local(&full, &error)),
                            _ => Ok(()),
                        });
                    self.keep(path.clone(), facts)?;
                    self.failed(path, made);
                }
                "link" => {
                    let (path, target) = rest.split_once(' ').ok_or_else(|| remote.garbled())?;
                    let path = path_of(path).ok_or_else(|| remote.garbled())?;
                    let target = path_of(target).ok_or_else(|| remote.garbled())?;
                    let made = self
                        .inside(&path)
                        .and_then(|full| make_link(&full, &target));
                    self.failed(path, made);
                }
                "file" => {
                    let (facts, path) = described(&remote, rest)?;
                    if facts.size > SMALL {
                        // Whether it leads out of the folder is looked at now and again when it comes.
                        match self.inside(&path) {
                            Ok(_) if self.large.len() < MOST_KEPT => self.large.push(path),
                            Ok(_) => return Err(too_many()),
                            Err(error) => (self.tell)(EntryOutcome::Failed(path, error)),
                        }
                    } else {
                        self.small(&mut remote, facts, path)?;
                    }
                }
                "special" => {
                    let path = path_of(rest).ok_or_else(|| remote.garbled())?;
                    (self.tell)(EntryOutcome::Skipped(path));
                }
                "denied" => {
                    let path = path_of(rest).ok_or_else(|| remote.garbled())?;
                    (self.tell)(EntryOutcome::Failed(path, CopyError::Denied));
                }
                // Of a folder, which was counted.
                "shut" => {
                    let path = path_of(rest).ok_or_else(|| remote.garbled())?;
                    (self.tell)(EntryOutcome::Failed(path, CopyError::Denied));
                    continue;
                }
                _ => return Err(remote.garbled()),
            }
            self.done += 1;
        }
    }

    fn keep(&mut self, path: PathBuf, facts: FileFacts) -> Result<(), CopyError> {
        if self.context.options.preserve {
            if self.folders.len() >= MOST_KEPT {
                return Err(too_many());
            }
            self.folders.push((path, facts));
        }
        Ok(())
    }

    fn failed(&mut self, path: PathBuf, result: Result<(), CopyError>) {
        if let Err(error) = result {
            (self.tell)(EntryOutcome::Failed(path, error));
        }
    }

    /// A file whose bytes and hash come with it.
    fn small(
        &mut self,
        remote: &mut RemoteScript,
        facts: FileFacts,
        path: PathBuf,
    ) -> Result<(), CopyError> {
        let mut bytes = Vec::new();
        let line = loop {
            match remote.next(SILENCE)? {
                Reply::Data(data) => bytes.extend_from_slice(&data),
                Reply::Line(line) => break line,
            }
            if bytes.len() as u64 > SMALL {
                return Err(remote.garbled());
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
                    let written = self
                        .inside(&path)
                        .and_then(|full| write(&full, &bytes, facts, self.context));
                    written.map(|()| Copied::new(bytes.len() as u64, theirs))
                } else {
                    Err(CopyError::Changed)
                }
            }
        };
        self.context.progress.expect(bytes.len() as u64);
        self.context.progress.carry(bytes.len() as u64);
        (self.tell)(match result {
            Ok(copied) => EntryOutcome::File(path, copied),
            Err(error) => EntryOutcome::Failed(path, error),
        });
        Ok(())
    }

    /// The local path of an entry. Remote names must not lead out of the destination.
    fn inside(&self, path: &Path) -> Result<PathBuf, CopyError> {
        let mut full = self.to.to_owned();
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(part) = component else {
                return Err(CopyError::Local(
                    "its name leads out of the directory".to_owned(),
                ));
            };
            full.push(part);
            if components.peek().is_some() && !is_folder(&full) {
                return Err(CopyError::Local("it is not in a directory".to_owned()));
            }
        }
        Ok(full)
    }
}

fn too_many() -> CopyError {
    CopyError::Local(format!(
        "there are more than {MOST_KEPT} entries to be remembered"
    ))
}

/// A folder itself, and no link to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// `SIZE MODE MODIFIED NAME`.
fn described(remote: &RemoteScript, text: &str) -> Result<(FileFacts, PathBuf), CopyError> {
    let (facts, name) = text.rsplit_once(' ').ok_or_else(|| remote.garbled())?;
    let facts = FileFacts::parse(facts).ok_or_else(|| remote.garbled())?;
    Ok((facts, path_of(name).ok_or_else(|| remote.garbled())?))
}

fn path_of(word: &str) -> Option<PathBuf> {
    let bytes = shown(word)?;
    let is_possible = !bytes.is_empty() && !bytes.contains(&0);
    is_possible.then(|| PathBuf::from(OsString::from_vec(bytes)))
}

fn make_link(full: &Path, target: &Path) -> Result<(), CopyError> {
    let make = || {
        match fs::symlink_metadata(full) {
            Ok(found) if found.is_symlink() || found.is_file() => fs::remove_file(full)?,
            _ => {}
        }
        std::os::unix::fs::symlink(target, full)
    };
    make().map_err(|error| CopyError::local(full, &error))
}

/// A link that stands where a file is to go may lead anywhere.
fn unlink(full: &Path) -> Result<(), CopyError> {
    if fs::symlink_metadata(full).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(full).map_err(|error| CopyError::local(full, &error))?;
    }
    Ok(())
}

/// Writes a small file.
fn write(
    full: &Path,
    bytes: &[u8],
    facts: FileFacts,
    context: &CopyContext,
) -> Result<(), CopyError> {
    unlink(full)?;
    let part = PartFile::open(full)?;
    let written = part.file.set_len(0);
    let written = written.and_then(|()| io::Write::write_all(&mut &part.file, bytes));
    written.map_err(|error| part.failed(&error))?;
    part.finish(facts, context.options.preserve)
}
