//! What comes from the agent, for stdout and stderr.

use std::sync::Mutex;
use std::time::Instant;

use crate::datachannel::{DataChannel, Delivery, End};
use crate::message::PayloadType;
use crate::message::content::exit_code;
use crate::mutex::lock;
use crate::terminal::output::Piece;

/// What the output thread finds out on its way.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<FindingsState>);

#[derive(Debug, Default)]
struct FindingsState {
    last_output: Option<Instant>,
    exit_code: Option<i64>,
    end: Option<End>,
}

impl Findings {
    fn note(&self, note: impl FnOnce(&mut FindingsState)) {
        note(&mut lock(&self.0));
    }

    fn look<T>(&self, look: impl FnOnce(&mut FindingsState) -> T) -> T {
        look(&mut lock(&self.0))
    }

    /// When output last came.
    pub(super) fn last_output(&self) -> Option<Instant> {
        self.look(|found| found.last_output)
    }

    /// The remote command's exit code, if the agent told it.
    pub(super) fn exit_code(&self) -> Option<i64> {
        self.look(|found| found.exit_code)
    }

    /// Looks at what was not written, at the end: it tells how the session ended, and perhaps the exit code.
    pub(super) fn look_through_rest(&self, channel: &DataChannel) {
        let nowhere = Routes {
            stderr_to_stdout: false,
            show_exit_code: false,
        };
        while !matches!(
            next_piece(channel, nowhere, self),
            Piece::Nothing | Piece::End
        ) {}
    }

    /// How the session ended, once.
    pub(super) fn take_end(&self) -> Option<End> {
        self.look(|found| found.end.take())
    }
}

/// Where the parts of a session's output go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routes {
    /// Stderr goes to stdout, where somebody takes it apart.
    pub stderr_to_stdout: bool,
    /// `EXIT_CODE: n` is shown as the original shows it.
    pub show_exit_code: bool,
}

/// The next piece for the writer.
pub(super) fn next_piece(channel: &DataChannel, routes: Routes, findings: &Findings) -> Piece {
    loop {
        let (payload_type, payload) = match channel.try_receive() {
            None => return Piece::Nothing,
            Some(Delivery::Ended(end)) => {
                findings.note(|found| found.end = Some(end));
                return Piece::End;
            }
            // Was taken before the session began.
            Some(Delivery::Started(_)) => continue,
            Some(Delivery::Payload(payload_type, payload)) => (payload_type, payload),
        };
        match payload_type {
            PayloadType::Output | PayloadType::StdErr => {
                findings.note(|found| found.last_output = Some(Instant::now()));
                let is_stderr = payload_type == PayloadType::StdErr;
                return if is_stderr && !routes.stderr_to_stdout {
                    Piece::Stderr(payload)
                } else {
                    Piece::Stdout(payload)
                };
            }
            PayloadType::ExitCode => {
                findings.note(|found| found.exit_code = exit_code(&payload));
                if routes.show_exit_code {
                    return Piece::Stdout(payload);
                }
            }
            // Flags are for ports.
            _ => {}
        }
    }
}
