//! Stdin and stdout carry the bytes, for SSH's ProxyCommand. Nothing but them is on stdout after the first banner.
//!
//! The protocol knows no half-close: after the end of stdin nothing can tell the remote, but what it still sends is written.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{at, never, select};

use super::super::conclude::{finish_output, stop_output};
use super::super::context::{JOIN_TIMEOUT, out_of_resources, stage, unwritable};
use super::super::outage::tell;
use super::version::DIAL_TIMEOUT;
use super::{Ending, Leaving, RemoteEnd, SessionContext, SessionOutcome};
use crate::datachannel::{DataChannel, Delivery, End, Urgency};
use crate::error::Error;
use crate::message::{Flag, PayloadType};
use crate::mutex::lock;
use crate::terminal::input::{InputEvent, InputSource, Pump};
use crate::terminal::output::{OutputEvent, OutputWriter, Piece};
use crate::terminal::signals::Signal;

/// After the end of stdin: how long the remote may be quiet that has said something since.
const QUIET_LIMIT: Duration = Duration::from_secs(10);
/// The same for one that has not: it may still be working on what it got.
const FIRST_QUIET_LIMIT: Duration = Duration::from_secs(60);
/// After the end of stdin: how often to look whether that is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the session until it ends, here or over there.
///
/// # Errors
/// When threads or descriptors are not to be had.
pub(super) fn run(
    context: &SessionContext,
    remote_end: RemoteEnd,
) -> Result<SessionOutcome, Error> {
    let since = Instant::now();
    let unavailable = |error: std::io::Error| out_of_resources(&error);
    let remote = Arc::new(OutputProgress::default());
    let channel = context.channel.clone();
    let noted = Arc::clone(&remote);
    let announcer = Arc::clone(&context.announcer);
    let writer = OutputWriter::start(move || {
        next_piece(&channel, &noted, || {
            announcer.say("\nConnection to destination port failed, check SSM Agent logs.\n");
        })
    });
    let writer = writer.map_err(unavailable)?;
    context.channel.on_readable(writer.waker().clone());
    let channel = context.channel.clone();
    let pump = Pump::start(InputSource::Stdin, move |bytes| {
        channel.send(bytes, Urgency::Bulk).ok()
    });
    let pump = pump.map_err(unavailable)?;
    context.channel.on_writable(pump.waker().clone());

    let leaving = serve(context, &remote, &pump, &writer);
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let (ending, written, late_signal) = match leaving {
        Some(leaving) => {
            let written = stop_output(writer, deadline);
            (Ending::Left(leaving, remote_end), written, None)
        }
        None => {
            let (written, signal) = finish_output(context, writer);
            // What was not written tells how the session ended.
            while !matches!(
                next_piece(&context.channel, &remote, || ()),
                Piece::Nothing | Piece::End
            ) {}
            let end = remote.take_end().unwrap_or(End::Closed {
                output: String::new(),
            });
            (Ending::Over(end), written, signal)
        }
    };
    pump.stop(deadline);
    let has_spoken = remote.last_output().is_some();
    Ok(SessionOutcome {
        is_stdio: true,
        written,
        late_signal,
        ..SessionOutcome::new(ending, stage(has_spoken, since, DIAL_TIMEOUT))
    })
}

/// Until somebody leaves here, or, with nothing, until the session is over at the far end.
fn serve(
    context: &SessionContext,
    remote: &OutputProgress,
    pump: &Pump,
    writer: &OutputWriter,
) -> Option<Leaving> {
    let mut notices = context.notices.clone();
    let mut input = pump.events().clone();
    // Since when the remote is given time to answer.
    let mut ended_at = None;
    loop {
        let timeout = ended_at.map_or_else(never, |_| at(Instant::now() + LOOK_EVERY));
        select! {
            recv(context.signals.incoming()) -> signal => match signal {
                Ok(signal @ (Signal::Terminate | Signal::HangUp | Signal::ParentGone)) => return Some(Leaving::Signal(signal)),
                // Shared with ssh, which knows what it wants with them.
                Ok(signal @ (Signal::Interrupt | Signal::Quit | Signal::Stop)) => context.signals.act_as_inherited(signal),
                Ok(Signal::WindowChange | Signal::Continue) => {}
                Err(_) => return Some(Leaving::Failed(Error::defect("a thread"))),
            },
            recv(input) -> event => match event {
                Ok(InputEvent::End { .. }) => ended_at = Some(Instant::now()),
                Ok(InputEvent::Escape(_) | InputEvent::Background | InputEvent::Unread) => {}
                // The channel takes nothing any more: its end is on the way to the output thread.
                Err(_) => input = never(),
            },
            recv(writer.events()) -> event => return match event {
                Ok(OutputEvent::ReaderGone) => Some(Leaving::ReaderGone),
                Ok(OutputEvent::Failed(error)) => Some(Leaving::Failed(unwritable(error))),
                Ok(OutputEvent::Finished) => None,
                Err(_) => Some(Leaving::Failed(Error::defect("a thread"))),
            },
            recv(notices) -> notice => match notice {
                Ok(notice) => tell(&notice, "SIGTERM leaves"),
                // Cannot be: the channel holds the sender.
                Err(_) => notices = never(),
            },
            recv(timeout) -> _ => {
                let now = Instant::now();
                if !context.channel.is_acknowledged() {
                    // The remote cannot have answered yet what it has not got.
                    ended_at = Some(now);
                } else if is_enough(ended_at, remote.last_output(), now) {
                    // As quietly as when nobody reads any more.
                    return Some(Leaving::ReaderGone);
                }
            }
        }
    }
}

/// Whether the remote, quiet since `last_output`, has had its time since stdin ended.
fn is_enough(ended_at: Option<Instant>, last_output: Option<Instant>, now: Instant) -> bool {
    ended_at.is_some_and(|ended_at| match last_output {
        Some(output) if output > ended_at => output + QUIET_LIMIT <= now,
        _ => ended_at + FIRST_QUIET_LIMIT <= now,
    })
}

/// What the output thread finds out on its way.
#[derive(Debug, Default)]
struct OutputProgress(Mutex<(Option<Instant>, Option<End>)>);

impl OutputProgress {
    fn look<T>(&self, look: impl FnOnce(&mut (Option<Instant>, Option<End>)) -> T) -> T {
        look(&mut lock(&self.0))
    }

    fn last_output(&self) -> Option<Instant> {
        self.look(|found| found.0)
    }

    fn take_end(&self) -> Option<End> {
        self.look(|found| found.1.take())
    }
}

/// The next piece for the output thread.
fn next_piece(channel: &DataChannel, remote: &OutputProgress, refused: impl Fn()) -> Piece {
    loop {
        match channel.try_receive() {
            None => return Piece::Nothing,
            Some(Delivery::Payload(PayloadType::Output, data)) => {
                remote.look(|found| found.0 = Some(Instant::now()));
                return Piece::Stdout(data);
            }
            Some(Delivery::Payload(PayloadType::Flag, flag)) => {
                if Flag::from_bytes(&flag) == Some(Flag::ConnectToPortError) {
                    refused();
                }
            }
            Some(Delivery::Payload(..) | Delivery::Started(_)) => {}
            Some(Delivery::Ended(end)) => {
                remote.look(|found| found.1 = Some(end));
                return Piece::End;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p41_the_remote_has_its_time_after_the_end_of_stdin() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let ended = Some(start + seconds(5));
        assert!(!is_enough(None, None, start + seconds(1000)));
        for output in [None, Some(start)] {
            assert!(!is_enough(ended, output, start + seconds(64)));
            assert!(is_enough(ended, output, start + seconds(65)));
        }
        let answer = Some(start + seconds(50));
        assert!(!is_enough(ended, answer, start + seconds(59)));
        assert!(is_enough(ended, answer, start + seconds(60)));
    }
}
