//! `SSM_PLUGIN_LOG` and `SSM_PLUGIN_LOG_FILE`. Off by default. Logging never ends a session and never makes it wait: what cannot be written
//! is lost.

use std::sync::Mutex;
use std::time::SystemTime;

use log::{LevelFilter, Log, Metadata, Record};

use crate::log_file::LogFile;
use crate::mutex::lock;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::settings::Settings;
use crate::terminal::print;

/// The longest line, in characters.
const LONGEST_LINE: usize = 4000;
/// Ours alone: the libraries below us write whole requests and frames at their lower levels, and so tokens.
const OUR_TARGET: &str = "session_manager_plugin";

/// Starts logging as the settings say. A file that cannot be opened is told on stderr, and the session goes on without.
///
/// A file is ours alone: no symbolic link, no other user's, readable by nobody else. See [`crate::log_file`].
pub(crate) fn start(settings: &Settings, redactor: &Redactor) {
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
                let mut file = lock(file);
                // A full disk must not end a session.
                let _ = file.write(line.as_bytes());
            }
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

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
