//! A log file of bounded size, for several processes at a time (P98).
//!
//! Nobody else's file is written to, renamed or replaced, and nobody else can read ours. A file that has become too large takes the place
//! of the one called `.old`, and a new one begins; other processes that write to it notice that at their next line.

use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// A file that is larger, in bytes, becomes the old one: the two never take much more than twice this.
const MAXIMUM_SIZE: u64 = 8 * 1024 * 1024;

/// An open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and number of a regular file; others are neither bounded nor renamed.
    identity: Option<(u64, u64)>,
}

impl LogFile {
    /// Opens it for appending, and creates it where there is none.
    ///
    /// # Errors
    /// When it cannot be opened, is a symbolic link, or is another user's.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // NONBLOCK: opening a FIFO that nobody reads would wait. NOFOLLOW: a link may lead to a file that was not meant. No other process
        // shares this open file, so the flags change nothing for others.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
            .open(path);
        let file = file.map_err(|error| match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => io::Error::other("it is a symbolic link"),
            _ => error,
        })?;
        let found = file.metadata()?;
        if !found.file_type().is_char_device() && found.uid() != geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if found.is_file() {
            if found.nlink() > 1 {
                return Err(io::Error::other("it has another name as well"));
            }
            if found.mode() & 0o077 != 0 {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            identity: found.is_file().then(|| identity(&found)),
        })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When it cannot be written: the disk is full, or another's file has taken the place.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.identity.is_some() {
            self.follow()?;
        }
        // In one call, so that the lines of several processes are not mixed.
        self.file.write_all(line)
    }

    /// Goes on in the file that has the name now, and makes room in it.
    fn follow(&mut self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if self.identity == Some(identity(&found)) => {
                if found.len() > MAXIMUM_SIZE {
                    self.make_room()?;
                }
            }
            // Another process has begun a new one, or somebody has taken it away.
            Ok(_) | Err(_) => *self = Self::open(&self.path)?,
        }
        Ok(())
    }

    fn make_room(&mut self) -> io::Result<()> {
        match self.file.try_lock() {
            Ok(()) => {}
            // Another process makes room at this moment.
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Before the lock was ours, another process may have done it: what has the name now is new.
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| self.identity == Some(identity(&found))) {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            let may_replace = fs::symlink_metadata(&old).map_or_else(
                |error| error.kind() == io::ErrorKind::NotFound,
                |found| found.is_file() && found.nlink() == 1 && found.uid() == geteuid().as_raw(),
            );
            if !may_replace {
                self.file.set_len(0)?;
                return self.file.unlock();
            }
            fs::rename(&self.path, old)?;
        }
        // This closes the old file, which releases the lock.
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |metadata| metadata.len())
    }

    #[test]
    fn the_file_is_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut file = LogFile::open(&path).expect("a file");
        for _ in 0..25 {
            file.write(&vec![b'x'; 1024 * 1024]).expect("a write");
        }
        assert!(size(&path) <= MAXIMUM_SIZE + (1 << 20), "{}", size(&path));
        let old = size(&directory.path().join("log.old"));
        assert!(old > 0 && old <= MAXIMUM_SIZE + (1 << 20), "{old}");
    }

    #[test]
    fn p98_several_processes_lose_none_of_each_others_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        // Together more than one file holds and less than two: all have it open when the first of them begins a new one.
        let (writers, lines) = (6, 25);
        let barrier = std::sync::Barrier::new(writers);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let mut file = LogFile::open(&path).expect("a file");
                let barrier = &barrier;
                scope.spawn(move || {
                    for number in 0..lines {
                        barrier.wait();
                        let mut line = format!("{writer} {number} ").into_bytes();
                        line.resize(90_000, b'x');
                        line.push(b'\n');
                        file.write(&line).expect("a write");
                    }
                });
            }
        });
        let mut all = fs::read_to_string(directory.path().join("log.old")).expect("the old one");
        all += &fs::read_to_string(&path).expect("the new one");
        assert_eq!(all.lines().count(), writers * lines);
        assert!(all.lines().all(|line| line.len() == 90_000));
    }

    #[test]
    fn p98_an_old_file_that_is_not_ours_to_replace_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let kept = directory.path().join("kept");
        fs::write(&kept, "kept").expect("a file");
        std::os::unix::fs::symlink(&kept, directory.path().join("log.old")).expect("a link");
        let mut file = LogFile::open(&path).expect("a file");
        for _ in 0..20 {
            file.write(&vec![b'x'; 1024 * 1024]).expect("a write");
        }
        assert!(size(&path) <= MAXIMUM_SIZE + (1 << 20), "{}", size(&path));
        assert_eq!(fs::read(&kept).expect("it"), b"kept");
        assert!(
            fs::symlink_metadata(directory.path().join("log.old"))
                .expect("it")
                .is_symlink()
        );
    }

    #[test]
    fn a_file_that_was_taken_away_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut file = LogFile::open(&path).expect("a file");
        file.write(b"one\n").expect("a write");
        fs::remove_file(&path).expect("to remove it");
        file.write(b"two\n").expect("a write");
        assert_eq!(fs::read(&path).expect("it"), b"two\n");
    }

    #[test]
    fn a_full_disk_and_a_fifo_without_reader_are_errors_at_most() {
        let mut full = LogFile::open(Path::new("/dev/full")).expect("a device");
        assert!(full.write(b"line\n").is_err());
        assert!(LogFile::open(Path::new("/no/such/directory/log")).is_err());
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a FIFO");
        assert!(LogFile::open(&fifo).is_err());
    }
}
