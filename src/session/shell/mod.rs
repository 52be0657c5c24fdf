//! Shells and commands: Standard_Stream and InteractiveCommands on a pty, NonInteractiveCommands without one and without stdin.

mod end_of_input;
mod output;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};

use super::conclude::{SessionOutcome, finish_output, stop_output};
use super::context::{
    JOIN_TIMEOUT, START_TIMEOUT, SessionContext, out_of_resources, stage, tell_on_terminal,
    unwritable,
};
use super::ending::{Command, Ending, Leaving, RemoteEnd};
use super::outage;
use crate::datachannel::{End, Notice, SessionType, Started, Urgency};
use crate::error::Error;
use crate::terminal::escape::{self, Escape, Escapes};
use crate::terminal::input::{InputEvent, InputSource, Pump};
use crate::terminal::output::{OutputEvent, OutputWriter};
use crate::terminal::signals::Signal;
use crate::terminal::unread::{self, UnreadInput};
use crate::terminal::{print, raw, size};
use end_of_input::{EndOfInput, EndOfInputStep};
use output::{Findings, Routes, next_piece};

/// What Ctrl-C, Ctrl-\ and Ctrl-Z are to a pty; NonInteractiveCommands take the first two as signals.
const INTERRUPT: &[u8] = &[0x03];
const QUIT: &[u8] = &[0x1c];
const STOP: &[u8] = &[0x1a];

/// So many INT within so long a time end a session whose stdin is no terminal.
const INTERRUPTS_TO_LEAVE: usize = 3;
const INTERRUPTS_WITHIN: Duration = Duration::from_secs(2);
/// In the background with a terminal on stdin, how often to look whether we are in the foreground again: some shells bring a job there
/// without SIGCONT when it was not stopped.
const FOREGROUND_CHECK: Duration = Duration::from_secs(1);

/// Runs the session until it ends, here or over there.
///
/// # Errors
/// When threads or descriptors are not to be had.
pub(super) fn run(context: &SessionContext, started: &Started) -> Result<SessionOutcome, Error> {
    let since = Instant::now();
    let findings = Arc::new(Findings::default());
    let mut shell = Shell::start(context, started, &findings)?;
    let ending = shell.serve();
    context.outage.stop();
    let Shell {
        raw, pump, writer, ..
    } = shell;
    // What is typed from now on is for somebody else.
    pump.stop(Instant::now() + JOIN_TIMEOUT);
    if let (Some(raw), Some(Leaving::User)) = (&raw, &ending) {
        raw.discard_input();
    }
    // The terminal first: whatever takes its time now can be interrupted, and a broken terminal is worse than a lost line.
    drop(raw);
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let (ending, written, late_signal) = match ending {
        Some(leaving) => {
            let written = stop_output(writer, deadline);
            (Ending::Left(leaving, RemoteEnd::Api), written, None)
        }
        None => {
            let (written, signal) = finish_output(context, writer);
            findings.look_through_rest(&context.channel);
            let end = findings.take_end().unwrap_or(End::Closed {
                output: String::new(),
            });
            (Ending::Over(end), written, signal)
        }
    };
    let has_spoken = findings.last_output().is_some() || findings.exit_code().is_some();
    Ok(SessionOutcome {
        written,
        exit_code: findings.exit_code(),
        late_signal,
        ..SessionOutcome::new(ending, stage(has_spoken, since, START_TIMEOUT))
    })
}

/// A running session.
struct Shell<'a> {
    context: &'a SessionContext,
    session_type: SessionType,
    /// From outside: sanitise it.
    agent_version: &'a str,
    findings: &'a Findings,
    /// Where stdin is a terminal: restores it when dropped.
    raw: Option<raw::RawMode>,
    pump: Pump,
    writer: OutputWriter,
    /// Stdin, no terminal, is at its end.
    end_of_input: Option<EndOfInput>,
    /// The latest INT.
    interrupts: VecDeque<Instant>,
    /// Whether the terminal is another program's at the moment.
    is_background: bool,
}

impl<'a> Shell<'a> {
    fn start(
        context: &'a SessionContext,
        started: &'a Started,
        findings: &'a Arc<Findings>,
    ) -> Result<Self, Error> {
        let session_type = started.session_type;
        let unavailable = |error: std::io::Error| out_of_resources(&error);
        let mut mode = None;
        let mut source = match context.caller.command {
            // `exec` looked at it before the command was started, and a pipe may bring something later. What kind of session
            // `start-session` starts is known only now.
            Command::Exec | Command::StartSession
                if unread::look(Instant::now()) != UnreadInput::Nothing =>
            {
                InputSource::Unread
            }
            _ => InputSource::Nothing,
        };
        if session_type.has_pty() {
            context
                .signals
                .catch(&[Signal::Stop, Signal::WindowChange, Signal::Continue])
                .map_err(unavailable)?;
            mode = raw::RawMode::enter().map_err(unavailable)?;
            source = match mode {
                Some(_) => InputSource::Terminal(context.settings.escape.map(Escapes::new)),
                None => InputSource::Stdin,
            };
        }
        let routes = Routes {
            stderr_to_stdout: context.caller.stderr_to_stdout,
            show_exit_code: context.caller.command != Command::Exec,
        };
        let channel = context.channel.clone();
        let noted = Arc::clone(findings);
        let writer = OutputWriter::start(move || next_piece(&channel, routes, &noted));
        let writer = writer.map_err(unavailable)?;
        context.channel.on_readable(writer.waker().clone());
        let channel = context.channel.clone();
        // A terminal's bytes may go beyond a closed window; a file's wait.
        let urgency = match source {
            InputSource::Stdin => Urgency::Bulk,
            InputSource::Nothing | InputSource::Unread | InputSource::Terminal(_) => {
                Urgency::Interactive
            }
        };
        let pump = Pump::start(source, move |bytes| {
            if channel.has_ended() {
                return None;
            }
            channel.send(bytes, urgency).ok()
        });
        let pump = pump.map_err(unavailable)?;
        context.channel.on_writable(pump.waker().clone());
        Ok(Self {
            context,
            session_type,
            agent_version: &started.agent_version,
            findings,
            is_background: mode.is_some() && !raw::in_foreground(),
            raw: mode,
            pump,
            writer,
            end_of_input: None,
            interrupts: VecDeque::new(),
        })
    }

    /// Until the user leaves, or, with nothing, until the session is over at the far end.
    fn serve(&mut self) -> Option<Leaving> {
        self.send_size();
        let mut notices = self.context.notices.clone();
        loop {
            let timeout = self.next_timeout();
            select! {
                recv(self.context.signals.incoming()) -> signal => {
                    let leaving = match signal {
                        Ok(signal) => self.handle_signal(signal),
                        Err(_) => Some(Leaving::Failed(Error::defect("the signal thread"))),
                    };
                    if leaving.is_some() {
                        return leaving;
                    }
                }
                recv(self.pump.events()) -> event => match event {
                    Ok(InputEvent::Escape(Escape::Terminate)) => return Some(Leaving::User),
                    Ok(event) => self.handle_input(event),
                    // The channel takes nothing any more.
                    Err(_) if self.context.channel.has_ended() => return None,
                    Err(_) => return Some(Leaving::Failed(Error::defect("the input thread"))),
                },
                recv(self.writer.events()) -> event => return match event {
                    Ok(OutputEvent::ReaderGone) => Some(Leaving::ReaderGone),
                    Ok(OutputEvent::Failed(error)) => Some(Leaving::Failed(unwritable(error))),
                    Ok(OutputEvent::Finished) => None,
                    Err(_) => Some(Leaving::Failed(Error::defect("the output thread"))),
                },
                recv(notices) -> notice => match notice {
                    Ok(notice) => self.handle_notice(&notice),
                    Err(_) => notices = never(),
                },
                recv(timeout) -> _ => self.handle_timeout(),
            }
        }
    }

    fn handle_signal(&mut self, signal: Signal) -> Option<Leaving> {
        match signal {
            Signal::Interrupt if self.is_last_interrupt(Instant::now()) => {
                return Some(Leaving::User);
            }
            Signal::Interrupt => self.pump.put(INTERRUPT),
            Signal::Quit => self.pump.put(QUIT),
            Signal::Stop => self.pump.put(STOP),
            Signal::Terminate | Signal::HangUp | Signal::ParentGone => {
                return Some(Leaving::Signal(signal));
            }
            Signal::WindowChange => self.send_size(),
            Signal::Continue => {
                self.take_terminal();
                self.send_size();
            }
        }
        None
    }

    /// Whether this INT ends the session instead of going over there. In a terminal there is `~.` for that.
    fn is_last_interrupt(&mut self, now: Instant) -> bool {
        if !self.session_type.has_pty() {
            self.interrupts.push_back(now);
            return self.interrupts.len() > 1;
        }
        if self.raw.is_some() {
            return false;
        }
        self.interrupts.push_back(now);
        self.interrupts
            .retain(|then| now.saturating_duration_since(*then) < INTERRUPTS_WITHIN);
        self.interrupts.len() >= INTERRUPTS_TO_LEAVE
    }

    fn handle_input(&mut self, event: InputEvent) {
        match event {
            InputEvent::End { unfinished_line } => {
                let (rules, bytes) = EndOfInput::new(Instant::now(), unfinished_line);
                self.end_of_input = Some(rules);
                self.pump.put(bytes);
            }
            InputEvent::Escape(Escape::Help) => {
                if let Some(character) = self.context.settings.escape {
                    print::to_stderr(&escape::help(character));
                }
            }
            InputEvent::Escape(Escape::Reconnect) => self.context.channel.reconnect(),
            InputEvent::Escape(Escape::Status) => {
                let status = self.context.channel.status();
                let id = self.context.announcer.session_id();
                let text = outage::describe(&status, id, self.agent_version, Instant::now());
                print::to_stderr(&text);
            }
            InputEvent::Escape(Escape::Terminate | Escape::Off) => {}
            InputEvent::Unread => print::notice(match self.context.caller.command {
                Command::Exec => {
                    "data came on stdin after the command was started: exec does not read it, and the command does not get it"
                }
                _ => {
                    "there is data on stdin: this kind of session does not read it, and the command does not get it"
                }
            }),
            InputEvent::Background => self.is_background = true,
        }
    }

    fn handle_notice(&self, notice: &Notice) {
        // In a terminal the user sees that nothing happens.
        if *notice != Notice::Unacknowledged || self.raw.is_none() {
            tell_on_terminal(self.context, notice, &self.how_to_leave());
        }
    }

    fn how_to_leave(&self) -> String {
        match (&self.raw, self.context.settings.escape) {
            (Some(_), Some(character)) => {
                format!("Enter {}. leaves", char::from(character))
            }
            (Some(_), None) => "SIGTERM leaves".to_owned(),
            (None, _) if self.session_type.has_pty() => "Ctrl-C three times leaves".to_owned(),
            (None, _) => "Ctrl-C twice leaves".to_owned(),
        }
    }

    fn next_timeout(&self) -> Receiver<Instant> {
        let input = self
            .end_of_input
            .as_ref()
            .and_then(|rules| rules.next_timeout(self.findings.last_output()));
        let foreground = self
            .is_background
            .then(|| Instant::now() + FOREGROUND_CHECK);
        input
            .into_iter()
            .chain(foreground)
            .min()
            .map_or_else(never, at)
    }

    fn handle_timeout(&mut self) {
        if self.is_background {
            self.take_terminal();
        }
        let last_output = self.findings.last_output();
        let step = self
            .end_of_input
            .as_mut()
            .and_then(|rules| rules.step(Instant::now(), last_output));
        match step {
            Some(EndOfInputStep::Send(bytes)) => self.pump.put(bytes),
            Some(EndOfInputStep::Tell) => print::notice(format!(
                "stdin is at its end; waiting for the remote program to finish ({})",
                self.how_to_leave()
            )),
            None => {}
        }
    }

    /// Makes the terminal raw, and reads it, if it is ours.
    fn take_terminal(&mut self) {
        if let Some(raw) = &self.raw {
            self.is_background = !raw.refresh();
            if !self.is_background {
                self.pump.resume();
            }
        }
    }

    /// Tells the size; the channel sends it if it is another than the last.
    fn send_size(&self) {
        if let Some(size) = size::current(&self.context.environment) {
            self.context.channel.resize(size);
        }
    }
}
