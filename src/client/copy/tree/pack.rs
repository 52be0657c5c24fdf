//! Small files that go as archives of tar(1): an archive is a file beside the destination, is unpacked there when its hash is right, and
//! what it holds is moved to its places.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::client::copy::context::Copied;
use crate::client::copy::digest::Hasher;
use crate::client::copy::error::CopyError;
use crate::client::copy::remote::{READING, RemoteScript, SILENCE};
use crate::client::copy::reply::{FileFacts, shown};
use crate::client::copy::script::name;
use crate::client::copy::up::Uploader;
use crate::sanitise;

/// The name of the archive below the destination, without `.part`.
const STAGE: &str = ".session-manager-plugin";
/// The data of a frame.
const FRAME: usize = 256 * 1024;
/// The most files of one archive, and their bytes.
const MOST_FILES: usize = 400;
const MOST_BYTES: usize = 2 << 20;

/// A file of it.
#[derive(Debug)]
pub(super) struct Packed {
    /// Its number among all that is uploaded.
    pub index: usize,
    /// Its path below the folder.
    pub path: PathBuf,
    /// The number of the archive's folder that it stands in.
    folder: usize,
    pub copied: Copied,
}

/// An archive that is being filled. Its files stand in numbered folders, one for each folder that they are for.
pub(super) struct Pack {
    archive: Builder<Vec<u8>>,
    pub files: Vec<Packed>,
    /// Below the folder that is uploaded; the number is the index.
    pub folders: Vec<PathBuf>,
    bytes: usize,
}

impl Pack {
    pub(super) fn new() -> Self {
        Self {
            archive: Builder::new(Vec::new()),
            files: Vec::new(),
            folders: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= MOST_FILES || self.bytes >= MOST_BYTES
    }

    /// Adds a file. What one folder holds is added together.
    pub(super) fn add(
        &mut self,
        index: usize,
        path: &Path,
        copied: Copied,
        bytes: &[u8],
        facts: FileFacts,
    ) -> std::io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        if self.folders.last() != Some(&parent) {
            self.folders.push(parent);
        }
        let folder = self.folders.len() - 1;
        let mut name = PathBuf::from(folder.to_string());
        name.push(path.file_name().unwrap_or(OsStr::from_bytes(b"_")));
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(facts.mode.unwrap_or(0o644));
        header.set_mtime(facts.modified.unwrap_or(0));
        self.archive.append_data(&mut header, name, bytes)?;
        self.bytes += bytes.len();
        self.files.push(Packed {
            index,
            path: path.to_owned(),
            folder,
            copied,
        });
        Ok(())
    }

    /// Sends it, and waits until what it holds is in its places below `to`, as far as that goes.
    pub(super) fn send(
        self,
        uploader: &mut Uploader<'_>,
        to: &Path,
    ) -> Result<SentPack, CopyError> {
        let Self {
            archive,
            files,
            folders,
            ..
        } = self;
        let archive = archive
            .into_inner()
            .map_err(|error| CopyError::Local(error.to_string()))?;
        let context = uploader.context;
        let (remote, kind) = uploader.main()?;
        let keeps = match context.options.preserve {
            true => "keep",
            false => "-",
        };
        let mut hasher = Hasher::new(kind);
        hasher.update(&archive);
        let digits = hasher.finish().digits;
        remote.order(&format!("open {} fresh", name(&to.join(STAGE))))?;
        // All of it is less than what may be ahead of the far side.
        for frame in archive.chunks(FRAME) {
            remote.order(&format!("write {}", frame.len()))?;
            remote.send(frame)?;
        }
        let frames = archive.chunks(FRAME).len();
        drop(archive);
        remote.order(&format!("unpack {digits} {keeps}"))?;
        for (number, folder) in folders.iter().enumerate() {
            let folder = name(&to.join(folder));
            remote.order(&format!("into {number} {folder} {keeps}"))?;
        }
        remote.order("unpacked")?;
        let mut can_unpack = answer(remote, "size ")?;
        for _ in 0..frames {
            can_unpack &= answer(remote, "wrote ")?;
        }
        can_unpack &= answer(remote, "yes")?;
        let mut left = HashSet::new();
        for (number, folder) in folders.iter().enumerate() {
            let all = || files.iter().filter(|file| file.folder == number);
            let packed = all().count();
            let mut staying = 0;
            loop {
                let line = remote.line(SILENCE)?;
                let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                match (word, shown(rest), rest.parse::<usize>()) {
                    ("left", Some(name), _) if staying < packed => {
                        staying += 1;
                        left.insert(folder.join(OsStr::from_bytes(&name)));
                    }
                    ("moved", _, Ok(moved)) => {
                        // Whatever tar reports, a file may be missing from the archive.
                        if moved.saturating_add(staying) != packed {
                            left.extend(all().map(|file| file.path.clone()));
                        }
                        break;
                    }
                    _ => return Err(remote.garbled()),
                }
            }
        }
        answer(remote, "yes")?;
        let is_there = |file: &Packed| can_unpack && !left.contains(&file.path);
        let files = files.into_iter().map(|file| {
            let is_there = is_there(&file);
            (file, is_there)
        });
        let files: Vec<_> = files.collect();
        for (file, _) in files.iter().filter(|(_, is_there)| *is_there) {
            context.progress.carry(file.copied.bytes);
        }
        Ok(SentPack { files, can_unpack })
    }
}

/// The answer to an order: whether it was done. A wrong hash is a break.
fn answer(remote: &mut RemoteScript, done: &str) -> Result<bool, CopyError> {
    let line = remote.line(READING)?;
    match line.split_once(' ').unwrap_or((&line, "")) {
        _ if line.starts_with(done) => Ok(true),
        ("no", reason) if reason.starts_with("hash") => Err(remote.garbled()),
        ("no" | "lost", reason) => {
            log::info!("no archive: {}", sanitise::line(reason));
            Ok(false)
        }
        _ => Err(remote.garbled()),
    }
}

/// What became of an archive.
pub(super) struct SentPack {
    /// Each file, and whether it is in its place.
    pub files: Vec<(Packed, bool)>,
    /// Whether the next archive may go better.
    pub can_unpack: bool,
}
