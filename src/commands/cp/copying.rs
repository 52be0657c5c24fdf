//! Which file is copied to which path, by the rules of cp(1), and the result of each.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::write_all::write_all;
use crate::cli::CpOrder;
use crate::client::copy::{Copied, EntryOutcome, RemoteKind};
use crate::client::{ClientError, Copying, ErrorKind};

/// What is said of a directory where a file was expected.
const HOW_DIRECTORIES: &str = "(-r copies directories)";

/// What is said of a destination that must be one.
const NO_DIRECTORY: &str = "the destination is no directory";

/// What happened to one path.
pub(super) enum Event {
    /// A file was copied.
    File(PathBuf, Copied),
    /// Something was passed over.
    Skipped(PathBuf),
    /// Something was not copied.
    Failed(PathBuf, String),
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
    copying: &mut Copying,
    order: &CpOrder,
    recursive: bool,
    tell: &mut dyn FnMut(Event),
) -> Summary {
    let mut run = CopyRun {
        copying,
        recursive,
        teller: Teller { tell, failed: 0 },
    };
    let result = match order {
        CpOrder::Down {
            from, to: Some(to), ..
        } => run.down(from, to),
        CpOrder::Down { from, to: None, .. } => run.print(&from[0]),
        CpOrder::Up {
            from: Some(from),
            to,
            ..
        } => run.up(from, to),
        CpOrder::Up { from: None, to, .. } => run.read(to),
    };
    if result.is_break() {
        log::info!("copying was given up");
    }
    Summary {
        failed: run.teller.failed,
    }
}

/// Copies in sessions that they share.
struct CopyRun<'a> {
    copying: &'a mut Copying,
    recursive: bool,
    teller: Teller<'a>,
}

/// Broken off after an interruption, and where no session can be started.
impl CopyRun<'_> {
    fn down(&mut self, from: &[PathBuf], to: &Path) -> ControlFlow<()> {
        let Self {
            copying, teller, ..
        } = self;
        let is_folder = to.is_dir();
        if !is_folder && (from.len() > 1 || ends_with_slash(to)) {
            teller.complain(to, "it is no directory".to_owned());
            return ControlFlow::Continue(());
        }
        for path in from {
            let to = match path.file_name() {
                Some(name) if is_folder => to.join(name),
                // `.`, `..` and `/`.
                None if !self.recursive => {
                    teller.complain(path, format!("it is a directory {HOW_DIRECTORIES}"));
                    continue;
                }
                _ => to.to_owned(),
            };
            if self.recursive {
                let result = copying.download_folder(path, &to, |entry| teller.entry(path, entry));
                match result {
                    // Each entry was reported already.
                    Ok(_) => continue,
                    // No folder.
                    Err(error) if error.kind() == ErrorKind::FileNotFound => {}
                    Err(error) => {
                        teller.failed(path, &error)?;
                        continue;
                    }
                }
            }
            let result = copying.download(path, &to);
            teller.file(path, result.map(Some))?;
        }
        ControlFlow::Continue(())
    }

    /// A file of the target's to stdout.
    fn print(&mut self, from: &Path) -> ControlFlow<()> {
        let result = self.copying.download_to(from, Stdout);
        self.teller.file(from, result.map(|_| None))
    }

    fn up(&mut self, from: &[PathBuf], to: &Path) -> ControlFlow<()> {
        for path in from {
            let is_folder = path.is_dir();
            if is_folder && !self.recursive {
                let why = format!("it is a directory {HOW_DIRECTORIES}");
                self.teller.complain(path, why);
                continue;
            }
            if let Err(error) = path.metadata() {
                self.teller.complain(path, error.to_string());
                continue;
            }
            let to = match self.place(path.file_name(), to, from.len() > 1) {
                Ok(to) => to,
                Err(why) => {
                    self.teller.not_placed(path, why)?;
                    continue;
                }
            };
            let Self {
                copying, teller, ..
            } = self;
            let result = if is_folder {
                // Each entry is reported.
                let told = copying.upload_folder(path, &to, |entry| teller.entry(path, entry));
                told.map(|_| None)
            } else {
                copying.upload(path, &to).map(Some)
            };
            teller.file(path, result)?;
        }
        ControlFlow::Continue(())
    }

    /// stdin to a file of the target's.
    fn read(&mut self, to: &Path) -> ControlFlow<()> {
        let stdin = Path::new("-");
        let placed = match self.copying.kind(to) {
            Ok(RemoteKind::Folder) => Err(NotPlaced::Unfit("the destination is a directory")),
            Ok(_) if ends_with_slash(to) => Err(NotPlaced::Unfit(NO_DIRECTORY)),
            Ok(_) => Ok(()),
            Err(error) => Err(NotPlaced::Unknown(error)),
        };
        match placed {
            Ok(()) => {
                let result = self.copying.upload_from(rustix::stdio::stdin(), to);
                self.teller.file(stdin, result.map(Some))
            }
            Err(why) => self.teller.not_placed(stdin, why),
        }
    }

    /// The path on the target: inside the destination if that is a folder there, otherwise the destination itself.
    fn place(
        &mut self,
        name: Option<&OsStr>,
        to: &Path,
        must_be_folder: bool,
    ) -> Result<PathBuf, NotPlaced> {
        match self.copying.kind(to).map_err(NotPlaced::Unknown)? {
            RemoteKind::Folder => Ok(name.map_or_else(|| to.to_owned(), |name| to.join(name))),
            _ if must_be_folder || ends_with_slash(to) => Err(NotPlaced::Unfit(NO_DIRECTORY)),
            _ => Ok(to.to_owned()),
        }
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// Why there is no path on the target.
enum NotPlaced {
    /// What is there could not be asked.
    Unknown(ClientError),
    /// What is there does not fit.
    Unfit(&'static str),
}

/// Ours, however slow its reader is.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(rustix::stdio::stdout(), bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what failed.
struct Teller<'a> {
    tell: &'a mut dyn FnMut(Event),
    failed: u64,
}

impl Teller<'_> {
    fn file(
        &mut self,
        path: &Path,
        result: Result<Option<Copied>, ClientError>,
    ) -> ControlFlow<()> {
        match result {
            Ok(Some(copied)) => (self.tell)(Event::File(path.to_owned(), copied)),
            Ok(None) => {}
            Err(error) => return self.failed(path, &error),
        }
        ControlFlow::Continue(())
    }

    fn failed(&mut self, path: &Path, error: &ClientError) -> ControlFlow<()> {
        match error.kind() {
            ErrorKind::Cancelled => {
                self.failed += 1;
                return ControlFlow::Break(());
            }
            // The next file would wait for a session as long as this one did.
            ErrorKind::Network => {
                self.complain(path, error.to_string());
                return ControlFlow::Break(());
            }
            ErrorKind::IsDirectory => self.complain(path, format!("{error} {HOW_DIRECTORIES}")),
            _ => self.complain(path, error.to_string()),
        }
        ControlFlow::Continue(())
    }

    fn not_placed(&mut self, path: &Path, why: NotPlaced) -> ControlFlow<()> {
        match why {
            NotPlaced::Unknown(error) => return self.failed(path, &error),
            NotPlaced::Unfit(text) => self.complain(path, format!("on the target: {text}")),
        }
        ControlFlow::Continue(())
    }

    fn complain(&mut self, path: &Path, text: String) {
        self.failed += 1;
        (self.tell)(Event::Failed(path.to_owned(), text));
    }

    fn entry(&mut self, root: &Path, entry: EntryOutcome) {
        let path = |below: PathBuf| match below.as_os_str().is_empty() {
            true => root.to_owned(),
            false => root.join(below),
        };
        match entry {
            EntryOutcome::File(below, copied) => (self.tell)(Event::File(path(below), copied)),
            EntryOutcome::Skipped(below) => (self.tell)(Event::Skipped(path(below))),
            EntryOutcome::Failed(below, error) => {
                // What was interrupted says so itself, at its end.
                let _ = self.failed(&path(below), &error);
            }
        }
    }
}
