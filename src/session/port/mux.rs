//! Many local connections at a time over one data channel: one thread that waits for all of them and the channel together.

use std::io;
use std::time::Instant;

use mio::{Events, Token};

use super::listening::PortEvent;
use super::multiplexer::Multiplexer;
use super::mux_event::MuxEvent;
use super::reactor::Reactor;
use super::socket::Unread;
use crate::datachannel::{DataChannel, End};
use crate::smux::StreamId;

/// How many connections are accepted before the others get their turn.
const ACCEPT_ROUND: usize = 64;

/// The thread's state.
pub(super) struct Mux {
    reactor: Reactor,
    multiplexer: Multiplexer,
}

impl Mux {
    /// `keepalive`, `message`: see [`Multiplexer::new`].
    pub(super) fn new(
        channel: DataChannel,
        reactor: Reactor,
        keepalive: bool,
        message: usize,
    ) -> Self {
        Self {
            reactor,
            multiplexer: Multiplexer::new(channel, keepalive, message),
        }
    }

    /// Works until the session ends or is stopped.
    pub(super) fn run(mut self) {
        let served = self.serve();
        self.multiplexer.reset_unwritten();
        self.reactor.finish(served);
    }

    fn serve(&mut self) -> io::Result<Option<End>> {
        let mut polled = Events::with_capacity(1024);
        loop {
            if self.reactor.is_stopped() {
                return Ok(None);
            }
            let now = Instant::now();
            self.multiplexer.set_connected(self.reactor.is_connected());
            let had_ended = self.multiplexer.ended().is_some();
            let mut is_busy = !had_ended && self.accept(now);
            is_busy |= self.multiplexer.work(now);
            if let Some(end) = self.multiplexer.ended().cloned() {
                if !had_ended {
                    self.reactor.stop_listening();
                    self.multiplexer.close_written();
                }
                if self.multiplexer.is_finished(now) {
                    return Ok(Some(end));
                }
            }
            self.tell();
            let next = [self.multiplexer.next_timeout(), self.reactor.retry_at()];
            let next = next.into_iter().flatten().min();
            self.reactor.wait(&mut polled, is_busy, next)?;
            let now = Instant::now();
            for readiness in &polled {
                // A stream's number is its connection's token.
                if let Ok(id) = StreamId::try_from(readiness.token().0) {
                    self.multiplexer.note(id, readiness, now);
                }
            }
        }
    }

    fn tell(&mut self) {
        if self.multiplexer.has_spoken() {
            self.reactor.note_spoken();
        }
        while let Some(event) = self.multiplexer.poll_event() {
            match event {
                MuxEvent::Refused => self.reactor.tell(PortEvent::Refused),
                MuxEvent::Complaint(line) => self.reactor.tell(PortEvent::Complaint(line)),
                MuxEvent::Closed { .. } => {}
            }
        }
    }

    /// Takes local connections; whether there may be more.
    fn accept(&mut self, now: Instant) -> bool {
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
            self.multiplexer.connect(socket, peer, now, |socket, id| {
                // A stream id fits any usize.
                let token = Token(usize::try_from(id).unwrap_or_default());
                reactor.register(socket, token)
            });
        }
        true
    }
}
