//! How sessions end: the remote session, the last words, the exit code (section 3 of the contract).

use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{at, bounded, never, select};

use super::announce::Place;
use super::{Context, JOIN_TIMEOUT, is_deadly, spawn};
use crate::datachannel::End;
use crate::error::Error;
use crate::message::Flag;
use crate::terminal::output::{Piece, Writer};
use crate::terminal::print;
use crate::terminal::signals::Signal;

/// How long ending the remote session may take in all.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the TerminateSession flag and all before it may take to be acknowledged.
const FLAG_TIMEOUT: Duration = Duration::from_secs(1);
/// How long output may take once a signal asked for the end.
const SIGNALLED_OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// What our own `exec` ends with when the command's exit code never came: as ssh does.
const UNKNOWN_EXIT_CODE: u8 = 255;

/// A session's end, and what is known of the remote command.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What the agent told of the remote command, if it did.
    pub exit_code: Option<i64>,
    /// Whether a signal came while the rest of the output was written: nothing is waited for any more.
    pub is_hurried: bool,
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        Self {
            ending,
            exit_code: None,
            is_hurried: false,
        }
    }
}

/// How a session ended.
#[derive(Debug)]
pub enum Ending {
    /// At the far end, or on the way there.
    Over(End),
    /// On our side: the remote session is still to be ended.
    Left(Leaving, RemoteEnd),
}

/// Why it ended on our side.
#[derive(Debug)]
pub enum Leaving {
    /// The user wanted so, by an escape, by INT and the like.
    User,
    /// Nobody reads what comes.
    ReaderGone,
    /// TERM or HUP.
    Signal(Signal),
    /// Something cannot be done here; a local port is taken, for one.
    Failed(Error),
}

/// What ends the remote session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteEnd {
    /// The TerminateSession flag; the API if it is not acknowledged. For ports.
    Flag,
    /// The API: for shells, whose agents take no notice of flags, and ports with old agents.
    Api,
}

/// Says what is to be said, ends the remote session if that is still to be done, and gives the exit code.
pub(super) fn conclude(context: &Context, outcome: Outcome) -> Result<u8, Error> {
    match outcome.ending {
        Ending::Over(End::Closed { output }) => {
            let text = context.announcer.exiting(&output);
            last_words(context, &text, outcome.is_hurried);
            Ok(exit_code(context, outcome.exit_code))
        }
        Ending::Over(End::TimedOut) => {
            let text = context.announcer.timed_out();
            last_words(context, &text, outcome.is_hurried);
            Ok(exit_code(context, outcome.exit_code))
        }
        // The session exists, or may, and nobody will ever use it (P90).
        Ending::Over(End::Failed(error @ (Error::Start(_) | Error::Lost(_))))
            if context.terminate.is_some() =>
        {
            context.announcer.failed(&error);
            if let Some(failure) = end_remote(context, RemoteEnd::Api).failure {
                log::info!("the remote session could not be ended: {failure}");
            }
            Ok(error.exit_code())
        }
        Ending::Over(End::Failed(error)) => Err(error),
        Ending::Left(Leaving::Failed(error), how) => {
            // At once: ending the remote session may take a while.
            context.announcer.failed(&error);
            end_remote(context, how).told();
            Ok(error.exit_code())
        }
        Ending::Left(leaving, how) => {
            let second = end_remote(context, how).told();
            if !matches!(leaving, Leaving::ReaderGone) {
                context.announcer.say(&context.announcer.exiting(""));
            }
            let signal = match leaving {
                Leaving::Signal(signal) => Some(signal),
                // As a command of this machine would have ended.
                Leaving::User if context.caller.is_exec => Some(Signal::Interrupt),
                _ => second.filter(|signal| is_deadly(*signal)),
            };
            signal.map_or(Ok(0), |signal| Err(Error::Signal(signal.number())))
        }
    }
}

/// The exit code of a session that ran to its end.
fn exit_code(context: &Context, remote: Option<i64>) -> u8 {
    let is_exec = context.caller.is_exec;
    if !is_exec && !context.settings.propagate_exit_code {
        return 0;
    }
    match remote {
        Some(code) => to_exit_code(code),
        None if is_exec => {
            print::complaint("the session ended without the command's exit code");
            UNKNOWN_EXIT_CODE
        }
        None => 0,
    }
}

/// The lowest byte, as the system cuts it; but what is not 0 does not become 0.
fn to_exit_code(code: i64) -> u8 {
    match code.to_le_bytes()[0] {
        0 if code != 0 => 1,
        byte => byte,
    }
}

/// How ending the remote session went.
#[derive(Debug, Default)]
struct RemoteEnded {
    /// A signal that cut it short.
    signal: Option<Signal>,
    /// Why it did not work.
    failure: Option<String>,
}

impl RemoteEnded {
    /// Tells the user what did not work; and the signal that cut it short.
    fn told(self) -> Option<Signal> {
        if let Some(failure) = self.failure {
            print::complaint(format!(
                "the remote session could not be ended ({failure}); it ends by itself when it has been idle for its time"
            ));
        }
        self.signal
    }
}

/// Ends the remote session.
fn end_remote(context: &Context, how: RemoteEnd) -> RemoteEnded {
    let deadline = Instant::now() + TERMINATE_TIMEOUT;
    context.channel.send_flag(Flag::TerminateSession);
    let (sender, done) = bounded(1);
    let channel = context.channel.clone();
    let terminate = context.terminate.clone();
    let work = move || {
        // Nobody waits any more at the deadline.
        let _ = sender.send(match (how, terminate) {
            (RemoteEnd::Api, Some(terminate)) => terminate(deadline),
            (_, terminate) => {
                let is_done = channel.wait_acknowledged(Instant::now() + FLAG_TIMEOUT);
                match terminate {
                    Some(terminate) if !is_done && !channel.has_ended() => terminate(deadline),
                    _ => Ok(()),
                }
            }
        });
    };
    let mut ended = RemoteEnded::default();
    if let Err(error) = spawn("terminate", work) {
        ended.failure = Some(error.to_string());
        return ended;
    }
    loop {
        select! {
            recv(done) -> result => {
                ended.failure = result.ok().and_then(Result::err).map(|error| error.to_string());
                return ended;
            }
            recv(context.signals.incoming()) -> signal => match signal {
                Ok(Signal::WindowChange | Signal::Continue) => {}
                signal => {
                    ended.signal = signal.ok();
                    return ended;
                }
            },
            recv(at(deadline)) -> _ => {
                ended.failure = Some("no answer within 5 seconds".to_owned());
                return ended;
            }
        }
    }
}

/// The last text. It is not cut off while stdout's reader lives, however slow; a signal bounds that.
fn last_words(context: &Context, text: &str, is_hurried: bool) {
    if is_hurried {
        context.announcer.say(text);
        return;
    }
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let mut piece = match context.announcer.place() {
        Place::Stdout => Some(Piece::Stdout(bytes)),
        Place::Stderr => Some(Piece::Stderr(bytes)),
        Place::Nowhere => return,
    };
    match Writer::start(move || piece.take().unwrap_or(Piece::End)) {
        Ok(writer) => {
            finish_output(context, writer);
        }
        // No thread to be had: then without one.
        Err(_) => context.announcer.say(text),
    }
}

/// Waits until the output thread has written everything: without a time limit, but a signal bounds it. The signal, if one came.
pub(super) fn finish_output(context: &Context, writer: Writer) -> Option<Signal> {
    let mut bound = never();
    let mut came = None;
    loop {
        select! {
            recv(writer.events()) -> _ => break,
            recv(context.signals.incoming()) -> signal => match signal {
                Ok(Signal::WindowChange | Signal::Continue) => {}
                Ok(signal) if came.is_none() => {
                    came = Some(signal);
                    bound = at(Instant::now() + SIGNALLED_OUTPUT_TIMEOUT);
                }
                // The second one.
                Ok(_) | Err(_) => break,
            },
            recv(bound) -> _ => break,
        }
    }
    writer.stop(Instant::now() + JOIN_TIMEOUT);
    came
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_over_there_is_a_failure_here() {
        for (remote, ours) in [
            (0, 0),
            (3, 3),
            (255, 255),
            (256, 1),
            (-1, 255),
            (1 << 40, 1),
        ] {
            assert_eq!(to_exit_code(remote), ours, "{remote}");
        }
    }
}
