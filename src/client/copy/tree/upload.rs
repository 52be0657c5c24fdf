//! A local folder: one session takes orders for all of it, small files go in archives where the target has tar; large files are carried as
//! files of their own.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::entry::{EntryOutcome, SMALL};
use super::pack::Pack;
use crate::client::copy::context::{Copied, seconds};
use crate::client::copy::digest::{Hash, HashKind, Hasher};
use crate::client::copy::error::CopyError;
use crate::client::copy::local_file::{facts, same, shorter};
use crate::client::copy::remote::SILENCE;
use crate::client::copy::reply::FileFacts;
use crate::client::copy::script::name;
use crate::client::copy::up::{Uploader, close, kept, link};

/// The most folders below one another.
const DEEPEST: usize = 256;
/// So many small files are worth an archive.
const WORTH_A_PACK: usize = 4;
/// Orders that wait for their answers.
const ORDERS: usize = 128;
/// Bytes that are ahead of the far side.
const AHEAD: u64 = 2 << 20;

/// What is to be uploaded, in order: a folder comes before what is in it.
enum Item {
    Folder(FileFacts),
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
        tell: &mut dyn FnMut(EntryOutcome),
    ) -> Result<(), CopyError> {
        upload(self, from, to, tell)
    }
}

/// Uploads.
fn upload(
    uploader: &mut Uploader<'_>,
    from: &Path,
    to: &Path,
    tell: &mut dyn FnMut(EntryOutcome),
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
        pack: None,
        alone: VecDeque::new(),
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
                Err(error) => tell(EntryOutcome::Failed(path.clone(), error.into())),
            }
        }
    }
    Ok(())
}

fn keep_order(path: &Path, facts: FileFacts) -> String {
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
    tell: &mut dyn FnMut(EntryOutcome),
) -> Result<(), CopyError> {
    let full = root.join(&below);
    let entries = fs::metadata(&full).and_then(|found| {
        let facts = FileFacts {
            size: 0,
            mode: Some(found.mode() & 0o777),
            modified: seconds(found.modified()),
        };
        let entries: io::Result<Vec<_>> = fs::read_dir(&full)?.collect();
        Ok((facts, entries?))
    });
    let (facts, mut entries) = match entries {
        Ok(entries) => entries,
        Err(error) if below.as_os_str().is_empty() => return Err(CopyError::local(&full, &error)),
        Err(error) => {
            tell(EntryOutcome::Failed(
                below.clone(),
                CopyError::local(&full, &error).into(),
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
                Err(error) => tell(EntryOutcome::Failed(
                    below.clone(),
                    CopyError::local(&full, &error).into(),
                )),
            },
            Ok(found) if found.is_dir() && below.components().count() >= DEEPEST => {
                let error = CopyError::Local("it is too deep".to_owned());
                tell(EntryOutcome::Failed(below.clone(), error.into()));
            }
            Ok(found) if found.is_dir() => collect(root, below, items, tell)?,
            Ok(found) if found.is_file() => items.push((below.clone(), Item::File(found.len()))),
            Ok(_) => tell(EntryOutcome::Skipped(below.clone())),
            Err(error) => tell(EntryOutcome::Failed(
                below.clone(),
                CopyError::local(&full, &error).into(),
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
    /// How many items are finished.
    done: usize,
    /// What waits to go in an archive; nothing where the target cannot unpack one.
    pack: Option<Pack>,
    /// What came in an archive and could not be put in its place, which says why when it goes alone.
    alone: VecDeque<usize>,
    tell: &'a mut dyn FnMut(EntryOutcome),
}

/// What an order's answer is about.
enum Expected {
    /// A file is open, or not.
    Open,
    /// It is finished. Success is reported for files only.
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
        self.pack = self.begin_pack(uploader)?;
        self.send_alone(uploader, &mut pending)?;
        let mut next = self.done;
        while let Some((path, item)) = self.items.get(next) {
            let full = self.from.join(path);
            if let Item::File(size) = item
                && *size > SMALL
            {
                // In order, so that one number says which items are finished.
                self.send_pack(uploader, &mut pending, next)?;
                self.settle(uploader, &mut pending, 0, 0)?;
                let entry = match uploader.file(&full, &self.to.join(path)) {
                    Ok(copied) => EntryOutcome::File(path.clone(), copied),
                    Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
                    Err(error) => EntryOutcome::Failed(path.clone(), error.into()),
                };
                (self.tell)(entry);
                self.done = next + 1;
            } else if let (Item::File(_), Some(pack)) = (item, &mut self.pack) {
                let (_, kind) = uploader.main()?;
                let added = read_small(&full, kind).and_then(|(bytes, facts, hash)| {
                    let copied = Copied::new(bytes.len() as u64, hash);
                    let facts = kept(uploader.context, facts);
                    let added = pack.add(next, path, copied, &bytes, facts);
                    added.map_err(|error| CopyError::local(&full, &error))
                });
                if let Err(error) = added {
                    self.send_pack(uploader, &mut pending, next)?;
                    (self.tell)(EntryOutcome::Failed(path.clone(), error.into()));
                    self.done = next + 1;
                } else if pack.is_full() {
                    self.send_pack(uploader, &mut pending, next + 1)?;
                }
            } else {
                self.order(uploader, &mut pending, next)?;
                self.settle(uploader, &mut pending, ORDERS, AHEAD)?;
            }
            next += 1;
        }
        self.send_pack(uploader, &mut pending, next)?;
        self.settle(uploader, &mut pending, 0, 0)
    }

    /// Whether small files go in archives: there are several, and the target can unpack them.
    fn begin_pack(&self, uploader: &mut Uploader<'_>) -> Result<Option<Pack>, CopyError> {
        let is_small =
            |item: &&(PathBuf, Item)| matches!(item.1, Item::File(size) if size <= SMALL);
        let left = self.items[self.done..].iter();
        if left.filter(is_small).count() < WORTH_A_PACK {
            return Ok(None);
        }
        let (remote, _) = uploader.main()?;
        remote.order("packs")?;
        match remote.line(SILENCE)?.as_str() {
            "packs yes" => Ok(Some(Pack::new())),
            "packs no" => Ok(None),
            _ => Err(remote.garbled()),
        }
    }

    /// Sends what was packed, and waits until it is in its places. All items before `next` are finished then.
    fn send_pack(
        &mut self,
        uploader: &mut Uploader<'_>,
        pending: &mut Pending,
        next: usize,
    ) -> Result<(), CopyError> {
        let Some(pack) = self.pack.take_if(|pack| !pack.files.is_empty()) else {
            return Ok(());
        };
        // The folders that it goes to.
        self.settle(uploader, pending, 0, 0)?;
        let sent = pack.send(uploader, self.to)?;
        let mut told = Vec::new();
        for (file, is_there) in sent.files {
            match is_there {
                true => told.push(EntryOutcome::File(file.path, file.copied)),
                false => self.alone.push_back(file.index),
            }
        }
        self.done = next;
        if sent.can_unpack {
            self.pack = Some(Pack::new());
        }
        told.into_iter().for_each(&mut *self.tell);
        self.send_alone(uploader, pending)
    }

    /// Sends one by one what could not be unpacked.
    fn send_alone(
        &mut self,
        uploader: &mut Uploader<'_>,
        pending: &mut Pending,
    ) -> Result<(), CopyError> {
        while let Some(index) = self.alone.front() {
            self.order(uploader, pending, *index)?;
            self.settle(uploader, pending, 0, 0)?;
            self.alone.pop_front();
        }
        Ok(())
    }

    /// Sends one item.
    fn order(
        &mut self,
        uploader: &mut Uploader<'_>,
        pending: &mut Pending,
        index: usize,
    ) -> Result<(), CopyError> {
        let context = uploader.context;
        let (path, item) = &self.items[index];
        let (full, to) = (self.from.join(path), self.to.join(path));
        let (remote, kind) = uploader.main()?;
        match item {
            Item::Folder(facts) => {
                // Nobody else sees into it meanwhile, and it can be filled.
                let mode = kept(context, *facts).mode.unwrap_or(0o755) | 0o700;
                remote.order(&format!("folder {} {mode:o}", name(&to)))?;
                pending.answers.push_back(Expected::Done(index, None));
            }
            Item::Link(target) => {
                remote.order(&link(&to, target.as_os_str().as_bytes()))?;
                pending.answers.push_back(Expected::Done(index, None));
            }
            Item::File(_) => match read_small(&full, kind) {
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
                    // It is reported in order, but no order was sent and no answer comes.
                    self.settle(uploader, pending, 0, 0)?;
                    (self.tell)(EntryOutcome::Failed(path.clone(), error.into()));
                    self.is_done(index);
                }
            },
        }
        Ok(())
    }

    /// All items up to this one are finished, unless an earlier one still waits to be packed.
    fn is_done(&mut self, index: usize) {
        if self.pack.as_ref().is_none_or(|pack| pack.files.is_empty()) {
            self.done = self.done.max(index + 1);
        }
    }

    /// Takes answers until no more orders and bytes than these are in flight.
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
            // The answer at the file's end says why it is lost.
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
                        // Without the folder itself there is none of what is in it.
                        ("no", None) if index == 0 => return Err(CopyError::of_refusal(rest)),
                        ("no", _) => {
                            (self.tell)(EntryOutcome::Failed(
                                path,
                                CopyError::of_refusal(rest).into(),
                            ));
                        }
                        (_, Some(copied)) => (self.tell)(EntryOutcome::File(path, copied)),
                        (_, None) => {}
                    }
                    self.is_done(index);
                }
                _ => return Err(remote.garbled()),
            }
        }
        Ok(())
    }
}

fn read_small(full: &Path, kind: HashKind) -> Result<(Vec<u8>, FileFacts, Hash), CopyError> {
    let read = || {
        let file = File::open(full)?;
        let found = facts(&file)?;
        let mut bytes = Vec::new();
        (&file)
            .take(found.size.min(SMALL))
            .read_to_end(&mut bytes)?;
        Ok((file, bytes, found))
    };
    let (file, bytes, found) = read().map_err(|error| CopyError::local(full, &error))?;
    if bytes.len() as u64 != found.size {
        return Err(shorter(&file, found));
    }
    same(&file, found)?;
    let mut hasher = Hasher::new(kind);
    hasher.update(&bytes);
    Ok((bytes, found, hasher.finish()))
}
