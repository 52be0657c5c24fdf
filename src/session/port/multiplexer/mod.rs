//! Many local connections at a time over one data channel, without the waiting: who drives it may have several sessions.
//!
//! Both directions hold back at the source. Local sockets are read only into a batch that the channel has room for, one connection after
//! the other; the channel's deliveries are taken only while unread data is below smux's budget.

mod sending;

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::event::Event as Readiness;

use super::connection::LocalConnection;
use super::ended_early::EndedEarly;
use super::mux_event::MuxEvent;
use super::outgoing::Outgoing;
use super::socket::{Peer, Socket};
use crate::datachannel::{DataChannel, Delivery, End};
use crate::error::Error;
use crate::message::{Flag, PayloadType};
use crate::smux::{SmuxEvent, SmuxSession, StreamId};

/// What is moved in one direction before the others get their turn, bytes.
const ROUND: usize = 256 * 1024;
/// How many pieces one write to a local socket takes.
const PIECES: usize = 64;
/// How long a local connection may go on sending to a remote that has closed. Closing while something unread is there would reset the
/// connection, and what the peer has not read yet would be lost.
const CLOSING: Duration = Duration::from_secs(2);
/// After the end of the session: how long to wait for local sockets that take nothing of what has come.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// The local connections of one session. Whoever drives it waits for their readiness and for the channel.
pub(crate) struct Multiplexer {
    channel: DataChannel,
    smux: SmuxSession,
    outgoing: Outgoing,
    connections: HashMap<StreamId, LocalConnection>,
    /// When connections that are closing are closed at the latest. Those that are gone may still be listed.
    closing: VecDeque<(Instant, StreamId)>,
    ended_early: EndedEarly<StreamId>,
    /// Whether the channel took nothing when it was last given something.
    is_blocked: bool,
    /// Whether the data channel has its connection, as far as known.
    is_connected: bool,
    has_spoken: bool,
    /// Bytes to the remote and from it, of all connections so far.
    moved: (u64, u64),
    events: VecDeque<MuxEvent>,
    ended: Option<(End, Instant)>,
    /// The connection that the remote ended last, with all that it sent written.
    finished: Option<StreamId>,
}

impl Multiplexer {
    /// `keepalive`: see [`SmuxSession::new`]; `message`: the payload of a message, bytes.
    pub(crate) fn new(channel: DataChannel, keepalive: bool, message: usize) -> Self {
        Self {
            channel,
            smux: SmuxSession::new(keepalive, Instant::now()),
            outgoing: Outgoing::new(message),
            connections: HashMap::new(),
            closing: VecDeque::new(),
            ended_early: EndedEarly::default(),
            is_blocked: false,
            is_connected: true,
            has_spoken: false,
            moved: (0, 0),
            events: VecDeque::new(),
            ended: None,
            finished: None,
        }
    }

    /// Does what can be done without waiting; whether there is more.
    pub(crate) fn work(&mut self, now: Instant) -> bool {
        let mut is_busy = self.handle_timeouts(now);
        if self.ended.is_none() {
            is_busy |= self.receive(now);
        }
        if self.ended.is_none() {
            is_busy |= self.transmit(now);
        }
        is_busy
    }

    /// Takes what the channel has and writes it, for another than who drives this, while that one waits. False when that one is needed: to
    /// send something, to tell something, or to wait for something else than before.
    pub(crate) fn receive_only(&mut self, now: Instant) -> bool {
        let waits_until = self.next_timeout();
        let has_more = self.ended.is_some() || self.receive(now);
        let is_sooner = match (self.next_timeout(), waits_until) {
            (Some(next), Some(before)) => next < before,
            (next, _) => next.is_some(),
        };
        let has_work = has_more || self.ended.is_some() || !self.events.is_empty();
        !has_work && !is_sooner && !self.smux.wants_to_send()
    }

    /// What happened, oldest first.
    pub(crate) fn poll_event(&mut self) -> Option<MuxEvent> {
        self.events.pop_front()
    }

    /// How the session ended, if it has.
    pub(crate) fn ended(&self) -> Option<&End> {
        self.ended.as_ref().map(|(end, _)| end)
    }

    /// Whether this is the connection that the remote ended last, with all that it sent written.
    pub(crate) fn has_finished(&self, id: StreamId) -> bool {
        self.finished == Some(id)
    }

    /// Whether this is the connection whose end the agent told or answered last: it has handed on all that it got of it.
    pub(crate) fn was_closed_by_remote(&self, id: StreamId) -> bool {
        self.smux.was_closed_by_remote(id)
    }

    /// Whether the session has ended, and all that came was written to who takes it.
    pub(crate) fn is_finished(&self, now: Instant) -> bool {
        self.ended
            .as_ref()
            .is_some_and(|(_, deadline)| self.connections.is_empty() || *deadline <= now)
    }

    /// Whether anything ever came from the remote.
    pub(crate) const fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    /// Bytes that were read from local connections, and written to them, so far.
    pub(crate) const fn moved(&self) -> (u64, u64) {
        self.moved
    }

    /// Local connections that are open.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether the data channel has its connection, as far as known.
    pub(crate) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The data channel has lost its connection, for long enough to be noticed, or has another one.
    pub(crate) const fn set_connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
    }

    /// What the system says of a local connection.
    pub(crate) fn note(&mut self, id: StreamId, readiness: &Readiness, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.is_closing {
            self.discard(id);
            return;
        }
        connection.note(readiness);
        if connection.is_over(self.is_blocked) {
            self.fail(id, now);
            return;
        }
        let (may_read, may_write) = (connection.may_read, connection.may_write);
        if self.smux.is_opening(id)
            && connection.ended_empty()
            && let Some(oldest) = self.ended_early.add(id)
            && self.smux.is_opening(oldest)
        {
            self.fail(oldest, now);
        }
        if may_read {
            self.smux.request_send(id);
        }
        if may_write {
            self.flush(id, now);
        }
    }

    /// After the end: whoever has got all that came is closed, as the remote's own end does it.
    pub(crate) fn close_written(&mut self) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            if self.smux.unread(id).next().is_none() {
                self.remove(id);
            }
        }
    }

    /// Whoever has not got all that came sees a failure, and no end that looks like a good one.
    pub(crate) fn reset_unwritten(&mut self) {
        for (id, connection) in self.connections.drain() {
            if self.smux.unread(id).next().is_some() {
                connection.socket.reset();
            }
        }
    }

    /// All local sides see a failure.
    pub(crate) fn reset_all(&mut self) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.reset(id);
        }
    }

    fn remove(&mut self, id: StreamId) -> Option<LocalConnection> {
        let connection = self.connections.remove(&id)?;
        let (sent, received) = (connection.sent, connection.received);
        self.events
            .push_back(MuxEvent::Closed { id, sent, received });
        Some(connection)
    }

    /// Takes what the channel has and hands it on; whether there may be more that fits.
    fn receive(&mut self, now: Instant) -> bool {
        let is_empty = self.take_deliveries(now);
        self.handle_events(now);
        !is_empty && self.smux.has_room()
    }

    /// Whether it has taken all there was.
    fn take_deliveries(&mut self, now: Instant) -> bool {
        let mut received = 0;
        while self.smux.has_room() && received < ROUND {
            let Some(delivery) = self.channel.try_receive() else {
                return true;
            };
            received += delivery.cost();
            match delivery {
                Delivery::Payload(PayloadType::Output, data) => {
                    self.has_spoken = true;
                    if let Err(error) = self.smux.handle_data(data, now) {
                        self.end(End::Failed(Error::Lost(error.to_string())), now);
                        return true;
                    }
                }
                Delivery::Payload(PayloadType::Flag, flag) => self.handle_flag(&flag),
                Delivery::Payload(..) | Delivery::Started(_) => {}
                Delivery::Ended(end) => {
                    self.end(end, now);
                    return true;
                }
            }
        }
        false
    }

    fn handle_flag(&mut self, flag: &Bytes) {
        if Flag::from_bytes(flag) == Some(Flag::ConnectToPortError) {
            self.smux.handle_refusal();
            self.events.push_back(MuxEvent::Refused);
        }
    }

    /// The session is over: what has come is still written to those who take it.
    fn end(&mut self, end: End, now: Instant) {
        self.handle_events(now);
        self.ended = Some((end, now + LAST_WRITES));
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.smux.poll_event() {
            match event {
                SmuxEvent::Readable(id) => self.flush(id, now),
                SmuxEvent::Refused(id) => self.reset(id),
                SmuxEvent::Blocked(id) => {
                    if let Some(connection) = self.connections.get(&id) {
                        self.complain(format!(
                            "{} does not take what it is sent, and all others wait for it; it is reset after 5 minutes",
                            connection.peer
                        ));
                    }
                }
                SmuxEvent::Abandoned(id) => {
                    if let Some(connection) = self.connections.get(&id) {
                        self.complain(format!(
                            "{} has not taken anything for 5 minutes while others waited: reset",
                            connection.peer
                        ));
                    }
                    self.reset(id);
                }
                SmuxEvent::Silent => {
                    let lost = self.smux.reset(now);
                    if !lost.is_empty() {
                        self.complain(format!(
                            "the agent was silent for 30 s and has closed its side of the connections: {} reset",
                            lost.len()
                        ));
                    }
                    for id in lost {
                        self.reset(id);
                    }
                }
            }
        }
    }

    /// Writes what came for a connection, and closes it when the remote has closed.
    fn flush(&mut self, id: StreamId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        while connection.may_write {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(self.smux.unread(id)) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            if count == 0 {
                break;
            }
            match connection.socket.write_vectored(&slices[..count]) {
                Ok(written) => {
                    connection.received += written as u64;
                    self.moved.1 += written as u64;
                    self.smux.consume(id, written, now);
                    if let Some((_, deadline)) = &mut self.ended {
                        *deadline = now + LAST_WRITES;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.may_write = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.fail(id, now);
                    return;
                }
            }
        }
        let is_written = self.ended.is_some() && self.smux.unread(id).next().is_none();
        if is_written || self.smux.is_finished(id) {
            self.finish(id, now);
        }
    }

    /// The remote has closed, and all that it sent is written.
    fn finish(&mut self, id: StreamId, now: Instant) {
        if self.smux.is_finished(id) {
            self.finished = Some(id);
        }
        self.smux.close(id, now);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.socket.finish();
        connection.is_closing = true;
        if connection.at_end {
            self.remove(id);
            return;
        }
        self.closing.push_back((now + CLOSING, id));
        self.discard(id);
        if self.ended.is_some() {
            self.remove(id);
        }
    }

    /// Reads what nobody wants any more.
    fn discard(&mut self, id: StreamId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.discard().is_break() {
            self.remove(id);
        }
    }

    /// The local side is gone.
    fn fail(&mut self, id: StreamId, now: Instant) {
        self.smux.close(id, now);
        self.remove(id);
    }

    /// The stream is gone; the local side is to see a failure.
    fn reset(&mut self, id: StreamId) {
        if let Some(connection) = self.remove(id) {
            connection.socket.reset();
        }
    }

    /// Takes a local connection in; `register` has its readiness waited for, under the number of its stream. Its stream, unless its peer is
    /// gone already or there is no room for it.
    pub(crate) fn connect(
        &mut self,
        mut socket: Socket,
        peer: Peer,
        now: Instant,
        register: impl FnOnce(&mut Socket, StreamId) -> io::Result<()>,
    ) -> Option<StreamId> {
        let id = match self.smux.open(now) {
            Ok(id) => id,
            Err(error) => {
                self.complain(error.to_string());
                socket.reset();
                return None;
            }
        };
        if let Err(error) = register(&mut socket, id) {
            self.complain(format!("cannot wait for {peer}: {error}"));
            self.smux.close(id, now);
            socket.reset();
            return None;
        }
        self.connections
            .insert(id, LocalConnection::new(socket, peer));
        self.smux.request_send(id);
        Some(id)
    }

    /// When to [work](Self::work) at the latest.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if let Some((_, deadline)) = self.ended {
            return Some(deadline);
        }
        [
            self.smux.next_timeout(),
            self.closing.front().map(|entry| entry.0),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due; whether something was.
    fn handle_timeouts(&mut self, now: Instant) -> bool {
        while let Some((at, id)) = self.closing.front().copied()
            && at <= now
        {
            self.remove(id);
            self.closing.pop_front();
        }
        let is_due = self.ended.is_none() && self.smux.next_timeout().is_some_and(|at| at <= now);
        if is_due {
            let is_heard = self.is_connected && self.channel.is_acknowledged();
            self.smux.handle_timeout(now, is_heard);
            self.handle_events(now);
        }
        is_due
    }

    fn complain(&mut self, line: String) {
        self.events.push_back(MuxEvent::Complaint(line));
    }
}
