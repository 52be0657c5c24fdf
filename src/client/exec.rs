//! One command on a target: its output as it comes, and its exit code.

use std::time::Instant;

use bytes::Bytes;

use super::failure::{ClientError, ErrorKind};
use super::{Client, RawSession};
use crate::aws::{ApiError, StartRequest};
use crate::client::target::Target;
use crate::datachannel::{Delivery, End, SessionType};
use crate::error::Error;
use crate::message::PayloadType;
use crate::message::content::exit_code;
use crate::network::Limit;

/// A command that was started.
#[derive(Debug)]
pub(crate) struct StartedCommand {
    session: RawSession,
}

/// A piece of its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputPiece {
    /// Of its stdout.
    Stdout(Bytes),
    /// Of its stderr.
    Stderr(Bytes),
}

impl Client {
    /// Runs a command line, split into words by the agent as a shell would, without a shell (`ssm:StartSession` with
    /// AWS-StartNonInteractiveCommand).
    ///
    /// # Errors
    /// See [`ApiError`].
    pub(crate) fn start_command(
        &self,
        target: &Target,
        line: &str,
        reason: Option<&str>,
        limit: &Limit,
    ) -> Result<StartedCommand, ApiError> {
        let parameter = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned()]);
        let request = StartRequest {
            target: target.id().to_owned(),
            document_name: Some("AWS-StartNonInteractiveCommand".to_owned()),
            parameters: [
                parameter("command", line),
                // The exit code comes only with separate streams.
                parameter("separateOutputStream", "True"),
            ]
            .into(),
            reason: reason.map(str::to_owned),
        };
        let session = self.start(&request, limit)?;
        Ok(StartedCommand { session })
    }
}

impl StartedCommand {
    /// Its session.
    pub(crate) fn session(&self) -> &RawSession {
        &self.session
    }

    /// Hands on the output until the command ends; its exit code. It takes as long as the command does: who wants it to end sooner
    /// [terminates](RawSession::terminate) its session from another thread. The limit is for the target to begin.
    ///
    /// # Errors
    /// Why the command could not run, or why its exit code is not known.
    pub(crate) fn run(
        &self,
        limit: &Limit,
        mut on_output: impl FnMut(OutputPiece),
    ) -> Result<i64, ClientError> {
        let started = self.session.wait_within(limit)?;
        if started.session_type != SessionType::NonInteractiveCommands {
            let end_by = Instant::now() + super::END_UNUSED_TIMEOUT;
            if let Some(Err(error)) = self.session.terminate().map(|terminate| terminate(end_by)) {
                log::info!("the remote session could not be ended: {error}");
            }
            return Err(ClientError::new(
                ErrorKind::Service,
                format!(
                    "the session that was started is not what was asked for: its type is {:?}",
                    started.session_type
                ),
            ));
        }
        let mut code = None;
        loop {
            match self.session.channel().receive(None) {
                Some(Delivery::Payload(PayloadType::Output, bytes)) => {
                    on_output(OutputPiece::Stdout(bytes));
                }
                Some(Delivery::Payload(PayloadType::StdErr, bytes)) => {
                    on_output(OutputPiece::Stderr(bytes));
                }
                Some(Delivery::Payload(PayloadType::ExitCode, bytes)) => {
                    code = exit_code(&bytes);
                }
                Some(Delivery::Payload(..) | Delivery::Started(_)) => {}
                Some(Delivery::Ended(end)) => return code.ok_or_else(|| ended(&end)),
                None => {
                    let error = Error::defect("the data channel");
                    return Err(ClientError::of(ErrorKind::SessionLost, &error));
                }
            }
        }
    }
}

/// Why there is no exit code.
fn ended(end: &End) -> ClientError {
    match end {
        End::Closed { output } if output.trim().is_empty() => ClientError::new(
            ErrorKind::SessionEnded,
            "the session ended without the command's exit code",
        ),
        end => ClientError::of_end(end),
    }
}

/// The line from which the agent, which splits it into words as a shell would, gets these words back. One alone is a line already.
pub fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => quoted(words),
    }
}

/// The line from which the agent gets these words back, a single one as well.
pub(super) fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%^".contains(&byte);
        if !word.is_empty() && word.bytes().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_command_stay_whole() {
        let line = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            command_line(&words)
        };
        assert_eq!(line(&["ls -l | wc"]), "ls -l | wc");
        assert_eq!(line(&["sh", "-c", "echo a  b"]), "sh -c 'echo a  b'");
        assert_eq!(line(&["echo", "it's", ""]), r"echo 'it'\''s' ''");
        assert_eq!(line(&["echo", "$HOME", "*"]), "echo '$HOME' '*'");
    }
}
