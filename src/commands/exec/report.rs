//! What is shown of several targets: lines as they come, or an object for each, and how it went.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::lines::Lines;
use crate::cli::ExecOptions;
use crate::client::exec::OutputPiece;
use crate::client::target::TargetName;
use crate::error::Error;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::session::to_exit_code;
use crate::terminal::print;

/// What `--json` keeps of each stream of a target, in bytes; the rest is cut, and that is said.
const MOST_KEPT: usize = 4 * 1024 * 1024;
/// The exit code of a target that was not reached, or told none: as of ssh.
const UNKNOWN: u8 = 255;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExecFormat {
    /// Lines, each with its target before it.
    Lines,
    /// An object for each target, with the beginning of its output.
    Objects,
    /// Objects, one for each piece of output too.
    Stream,
}

/// What a thread reports about its target.
pub(super) enum TargetEvent {
    /// The target's id is known by now.
    Found(String),
    /// A piece of output.
    Output(OutputPiece),
    /// The command has ended: the exit code, or why there is none.
    Ended(Result<i64, Error>),
}

/// What is known of all targets.
pub(super) struct ExecReport {
    targets: Vec<TargetProgress>,
    format: ExecFormat,
    redactor: Redactor,
}

/// What is known of one target.
struct TargetProgress {
    label: String,
    id: Option<String>,
    stdout: KeptStream,
    stderr: KeptStream,
    end: Option<Result<u8, ExecFailure>>,
}

/// Why there is no exit code.
struct ExecFailure {
    kind: &'static str,
    aws_code: Option<String>,
    text: String,
}

/// One of its streams.
#[derive(Default)]
struct KeptStream {
    lines: Lines,
    kept: Vec<u8>,
    is_cut: bool,
}

impl ExecReport {
    pub(super) fn new(exec: &ExecOptions, targets: &[TargetName], redactor: Redactor) -> Self {
        let progress = |name: &TargetName| TargetProgress {
            label: name.to_string(),
            id: name.id().map(str::to_owned),
            stdout: KeptStream::default(),
            stderr: KeptStream::default(),
            end: None,
        };
        Self {
            targets: targets.iter().map(progress).collect(),
            format: match (exec.json, exec.stream) {
                (false, _) => ExecFormat::Lines,
                (true, false) => ExecFormat::Objects,
                (true, true) => ExecFormat::Stream,
            },
            redactor,
        }
    }

    /// Handles what a thread reports.
    pub(super) fn take(&mut self, number: usize, event: TargetEvent) -> io::Result<()> {
        let Some(progress) = self.targets.get_mut(number) else {
            return Ok(());
        };
        match event {
            TargetEvent::Found(id) => {
                progress.id = Some(id);
                Ok(())
            }
            TargetEvent::Output(output) => match (self.format, output) {
                (ExecFormat::Lines, output) => progress.show(&output),
                (ExecFormat::Objects, OutputPiece::Stdout(bytes)) => {
                    progress.stdout.keep(&bytes);
                    Ok(())
                }
                (ExecFormat::Objects, OutputPiece::Stderr(bytes)) => {
                    progress.stderr.keep(&bytes);
                    Ok(())
                }
                (ExecFormat::Stream, output) => write_json(&progress.output(&output)),
            },
            TargetEvent::Ended(result) => {
                progress.end = Some(match result {
                    Ok(code) => Ok(to_exit_code(code)),
                    Err(error) => Err(ExecFailure {
                        kind: error.kind(),
                        aws_code: error.aws_code().map(str::to_owned),
                        text: self.redactor.clean(&text(&error)).into_owned(),
                    }),
                });
                match self.format {
                    ExecFormat::Lines => progress.show_rest(),
                    ExecFormat::Objects => write_json(&progress.result(true)),
                    ExecFormat::Stream => write_json(&progress.result(false)),
                }
            }
        }
    }

    /// Writes the summary and returns the highest exit code.
    pub(super) fn finish(&self) -> u8 {
        let code = |progress: &TargetProgress| match progress.end {
            Some(Ok(code)) => code,
            Some(Err(_)) | None => UNKNOWN,
        };
        let highest = self.targets.iter().map(code).max().unwrap_or_default();
        let failed = self
            .targets
            .iter()
            .filter(|progress| code(progress) != 0)
            .count();
        let succeeded = self.targets.len() - failed;
        if self.format != ExecFormat::Lines {
            let end = EndEvent {
                event: "end",
                code: highest,
                succeeded,
                failed,
            };
            // Errors are ignored: without a reader there is nothing to do.
            let _ = write_json(&end);
            return highest;
        }
        for progress in &self.targets {
            let label = &progress.label;
            match &progress.end {
                Some(Ok(0)) => {}
                Some(Ok(code)) => print::complaint(format!("{label}: exit code {code}")),
                Some(Err(why)) => print::complaint(format!("{label}: {}", why.text)),
                None => print::complaint(format!("{label}: not started")),
            }
        }
        print::complaint(format!(
            "{succeeded} of {} targets succeeded",
            self.targets.len()
        ));
        highest
    }
}

impl TargetProgress {
    fn show(&mut self, output: &OutputPiece) -> io::Result<()> {
        let label = &self.label;
        match output {
            OutputPiece::Stdout(bytes) => show(&mut io::stdout().lock(), label, |line| {
                self.stdout.lines.push(bytes, line)
            }),
            OutputPiece::Stderr(bytes) => show(&mut io::stderr().lock(), label, |line| {
                self.stderr.lines.push(bytes, line)
            }),
        }
    }

    fn show_rest(&mut self) -> io::Result<()> {
        let label = &self.label;
        show(&mut io::stdout().lock(), label, |line| {
            self.stdout.lines.finish(line)
        })?;
        show(&mut io::stderr().lock(), label, |line| {
            self.stderr.lines.finish(line)
        })
    }

    fn output(&self, output: &OutputPiece) -> PieceEvent<'_> {
        let (stream, bytes) = match output {
            OutputPiece::Stdout(bytes) => ("stdout", bytes),
            OutputPiece::Stderr(bytes) => ("stderr", bytes),
        };
        PieceEvent {
            event: "output",
            target: self.id.as_deref(),
            name: &self.label,
            stream,
            data: BASE64.encode(bytes),
        }
    }

    fn result(&self, has_output: bool) -> ResultEvent<'_> {
        let (status, why) = match &self.end {
            Some(Ok(code)) => (Some(*code), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let text = |stream: &'_ KeptStream| {
            has_output.then(|| String::from_utf8_lossy(&stream.kept).into_owned())
        };
        ResultEvent {
            event: "result",
            target: self.id.as_deref(),
            name: &self.label,
            status,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
            stdout_cut: self.stdout.is_cut,
            stderr_cut: self.stderr.is_cut,
            error: why.map(|why| why.text.as_str()),
            kind: why.map(|why| why.kind),
            aws_code: why.and_then(|why| why.aws_code.as_deref()),
        }
    }
}

/// The object of a target.
#[derive(Serialize)]
struct ResultEvent<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    stdout_cut: bool,
    #[serde(skip_serializing_if = "is_false")]
    stderr_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_code: Option<&'a str>,
}

/// The object of a piece of output.
#[derive(Serialize)]
struct PieceEvent<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    name: &'a str,
    stream: &'static str,
    /// As base64: it may be any bytes, and end in the middle of a character.
    data: String,
}

/// The object of the end.
#[derive(Serialize)]
struct EndEvent {
    event: &'static str,
    code: u8,
    succeeded: usize,
    failed: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl KeptStream {
    fn keep(&mut self, bytes: &[u8]) {
        let room = MOST_KEPT - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.is_cut |= bytes.len() > room;
    }
}

/// Writes whole lines, each with its target before it, in one piece.
fn show(
    output: &mut impl Write,
    label: &str,
    cut: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> io::Result<()> {
    let mut text = Vec::new();
    cut(&mut |line| {
        text.extend_from_slice(label.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(line);
        text.push(b'\n');
    });
    output.write_all(&text)?;
    output.flush()
}

fn write_json(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, object)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

fn text(error: &Error) -> String {
    sanitise::text(&error.to_string())
}
