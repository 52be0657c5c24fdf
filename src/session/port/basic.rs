//! One local connection after the other, for agents that cannot multiplex: their bytes as they are, and a flag when one ends.
//!
//! The agent connects to the destination when the session starts, and again with the first data after a flag. It does not tell when the
//! destination closes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mio::{Events, Token};

use super::connection::{LocalConnection, Read};
use super::events::PortEvent;
use super::reactor::Reactor;
use super::socket::{Peer, Socket, Unread};
use crate::datachannel::{DataChannel, Delivery, End, Urgency};
use crate::message::{Flag, PayloadType};

const CONNECTION: Token = Token(1);

/// What may be kept of what the remote says before somebody connects, or faster than the local side reads, bytes. The channel keeps as much
/// again.
const KEPT: usize = 4 << 20;
/// What a piece costs of that besides its bytes: its place in the queue, and the allocator's part.
const PIECE_OVERHEAD: usize = 200;
/// A piece smaller than this is copied, bytes: a slice keeps the whole buffer in memory that it was read into, of which it may be the only
/// part that is still wanted.
const COPY_BELOW: usize = 512;
/// From so much on, all are copied.
const COPY_FROM: usize = 1 << 20;
/// How many local connections that are gone already are looked at before others get their turn.
const ACCEPT_ROUND: usize = 64;
/// The most that is read before the channel has taken it, bytes.
const BATCH: usize = 16 * 1024;
/// How many pieces one write takes.
const PIECES: usize = 64;
/// After the local end: how long the remote may be quiet before it is disconnected (as with the multiplexer).
const QUIET_LIMIT: Duration = Duration::from_secs(5);
/// The same while somebody else waits to connect.
const QUIET_LIMIT_WITH_NEXT: Duration = Duration::from_millis(100);
/// How often to look, while somebody else waits, whether all has been acknowledged after the local end. That is told as well, but not
/// always.
const LOOK_WITH_NEXT: Duration = Duration::from_millis(20);
/// How often to look whether the agent has acknowledged the flag: at first, and at most, doubling between.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_secs(1);
/// Once it has: what it had read before, it may still send, and would be taken for the next connection's. That one begins when nothing came
/// for so long, or for three times as long as the acknowledgement took: who is slow in one thing is slow in the other.
const DRAINING: Duration = Duration::from_millis(100);
/// And no longer than this: an acknowledgement that took a minute waited for a broken connection, not for the agent.
const LONGEST_DRAINING: Duration = Duration::from_secs(2);
/// After the end of the session: how long to wait for a local socket that takes nothing of what has come.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Whose data comes from the agent.
enum DataOwner {
    /// The current connection's, or the next one's if there is none.
    Current,
    /// That of the connection before: the agent may not have heard that it ended.
    Stale {
        since: Instant,
        look_at: Instant,
        pause: Duration,
    },
    /// The same: it has heard, and may have something left.
    Draining { until: Instant, quiet: Duration },
}

/// The thread's state.
pub(super) struct Basic {
    reactor: Reactor,
    channel: DataChannel,
    current: Option<LocalConnection>,
    /// Accepted, because the current one seems to be over.
    waiting: Option<(Socket, Peer)>,
    data_owner: DataOwner,
    /// Whether the agent may have a connection: from the start, and from the first data after a flag.
    is_dialled: bool,
    /// From the agent, not written yet.
    unread: VecDeque<Bytes>,
    /// What `unread` costs, bytes.
    unread_cost: usize,
    /// To the agent, not taken yet.
    outgoing: Vec<u8>,
    taken: usize,
    /// When the remote last sent something, or the local side ended, or that was still on its way to the remote: the latest.
    last_activity: Instant,
    ended: Option<(End, Instant)>,
}

impl Basic {
    pub(super) fn new(channel: DataChannel, reactor: Reactor) -> Self {
        Self {
            reactor,
            channel,
            current: None,
            waiting: None,
            data_owner: DataOwner::Current,
            is_dialled: true,
            unread: VecDeque::new(),
            unread_cost: 0,
            outgoing: Vec::with_capacity(BATCH),
            taken: 0,
            last_activity: Instant::now(),
            ended: None,
        }
    }

    /// Works until the session ends or is stopped.
    pub(super) fn run(mut self) {
        let served = self.serve();
        if let Some(connection) = self.current.take()
            && !self.unread.is_empty()
        {
            // It has not got all that came: it sees a failure, and no end that looks like a good one.
            connection.socket.reset();
        }
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
            let was_full = self.unread_cost >= KEPT;
            self.flush(now);
            // What the channel held back is not announced a second time: it is to be taken as soon as there is room.
            let mut is_busy = was_full && self.unread_cost < KEPT;
            if let Some((end, deadline)) = &self.ended {
                if self.current.is_none() || self.unread.is_empty() || *deadline <= now {
                    return Ok(Some(end.clone()));
                }
            } else {
                is_busy |= self.transmit(now);
                self.end_lingering(now);
                // Last: what has just ended lets the next one in.
                is_busy |= self.accept(now);
            }
            let next = self.next_timeout(now);
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
            matches!(self.data_owner, DataOwner::Stale { .. }) && self.channel.is_acknowledged();
        let is_drained =
            matches!(self.data_owner, DataOwner::Draining { until, .. } if until <= now);
        while self.unread_cost < KEPT {
            match self.channel.try_receive() {
                None => break,
                Some(Delivery::Payload(PayloadType::Output, data)) => {
                    self.last_activity = now;
                    self.reactor.note_spoken();
                    match &mut self.data_owner {
                        DataOwner::Current => self.keep(data),
                        DataOwner::Stale { .. } => {}
                        DataOwner::Draining { until, quiet } => *until = now + *quiet,
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
        match &mut self.data_owner {
            DataOwner::Stale { since, .. } if is_acknowledged => {
                let quiet = quiet_for(now.saturating_duration_since(*since));
                self.data_owner = DataOwner::Draining {
                    until: now + quiet,
                    quiet,
                };
            }
            DataOwner::Stale { look_at, pause, .. } if *look_at <= now => {
                *pause = LOOK_LAST.min(*pause * 2);
                *look_at = now + *pause;
            }
            DataOwner::Draining { until, .. } if is_drained && *until <= now => {
                self.data_owner = DataOwner::Current;
            }
            _ => {}
        }
    }

    fn keep(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let is_copied = data.len() < COPY_BELOW || self.unread_cost >= COPY_FROM;
        self.unread_cost += data.len() + PIECE_OVERHEAD;
        self.unread.push_back(if is_copied {
            Bytes::copy_from_slice(&data)
        } else {
            data
        });
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
                    self.unread_cost -= written;
                    while let Some(piece) = self.unread.front_mut() {
                        if written < piece.len() {
                            piece.advance(written);
                            break;
                        }
                        written -= piece.len();
                        self.unread_cost -= PIECE_OVERHEAD;
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

    /// Takes the next local connection if there is none, or the current one seems to be over; whether there may be more to look at.
    fn accept(&mut self, now: Instant) -> bool {
        for _ in 0..ACCEPT_ROUND {
            let is_over = self.current.as_ref().is_none_or(|current| current.at_end);
            if is_over && self.waiting.is_none() {
                self.waiting = self.reactor.accept(now);
            }
            if self.current.is_some() || !matches!(self.data_owner, DataOwner::Current) {
                return false;
            }
            let Some((socket, peer)) = self.waiting.take() else {
                return false;
            };
            let is_gone = match socket.peek() {
                Unread::Failure => true,
                // It has nothing to say, and without a word of it the agent connects to nothing that it could hear.
                Unread::End => !self.is_dialled,
                Unread::Data | Unread::Nothing => false,
            };
            if !is_gone {
                self.connect(socket, peer, now);
            }
        }
        true
    }

    fn connect(&mut self, mut socket: Socket, peer: Peer, now: Instant) {
        if let Err(error) = self.reactor.register(&mut socket, CONNECTION) {
            let complaint = format!("cannot wait for {peer}: {error}");
            self.reactor.tell(PortEvent::Complaint(complaint));
            return;
        }
        self.current = Some(LocalConnection::new(socket, peer));
        self.reactor.tell_accepted();
        self.flush(now);
    }

    /// Gives the channel what it takes; whether the local side has more.
    fn transmit(&mut self, now: Instant) -> bool {
        let is_blocked = !self.send_rest();
        let Some(connection) = &mut self.current else {
            return false;
        };
        if connection.is_over(is_blocked) {
            self.disconnect(now);
            return false;
        }
        if is_blocked {
            return false;
        }
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
                .send_directly(&self.outgoing[self.taken..], Urgency::Bulk)
            {
                // Its waker tells when there is room; its last delivery tells that it has ended.
                Ok(0) | Err(_) => return false,
                Ok(count) => {
                    self.taken += count;
                    self.is_dialled = true;
                }
            }
        }
        self.taken = 0;
        self.outgoing.clear();
        true
    }

    /// Whether the remote has all that the local side sent, and the local side all that came.
    fn is_heard(&self) -> bool {
        self.outgoing.is_empty()
            && self.unread.is_empty()
            && self.reactor.is_connected()
            && self.channel.is_acknowledged()
    }

    /// When the local side has ended: when to look whether the remote has been quiet for long enough.
    fn half_closed_until(&self, now: Instant) -> Option<Instant> {
        if !self.current.as_ref()?.at_end {
            return None;
        }
        let has_next = self.waiting.is_some();
        if self.is_heard() {
            let quiet_limit = if has_next {
                QUIET_LIMIT_WITH_NEXT
            } else {
                QUIET_LIMIT
            };
            Some(self.last_activity + quiet_limit)
        } else {
            let look = if has_next { LOOK_WITH_NEXT } else { LOOK_LAST };
            // The end of an outage is told.
            self.reactor.is_connected().then_some(now + look)
        }
    }

    fn end_lingering(&mut self, now: Instant) {
        if !self.current.as_ref().is_some_and(|current| current.at_end) {
            return;
        }
        if !self.is_dialled {
            // There is nobody who could answer.
            self.disconnect(now);
        } else if !self.is_heard() {
            // The remote cannot have answered yet, or the local side has not taken it.
            self.last_activity = now;
        } else if self.half_closed_until(now).is_some_and(|at| at <= now) {
            self.disconnect(now);
        }
    }

    /// The local connection has ended; the agent is told, and ends its own, if it has one.
    fn disconnect(&mut self, now: Instant) {
        self.current = None;
        self.unread.clear();
        self.unread_cost = 0;
        self.outgoing.clear();
        self.taken = 0;
        if self.ended.is_none() && std::mem::take(&mut self.is_dialled) {
            self.channel.send_flag(Flag::DisconnectToPort);
            self.data_owner = DataOwner::Stale {
                since: now,
                look_at: now,
                pause: LOOK_FIRST,
            };
        }
    }

    fn next_timeout(&self, now: Instant) -> Option<Instant> {
        if let Some((_, deadline)) = self.ended {
            return Some(deadline);
        }
        let look_at = match self.data_owner {
            DataOwner::Current => None,
            DataOwner::Stale { look_at: at, .. } | DataOwner::Draining { until: at, .. } => {
                Some(at)
            }
        };
        let retry_at = self
            .reactor
            .retry_at()
            .filter(|_| self.current.is_none() && self.waiting.is_none());
        [self.half_closed_until(now), look_at, retry_at]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How long nothing must come before the next connection begins, when the acknowledgement of the flag took so long.
fn quiet_for(acknowledgement: Duration) -> Duration {
    acknowledgement
        .saturating_mul(3)
        .clamp(DRAINING, LONGEST_DRAINING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_an_outage_does_not_keep_the_next_connection_waiting() {
        assert_eq!(quiet_for(Duration::from_millis(1)), DRAINING);
        let slow = Duration::from_millis(200);
        assert_eq!(quiet_for(slow), slow * 3);
        assert_eq!(quiet_for(Duration::from_secs(60)), LONGEST_DRAINING);
    }
}
