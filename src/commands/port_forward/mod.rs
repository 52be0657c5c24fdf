//! `port-forward`: forwards that outlive their sessions, and a command that runs while they are up.

mod child;
mod show;

use std::process::Stdio;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, at, never, select};

use super::Surroundings;
use crate::cli::PortForward;
use crate::client::forward::{ForwardEvent, LocalAddress, LocalForward};
use crate::client::target::TargetName;
use crate::client::{Client, ClientError, Forward, ForwardBuilder};
use crate::error::Error;
use crate::session::port::{ListenAddress, raise_open_files};
use crate::terminal::signals::{Signal, Signals};
use child::Child;
use show::ForwardShow;

/// How often the status line is written anew.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How long the command may take to end once it was asked to.
const CHILD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the sessions may take to be ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs the forwards and returns the exit code.
///
/// # Errors
/// What cannot be understood; [`Error::OldAgent`] where one session by the contract can take its place.
pub(super) fn run(command: &PortForward, around: &Surroundings) -> Result<u8, Error> {
    let forwards = command.forwards(around.settings.local_host.as_deref())?;
    let name = command.connection.target(&around.environment)?;
    let mut show = ForwardShow::new(command, &name.to_string(), &forwards, around);
    let code = match begin(command, around, &forwards, &name, &mut show) {
        Err(error @ Error::OldAgent(_)) if command.can_be_session() => return Err(error),
        Err(error) => {
            show.failed(&error);
            error.exit_code()
        }
        Ok(code) => code,
    };
    show.end(code);
    Ok(code)
}

fn begin(
    command: &PortForward,
    around: &Surroundings,
    forwards: &[LocalForward],
    name: &TargetName,
    show: &mut ForwardShow,
) -> Result<u8, Error> {
    let client = around.client(&command.connection.starting.account)?;
    raise_open_files();
    let signals = around.catch_signals()?;
    if command.command.is_empty() {
        // Otherwise the command is stopped and goes on as its user wants it.
        let caught = signals.catch(&[Signal::Stop]);
        caught.map_err(|error| crate::session::out_of_resources(&error))?;
    }
    let forward = builder(&client, command, forwards, name)
        .and_then(ForwardBuilder::open)
        .map_err(ClientError::into_error)?;
    show.locals(forward.locals());
    ForwardRun {
        command,
        around,
        forward,
        signals,
        show,
        child: None,
        unready: 0,
        code: None,
        deadline: None,
    }
    .run()
}

/// All that the command line says of them.
fn builder(
    client: &Client,
    command: &PortForward,
    forwards: &[LocalForward],
    name: &TargetName,
) -> Result<ForwardBuilder, ClientError> {
    let starting = &command.connection.starting;
    let mut builder = client
        .forward_by_name(&name.text())?
        .sessions(command.sessions());
    if command.on_demand {
        builder = builder.on_demand();
    }
    if command.is_once() {
        builder = builder.once();
    }
    if let Some(wait) = starting.wait() {
        builder = builder.wait(wait);
    }
    if let Some(reason) = &starting.reason {
        builder = builder.reason(reason);
    }
    for (index, forward) in forwards.iter().enumerate() {
        if index > 0 {
            builder = builder.and();
        }
        builder = match &forward.local {
            ListenAddress::Port(port, None) => builder.local_port(*port),
            ListenAddress::Port(port, Some(host)) => {
                builder.local(LocalAddress::Port(host.clone(), *port))
            }
            ListenAddress::Unix(path) => builder.local_socket(path),
        };
        builder = match &forward.remote {
            Some(remote) => builder.remote(remote.host().unwrap_or("localhost"), remote.port()),
            None => builder.socks(),
        };
    }
    Ok(builder)
}

/// The state of the command.
struct ForwardRun<'a> {
    command: &'a PortForward,
    around: &'a Surroundings,
    forward: Forward,
    signals: Signals,
    show: &'a mut ForwardShow,
    child: Option<Child>,
    /// Forwards that cannot be used yet.
    unready: usize,
    /// What the exit code will be, once it is known.
    code: Option<u8>,
    /// When nothing is waited for any more.
    deadline: Option<Instant>,
}

impl ForwardRun<'_> {
    fn run(mut self) -> Result<u8, Error> {
        self.unready = self.forward.locals().len();
        let events = self.forward.events().receiver().clone();
        let signals = self.signals.incoming().clone();
        loop {
            let ended: Receiver<u8> = self
                .child
                .as_ref()
                .map_or_else(never, |child| child.ended().clone());
            let status = if self.show.wants_status() {
                after(STATUS_INTERVAL)
            } else {
                never()
            };
            let deadline = self.deadline.map_or_else(never, at);
            select! {
                recv(events) -> event => match event {
                    Ok(ForwardEvent::Ended(result)) => return self.finish(result.map_err(ClientError::into_error)),
                    Ok(event) => self.handle_event(&event),
                    Err(_) => return self.finish(Err(Error::defect("the forward thread"))),
                },
                recv(signals) -> signal => if let Ok(signal) = signal
                    && let Some(code) = self.handle_signal(signal)
                {
                    return Ok(code);
                },
                recv(ended) -> code => {
                    self.child = None;
                    self.stop(code.unwrap_or(1));
                }
                recv(status) -> _ => self.show.status(&self.forward.statistics()),
                recv(deadline) -> _ => return self.give_up(),
            }
        }
    }

    fn handle_event(&mut self, event: &ForwardEvent) {
        self.show.event(event);
        if !matches!(event, ForwardEvent::Ready { .. }) {
            return;
        }
        self.unready = self.unready.saturating_sub(1);
        if self.unready == 0 && !self.command.command.is_empty() && self.code.is_none() {
            let locals = self.forward.locals();
            let stdout = if self.command.json {
                // Ours is for objects.
                std::io::stderr().into()
            } else {
                Stdio::inherit()
            };
            let words = &self.command.command;
            match Child::start(words, locals, &self.around.environment, stdout) {
                Ok(child) => self.child = Some(child),
                Err((code, why)) => {
                    self.show.error(&why);
                    self.stop(code);
                }
            }
        }
    }

    /// The exit code, if nothing more is waited for.
    fn handle_signal(&mut self, signal: Signal) -> Option<u8> {
        let code = Error::Signal(signal.number()).exit_code();
        match (signal, &self.child) {
            (Signal::WindowChange | Signal::Continue, _) => {}
            (Signal::Interrupt | Signal::Quit | Signal::Stop, Some(child)) => {
                // A signal that was typed has reached the command as well, which is in the same process group.
                if !self.signals.is_typed() {
                    child.signal(signal);
                }
            }

            (Signal::Terminate | Signal::HangUp | Signal::ParentGone, Some(child)) => {
                if self.code.is_some() {
                    child.kill();
                    return self.code;
                }
                child.signal(signal);
                self.code = Some(code);
                self.deadline = Some(Instant::now() + CHILD_TIMEOUT);
            }
            // The second signal ends everything at once.
            (_, None) if self.code.is_some() => return self.code,
            (Signal::Interrupt | Signal::Quit | Signal::Stop, None) => {
                self.stop(if self.command.command.is_empty() {
                    0
                } else {
                    code
                });
            }
            (Signal::Terminate | Signal::HangUp | Signal::ParentGone, None) => self.stop(code),
        }
        None
    }

    /// Ends everything, with this exit code unless there is one already.
    fn stop(&mut self, code: u8) {
        self.code.get_or_insert(code);
        self.deadline = Some(Instant::now() + STOP_TIMEOUT);
        self.show.stop();
        self.forward.close();
    }

    /// Something has not ended within its time.
    fn give_up(mut self) -> Result<u8, Error> {
        match self.child.take() {
            Some(child) => {
                child.kill();
                let code = self.code.unwrap_or(1);
                self.stop(code);
                self.run_to_end(code)
            }
            None => Ok(self.code.unwrap_or(1)),
        }
    }

    /// Waits for the end of the sessions, and for nothing else.
    fn run_to_end(self, code: u8) -> Result<u8, Error> {
        let deadline = self.deadline.unwrap_or_else(Instant::now);
        let events = self.forward.events();
        while let Some(event) =
            events.next_within(deadline.saturating_duration_since(Instant::now()))
        {
            match event {
                ForwardEvent::Ended(_) => break,
                event => self.show.event(&event),
            }
        }
        Ok(code)
    }

    /// The forwards have ended; the command is ended as well.
    fn finish(mut self, result: Result<(), Error>) -> Result<u8, Error> {
        self.show.stop();
        if let Some(child) = self.child.take() {
            child.end(CHILD_TIMEOUT);
            // The forwards ended before the command did.
            self.code.get_or_insert(1);
        }
        match (self.code, result) {
            (_, Err(error)) if self.code.is_none_or(|code| code == 1) => Err(error),
            (code, _) => Ok(code.unwrap_or(0)),
        }
    }
}
