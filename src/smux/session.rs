//! The client's side: opens streams, goes round those that have something to send, keeps what came until it is read.
//!
//! Data to send is never kept here: whose turn it is may put a frame on the wire, header ([`frame::push`]) and all.
//! So nothing is queued that could make others wait, and nothing is copied.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::frame::{self, Frame, FrameDecoder, FrameError, HEADER_SIZE};
use super::half_closed::HalfClosed;
use super::keepalive::KeepAlive;
use super::receive_blocked::ReceiveBlocked;
use super::stream::{SendState, SmuxStream, StreamId};
use super::stream_queue::StreamQueue;

/// What unread data of all streams may cost in memory, bytes; twice what the original's smux has.
/// A stream that nobody reads may take all of it: the protocol has no means to hold back one stream.
pub const RECEIVE_BUDGET: usize = 8 << 20;

/// When more than this is unread, bytes, new data is copied: as a slice it would keep the whole buffer alive that it came in with others.
const COPIES_FROM: usize = 64 << 10;

/// Streams of a client are odd, and the first one is 3 in the originals' library.
const FIRST_ID: StreamId = 3;

/// Why the multiplexed connections cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the error texts say it")]
pub enum SmuxError {
    #[error("the agent's multiplexed data cannot be understood: {0}")]
    Frame(#[from] FrameError),
    #[error("the agent's multiplexed data cannot be understood: connection {0} was never opened")]
    UnknownStream(StreamId),
    #[error("the agent opened connection {0}, which only this side may do")]
    OpenedByRemote(StreamId),
    #[error("this session has no number left for another connection; start a new session")]
    NoMoreStreams,
}

/// What to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// The opening of a stream: in a message of its own, as the originals send it.
    Alone([u8; HEADER_SIZE]),
    /// A frame without data.
    Control([u8; HEADER_SIZE]),
    /// This stream may send one frame of data. If it has more, it asks again.
    Data(StreamId),
}

/// What there is to do for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmuxEvent {
    /// Data came, or the remote closed: see [`SmuxSession::unread`], then [`SmuxSession::is_finished`].
    Readable(StreamId),
    /// The agent could not reach the destination. The stream is gone.
    Refused(StreamId),
    /// It has not been read for 30 s, and all the others wait for it.
    Blocked(StreamId),
    /// It has not been read for 5 minutes while others waited. The stream is gone.
    Abandoned(StreamId),
    /// The agent, one with keep-alive (from 3.0.196 to 3.1.1511), was silent for so long that its side must be taken to be closed, as after
    /// a long break of the data channel: time for [`SmuxSession::reset`].
    Silent,
}

/// See the module.
#[derive(Debug)]
pub struct SmuxSession {
    decoder: FrameDecoder,
    streams: HashMap<StreamId, SmuxStream>,
    /// The next to open; `None` when all were used.
    next_id: Option<StreamId>,
    /// Streams whose SYN is still to be sent.
    openings: StreamQueue,
    /// FINs and NOPs.
    control: VecDeque<Transmit>,
    /// Streams that have something to send.
    senders: StreamQueue,
    events: VecDeque<SmuxEvent>,
    /// What all unread data costs, bytes.
    unread_cost: usize,
    /// Refusals that the agent told of, whose FIN has not come yet.
    refusals: usize,
    half_closed: HalfClosed,
    blocked: Option<ReceiveBlocked>,
    keepalive: Option<KeepAlive>,
    closed_by_remote: Option<StreamId>,
}

impl SmuxSession {
    /// Without streams. `keepalive`: whether the agent closes when it hears nothing for 30 s (its version says so).
    pub fn new(keepalive: bool, now: Instant) -> Self {
        Self {
            decoder: FrameDecoder::default(),
            streams: HashMap::new(),
            next_id: Some(FIRST_ID),
            openings: StreamQueue::default(),
            control: VecDeque::new(),
            senders: StreamQueue::default(),
            events: VecDeque::new(),
            unread_cost: 0,
            refusals: 0,
            half_closed: HalfClosed::default(),
            blocked: None,
            keepalive: keepalive.then(|| KeepAlive::new(now)),
            closed_by_remote: None,
        }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`SmuxError::NoMoreStreams`] after two thousand million.
    pub fn open(&mut self, now: Instant) -> Result<StreamId, SmuxError> {
        let id = self.next_id.ok_or(SmuxError::NoMoreStreams)?;
        self.next_id = id.checked_add(2);
        self.streams.insert(id, SmuxStream::new(now));
        self.openings.push(id);
        self.streams_changed(now);
        Ok(id)
    }

    /// Whether the stream's SYN is still to be sent: the agent does not know of it, and will not if it is closed before.
    pub fn is_opening(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_some_and(|stream| !stream.is_opened)
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Queues a stream that has data to send. Nothing happens when its sending side is closed.
    pub fn request_send(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.outgoing == SendState::Open
            && !stream.wants_to_send
        {
            stream.wants_to_send = true;
            self.senders.push(id);
        }
    }

    /// Whether any stream waits to send: who sends now should not send much.
    pub fn others_want_to_send(&self) -> bool {
        !self.senders.is_empty()
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) may have something.
    pub fn wants_to_send(&self) -> bool {
        !self.openings.is_empty() || !self.control.is_empty() || !self.senders.is_empty()
    }

    /// What to send next: openings and frames without data first, then one stream after the other.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let streams = &mut self.streams;
        if let Some(id) = self.openings.pop(|id| streams.contains_key(&id)) {
            if let Some(stream) = streams.get_mut(&id) {
                stream.is_opened = true;
            }
            return Some(Transmit::Alone(frame::syn(id)));
        }
        if let Some(control) = self.control.pop_front() {
            return Some(control);
        }
        let id = self.senders.pop(|id| wants_to_send(streams, id))?;
        if let Some(stream) = streams.get_mut(&id) {
            stream.wants_to_send = false;
        }
        Some(Transmit::Data(id))
    }

    /// Whether the budget has room: if not, do not call [`handle_data`](Self::handle_data) now.
    pub const fn has_room(&self) -> bool {
        self.unread_cost < RECEIVE_BUDGET
    }

    /// Takes what the agent sent, cut anywhere.
    ///
    /// # Errors
    /// When it makes no sense; nothing more can come then.
    pub fn handle_data(&mut self, mut data: Bytes, now: Instant) -> Result<(), SmuxError> {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.received(now);
        }
        let message_length = data.len();
        while let Some(frame) = self.decoder.next(&mut data)? {
            match frame {
                Frame::Nop => {}
                Frame::Syn(id) => return Err(SmuxError::OpenedByRemote(id)),
                Frame::Data(id, data) => self.handle_push(id, data, message_length, now)?,
                Frame::Fin(id) => self.handle_fin(id, now)?,
            }
        }
        if !self.has_room() && self.blocked.is_none() {
            self.blocked = Some(ReceiveBlocked::new(now, self.streams.len() > 1));
        }
        Ok(())
    }

    fn handle_push(
        &mut self,
        id: StreamId,
        data: Bytes,
        message_length: usize,
        now: Instant,
    ) -> Result<(), SmuxError> {
        let Some(stream) = self.streams.get_mut(&id) else {
            // Closed on this side while the data was on its way.
            return self.check_was_opened(id);
        };
        if !stream.remote_finished {
            let copies = self.unread_cost > COPIES_FROM;
            self.unread_cost += stream.receive(data, message_length, copies, now);
            self.tell_readable(id);
        }
        Ok(())
    }

    fn handle_fin(&mut self, id: StreamId, now: Instant) -> Result<(), SmuxError> {
        self.closed_by_remote = Some(id);
        let Some(stream) = self.streams.get_mut(&id) else {
            return self.check_was_opened(id);
        };
        stream.remote_finished = true;
        let was_reached = stream.was_reached;
        self.finish_outgoing(id);
        if !was_reached && self.refusals > 0 {
            // The refusal itself does not say whose it is. The FIN that belongs to it comes soon after, of a stream without data.
            self.refusals -= 1;
            self.forget(id, now);
            self.events.push_back(SmuxEvent::Refused(id));
        } else {
            self.tell_readable(id);
        }
        Ok(())
    }

    /// Whether this is the stream that the agent closed last. It has handed on all that it got of it by then.
    pub fn was_closed_by_remote(&self, id: StreamId) -> bool {
        self.closed_by_remote == Some(id)
    }

    /// The agent said that it could not reach the destination; it closes the stream next.
    pub fn handle_refusal(&mut self) {
        // One for each stream at most, whatever the agent says.
        self.refusals = (self.refusals + 1).min(self.streams.len());
    }

    fn check_was_opened(&self, id: StreamId) -> Result<(), SmuxError> {
        let is_ours = id >= FIRST_ID && id % 2 == 1;
        if is_ours && self.next_id.is_none_or(|next| id < next) {
            Ok(())
        } else {
            Err(SmuxError::UnknownStream(id))
        }
    }

    fn tell_readable(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.has_event
        {
            stream.has_event = true;
            self.events.push_back(SmuxEvent::Readable(id));
        }
    }

    /// The next thing to do for a stream.
    pub fn poll_event(&mut self) -> Option<SmuxEvent> {
        let event = self.events.pop_front()?;
        if let SmuxEvent::Readable(id) = event
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.has_event = false;
        }
        Some(event)
    }

    /// What came for the stream, oldest first.
    pub fn unread(&self, id: StreamId) -> impl Iterator<Item = &[u8]> {
        self.streams
            .get(&id)
            .into_iter()
            .flat_map(SmuxStream::unread)
    }

    /// The local side has taken the first `count` unread bytes.
    pub fn consume(&mut self, id: StreamId, count: usize, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let freed = stream.consume(count, now);
            self.give_back(freed);
        }
    }

    fn give_back(&mut self, cost: usize) {
        self.unread_cost -= cost;
        if self.has_room() {
            self.blocked = None;
        }
    }

    /// Whether the remote has closed and everything it sent was read: time to close the local side and [`close`](Self::close).
    pub fn is_finished(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_some_and(|stream| stream.remote_finished && !stream.has_unread())
    }

    /// The local side has nothing more to send, but may still read. FIN waits: the agent answers it by closing both directions.
    pub fn local_end(&mut self, id: StreamId, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.outgoing == SendState::Open
        {
            stream.outgoing = SendState::HalfClosed;
            stream.last_activity = now;
            self.half_closed.begin(id, now);
            self.leave_senders(id);
        }
    }

    /// The local side is gone: FIN goes out unless it did, and what was not read is forgotten. Of a stream whose SYN was not sent, nothing
    /// is.
    pub fn close(&mut self, id: StreamId, now: Instant) {
        self.finish_outgoing(id);
        self.forget(id, now);
    }

    /// Closes every stream, because the agent's side of them is gone ([`SmuxEvent::Silent`]), and names them: their local sides are to be
    /// reset. Should the agent be there after all, it is told, and new streams work.
    pub fn reset(&mut self, now: Instant) -> Vec<StreamId> {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in &ids {
            self.close(*id, now);
        }
        self.refusals = 0;
        ids
    }

    fn finish_outgoing(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.outgoing == SendState::HalfClosed {
            self.half_closed.end();
        }
        if stream.outgoing != SendState::Finished {
            stream.outgoing = SendState::Finished;
            if stream.is_opened {
                self.control.push_back(Transmit::Control(frame::fin(id)));
            }
        }
        self.leave_senders(id);
    }

    /// The stream has nothing more to send.
    fn leave_senders(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.wants_to_send
        {
            stream.wants_to_send = false;
            let streams = &self.streams;
            self.senders.leave(|id| wants_to_send(streams, id));
        }
    }

    fn forget(&mut self, id: StreamId, now: Instant) {
        self.leave_senders(id);
        if let Some(stream) = self.streams.remove(&id) {
            if !stream.is_opened {
                let streams = &self.streams;
                self.openings.leave(|id| streams.contains_key(&id));
            }
            self.give_back(stream.cost());
            self.streams_changed(now);
        }
    }

    fn streams_changed(&mut self, now: Instant) {
        if let Some(blocked) = &mut self.blocked {
            blocked.set_others(self.streams.len() > 1, now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.keepalive.as_ref().map(KeepAlive::next_timeout),
            self.half_closed.next_timeout(),
            self.blocked.as_ref().and_then(|blocked| blocked.check_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due by now. `is_heard`: whether all that was sent has been acknowledged; otherwise the remote cannot have answered it
    /// yet, and that a stream is quiet means nothing.
    pub fn handle_timeout(&mut self, now: Instant, is_heard: bool) {
        let is_reading = self.has_room();
        if let Some(keepalive) = &mut self.keepalive {
            // Those that could not be sent yet are as good as a new one.
            if keepalive.take_nop(now) && !self.control.contains(&Transmit::Control(frame::nop())) {
                self.control.push_back(Transmit::Control(frame::nop()));
            }
            if keepalive.take_silence(now, is_reading) {
                self.events.push_back(SmuxEvent::Silent);
            }
        }
        while let Some(id) = self.half_closed.take_due(now) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let is_waiting = match stream.outgoing {
                SendState::Open => false,
                SendState::HalfClosed => true,
                SendState::Finished => !stream.remote_finished,
            };
            if !is_waiting {
                continue;
            }
            if !is_heard || !stream.is_opened {
                stream.last_activity = now;
            }
            if !self.half_closed.is_over(stream.last_activity, now) {
                self.half_closed.again(id, stream.last_activity);
            } else if stream.outgoing == SendState::HalfClosed {
                stream.last_activity = now;
                self.half_closed.again(id, now);
                self.finish_outgoing(id);
            } else {
                // Agents answer FIN at once. One that does not would keep the local connection for ever.
                stream.remote_finished = true;
                self.tell_readable(id);
            }
        }
        self.check_blocked(now);
    }

    /// Names and resets what blocks the others.
    fn check_blocked(&mut self, now: Instant) {
        let Some(blocked) = &mut self.blocked else {
            return;
        };
        if blocked.check_at.is_none_or(|at| at > now) {
            return;
        }
        blocked.check_at = None;
        // The one that holds most of the budget is the one that blocks.
        let Some((&id, stream)) = self.streams.iter_mut().max_by_key(|entry| entry.1.cost()) else {
            return;
        };
        let reset_at = blocked.reset_at(stream.last_progress);
        if reset_at.is_some_and(|at| at <= now) {
            self.close(id, now);
            self.events.push_back(SmuxEvent::Abandoned(id));
            if let Some(blocked) = &mut self.blocked {
                // What it held was not enough: the next one's turn.
                blocked.check_at = Some(now);
            }
            return;
        }
        if stream.is_named {
            blocked.check_at = reset_at;
        } else if blocked.name_at(stream.last_progress) <= now {
            stream.is_named = true;
            blocked.check_at = reset_at;
            self.events.push_back(SmuxEvent::Blocked(id));
        } else {
            blocked.check_at = Some(blocked.name_at(stream.last_progress));
        }
    }
}

/// Whether the stream waits to send.
fn wants_to_send(streams: &HashMap<StreamId, SmuxStream>, id: StreamId) -> bool {
    streams.get(&id).is_some_and(|stream| stream.wants_to_send)
}
