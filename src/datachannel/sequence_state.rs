//! The client's side of the data channel as one state machine without I/O or clock: frames and time go in, frames, deliveries and
//! deadlines come out. Three threads drive it, each under the one lock; so do simulations, in one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::ack_watchdog::AckWatchdog;
use super::acknowledgements::{Received, acknowledged_number};
use super::decode_failures::DecodeFailures;
use super::handshake::Handshake;
use super::opening::Opening;
use super::outage::GaveUp;
use super::reconnect::Recovery;
use super::reorder::{Accepted, ReorderBuffer};
use super::send_window::SendWindow;
use super::sent_message::{Reservation, Urgency};
use super::{ChannelStatus, Delivery, End, Notice, Started};
use crate::encryption::Encrypter;
use crate::error::{Error, Failure};
use crate::message::content::{
    ChannelClosed, KmsEncryptionParameters, KmsEncryptionResult, Size, to_json,
};
use crate::message::{self, DecodeError, Flag, HEADER_SIZE, Message, MessageType, PayloadType};

/// The first messages of a session are acknowledged at once: somebody waits for them to begin.
const FIRST_MESSAGES: i64 = 8;

/// Input is answered within this, or nothing is awaited of the agent any more.
const INPUT_ANSWERED: Duration = Duration::from_secs(10);

/// Deliveries that a queue keeps its memory for.
pub(super) const USUAL_DELIVERIES: usize = 1024;

/// The client's side of the data channel.
#[derive(Debug)]
pub struct SequenceState {
    pub(super) window: SendWindow,
    reorder: ReorderBuffer,
    /// What came and is to be acknowledged.
    received: Vec<Received>,
    pub(super) handshake: Handshake,
    pub(super) phase: Phase,
    /// The newest size of the terminal, and the one that the agent was sent.
    pub(super) size: (Option<Size>, Option<Size>),
    /// The number of the size that is not acknowledged yet: the next one waits for it, so that they cannot pile up.
    size_in_flight: Option<i64>,
    /// Flags that wait for the session to begin, each once: an agent in its handshake would acknowledge and forget them.
    early_flags: Vec<Flag>,
    /// Whether a sender was told that there is no room, and waits to hear that there is.
    sender_blocked: bool,
    pub(super) watchdog: AckWatchdog,
    pub(super) decode_failures: DecodeFailures,
    pub(super) recovery: Recovery,
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) key_request: Option<KmsEncryptionParameters>,
    /// Set as soon as the data key is there; from then on nothing is taken that it does not open.
    pub(super) encrypter: Option<Arc<Encrypter>>,
    /// Whether a session without encryption is ended before anything is sent.
    pub(super) require_encryption: bool,
    /// Whether there is a connection.
    pub(super) is_connected: bool,
    /// Until when whoever runs the timers sleeps; for ever when there is none.
    pub(super) armed_until: Option<Instant>,
    /// Whether all was acknowledged, and the session over, when that was last asked for.
    drained: (bool, bool),
}

/// A data key of KMS: for the agent as KMS encrypted it, for us as what it does.
#[derive(Debug)]
pub struct SessionKey {
    /// Goes to the agent.
    pub result: KmsEncryptionResult,
    /// Stays here.
    pub encrypter: Encrypter,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing is known of the session yet.
    Opening(Opening),
    /// Data flows, outwards from this moment on.
    Running {
        /// None once it has passed.
        ready_at: Option<Instant>,
        has_pty: bool,
    },
    /// Over.
    Ended,
}

impl SequenceState {
    /// A channel that is not connected yet.
    pub fn new(client_version: &str) -> Self {
        Self {
            window: SendWindow::default(),
            reorder: ReorderBuffer::default(),
            received: Vec::new(),
            handshake: Handshake::new(client_version),
            phase: Phase::Opening(Opening::default()),
            size: (None, None),
            size_in_flight: None,
            early_flags: Vec::new(),
            sender_blocked: false,
            watchdog: AckWatchdog::default(),
            decode_failures: DecodeFailures::default(),
            recovery: Recovery::default(),
            deliveries: VecDeque::new(),
            notices: VecDeque::new(),
            key_request: None,
            encrypter: None,
            require_encryption: false,
            is_connected: false,
            armed_until: None,
            drained: (true, false),
        }
    }

    /// From now on a session that the agent does not encrypt is ended before anything is sent.
    pub const fn require_encryption(&mut self) {
        self.require_encryption = true;
    }

    /// There is a connection, the first or another one.
    pub fn connected(&mut self, now: Instant) {
        self.is_connected = true;
        self.received.push(Received::Reconnected);
        self.recovery.connected(now);
        self.watchdog.connected(now);
        self.window.reconnected(now);
        self.decode_failures.forget();
        if let Phase::Opening(opening) = &mut self.phase {
            opening.connected(now);
        }
    }

    /// The connection broke.
    ///
    /// # Errors
    /// When it is not worth while to make another.
    pub fn disconnected(&mut self, failure: &Failure, now: Instant) -> Result<(), GaveUp> {
        self.is_connected = false;
        self.watchdog.disconnected();
        self.recovery.disconnected(failure, self.has_started(), now)
    }

    /// The other side gave a sign of life that is no message.
    pub fn sign(&mut self) {
        self.recovery.sign();
    }

    /// What decides on other connections.
    pub const fn recovery(&mut self) -> &mut Recovery {
        &mut self.recovery
    }

    /// A frame that is no message.
    pub fn handle_decode_failure(&mut self, error: DecodeError, now: Instant) {
        log::debug!("dropped a frame: {error}");
        self.decode_failures.came(error, now);
    }

    /// A message came. `payload` is its payload as a slice of the frame it came in, so that it need not be copied.
    pub fn handle_message(&mut self, message: &Message<'_>, payload: Bytes, now: Instant) {
        self.decode_failures.forget();
        self.recovery.message();
        match message.message_type {
            MessageType::OutputStreamData => self.handle_stream(message, payload, now),
            MessageType::Acknowledge => {
                if let Some(number) = acknowledged_number(message.payload) {
                    self.handle_acknowledge(number, now);
                }
            }
            MessageType::ChannelClosed => self.closed(ChannelClosed::output(message.payload)),
            MessageType::PausePublication => self.window.pause(now),
            MessageType::StartPublication => self.window.resume(now),
            MessageType::InputStreamData | MessageType::AgentSessionState => {
                log::debug!("ignored {message}")
            }
        }
    }

    fn handle_stream(&mut self, message: &Message<'_>, payload: Bytes, now: Instant) {
        if let Phase::Opening(opening) = &mut self.phase {
            opening.heard(now);
        }
        let number = message.sequence_number;
        let id = message.message_id;
        let received = Received::Message {
            number,
            id,
            is_urgent: number < FIRST_MESSAGES || !self.has_started(),
        };
        match self.reorder.accept(number, message.payload_type, payload) {
            Accepted::Next(payload) => {
                self.received.push(received);
                self.take(message.payload_type, payload, now);
                while let Some((payload_type, payload)) = self.reorder.next() {
                    self.take(payload_type, payload, now);
                }
            }
            Accepted::Waiting => {
                self.received.push(received);
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.came_early(self.reorder.expected(), now);
                }
            }
            Accepted::Duplicate => self.received.push(Received::Duplicate {
                number,
                id,
                round_trip: self.window.timeout(),
            }),
            Accepted::TooFar => {
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.came_from_afar(self.reorder.expected(), now);
                }
            }
            Accepted::Refused => {}
        }
    }

    fn handle_acknowledge(&mut self, number: i64, now: Instant) {
        if self.window.acknowledge(number, now) {
            self.watchdog.over();
        }
        if self.size_in_flight == Some(number) {
            self.size_in_flight = None;
            self.send_size();
        }
        if let Phase::Opening(opening) = &mut self.phase {
            opening.heard(now);
            opening.acknowledged(number, now);
        }
    }

    pub(super) fn start(&mut self, started: Started, ready_at: Option<Instant>) {
        if !matches!(self.phase, Phase::Opening(_)) {
            return;
        }
        if self.require_encryption && self.encrypter.is_none() {
            return self.fail_unencrypted();
        }
        self.phase = Phase::Running {
            ready_at,
            has_pty: started.session_type.has_pty(),
        };
        // Sizes that went out during a handshake were acknowledged and ignored.
        self.size.1 = None;
        self.deliveries.push_back(Delivery::Started(started));
        self.send_deferred();
    }

    /// Sends what was kept until the agent takes it.
    fn send_deferred(&mut self) {
        if self.is_ready() {
            self.send_size();
            for flag in std::mem::take(&mut self.early_flags) {
                self.send_flag(flag);
            }
        }
    }

    /// The agent takes what is sent from now on.
    pub(super) fn become_ready(&mut self) {
        if let Phase::Running { ready_at, .. } = &mut self.phase {
            *ready_at = None;
            self.send_deferred();
        }
    }

    /// Whether the agent takes what is sent, and does not only acknowledge it.
    const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running { ready_at: None, .. })
    }

    fn closed(&mut self, output: String) {
        // An agent may go on without what it asked for; then that is not why the session ends.
        let refusal = self.handshake.refusal().filter(|_| !self.has_started());
        match refusal {
            Some(refusal) => self.fail(Error::Start(refusal.to_owned())),
            None => self.end(End::Closed { output }),
        }
    }

    /// Ends the session for a reason that lies outside of the protocol.
    pub fn fail(&mut self, error: Error) {
        self.end(End::Failed(error));
    }

    /// Ends it for a reason in words, by whether it ever began.
    pub(super) fn fail_because(&mut self, reason: &str) {
        let reason = reason.to_owned();
        self.fail(if self.has_started() {
            Error::Lost(reason)
        } else {
            Error::Start(reason)
        });
    }

    /// Ends the session. Only the first ending counts.
    pub fn end(&mut self, end: End) {
        if !matches!(self.phase, Phase::Ended) {
            self.phase = Phase::Ended;
            self.deliveries.push_back(Delivery::Ended(end));
        }
    }

    /// Whether the last delivery was made.
    pub const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether the session is established and has not ended.
    pub const fn has_started(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// The terminal's size now. It goes out when the agent can use it.
    pub fn resize(&mut self, size: Size) {
        self.size.0 = Some(size);
        self.send_size();
    }

    fn send_size(&mut self) {
        if let Phase::Running {
            has_pty: true,
            ready_at: None,
        } = self.phase
            && let (Some(size), sent) = self.size
            && sent != Some(size)
            && self.size_in_flight.is_none()
        {
            self.size_in_flight = Some(self.control(PayloadType::Size, &to_json(&size)));
            self.size.1 = Some(size);
        }
    }

    /// Sends a flag, in order with the data that was stored before; once the session has begun.
    pub fn send_flag(&mut self, flag: Flag) {
        if self.is_ready() {
            self.control(PayloadType::Flag, &flag.to_bytes());
        } else if !self.has_ended() && !self.early_flags.contains(&flag) {
            self.early_flags.push(flag);
        }
    }

    /// Sends what must not wait, whatever its payload type. An agent that takes none of these ends the session: nothing that it makes us
    /// say may pile up.
    pub fn control(&mut self, payload_type: PayloadType, payload: &[u8]) -> i64 {
        let mut frame = BytesMut::with_capacity(HEADER_SIZE + payload.len());
        Message::stream(MessageType::InputStreamData, payload_type, payload).encode_to(&mut frame);
        let number = self.window.next_number();
        if let Some(reservation) = self.window.reserve(frame.len(), Urgency::Control) {
            self.commit(reservation, frame);
        } else {
            self.fail_because("the agent does not acknowledge the answers that it asks for");
        }
        number
    }

    /// Promises room for a frame of data of so many bytes, if it may go now.
    pub fn reserve(&mut self, bytes: usize, urgency: Urgency) -> Option<Reservation> {
        let reservation = if self.is_ready() {
            self.window.reserve(bytes, urgency)
        } else {
            None
        };
        self.sender_blocked |= reservation.is_none();
        reservation
    }

    /// Numbers and stores a frame that room was promised for.
    pub fn commit(&mut self, reservation: Reservation, mut frame: BytesMut) {
        message::number(&mut frame, self.window.next_number());
        self.window.store(reservation, frame.freeze());
    }

    /// The next message for the socket: what is lost first, then what is new. Its clock starts with this call.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        self.window.poll_transmit(now)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would give something.
    pub fn can_transmit(&self, now: Instant) -> bool {
        self.window.can_transmit(now)
    }

    /// What came since the last call and is to be acknowledged.
    pub fn poll_received(&mut self) -> Vec<Received> {
        // As much comes next time, mostly.
        let room = Vec::with_capacity(self.received.len());
        std::mem::replace(&mut self.received, room)
    }

    /// What has come, in order.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front();
        if delivery.is_none() {
            // What a burst needed is given back.
            self.deliveries.shrink_to(USUAL_DELIVERIES);
        }
        delivery
    }

    /// What can be told of the connection.
    pub fn status(&self) -> ChannelStatus {
        ChannelStatus {
            outage: self.recovery.status(),
            round_trip: self.window.round_trip(),
            unacknowledged: self.window.kept(),
            reconnects: self.recovery.reconnects(),
        }
    }

    /// What the user may want to know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let of_recovery = || self.recovery.poll_notice();
        self.notices.pop_front().or_else(of_recovery)
    }

    /// A data key that the agent asks for; answer with [`provide_key`](Self::provide_key).
    pub fn poll_key_request(&mut self) -> Option<KmsEncryptionParameters> {
        self.key_request.take()
    }

    /// Whether senders that were refused may try again. Asking takes the answer.
    pub fn poll_writable(&mut self) -> bool {
        let may_send = match self.phase {
            Phase::Running { ready_at: None, .. } => self.window.has_room(),
            Phase::Running { .. } | Phase::Opening(_) => false,
            Phase::Ended => true,
        };
        may_send && std::mem::take(&mut self.sender_blocked)
    }

    /// Whether by now all is acknowledged, or the session is over, and was not at the last call.
    pub fn poll_drained(&mut self) -> bool {
        let drained = (self.is_acknowledged(), self.has_ended());
        let is_news = drained != self.drained && (drained.0 || drained.1);
        self.drained = drained;
        is_news
    }

    /// Says whether anything is read at the moment: while nothing is, no acknowledgement can be late.
    pub fn set_reading_paused(&mut self, reading_paused: bool, now: Instant) {
        self.watchdog.set_reading_paused(reading_paused, now);
        self.window.set_reading_paused(reading_paused, now);
    }

    /// Whether all that was stored is acknowledged.
    pub const fn is_acknowledged(&self) -> bool {
        self.window.is_empty() && self.early_flags.is_empty()
    }

    /// Whether something should come: a handshake, acknowledgements, what follows on input.
    pub fn is_awaiting(&self, now: Instant) -> bool {
        let has_input = |at| now.saturating_duration_since(at) < INPUT_ANSWERED;
        match self.phase {
            Phase::Opening(_) => true,
            Phase::Running { .. } => {
                !self.is_acknowledged() || self.window.input_at().is_some_and(has_input)
            }
            Phase::Ended => false,
        }
    }

    /// The sending half.
    pub const fn window(&self) -> &SendWindow {
        &self.window
    }

    /// Bytes that wait for something missing before them.
    pub const fn reordered_bytes(&self) -> usize {
        self.reorder.bytes()
    }
}

#[cfg(test)]
#[path = "sequence_state_tests.rs"]
mod tests;
