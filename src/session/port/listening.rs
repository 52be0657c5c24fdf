//! Sessions that listen: texts, signals and the end. Another thread moves the bytes.

use std::io;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::context::{
    JOIN_TIMEOUT, START_TIMEOUT, out_of_resources, spawn, stage, tell_on_terminal,
};
use super::basic::Basic;
use super::events::{PortEvent, PortOrder};
use super::listen::{Bound, ListenAddress, Listener};
use super::mux::Mux;
use super::reactor::Reactor;
use super::version::DIAL_TIMEOUT;
use super::{Ending, Leaving, RemoteEnd, SessionContext, SessionOutcome, Stage};
use crate::datachannel::{End, Notice};
use crate::error::Error;
use crate::sanitise;
use crate::terminal::print;
use crate::terminal::signals::Signal;
use crate::waker::{Mailbox, MailboxReceiver, mailbox};

/// What may wait to be printed; more is not worth it.
const EVENTS: usize = 256;
/// How many open files are asked for where the limit was left lower, as far as it may be raised. macOS's default is 256, and each local
/// connection is one.
const OPEN_FILES: u64 = 10_240;

/// How many local connections at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum ListenMode {
    /// One after the other.
    One,
    /// Many, multiplexed.
    Many {
        /// Whether the agent wants signs of life.
        keepalive: bool,
    },
}

/// Listens, and runs the session to its end.
///
/// # Errors
/// When threads or descriptors are not to be had.
pub(super) fn run(
    context: &SessionContext,
    address: &ListenAddress,
    listening: ListenMode,
    remote_end: RemoteEnd,
) -> Result<SessionOutcome, Error> {
    let since = Instant::now();
    let fail = |error| {
        let ending = Ending::Left(Leaving::Failed(error), remote_end);
        Ok(SessionOutcome::new(ending, Stage::Silent))
    };
    let listener = match Listener::bind(address) {
        Ok(listener) => listener,
        Err(error) => return fail(error.in_parameters()),
    };
    for warning in listener.warnings() {
        print::notice(warning);
    }
    let session = match ListeningSession::start(context, listener, listening) {
        Ok(session) => session,
        Err(error) => return fail(out_of_resources(&error)),
    };
    let ending = session.serve();
    session.stop();
    let start_timeout = match listening {
        ListenMode::One => DIAL_TIMEOUT,
        ListenMode::Many { .. } => START_TIMEOUT,
    };
    let (ending, has_spoken) = match ending {
        Ok((End::Failed(error), has_spoken)) if !context.channel.has_ended() => {
            (Ending::Left(Leaving::Failed(error), remote_end), has_spoken)
        }
        Ok((end, has_spoken)) => (Ending::Over(end), has_spoken),
        Err(leaving) => {
            if !matches!(leaving, Leaving::Failed(_)) {
                context
                    .announcer
                    .say("Terminate signal received, exiting.\n");
            }
            (Ending::Left(leaving, remote_end), false)
        }
    };
    let stage = stage(has_spoken, since, start_timeout);
    Ok(SessionOutcome::new(ending, stage))
}

/// A running session.
struct ListeningSession<'a> {
    context: &'a SessionContext,
    listening: ListenMode,
    orders: Mailbox<PortOrder>,
    events: Receiver<PortEvent>,
}

impl<'a> ListeningSession<'a> {
    fn start(
        context: &'a SessionContext,
        listener: Listener,
        listening: ListenMode,
    ) -> io::Result<Self> {
        context.signals.catch(&[Signal::Stop])?;
        let (mailbox, orders) = mailbox()?;
        context.channel.on_readable(mailbox.waker().clone());
        context.channel.on_writable(mailbox.waker().clone());
        let opened = opened(listener.bound(), context.announcer.session_id(), listening);
        let (sender, events) = bounded(EVENTS);
        let session = Self {
            context,
            listening,
            orders: mailbox,
            events,
        };
        // Before anybody can be told to have connected.
        context.announcer.say(&opened);
        session.spawn(listener, orders, sender)?;
        Ok(session)
    }

    fn spawn(
        &self,
        listener: Listener,
        orders: MailboxReceiver<PortOrder>,
        events: Sender<PortEvent>,
    ) -> io::Result<()> {
        let channel = self.context.channel.clone();
        let reactor = Reactor::new(listener, orders, events)?;
        let spawned = match self.listening {
            ListenMode::One => {
                let waker = self.orders.waker().clone();
                self.context.channel.on_acknowledged(waker);
                let basic = Basic::new(channel, reactor);
                spawn("port", move || basic.run())
            }
            ListenMode::Many { keepalive } => {
                raise_open_files();
                let message = self.context.settings.payload_size;
                let mux = Mux::new(channel, reactor, keepalive, message);
                spawn("port", move || mux.run())
            }
        };
        spawned.map_err(io::Error::other)
    }

    /// Until the session ends over there, with whether anything came of it, or is to be ended from here.
    fn serve(&self) -> Result<(End, bool), Leaving> {
        let mut notices = self.context.notices.clone();
        loop {
            select! {
                recv(self.context.signals.incoming()) -> signal => match signal {
                    Ok(Signal::Interrupt | Signal::Quit | Signal::Stop) => return Err(Leaving::User),
                    Ok(signal @ (Signal::Terminate | Signal::HangUp | Signal::ParentGone)) => return Err(Leaving::Signal(signal)),
                    Ok(Signal::WindowChange | Signal::Continue) => {}
                    Err(_) => return Err(Leaving::Failed(Error::defect("the signal thread"))),
                },
                recv(self.events) -> event => match event {
                    Ok(PortEvent::Accepted) => self.context.announcer.say(&self.accepted()),
                    Ok(PortEvent::Refused) => self.context.announcer.say(
                        "\nConnection to destination port failed, check SSM Agent logs.\n",
                    ),
                    Ok(PortEvent::Complaint(line)) => print::notice(&line),
                    Ok(PortEvent::Ended { end: Some(end), has_spoken }) => return Ok((end, has_spoken)),
                    Ok(PortEvent::Ended { end: None, .. }) | Err(_) => return Err(Leaving::Failed(Error::defect("the port thread"))),
                },
                recv(notices) -> notice => match notice {
                    Ok(notice) => self.handle_notice(&notice),
                    // Cannot be: the channel holds the sender.
                    Err(_) => notices = never(),
                },
            }
        }
    }

    fn handle_notice(&self, notice: &Notice) {
        match notice {
            Notice::Reconnecting { .. } => self.orders.post(PortOrder::Disconnected),
            Notice::Reconnected => self.orders.post(PortOrder::Connected),
            Notice::Silent | Notice::Unacknowledged => {}
        }
        tell_on_terminal(self.context, notice, "Ctrl-C leaves");
    }

    fn accepted(&self) -> String {
        let id = self.context.announcer.session_id();
        match self.listening {
            ListenMode::One => format!("Connection accepted for session {id}.\n"),
            ListenMode::Many { .. } => format!("\nConnection accepted for session [{id}]\n"),
        }
    }

    /// Ends the thread, and with it the listening and the local connections.
    fn stop(&self) {
        self.orders.post(PortOrder::Stop);
        let deadline = Instant::now() + JOIN_TIMEOUT;
        while let Ok(event) = self.events.recv_deadline(deadline) {
            if let PortEvent::Complaint(line) = event {
                print::notice(&line);
            }
        }
    }
}

/// What callers wait for before they connect.
fn opened(bound: &Bound, id: &str, listening: ListenMode) -> String {
    let what = match bound {
        Bound::Port(port) => format!("Port {port}"),
        Bound::Unix(file) => {
            let path = sanitise::line(&file.path().display().to_string());
            format!("Unix socket {path}")
        }
    };
    let waiting = match listening {
        ListenMode::One => "",
        ListenMode::Many { .. } => "\nWaiting for connections...",
    };
    format!("{what} opened for sessionId {id}.{waiting}\n")
}

/// Asks for more open files where few are allowed. Whether that works shows when somebody cannot be accepted.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_those_of_the_contract() {
        let many = ListenMode::Many { keepalive: false };
        assert_eq!(
            opened(&Bound::Port(8080), "s-1", ListenMode::One),
            "Port 8080 opened for sessionId s-1.\n"
        );
        assert_eq!(
            opened(&Bound::Port(8080), "s-1", many),
            "Port 8080 opened for sessionId s-1.\nWaiting for connections...\n"
        );
    }
}
