//! Ends sessions: the remote session is ended if that is still to be done, and what `ending.rs` decides is said.

use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{at, bounded, never, select};

use super::announce::Announcer;
use super::context::{JOIN_TIMEOUT, SessionContext, start};
use super::ending::{
    Command, Ending, EndingFacts, Leaving, RemoteEnd, Stage, TextStream, Written, decide,
    is_deadly, unwritable,
};
use crate::datachannel::End;
use crate::error::Error;
use crate::message::Flag;
use crate::terminal::output::{OutputEvent, OutputWriter, Piece};
use crate::terminal::print;
use crate::terminal::signals::Signal;

/// How long ending the remote session may take in all.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the TerminateSession flag and all before it may take to be acknowledged.
const FLAG_TIMEOUT: Duration = Duration::from_secs(1);
/// How long output may take once a signal asked for the end.
const SIGNALLED_OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// A session's end, and all that is known of it.
#[derive(Debug)]
pub(crate) struct SessionOutcome {
    /// How it ended.
    pub ending: Ending,
    /// How far it came.
    pub stage: Stage,
    /// Whether stdin and stdout carried its bytes, as for ssh.
    pub is_stdio: bool,
    /// What became of its output.
    pub written: Written,
    /// What the agent told of the remote command, if it did.
    pub exit_code: Option<i64>,
    /// A signal that came while the rest of the output was written: nothing is waited for any more.
    pub late_signal: Option<Signal>,
}

impl SessionOutcome {
    /// Without output.
    pub(crate) fn new(ending: Ending, stage: Stage) -> Self {
        Self {
            ending,
            stage,
            is_stdio: false,
            written: Written::All,
            exit_code: None,
            late_signal: None,
        }
    }

    fn facts<'a>(&'a self, context: &SessionContext) -> EndingFacts<'a> {
        EndingFacts {
            command: context.caller.command,
            place: context.announcer.place(),
            is_stdio: self.is_stdio,
            propagates: context.settings.propagate_exit_code,
            stage: self.stage,
            ending: &self.ending,
            written: self.written,
            exit_code: self.exit_code,
            late_signal: self.late_signal,
        }
    }
}

/// Says what is to be said, ends the remote session if that is still to be done, and gives the exit code.
pub(super) fn conclude(context: &SessionContext, mut outcome: SessionOutcome) -> u8 {
    match &outcome.ending {
        Ending::Over(End::Failed(error)) => {
            let is_ours = matches!(error, Error::Start(_) | Error::Lost(_));
            let code = tell(context, &outcome);
            // The remote session may still exist, and nobody will use it. Whether it can be ended does not change what is told.
            if is_ours && context.terminate.is_some() {
                end_remote(context, RemoteEnd::Api).log();
            }
            code
        }
        Ending::Over(_) => tell(context, &outcome),
        Ending::Left(Leaving::Failed(_), how) => {
            // At once: ending the remote session may take a while.
            let code = tell(context, &outcome);
            end_remote(context, *how).tell();
            code
        }
        Ending::Left(_, how) => {
            let ended = end_remote(context, *how);
            outcome.late_signal = ended.signal.or(outcome.late_signal);
            if outcome.is_stdio {
                // Whoever runs ssh has ended it, and wants to see nothing.
                ended.log();
            } else {
                ended.tell();
            }
            tell(context, &outcome)
        }
    }
}

/// Says why there is no session. The exit code.
pub(crate) fn give_up(announcer: &Announcer, error: Error) -> u8 {
    // Nothing but the error counts where nothing has begun.
    let verdict = decide(&EndingFacts {
        command: Command::Contract,
        place: announcer.place(),
        is_stdio: false,
        propagates: false,
        stage: Stage::Opening,
        ending: &Ending::Left(Leaving::Failed(error), RemoteEnd::Api),
        written: Written::All,
        exit_code: None,
        late_signal: None,
    });
    if let Some((_, text)) = &verdict.text {
        announcer.say(&announcer.text(text));
    }
    for error in &verdict.errors {
        announcer.complain(error);
    }
    verdict.code
}

/// Says what is to be said; the exit code.
fn tell(context: &SessionContext, outcome: &SessionOutcome) -> u8 {
    let facts = outcome.facts(context);
    let verdict = decide(&facts);
    let mut code = verdict.code;
    if let Some((stream, text)) = &verdict.text {
        let text = context.announcer.text(text);
        // A session that was left does not wait for a slow reader.
        let is_over = matches!(
            outcome.ending,
            Ending::Over(End::Closed { .. } | End::TimedOut)
        );
        if is_over && outcome.late_signal.is_none() {
            if let Written::Failed(errno) = last_words(context, *stream, &text)
                && outcome.written == Written::All
            {
                print::complaint(unwritable(errno));
                code = code.max(1);
            }
        } else {
            context.announcer.say(&text);
        }
    }
    for error in &verdict.errors {
        context.announcer.complain(error);
    }
    code
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
    /// Tells the user what did not work.
    fn tell(self) {
        if let Some(failure) = self.failure {
            print::complaint(format!(
                "the remote session could not be ended ({failure}); it ends by itself when it has been idle for its time"
            ));
        }
    }

    /// The same where that is not the user's business.
    fn log(self) {
        if let Some(failure) = self.failure {
            log::info!("the remote session could not be ended: {failure}");
        }
    }
}

/// Ends the remote session.
fn end_remote(context: &SessionContext, how: RemoteEnd) -> RemoteEnded {
    let deadline = Instant::now() + TERMINATE_TIMEOUT;
    context.channel.send_flag(Flag::TerminateSession);
    let (alive, over) = bounded::<()>(0);
    let channel = context.channel.clone();
    let terminate = context.terminate.clone();
    let work = move || {
        let result = match (how, terminate) {
            (RemoteEnd::Api, Some(terminate)) => {
                terminate(deadline).map_err(|error| error.to_string())
            }
            (_, terminate) => {
                let is_done = channel.wait_acknowledged(Instant::now() + FLAG_TIMEOUT);
                match terminate {
                    _ if is_done || channel.has_ended() => Ok(()),
                    Some(terminate) => terminate(deadline).map_err(|error| error.to_string()),
                    None => Err(unacknowledged(channel.status().unacknowledged)),
                }
            }
        };
        drop(alive);
        result
    };
    let mut ended = RemoteEnded::default();
    let work = match start("terminate", work) {
        Ok(work) => work,
        Err(error) => {
            ended.failure = Some(error.to_string());
            return ended;
        }
    };
    loop {
        select! {
            recv(over) -> _ => {
                let result = work.join();
                ended.failure = result.ok().and_then(Result::err);
                return ended;
            }
            recv(context.signals.incoming()) -> signal => match signal {
                // The parent's end is no second request.
                Ok(Signal::WindowChange | Signal::Continue | Signal::ParentGone) => {}
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

/// Why nobody knows whether the target has learnt of the end. `messages`, with the flag that tells it, were sent in vain so far.
fn unacknowledged((messages, _): (usize, usize)) -> String {
    if messages > 1 {
        "the target has not acknowledged what was sent last, which may not have arrived".to_owned()
    } else {
        "the target has not acknowledged it".to_owned()
    }
}

/// The last text, and what became of it. It is not cut off while its reader is there, however slow; a signal bounds that.
fn last_words(context: &SessionContext, stream: TextStream, text: &str) -> Written {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let mut piece = Some(match stream {
        TextStream::Stdout => Piece::Stdout(bytes),
        TextStream::Stderr => Piece::Stderr(bytes),
    });
    match OutputWriter::start(move || piece.take().unwrap_or(Piece::End)) {
        Ok(writer) => finish_output(context, writer).0,
        Err(_) => {
            // No thread to be had: then without one.
            context.announcer.say(text);
            Written::All
        }
    }
}

/// Waits until the output thread has written everything: without a time limit, but a signal bounds it. What became of it, and the signal,
/// if one came.
pub(super) fn finish_output(
    context: &SessionContext,
    writer: OutputWriter,
) -> (Written, Option<Signal>) {
    let mut bound = never();
    let mut came = None;
    let written = loop {
        select! {
            recv(writer.events()) -> event => break written(event.ok()),
            recv(context.signals.incoming()) -> signal => match (signal, came) {
                (Ok(Signal::WindowChange | Signal::Continue), _) => {}
                (Ok(Signal::ParentGone), Some(_)) => {}
                (Ok(signal), None) => {
                    came = Some(signal);
                    bound = at(Instant::now() + SIGNALLED_OUTPUT_TIMEOUT);
                }
                // The second one.
                (Ok(signal), Some(first)) => {
                    let deadly = [signal, first].into_iter().find(|signal| is_deadly(*signal));
                    break Written::Cut(deadly.unwrap_or(signal));
                }
                (Err(_), _) => break Written::All,
            },
            recv(bound) -> _ => break came.map_or(Written::All, Written::Cut),
        }
    };
    writer.stop(Instant::now() + JOIN_TIMEOUT);
    (written, came)
}

/// Ends the output thread, which has something to write or not. What became of what it had.
pub(super) fn stop_output(writer: OutputWriter, deadline: Instant) -> Written {
    match writer.stop(deadline) {
        // Something else ended the session: that it was not written is known.
        None => Written::All,
        event => written(event),
    }
}

/// What the output thread says. One that is gone without a word has written what it could.
fn written(event: Option<OutputEvent>) -> Written {
    match event {
        Some(OutputEvent::ReaderGone) => Written::ReaderGone,
        Some(OutputEvent::Failed(errno)) => Written::Failed(errno),
        Some(OutputEvent::Finished) | None => Written::All,
    }
}
