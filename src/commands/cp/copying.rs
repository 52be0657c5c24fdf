//! Which file is copied to which path, by the rules of cp(1), and the result of each.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::write_all::write_all;
use crate::cli::CpOrder;
use crate::client::copy::{Copied, Copier, CopyError, EntryOutcome, FarKind, Uploader};

/// What happened to one path.
pub(super) enum Event {
    /// A file was copied.
    File(PathBuf, Copied),
    /// Something was passed over.
    Skipped(PathBuf),
    /// Something was not copied.
    Failed(PathBuf, CopyError),
}

/// The result of all copies.
pub(super) struct Summary {
    /// How much was not copied that should have been.
    pub failed: u64,
}

/// Whether an interrupted file is kept as `NAME.part`.
pub(super) fn can_go_on(order: &CpOrder) -> bool {
    !matches!(
        order,
        CpOrder::Down { to: None, .. } | CpOrder::Up { from: None, .. }
    )
}

/// Copies all of it.
pub(super) fn run(
    copier: &Copier,
    order: &CpOrder,
    recursive: bool,
    tell: &mut dyn FnMut(Event),
) -> Summary {
    let mut teller = Teller { tell, failed: 0 };
    match order {
        CpOrder::Down { from, to, .. } => match to {
            Some(to) => down(copier, from, to, recursive, &mut teller),
            None => {
                let path = &from[0];
                let result = copier
                    .download_to(path, &mut |bytes| write_all(rustix::stdio::stdout(), bytes));
                teller.file(path, result.map(|_| None));
            }
        },
        CpOrder::Up { from, to, .. } => {
            let mut uploader = copier.uploader();
            match from {
                Some(from) => up(&mut uploader, from, to, recursive, &mut teller),
                None => {
                    let result = place(&mut uploader, Path::new("-"), to, false)
                        .and_then(|to| uploader.stream(rustix::stdio::stdin(), &to));
                    teller.file(Path::new("-"), result.map(Some));
                }
            }
        }
    }
    Summary {
        failed: teller.failed,
    }
}

fn down(copier: &Copier, from: &[PathBuf], to: &Path, recursive: bool, teller: &mut Teller<'_>) {
    let is_folder = to.is_dir();
    if !is_folder && (from.len() > 1 || ends_with_slash(to)) {
        let error = CopyError::Local("it is no directory".to_owned());
        teller.failed(to, error);
        return;
    }
    for path in from {
        let to = match path.file_name() {
            Some(name) if is_folder => to.join(name),
            _ => to.to_owned(),
        };
        if recursive {
            let result = copier.download_folder(path, &to, &mut |entry| {
                teller.entry(path, entry);
            });
            match result {
                Ok(()) => continue,
                // No folder.
                Err(CopyError::Missing) => {}
                Err(CopyError::Cancelled) => return teller.failed(path, CopyError::Cancelled),
                Err(error) => {
                    teller.failed(path, error);
                    continue;
                }
            }
        }
        match copier.download(path, &to) {
            Err(CopyError::Cancelled) => return teller.failed(path, CopyError::Cancelled),
            result => teller.file(path, result.map(Some)),
        }
    }
}

fn up(
    uploader: &mut Uploader<'_>,
    from: &[PathBuf],
    to: &Path,
    recursive: bool,
    teller: &mut Teller<'_>,
) {
    for path in from {
        let is_folder = path.is_dir();
        if is_folder && !recursive {
            teller.failed(path, CopyError::Directory);
            continue;
        }
        if let Err(error) = path.metadata() {
            let error = CopyError::Local(error.to_string());
            teller.failed(path, error);
            continue;
        }
        let result = place(uploader, path, to, from.len() > 1).and_then(|to| {
            if is_folder {
                let told = uploader.folder(path, &to, &mut |entry| teller.entry(path, entry));
                told.map(|()| None)
            } else {
                uploader.file(path, &to).map(Some)
            }
        });
        match result {
            Err(CopyError::Cancelled) => return teller.failed(path, CopyError::Cancelled),
            // Each entry was reported already.
            Ok(None) => {}
            result => teller.file(path, result),
        }
    }
}

/// The path on the target: inside the destination if that is a folder there, otherwise the destination itself.
fn place(
    uploader: &mut Uploader<'_>,
    from: &Path,
    to: &Path,
    must_be_folder: bool,
) -> Result<PathBuf, CopyError> {
    match uploader.kind(to)? {
        FarKind::Folder => match from.file_name() {
            Some(name) if from != Path::new("-") => Ok(to.join(name)),
            None => Ok(to.to_owned()),
            Some(_) => Err(CopyError::Far("the destination is a directory".to_owned())),
        },
        _ if must_be_folder || ends_with_slash(to) => {
            Err(CopyError::Far("the destination is no directory".to_owned()))
        }
        _ => Ok(to.to_owned()),
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// Counts what failed.
struct Teller<'a> {
    tell: &'a mut dyn FnMut(Event),
    failed: u64,
}

impl Teller<'_> {
    fn file(&mut self, path: &Path, result: Result<Option<Copied>, CopyError>) {
        match result {
            Ok(Some(copied)) => (self.tell)(Event::File(path.to_owned(), copied)),
            Ok(None) => {}
            Err(error) => self.failed(path, error),
        }
    }

    fn failed(&mut self, path: &Path, error: CopyError) {
        self.failed += 1;
        (self.tell)(Event::Failed(path.to_owned(), error));
    }

    fn entry(&mut self, root: &Path, entry: EntryOutcome) {
        let path = |below: PathBuf| match below.as_os_str().is_empty() {
            true => root.to_owned(),
            false => root.join(below),
        };
        match entry {
            EntryOutcome::File(below, copied) => (self.tell)(Event::File(path(below), copied)),
            EntryOutcome::Skipped(below) => (self.tell)(Event::Skipped(path(below))),
            EntryOutcome::Failed(below, error) => self.failed(&path(below), error),
        }
    }
}
