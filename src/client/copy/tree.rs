//! Folders: many small files in one session, each large one as a file of its own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::context::{Context, Copied};
use super::digest::{Hash, Hasher, Kind};
use super::down::{self, again};
use super::error::CopyError;
use super::part::Part;
use super::plan::Plan;
use super::remote::{READING, Remote, SILENCE, Way};
use super::reply::{Facts, Reply, shown};
use super::script::{self, BLOCK, name};
use super::up::{Uploader, close, facts, link};

/// A file up to this size travels with others; `walk.sh` has it as well.
const SMALL: u64 = 1 << 20;
/// The most folders below one another.
const DEEPEST: usize = 256;
/// The most that is kept of what a folder has for later: large files, and permissions of folders.
const MOST_KEPT: usize = 200_000;
/// Orders that wait for their answers.
const ORDERS: usize = 128;
/// Bytes that are ahead of the far side.
const AHEAD: u64 = 2 << 20;

/// What became of one thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file was copied.
    File(PathBuf, Copied),
    /// It is none of what can be copied: a device, a socket and so on.
    Skipped(PathBuf),
    /// It was not copied.
    Failed(PathBuf, CopyError),
}

/// Downloads.
pub(super) fn download(
    context: &Context,
    from: &Path,
    to: &Path,
    tell: &mut dyn FnMut(Entry),
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
            Ok(copied) => Entry::File(path, copied),
            Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
            Err(error) => Entry::Failed(path, error),
        };
        (receiver.tell)(entry);
    }
    // What is in them is there by now; the innermost first.
    for (path, facts) in receiver.folders.iter().rev() {
        if let Err(error) = keep_folder(&to.join(path), *facts) {
            (receiver.tell)(Entry::Failed(path.clone(), error));
        }
    }
    Ok(())
}

fn keep_folder(path: &Path, facts: Facts) -> Result<(), CopyError> {
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

/// What takes a walk over there apart.
struct Receiver<'a> {
    context: &'a Context,
    to: &'a Path,
    tell: &'a mut dyn FnMut(Entry),
    /// Entries that are done with: the next session passes over so many.
    done: u64,
    large: Vec<PathBuf>,
    /// Permissions and times to be kept, at the end.
    folders: Vec<(PathBuf, Facts)>,
}

impl Receiver<'_> {
    /// One session; false when there is more.
    fn walk(&mut self, from: &Path) -> Result<bool, CopyError> {
        let script = script::walk(from, self.done);
        let mut remote = Remote::start(&self.context.starter, Way::Out, script)?;
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
                            Err(error) => (self.tell)(Entry::Failed(path, error)),
                        }
                    } else {
                        self.small(&mut remote, facts, path)?;
                    }
                }
                "special" => {
                    let path = path_of(rest).ok_or_else(|| remote.garbled())?;
                    (self.tell)(Entry::Skipped(path));
                }
                "denied" => {
                    let path = path_of(rest).ok_or_else(|| remote.garbled())?;
                    (self.tell)(Entry::Failed(path, CopyError::Denied));
                }
                // Of a folder, which was counted.
                "shut" => {
                    let path = path_of(rest).ok_or_else(|| remote.garbled())?;
                    (self.tell)(Entry::Failed(path, CopyError::Denied));
                    continue;
                }
                _ => return Err(remote.garbled()),
            }
            self.done += 1;
        }
    }

    fn keep(&mut self, path: PathBuf, facts: Facts) -> Result<(), CopyError> {
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
            (self.tell)(Entry::Failed(path, error));
        }
    }

    /// A file whose bytes and hash come with it.
    fn small(&mut self, remote: &mut Remote, facts: Facts, path: PathBuf) -> Result<(), CopyError> {
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
            Ok(copied) => Entry::File(path, copied),
            Err(error) => Entry::Failed(path, error),
        });
        Ok(())
    }

    /// Where it goes. The far side's names must not lead anywhere else.
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
fn described(remote: &Remote, text: &str) -> Result<(Facts, PathBuf), CopyError> {
    let (facts, name) = text.rsplit_once(' ').ok_or_else(|| remote.garbled())?;
    let facts = Facts::parse(facts).ok_or_else(|| remote.garbled())?;
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
fn write(full: &Path, bytes: &[u8], facts: Facts, context: &Context) -> Result<(), CopyError> {
    unlink(full)?;
    let part = Part::open(full)?;
    let written = part.file.set_len(0);
    let written = written.and_then(|()| io::Write::write_all(&mut &part.file, bytes));
    written.map_err(|error| part.failed(&error))?;
    part.finish(facts, context.options.preserve)
}

/// What is to be uploaded, in order: a folder comes before what is in it.
enum Item {
    Folder(Facts),
    Link(PathBuf),
    File(u64),
}

impl Uploader<'_> {
    /// What is in a local folder into one of the target's, which is made. `tell` hears of each entry.
    ///
    /// # Errors
    /// See [`CopyError`]; what it says is about the folder as a whole.
    pub fn folder(
        &mut self,
        from: &Path,
        to: &Path,
        tell: &mut dyn FnMut(Entry),
    ) -> Result<(), CopyError> {
        upload(self, from, to, tell)
    }
}

/// Uploads.
fn upload(
    uploader: &mut Uploader<'_>,
    from: &Path,
    to: &Path,
    tell: &mut dyn FnMut(Entry),
) -> Result<(), CopyError> {
    let mut items = Vec::new();
    collect(from, &mut PathBuf::new(), &mut items, tell)?;
    for (_, item) in &items {
        if let Item::File(size) = item
            && *size <= SMALL
        {
            uploader.context.progress.expect(*size);
        }
    }
    let mut sender = Sender {
        from,
        to,
        items: &items,
        done: 0,
        tell,
    };
    let result = uploader.retry(|uploader| sender.run(uploader));
    result?;
    if uploader.context.options.preserve {
        for (path, item) in items.iter().rev() {
            let Item::Folder(facts) = item else {
                continue;
            };
            let kept = uploader.retry(|uploader| {
                let (remote, _) = uploader.main()?;
                remote.order(&keep_order(&to.join(path), *facts))?;
                let line = remote.line(SILENCE)?;
                match line.strip_prefix("no ") {
                    Some(reason) => Err(CopyError::of_refusal(reason)),
                    None => Ok(()),
                }
            });
            match kept {
                Ok(()) => {}
                Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
                Err(error) => tell(Entry::Failed(path.clone(), error)),
            }
        }
    }
    Ok(())
}

fn keep_order(path: &Path, facts: Facts) -> String {
    let mode = facts
        .mode
        .map_or("-".to_owned(), |mode| format!("{mode:o}"));
    let time = facts
        .modified
        .map_or("-".to_owned(), |time| time.to_string());
    format!("mode {} {mode} {time}", name(path))
}

/// All that is in a folder, sorted, below a path that is relative to it.
fn collect(
    root: &Path,
    below: &mut PathBuf,
    items: &mut Vec<(PathBuf, Item)>,
    tell: &mut dyn FnMut(Entry),
) -> Result<(), CopyError> {
    let full = root.join(&below);
    let entries = fs::metadata(&full).and_then(|found| {
        let facts = Facts {
            size: 0,
            mode: Some(found.mode() & 0o777),
            modified: super::context::seconds(found.modified()),
        };
        let entries: io::Result<Vec<_>> = fs::read_dir(&full)?.collect();
        Ok((facts, entries?))
    });
    let (facts, mut entries) = match entries {
        Ok(entries) => entries,
        Err(error) if below.as_os_str().is_empty() => return Err(CopyError::local(&full, &error)),
        Err(error) => {
            tell(Entry::Failed(
                below.clone(),
                CopyError::local(&full, &error),
            ));
            return Ok(());
        }
    };
    items.push((below.clone(), Item::Folder(facts)));
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        below.push(entry.file_name());
        let full = entry.path();
        match fs::symlink_metadata(&full) {
            Ok(found) if found.is_symlink() => match fs::read_link(&full) {
                Ok(target) => items.push((below.clone(), Item::Link(target))),
                Err(error) => tell(Entry::Failed(
                    below.clone(),
                    CopyError::local(&full, &error),
                )),
            },
            Ok(found) if found.is_dir() && below.components().count() >= DEEPEST => {
                let error = CopyError::Local("it is too deep".to_owned());
                tell(Entry::Failed(below.clone(), error));
            }
            Ok(found) if found.is_dir() => collect(root, below, items, tell)?,
            Ok(found) if found.is_file() => items.push((below.clone(), Item::File(found.len()))),
            Ok(_) => tell(Entry::Skipped(below.clone())),
            Err(error) => tell(Entry::Failed(
                below.clone(),
                CopyError::local(&full, &error),
            )),
        }
        below.pop();
    }
    Ok(())
}

/// Sends what was collected.
struct Sender<'a> {
    from: &'a Path,
    to: &'a Path,
    items: &'a [(PathBuf, Item)],
    /// Items that are done with.
    done: usize,
    tell: &'a mut dyn FnMut(Entry),
}

/// What an order's answer is about.
enum Expected {
    /// A file is open, or not.
    Open,
    /// It is done with: nothing to tell where all is well but for files.
    Done(usize, Option<Copied>),
}

/// Orders whose answers are on their way.
#[derive(Default)]
struct Pending {
    answers: VecDeque<Expected>,
    ahead: u64,
}

impl Sender<'_> {
    fn run(&mut self, uploader: &mut Uploader<'_>) -> Result<(), CopyError> {
        let mut pending = Pending::default();
        let mut next = self.done;
        while let Some((path, item)) = self.items.get(next) {
            let full = self.from.join(path);
            if let Item::File(size) = item
                && *size > SMALL
            {
                // In order: what is done with is one number.
                self.settle(uploader, &mut pending, 0, 0)?;
                let entry = match uploader.file(&full, &self.to.join(path)) {
                    Ok(copied) => Entry::File(path.clone(), copied),
                    Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
                    Err(error) => Entry::Failed(path.clone(), error),
                };
                (self.tell)(entry);
                self.done = next + 1;
            } else {
                self.order(uploader, &mut pending, next, item, &full)?;
                self.settle(uploader, &mut pending, ORDERS, AHEAD)?;
            }
            next += 1;
        }
        self.settle(uploader, &mut pending, 0, 0)
    }

    /// Sends one item.
    fn order(
        &mut self,
        uploader: &mut Uploader<'_>,
        pending: &mut Pending,
        index: usize,
        item: &Item,
        full: &Path,
    ) -> Result<(), CopyError> {
        let context = uploader.context;
        let to = self.to.join(&self.items[index].0);
        let (remote, kind) = uploader.main()?;
        match item {
            Item::Folder(_) => {
                remote.order(&format!("folder {}", name(&to)))?;
                pending.answers.push_back(Expected::Done(index, None));
            }
            Item::Link(target) => {
                remote.order(&link(&to, target.as_os_str().as_bytes()))?;
                pending.answers.push_back(Expected::Done(index, None));
            }
            Item::File(_) => match read_small(full, kind) {
                Ok((bytes, facts, hash)) => {
                    remote.order(&format!("open {} fresh", name(&to)))?;
                    pending.answers.push_back(Expected::Open);
                    let size = bytes.len() as u64;
                    if size > 0 {
                        remote.order(&format!("write {size}"))?;
                        remote.send(&bytes)?;
                        pending.ahead += size;
                    }
                    remote.order(&close(context, &hash, facts))?;
                    let copied = Copied::new(size, hash);
                    pending
                        .answers
                        .push_back(Expected::Done(index, Some(copied)));
                }
                Err(error) => {
                    // Told in its place, but nobody answers it.
                    self.settle(uploader, pending, 0, 0)?;
                    (self.tell)(Entry::Failed(self.items[index].0.clone(), error));
                    self.done = index + 1;
                }
            },
        }
        Ok(())
    }

    /// Takes answers until no more than this is on its way.
    fn settle(
        &mut self,
        uploader: &mut Uploader<'_>,
        pending: &mut Pending,
        orders: usize,
        ahead: u64,
    ) -> Result<(), CopyError> {
        let context = uploader.context;
        while pending.answers.len() > orders || pending.ahead > ahead {
            let (remote, _) = uploader.main()?;
            let line = remote.line(SILENCE)?;
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let bytes = rest.split(' ').next().and_then(|size| size.parse().ok());
            // Why it is lost is said at its end.
            if let ("wrote" | "lost", Some(bytes)) = (word, bytes) {
                pending.ahead = pending.ahead.saturating_sub(bytes);
                context.progress.carry(bytes);
                continue;
            }
            match (pending.answers.pop_front(), word) {
                (Some(Expected::Open), "size" | "no") => {}
                (Some(Expected::Done(index, copied)), "yes" | "no") => {
                    let path = self.items[index].0.clone();
                    match (word, copied) {
                        ("no", _) => {
                            (self.tell)(Entry::Failed(path, CopyError::of_refusal(rest)));
                        }
                        (_, Some(copied)) => (self.tell)(Entry::File(path, copied)),
                        (_, None) => {}
                    }
                    self.done = index + 1;
                }
                _ => return Err(remote.garbled()),
            }
        }
        Ok(())
    }
}

fn read_small(full: &Path, kind: Kind) -> Result<(Vec<u8>, Facts, Hash), CopyError> {
    let read = || {
        let file = File::open(full)?;
        let found = facts(&file)?;
        let mut bytes = Vec::new();
        (&file).take(SMALL + 1).read_to_end(&mut bytes)?;
        Ok((bytes, found))
    };
    let (bytes, found) = read().map_err(|error| CopyError::local(full, &error))?;
    if bytes.len() as u64 != found.size {
        return Err(CopyError::Changed);
    }
    let mut hasher = Hasher::new(kind);
    hasher.update(&bytes);
    Ok((bytes, found, hasher.finish()))
}
