//! What the user sees of a copy: one status line on a terminal, a line for what failed, or JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::output::PacedOutput;
use super::copying::Event;
use crate::cli::Cp;
use crate::client::copy::CopyProgress;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;
use crate::terminal::progress_line::ProgressLine;
use crate::terminal::signals::Signals;

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Shows a copy on stdout and stderr.
pub(super) struct Show {
    /// For JSON.
    stdout: Option<PacedOutput>,
    line: ProgressLine,
    progress: CopyProgress,
    /// What went wrong is told in the words of others, too.
    redactor: Redactor,
    /// When the first byte came, and how many bytes an earlier call had copied.
    since: Option<(Instant, u64)>,
}

impl Show {
    pub(super) fn new(
        cp: &Cp,
        progress: CopyProgress,
        signals: &Signals,
        redactor: Redactor,
        term: Option<&str>,
    ) -> Self {
        Self {
            stdout: cp.json.then(|| PacedOutput::stdout(signals)),
            line: if cp.json || cp.quiet {
                ProgressLine::none()
            } else {
                ProgressLine::new(term)
            },
            progress,
            redactor,
            since: None,
        }
    }

    /// How long until progress is to be shown, if it is.
    pub(super) fn interval(&self) -> Option<Duration> {
        (self.stdout.is_some() || self.line.is_possible()).then_some(PROGRESS_INTERVAL)
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::File(path, copied) => {
                let mut object = json!({
                    "event": "file",
                    "path": path.to_string_lossy(),
                    "bytes": copied.bytes,
                });
                if let Some(sha256) = copied.sha256 {
                    object["sha256"] = sha256.into();
                }
                self.json(&object);
            }
            Event::Skipped(path) => {
                let message = "it is neither a file nor a directory";
                self.line("skipped", &path, message, &format!("skipped: {message}"));
            }
            Event::Failed(path, why) => self.line("error", &path, &why, &why),
        }
    }

    /// An object for programs, or a line for people.
    fn line(&mut self, event: &str, path: &Path, message: &str, for_people: &str) {
        let path = path.to_string_lossy();
        if self.stdout.is_some() {
            let message = sanitise::text(&self.redactor.clean(message));
            self.json(&json!({ "event": event, "path": path, "message": message }));
        } else {
            self.clear();
            let for_people = self.redactor.clean(for_people);
            print::complaint(format!("{}: {for_people}", sanitise::line(&path)));
        }
    }

    /// Nothing without --json.
    fn json(&mut self, object: &serde_json::Value) {
        if let Some(stdout) = &mut self.stdout {
            // Copying goes on without a reader.
            let _ = stdout.write(&format!("{object}\n"));
        }
    }

    pub(super) fn progress(&mut self) {
        let (carried, total) = (self.progress.carried(), self.progress.total());
        if carried == 0 && total == 0 {
            return;
        }
        let (since, before) = *self.since.get_or_insert((Instant::now(), carried));
        self.json(&json!({ "event": "progress", "bytes": carried, "total": total }));
        if self.line.is_possible() {
            let rate = rate(carried.saturating_sub(before), since);
            let left = time_left(total.saturating_sub(carried), rate);
            self.line.show(&format!(
                "{} of {}  {}/s  {left}",
                size(carried),
                size(total.max(carried)),
                size_of(rate)
            ));
        }
    }

    /// Clears the status line.
    pub(super) fn clear(&mut self) {
        self.line.clear();
    }

    /// A signal was handled.
    pub(super) const fn hurry(&mut self) {
        if let Some(stdout) = &mut self.stdout {
            stdout.hurry();
        }
    }

    /// Shows the end, and returns the exit code: no success where what a program was to read could not be written.
    pub(super) fn end(&mut self, code: u8) -> u8 {
        self.clear();
        self.json(&json!({ "event": "end", "code": code }));
        let has_failed = self.stdout.as_ref().is_some_and(PacedOutput::has_failed);
        code.max(has_failed.into())
    }
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
