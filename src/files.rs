//! Files that somebody outside names: configuration, tokens, certificates, parameters. All of them are read here, with a bound.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The largest file that is read, in bytes.
pub(crate) const MAXIMUM_SIZE: usize = 4 * 1024 * 1024;

/// Reads a regular file of at most [`MAXIMUM_SIZE`], never waiting for anybody to write it. `/dev/null` is an empty file.
///
/// # Errors
/// Those of opening and reading, by their kind; [`io::ErrorKind::IsADirectory`]; [`io::ErrorKind::InvalidInput`] for FIFOs, sockets and
/// devices; [`io::ErrorKind::FileTooLarge`]. The caller names the file.
pub(crate) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let Some((file, size)) = open(path)? else {
        return Ok(Zeroizing::default());
    };
    // The size is a hint: files of /proc have none, and others may grow. With it nothing is copied while the bytes come.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.min(MAXIMUM_SIZE) + 1));
    let bound = u64::try_from(MAXIMUM_SIZE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > MAXIMUM_SIZE {
        return Err(too_large());
    }
    Ok(bytes)
}

/// [`read`] for text.
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::InvalidData`] where it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = read(path)?;
    // Moved, not copied: it may be a secret.
    String::from_utf8(std::mem::take(&mut *bytes))
        .map(Zeroizing::new)
        .map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")
        })
}

/// Whether a file can be read by [`read`], without reading it.
///
/// # Errors
/// As [`read`].
pub(crate) fn check(path: &Path) -> io::Result<()> {
    open(path).map(drop)
}

/// An open regular file and its size; nothing for `/dev/null`.
fn open(path: &Path) -> io::Result<Option<(File, usize)>> {
    // Before it is opened, as that alone does something to some devices.
    let found = fs::metadata(path)?;
    if found.file_type().is_char_device() && is_null(found.rdev()) {
        return Ok(None);
    }
    regular(found.file_type())?;
    let file = OpenOptions::new()
        .read(true)
        // What is there may have become a FIFO meanwhile.
        .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0))
        .open(path)?;
    let opened = file.metadata()?;
    regular(opened.file_type())?;
    let size = usize::try_from(opened.len()).unwrap_or(usize::MAX);
    if size > MAXIMUM_SIZE {
        return Err(too_large());
    }
    Ok(Some((file, size)))
}

/// Whether a device is `/dev/null`, which people name where they want no file at all.
fn is_null(device: u64) -> bool {
    fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == device)
}

fn regular(kind: FileType) -> io::Result<()> {
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory, not a regular file",
        ));
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what}, not a regular file"),
    ))
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is larger than {} MiB", MAXIMUM_SIZE / 1024 / 1024),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn p99_only_regular_files_of_a_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let error = |path: &Path| read(path).unwrap_err();

        fs::write(path("good"), "text").unwrap();
        assert_eq!(**read_text(&path("good")).unwrap(), *"text");
        std::os::unix::fs::symlink(path("good"), path("link")).unwrap();
        assert_eq!(**read(&path("link")).unwrap(), *b"text");
        assert!(check(&path("good")).is_ok());

        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(error(&path("fifo")).to_string().contains("a FIFO"));
        assert!(check(&path("fifo")).is_err());
        let _listener = UnixListener::bind(path("socket")).unwrap();
        assert!(error(&path("socket")).to_string().contains("a socket"));
        assert!(
            error(Path::new("/dev/zero"))
                .to_string()
                .contains("a device")
        );
        assert_eq!(error(directory.path()).kind(), io::ErrorKind::IsADirectory);
        assert_eq!(error(&path("none")).kind(), io::ErrorKind::NotFound);
        assert!(read(Path::new("/dev/null")).unwrap().is_empty());
        assert!(!read(Path::new("/proc/self/status")).unwrap().is_empty());

        fs::write(path("full"), vec![b'x'; MAXIMUM_SIZE]).unwrap();
        assert_eq!(read(&path("full")).unwrap().len(), MAXIMUM_SIZE);
        fs::write(path("large"), vec![b'x'; MAXIMUM_SIZE + 1]).unwrap();
        assert_eq!(error(&path("large")).kind(), io::ErrorKind::FileTooLarge);
        fs::write(path("bytes"), b"\xff").unwrap();
        assert_eq!(
            read_text(&path("bytes")).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
