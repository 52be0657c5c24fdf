//! What the user sees of a copy: one status line on a terminal, a line for what failed, or JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::termios::isatty;
use serde_json::json;

use super::copying::Event;
use crate::cli::Cp;
use crate::client::copy::CopyProgress;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Shows a copy on stdout and stderr.
pub(super) struct Show {
    is_json: bool,
    has_line: bool,
    progress: CopyProgress,
    /// What went wrong is told in the words of others, too.
    redactor: Redactor,
    /// When the first byte came, and how many bytes an earlier call had copied.
    since: Option<(Instant, u64)>,
}

impl Show {
    pub(super) fn new(cp: &Cp, progress: CopyProgress, redactor: Redactor) -> Self {
        Self {
            is_json: cp.json,
            has_line: !cp.json && !cp.quiet && isatty(rustix::stdio::stderr()),
            progress,
            redactor,
            since: None,
        }
    }

    /// How long until progress is to be shown, if it is.
    pub(super) fn interval(&self) -> Option<Duration> {
        (self.is_json || self.has_line).then_some(PROGRESS_INTERVAL)
    }

    pub(super) fn event(&mut self, event: Event) {
        if !self.is_json {
            self.clear();
        }
        match event {
            Event::File(path, copied) => {
                if self.is_json {
                    let mut object = json!({
                        "event": "file",
                        "path": path.to_string_lossy(),
                        "bytes": copied.bytes,
                    });
                    if let Some(sha256) = copied.sha256 {
                        object["sha256"] = sha256.into();
                    }
                    json_line(&object);
                }
            }
            Event::Skipped(path) => {
                let message = "it is neither a file nor a directory";
                if self.is_json {
                    json_line(
                        &json!({ "event": "skipped", "path": path.to_string_lossy(), "message": message }),
                    );
                } else {
                    self.line(&path, &format!("skipped: {message}"));
                }
            }
            Event::Failed(path, why) => self.line(&path, &why),
        }
    }

    fn line(&self, path: &Path, message: &str) {
        let path = path.to_string_lossy();
        let message = sanitise::text(&self.redactor.clean(message));
        if self.is_json {
            json_line(&json!({ "event": "error", "path": path, "message": message }));
        } else {
            print::complaint(format!("{}: {message}", sanitise::line(&path)));
        }
    }

    pub(super) fn progress(&mut self) {
        let (carried, total) = (self.progress.carried(), self.progress.total());
        if carried == 0 && total == 0 {
            return;
        }
        let (since, before) = *self.since.get_or_insert((Instant::now(), carried));
        if self.is_json {
            json_line(&json!({ "event": "progress", "bytes": carried, "total": total }));
        } else if self.has_line {
            let rate = rate(carried.saturating_sub(before), since);
            let left = time_left(total.saturating_sub(carried), rate);
            let line = format!(
                "\r{} of {}  {}/s  {left}\x1b[K",
                size(carried),
                size(total.max(carried)),
                size_of(rate)
            );
            print::to_stderr(&line);
        }
    }

    /// Clears the status line.
    pub(super) fn clear(&self) {
        if self.has_line {
            print::to_stderr("\r\x1b[K");
        }
    }

    pub(super) fn end(&mut self, code: u8) {
        self.clear();
        if self.is_json {
            json_line(&json!({ "event": "end", "code": code }));
        }
    }
}

fn json_line(object: &serde_json::Value) {
    print::to_stdout(&format!("{object}\n"));
}

fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    size_of(bytes as f64)
}

fn size_of(mut bytes: f64) -> String {
    for unit in ["B", "kB", "MB", "GB"] {
        if bytes < 1000.0 {
            let digits = usize::from(unit != "B" && bytes < 100.0);
            return format!("{bytes:.digits$} {unit}");
        }
        bytes /= 1000.0;
    }
    format!("{bytes:.1} TB")
}

fn time_left(bytes: u64, rate: f64) -> String {
    if rate < 1.0 {
        return String::new();
    }
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is shown in seconds"
    )]
    let seconds = (bytes as f64 / rate).min(359_999.0) as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02} left", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02} left", seconds / 60 % 60, seconds % 60),
    }
}

/// A rate, for people.
fn rate(bytes: u64, since: Instant) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    let bytes = bytes as f64;
    bytes / since.elapsed().as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(123_456_789), "123 MB");
        assert_eq!(time_left(100, 0.0), "");
        assert_eq!(time_left(90, 1.0), "1:30 left");
        assert_eq!(time_left(7_300, 1.0), "2:01:40 left");
    }
}
