//! One local connection after the other, for agents that cannot multiplex: their bytes as they are, and a flag when one ends.
//!
//! The agent connects to the destination when the session starts, and again with the first data after a flag. It does not tell when the destination closes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mio::{Events, Token};

use super::connection::{Connection, Read};
use super::listening::PortEvent;
use super::reactor::Reactor;
use super::socket::{Peer, Socket};
use crate::datachannel::{DataChannel, Delivery, End, Urgency};
use crate::message::{Flag, PayloadType};

const CONNECTION: Token = Token(1);

/// What is kept of what the remote says before somebody connects, or faster than the local side reads, bytes. The channel keeps as much again.
const KEPT: usize = 4 << 20;
/// The most that is read before the channel has taken it, bytes.
const BATCH: usize = 16 * 1024;
/// How many pieces one write takes.
const PIECES: usize = 64;
/// After the local end: how long the remote may be quiet before it is disconnected (as with the multiplexer).
const PATIENCE: Duration = Duration::from_secs(5);
/// The same while somebody else waits to connect.
const PATIENCE_WITH_NEXT: Duration = Duration::from_millis(200);
/// How often to look whether the agent has acknowledged the flag: at first, and at most, doubling between.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_secs(1);
/// Once it has: what it had read before, it may still send, and would be taken for the next connection's. That one begins when nothing came for
/// so long, or for three times as long as the acknowledgement took: who is slow in one thing is slow in the other.
const SETTLING: Duration = Duration::from_millis(100);
/// And no longer than this: an acknowledgement that took a minute waited for a broken connection, not for the agent.
const LONGEST_SETTLING: Duration = Duration::from_secs(2);
/// After the end of the session: how long to wait for a local socket that takes nothing of what has come.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Whose data comes from the agent.
enum Phase {
    /// The current connection's, or the next one's if there is none.
    Current,
    /// That of the connection before: the agent may not have heard that it ended.
    Stale {
        since: Instant,
        look_at: Instant,
        pause: Duration,
    },
    /// The same: it has heard, and may have something left.
    Settling { until: Instant, quiet: Duration },
}

/// The thread's state.
pub(super) struct Basic {
    reactor: Reactor,
    channel: DataChannel,
    current: Option<Connection>,
    /// Accepted, because the current one seems to be over.
    waiting: Option<(Socket, Peer)>,
    phase: Phase,
    /// From the agent, not written yet.
    unread: VecDeque<Bytes>,
    unread_length: usize,
    /// To the agent, not taken yet.
    outgoing: Vec<u8>,
    taken: usize,
    /// When the remote last sent something, or the local side ended: the later.
    last_activity: Instant,
    ended: Option<(End, Instant)>,
}

impl Basic {
    pub fn new(channel: DataChannel, reactor: Reactor) -> Self {
        Self {
            reactor,
            channel,
            current: None,
            waiting: None,
            phase: Phase::Current,
            unread: VecDeque::new(),
            unread_length: 0,
            outgoing: Vec::with_capacity(BATCH),
            taken: 0,
            last_activity: Instant::now(),
            ended: None,
        }
    }

    /// Works until the session ends or is stopped.
    pub fn run(mut self) {
        let served = self.serve();
        self.reactor.finish(served);
    }

    fn serve(&mut self) -> io::Result<Option<End>> {
        let mut polled = Events::with_capacity(16);
        loop {
            if self.reactor.is_stopped() {
                return Ok(None);
            }
            let now = Instant::now();
            if self.ended.is_none() {
                self.receive(now);
            }
            let was_full = self.unread_length >= KEPT;
            self.flush(now);
            // What the channel held back is not announced a second time: it is to be taken as soon as there is room.
            let mut is_busy = was_full && self.unread_length < KEPT;
            if let Some((end, deadline)) = &self.ended {
                if self.current.is_none() || self.unread.is_empty() || *deadline <= now {
                    return Ok(Some(end.clone()));
                }
            } else {
                self.accept(now);
                is_busy |= self.transmit(now);
                self.end_lingering(now);
            }
            let next = self.next_timeout();
            self.reactor.wait(&mut polled, is_busy, next)?;
            for readiness in &polled {
                if readiness.token() == CONNECTION
                    && let Some(connection) = &mut self.current
                {
                    connection.note(readiness);
                }
            }
        }
    }

    /// Takes what the channel has, as far as it can be kept.
    fn receive(&mut self, now: Instant) {
        // Asked before the queue is emptied: what the agent sent before it acknowledged the flag is in the queue by then.
        let is_acknowledged =
            matches!(self.phase, Phase::Stale { .. }) && self.channel.is_acknowledged();
        let is_settled = matches!(self.phase, Phase::Settling { until, .. } if until <= now);
        while self.unread_length < KEPT {
            match self.channel.try_receive() {
                None => break,
                Some(Delivery::Payload(PayloadType::Output, data)) => {
                    self.last_activity = now;
                    match &mut self.phase {
                        Phase::Current => {
                            self.unread_length += data.len();
                            self.unread.push_back(data);
                        }
                        Phase::Stale { .. } => {}
                        Phase::Settling { until, quiet } => *until = now + *quiet,
                    }
                }
                Some(Delivery::Payload(PayloadType::Flag, flag)) => {
                    if Flag::from_bytes(&flag) == Some(Flag::ConnectToPortError) {
                        self.reactor.tell(PortEvent::Refused);
                    }
                }
                Some(Delivery::Payload(..) | Delivery::Started(_)) => {}
                Some(Delivery::Ended(end)) => {
                    self.ended = Some((end, now + LAST_WRITES));
                    self.reactor.stop_listening();
                    break;
                }
            }
        }
        match &mut self.phase {
            Phase::Stale { since, .. } if is_acknowledged => {
                let quiet = quiet_for(now.saturating_duration_since(*since));
                self.phase = Phase::Settling {
                    until: now + quiet,
                    quiet,
                };
            }
            Phase::Stale { look_at, pause, .. } if *look_at <= now => {
                *pause = LOOK_LAST.min(*pause * 2);
                *look_at = now + *pause;
            }
            Phase::Settling { until, .. } if is_settled && *until <= now => {
                self.phase = Phase::Current;
            }
            _ => {}
        }
    }

    /// Writes what came to the local side.
    fn flush(&mut self, now: Instant) {
        let Some(connection) = &mut self.current else {
            return;
        };
        while connection.may_write && !self.unread.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.unread) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            match connection.socket.write_vectored(&slices[..count]) {
                Ok(mut written) => {
                    self.unread_length -= written;
                    while let Some(piece) = self.unread.front_mut() {
                        if written < piece.len() {
                            piece.advance(written);
                            break;
                        }
                        written -= piece.len();
                        self.unread.pop_front();
                    }
                    if let Some((_, deadline)) = &mut self.ended {
                        *deadline = now + LAST_WRITES;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.may_write = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.disconnect(now);
                    return;
                }
            }
        }
    }

    /// Takes the next local connection if there is none, or the current one seems to be over.
    fn accept(&mut self, now: Instant) {
        let is_over = self.current.as_ref().is_none_or(|current| current.at_end);
        if is_over && self.waiting.is_none() {
            self.waiting = self.reactor.accept(now);
        }
        if self.current.is_none()
            && matches!(self.phase, Phase::Current)
            && let Some((socket, peer)) = self.waiting.take()
        {
            self.connect(socket, peer, now);
        }
    }

    fn connect(&mut self, mut socket: Socket, peer: Peer, now: Instant) {
        if let Err(error) = self.reactor.register(&mut socket, CONNECTION) {
            let complaint = format!("cannot wait for {peer}: {error}");
            self.reactor.tell(PortEvent::Complaint(complaint));
            return;
        }
        self.current = Some(Connection::new(socket, peer));
        self.reactor.tell_accepted();
        self.flush(now);
    }

    /// Gives the channel what it takes; whether the local side has more.
    fn transmit(&mut self, now: Instant) -> bool {
        if !self.send_rest() {
            return false;
        }
        let Some(connection) = &mut self.current else {
            return false;
        };
        self.outgoing.resize(BATCH, 0);
        let read = connection.read(&mut self.outgoing);
        let may_read = connection.may_read;
        self.outgoing.truncate(if let Read::Data(count) = read {
            count
        } else {
            0
        });
        match read {
            Read::Data(_) => {}
            Read::Nothing => return false,
            Read::End => self.last_activity = now,
            Read::Failed => self.disconnect(now),
        }
        self.send_rest() && may_read
    }

    /// Whether the channel has taken all that was read.
    fn send_rest(&mut self) -> bool {
        while self.taken < self.outgoing.len() {
            match self
                .channel
                .send(&self.outgoing[self.taken..], Urgency::Bulk)
            {
                // Its waker tells when there is room; its last delivery tells that it has ended.
                Ok(0) | Err(_) => return false,
                Ok(count) => self.taken += count,
            }
        }
        self.taken = 0;
        self.outgoing.clear();
        true
    }

    /// When the local side has ended: when the remote has been quiet for long enough.
    fn lingers_until(&self) -> Option<Instant> {
        let connection = self.current.as_ref()?;
        let patience = if self.waiting.is_some() {
            PATIENCE_WITH_NEXT
        } else {
            PATIENCE
        };
        connection.at_end.then_some(self.last_activity + patience)
    }

    fn end_lingering(&mut self, now: Instant) {
        let is_gone = |connection: &Connection| connection.at_end && connection.peer_is_gone;
        if self.outgoing.is_empty() && self.current.as_ref().is_some_and(is_gone) {
            self.disconnect(now);
        }
        if self.lingers_until().is_none_or(|at| at > now) {
            return;
        }
        let is_heard = self.outgoing.is_empty()
            && self.reactor.is_connected()
            && self.channel.is_acknowledged();
        if is_heard && self.unread.is_empty() {
            self.disconnect(now);
        } else {
            // The remote cannot have answered yet, or the local side has not taken it.
            self.last_activity = now;
        }
    }

    /// The local connection has ended; the agent is told, and ends its own.
    fn disconnect(&mut self, now: Instant) {
        self.current = None;
        self.unread.clear();
        self.unread_length = 0;
        self.outgoing.clear();
        self.taken = 0;
        if self.ended.is_none() {
            self.channel.send_flag(Flag::DisconnectToPort);
            self.phase = Phase::Stale {
                since: now,
                look_at: now,
                pause: LOOK_FIRST,
            };
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        if let Some((_, deadline)) = self.ended {
            return Some(deadline);
        }
        let look_at = match self.phase {
            Phase::Current => None,
            Phase::Stale { look_at: at, .. } | Phase::Settling { until: at, .. } => Some(at),
        };
        let retry_at = self
            .reactor
            .retry_at()
            .filter(|_| self.current.is_none() && self.waiting.is_none());
        [self.lingers_until(), look_at, retry_at]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How long nothing must come before the next connection begins, when the acknowledgement of the flag took so long.
fn quiet_for(acknowledgement: Duration) -> Duration {
    acknowledgement
        .saturating_mul(3)
        .clamp(SETTLING, LONGEST_SETTLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_an_outage_does_not_keep_the_next_connection_waiting() {
        assert_eq!(quiet_for(Duration::from_millis(1)), SETTLING);
        let slow = Duration::from_millis(200);
        assert_eq!(quiet_for(slow), slow * 3);
        assert_eq!(quiet_for(Duration::from_secs(60)), LONGEST_SETTLING);
    }
}
