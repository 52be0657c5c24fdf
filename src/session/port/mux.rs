//! Many local connections at a time over one data channel: one thread that waits for all of them and the channel together. While it waits,
//! the websocket thread hands small answers over itself.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use mio::{Events, Token};

use super::events::PortEvent;
use super::multiplexer::Multiplexer;
use super::mux_event::MuxEvent;
use super::reactor::Reactor;
use super::socket::Unread;
use crate::datachannel::{DataChannel, End, Recipient};
use crate::mutex::lock;
use crate::smux::StreamId;

/// How many connections are accepted before the others get their turn.
const ACCEPT_ROUND: usize = 64;

/// The thread's state.
pub(super) struct Mux {
    reactor: Reactor,
    /// Locked while this thread works. While it sleeps the websocket thread hands over what has come: each answer is spared a hand-over.
    multiplexer: Arc<Mutex<Multiplexer>>,
    has_closed: bool,
}

impl Recipient for Mutex<Multiplexer> {
    fn receive_directly(&self) -> bool {
        let multiplexer = self.try_lock();
        multiplexer.is_ok_and(|mut multiplexer| multiplexer.receive_only(Instant::now()))
    }
}

impl Mux {
    /// `keepalive`, `message`: see [`Multiplexer::new`].
    pub(super) fn new(
        channel: DataChannel,
        reactor: Reactor,
        keepalive: bool,
        message: usize,
    ) -> Self {
        let multiplexer = Multiplexer::new(channel.clone(), keepalive, message);
        let multiplexer = Arc::new(Mutex::new(multiplexer));
        let recipient: Weak<Mutex<Multiplexer>> = Arc::downgrade(&multiplexer);
        channel.set_recipient(recipient);
        Self {
            reactor,
            multiplexer,
            has_closed: false,
        }
    }

    /// Works until the session ends or is stopped.
    pub(super) fn run(mut self) {
        let served = self.serve();
        lock(&self.multiplexer).reset_unwritten();
        self.reactor.finish(served);
    }

    fn serve(&mut self) -> io::Result<Option<End>> {
        let shared = Arc::clone(&self.multiplexer);
        let mut polled = Events::with_capacity(1024);
        loop {
            if self.reactor.is_stopped() {
                return Ok(None);
            }
            let mut multiplexer = lock(&shared);
            let now = Instant::now();
            for readiness in &polled {
                // A stream's number is its connection's token.
                if let Ok(id) = StreamId::try_from(readiness.token().0) {
                    multiplexer.note(id, readiness, now);
                }
            }
            multiplexer.set_connected(self.reactor.is_connected());
            let mut is_busy = multiplexer.ended().is_none() && self.accept(&mut multiplexer, now);
            is_busy |= multiplexer.work(now);
            if let Some(end) = multiplexer.ended().cloned() {
                if !self.has_closed {
                    self.has_closed = true;
                    self.reactor.stop_listening();
                    multiplexer.close_written();
                }
                if multiplexer.is_finished(now) {
                    return Ok(Some(end));
                }
            }
            self.tell(&mut multiplexer);
            let next = [multiplexer.next_timeout(), self.reactor.retry_at()];
            let next = next.into_iter().flatten().min();
            drop(multiplexer);
            self.reactor.wait(&mut polled, is_busy, next)?;
        }
    }

    fn tell(&mut self, multiplexer: &mut Multiplexer) {
        if multiplexer.has_spoken() {
            self.reactor.note_spoken();
        }
        while let Some(event) = multiplexer.poll_event() {
            match event {
                MuxEvent::Refused => self.reactor.tell(PortEvent::Refused),
                MuxEvent::Complaint(line) => self.reactor.tell(PortEvent::Complaint(line)),
                MuxEvent::Closed { .. } => {}
            }
        }
    }

    /// Takes local connections; whether there may be more.
    fn accept(&mut self, multiplexer: &mut Multiplexer, now: Instant) -> bool {
        for _ in 0..ACCEPT_ROUND {
            let Some((socket, peer)) = self.reactor.accept(now) else {
                return false;
            };
            if socket.peek() == Unread::Failure {
                // Reset before it was accepted.
                continue;
            }
            self.reactor.tell_accepted();
            let reactor = &self.reactor;
            multiplexer.connect(socket, peer, now, |socket, id| {
                // A stream id fits any usize.
                let token = Token(usize::try_from(id).unwrap_or_default());
                reactor.register(socket, token)
            });
        }
        true
    }
}
