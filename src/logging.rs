//! `SSM_PLUGIN_LOG` and `SSM_PLUGIN_LOG_FILE`. Off by default. Logging never ends a session and never makes it wait: what cannot be written is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use log::{LevelFilter, Log, Metadata, Record};
use rustix::fs::OFlags;

use crate::redactor::Redactor;
use crate::sanitise;
use crate::settings::Settings;
use crate::terminal::print;

/// A log file that is larger, in bytes, becomes the old one, and a new one begins: the two never take more than twice this.
const MAXIMUM_SIZE: u64 = 8 * 1024 * 1024;
/// The longest line, in characters.
const LONGEST_LINE: usize = 4000;
/// Ours alone: the libraries below us write whole requests and frames at their lower levels, and so tokens.
const OUR_TARGET: &str = "session_manager_plugin";

/// Starts logging as the settings say. A file that cannot be opened is told on stderr, and the session goes on without.
pub fn start(settings: &Settings, redactor: &Redactor) {
    if settings.log == LevelFilter::Off {
        return;
    }
    let sink = match &settings.log_file {
        None => Sink::Stderr,
        Some(path) => match LogFile::open(path) {
            Ok(file) => Sink::File(Mutex::new(file)),
            Err(error) => {
                print::complaint(format!(
                    "cannot write the log to {} ({error}): see SSM_PLUGIN_LOG_FILE; going on without it",
                    path.display()
                ));
                return;
            }
        },
    };
    // Fails only if somebody else has set a logger, and nobody has.
    if log::set_boxed_logger(Box::new(Logger {
        sink,
        redactor: redactor.clone(),
    }))
    .is_ok()
    {
        log::set_max_level(settings.log);
        let version = env!("CARGO_PKG_VERSION");
        log::info!(
            "session-manager-plugin {version} begins, process {}",
            std::process::id()
        );
    }
}

struct Logger {
    sink: Sink,
    /// Whatever else hides secrets, none gets past here.
    redactor: Redactor,
}

enum Sink {
    Stderr,
    File(Mutex<LogFile>),
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(OUR_TARGET)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let thread = std::thread::current();
        let line = format!(
            "{time} {} {:5} {} {}: {}\n",
            std::process::id(),
            record.level(),
            thread.name().unwrap_or("-"),
            record
                .target()
                .trim_start_matches(OUR_TARGET)
                .trim_start_matches("::"),
            // What came from outside could begin a line of its own otherwise.
            sanitise::line_within(
                &self.redactor.clean(&record.args().to_string()),
                LONGEST_LINE
            )
        );
        match &self.sink {
            Sink::Stderr => print::log_line(&line),
            Sink::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // A full disk must not end a session.
                let _ = file.write(line.as_bytes());
            }
        }
    }

    fn flush(&self) {}
}

/// A file of bounded size.
struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            // A FIFO that nobody reads must not make us wait. The open file is ours alone, so the flag bothers nobody.
            .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0))
            .open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > MAXIMUM_SIZE && self.file.metadata()?.is_file() {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            std::fs::rename(&self.path, old)?;
            *self = Self::open(&self.path)?;
        }
        // In one call: several processes may write to the same file.
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_bounded() {
        let directory = std::env::temp_dir().join(format!("plugin-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("log");
        let mut file = LogFile::open(&path).expect("a file");
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..25 {
            file.write(&line).expect("a write");
        }
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let old = directory.join("log.old");
        assert!(size(&path) <= MAXIMUM_SIZE + (1 << 20), "{}", size(&path));
        assert!(size(&old) <= MAXIMUM_SIZE + (1 << 20), "{}", size(&old));
        std::fs::remove_dir_all(&directory).expect("to remove it");
    }

    #[test]
    fn a_full_disk_and_a_fifo_without_reader_are_errors_at_most() {
        let mut full = LogFile::open(Path::new("/dev/full")).expect("a device");
        assert!(full.write(b"line\n").is_err());
        assert!(LogFile::open(Path::new("/no/such/directory/log")).is_err());
    }

    #[test]
    fn p48_only_our_own_lines_are_logged() {
        let logger = Logger {
            sink: Sink::Stderr,
            redactor: Redactor::default(),
        };
        let enabled = |target: &str| logger.enabled(&Metadata::builder().target(target).build());
        assert!(enabled("session_manager_plugin::datachannel"));
        assert!(!enabled("tungstenite::protocol"));
        assert!(!enabled("ureq::run"));
    }
}
