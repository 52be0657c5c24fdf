//! The base of every thread that serves local connections: its poll, its listeners, its orders and its events.

use std::io;
use std::time::Instant;

use crossbeam_channel::Sender;
use mio::{Events, Interest, Token};

use super::accept::Acceptor;
use super::events::{PortEvent, PortOrder};
use super::listen::Listener;
use super::port_poll::{PortPoll, WAKER};
use super::socket::{Peer, Socket};
use crate::datachannel::End;
use crate::error::Error;
use crate::waker::MailboxReceiver;

/// Connections have odd tokens, as streams have odd numbers; so everything else has even ones.
const FIRST_LISTENER: usize = 2;

/// Waits for all that a thread of local connections can wait for.
pub(super) struct Reactor {
    poll: PortPoll<PortOrder>,
    /// `None` when no more connections are accepted.
    acceptor: Option<Acceptor>,
    /// What was ordered, last.
    is_stopped: bool,
    is_connected: bool,
    events: Sender<PortEvent>,
    has_accepted: bool,
    has_spoken: bool,
}

impl Reactor {
    /// Registers the waker and the listeners.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(super) fn new(
        mut listener: Listener,
        orders: MailboxReceiver<PortOrder>,
        events: Sender<PortEvent>,
    ) -> io::Result<Self> {
        let poll = PortPoll::new(orders)?;
        listener.register(poll.registry(), |index| Token(FIRST_LISTENER + 2 * index))?;
        Ok(Self {
            poll,
            acceptor: Some(Acceptor::new(listener)),
            is_stopped: false,
            is_connected: true,
            events,
            has_accepted: false,
            has_spoken: false,
        })
    }

    /// Waits for a connection's readiness too, under an odd token.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub(super) fn register(&self, socket: &mut Socket, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(socket, token, interests)
    }

    /// Sleeps until something is ready, or `until`; not at all when there is work left. What is `polled` under odd tokens is the caller's.
    ///
    /// # Errors
    /// Those of poll.
    pub(super) fn wait(
        &mut self,
        polled: &mut Events,
        is_busy: bool,
        until: Option<Instant>,
    ) -> io::Result<()> {
        self.poll.wait(polled, is_busy, until)?;
        for readiness in &*polled {
            let Token(token) = readiness.token();
            if readiness.token() != WAKER
                && token.is_multiple_of(2)
                && let Some(acceptor) = &mut self.acceptor
            {
                acceptor.set_ready((token - FIRST_LISTENER) / 2);
            }
        }
        for order in self.poll.orders() {
            match order {
                PortOrder::Stop => self.is_stopped = true,
                PortOrder::Disconnected => self.is_connected = false,
                PortOrder::Connected => self.is_connected = true,
            }
        }
        Ok(())
    }

    /// The next local connection that waits, if there is one. The user is told of failures.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(Socket, Peer)> {
        match self.acceptor.as_mut()?.next(now) {
            Ok(accepted) => accepted,
            Err(complaint) => {
                self.tell(PortEvent::Complaint(complaint));
                None
            }
        }
    }

    /// When to try again after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.acceptor.as_ref().and_then(Acceptor::retry_at)
    }

    /// Accepts no more connections.
    pub(super) fn stop_listening(&mut self) {
        self.acceptor = None;
    }

    /// Whether the thread is to end.
    pub(super) const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether the data channel has its connection, as far as known.
    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Tells, the first time, that somebody connected.
    pub(super) fn tell_accepted(&mut self) {
        if !self.has_accepted {
            self.has_accepted = true;
            self.tell(PortEvent::Accepted);
        }
    }

    /// Something came from the remote.
    pub(super) const fn note_spoken(&mut self) {
        self.has_spoken = true;
    }

    /// Tells the user.
    pub(super) fn tell(&self, event: PortEvent) {
        // When the queue is full, nobody reads what is printed.
        let _ = self.events.try_send(event);
    }

    /// The last event: how the session ended, or why the thread could not go on.
    pub(super) fn finish(mut self, served: io::Result<Option<End>>) {
        let end = served.unwrap_or_else(|error| {
            let lost = Error::Lost(format!("cannot go on with the local connections: {error}"));
            Some(End::Failed(lost))
        });
        // A socket's file goes before anybody is told that this has ended.
        self.stop_listening();
        // Nobody listens when it was stopped.
        let _ = self.events.send(PortEvent::Ended {
            end,
            has_spoken: self.has_spoken,
        });
    }
}
