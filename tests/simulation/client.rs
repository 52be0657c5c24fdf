//! The client: the sequence state and the acknowledgements, driven in one thread the way three threads drive them, and a session that sends
//! and takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_manager_plugin::internals::datachannel::{
    Acknowledgements, Delivery, GATE_CLOSES, MAXIMUM_BYTES, REORDER_LIMIT, SequenceState,
    SessionKey, Started, Urgency,
};
use session_manager_plugin::internals::encryption::{Encrypter, OVERHEAD};
use session_manager_plugin::internals::error::{Failure, Meaning};
use session_manager_plugin::internals::message::content::{KmsEncryptionResult, Size};
use session_manager_plugin::internals::message::{
    Flag, HEADER_SIZE, Message, MessageType, PayloadType,
};

use crate::agent::Sent;
use crate::network::{Content, LONGEST, Network, data_key};
use crate::plan::{Flow, Kind, Plan};

/// Acknowledgements in a row before a message goes out, and frames that are read before writing goes on, as in the websocket thread.
const IN_A_ROW: usize = 8;
const READ_BUDGET: usize = 64;
/// The largest window, and the reserve of interactive input.
const MOST_MESSAGES: usize = MAXIMUM_BYTES / 1024 + 64;

#[derive(Debug)]
pub struct Client {
    pub sequence: SequenceState,
    acknowledgements: Acknowledgements,
    /// Acknowledgements that wait for the socket, and how many went out since a message did.
    ready: VecDeque<Bytes>,
    in_a_row: usize,
    /// Until when the retransmit thread sleeps, if not for ever, and whether it was called back.
    pub armed: Option<Instant>,
    is_called_back: bool,
    kind: Kind,
    flow: Flow,
    random: fastrand::Rng,
    content: Content,
    expected: Content,
    /// Bytes of data that the window took.
    pub sent: usize,
    /// Bytes of data before each flag.
    pub flags: Vec<usize>,
    /// Sizes, flags and handshake messages: they are beyond every bound.
    controls: usize,
    pub size: Option<Size>,
    /// There was no room, and nobody said since that there is.
    waits_for_room: bool,
    next_input: Instant,
    inbox: VecDeque<Delivery>,
    inbox_bytes: usize,
    gate_is_closed: bool,
    blocked_until: Option<Instant>,
    consumer: (usize, Duration),
    next_meal: Instant,
    pub started: Option<Started>,
    pub started_at: Option<Instant>,
    /// Payloads and bytes that the session took.
    pub taken: usize,
    pub taken_bytes: usize,
    pub ended: bool,
    /// Frames of data handed to the network, copies included.
    pub transmissions: u64,
    /// The most that was kept in the window, in messages.
    pub widest: usize,
}

impl Client {
    pub fn new(plan: &Plan, start: Instant) -> Self {
        let mut client = Self {
            sequence: SequenceState::new("1.2.896.0"),
            acknowledgements: Acknowledgements::default(),
            ready: VecDeque::new(),
            in_a_row: 0,
            armed: None,
            is_called_back: false,
            kind: plan.kind,
            flow: plan.up.clone(),
            random: fastrand::Rng::with_seed(plan.seed ^ 0xC11E),
            content: Content::new(plan.seed),
            expected: Content::new(plan.seed + 1),
            sent: 0,
            flags: Vec::new(),
            controls: 4,
            size: None,
            waits_for_room: false,
            next_input: start,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            gate_is_closed: false,
            blocked_until: None,
            consumer: plan.consumer,
            next_meal: start,
            started: None,
            started_at: None,
            taken: 0,
            taken_bytes: 0,
            ended: false,
            transmissions: 0,
            widest: 0,
        };
        client.sequence.connected(start);
        client.resize(80);
        client
    }

    pub fn resize(&mut self, cols: u16) {
        let size = Size { cols, rows: 24 };
        self.size = Some(size);
        self.controls += 1;
        self.sequence.resize(size);
    }

    pub fn flag(&mut self) {
        // Before the session is established, equal flags are one.
        if self.sent > 0 || self.flags.is_empty() {
            self.controls += 1;
            self.flags.push(self.sent);
            self.sequence.send_flag(Flag::DisconnectToPort);
        }
    }

    pub fn block(&mut self, until: Instant) {
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    /// Does all that can be done now. Whether that was anything.
    pub fn turn(&mut self, now: Instant, network: &mut Network, sent: &Sent) -> bool {
        let mut progress = self.run_timers(now);
        while let Some(frames) = self.acknowledgements.poll_transmit(now) {
            self.ready.extend(frames);
            progress = true;
        }
        if network.is_connected() {
            while network.up.has_room(now)
                && let Some(frame) = self.poll_transmit(now)
            {
                self.note_transmission(&frame);
                network.up.push(frame, now);
                progress = true;
            }
            let is_blocked = !network.up.has_room(now);
            assert!(is_blocked || !self.sequence.can_transmit(now));
        }
        self.dispatch(now);
        self.turn_gate(now);
        if network.is_connected() && !self.gate_is_closed {
            progress |= self.receive(now, network) > 0;
        }
        self.dispatch(now);
        progress |= self.consume(now, sent);
        progress |= self.send(now);
        progress |= self.run_timers(now);
        self.check();
        progress
    }

    /// The retransmit thread: runs when its time has come, or when it is called back.
    fn run_timers(&mut self, now: Instant) -> bool {
        self.is_called_back |= self.sequence.must_rearm();
        if !std::mem::take(&mut self.is_called_back) && self.armed.is_none_or(|at| at > now) {
            return false;
        }
        let has_expired = self.sequence.handle_timeout(now);
        let next = self.sequence.next_timeout();
        assert!(
            next.is_none_or(|at| at > now),
            "a timer that is due after all was done"
        );
        self.armed = self.sequence.arm(now);
        assert_eq!(self.armed, next);
        has_expired
    }

    /// The next frame for the socket, as in the websocket thread.
    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        let makes_way = self.ready.is_empty() || self.in_a_row >= IN_A_ROW;
        let message = makes_way
            .then(|| self.sequence.poll_transmit(now))
            .flatten();
        self.in_a_row = if makes_way { 0 } else { self.in_a_row + 1 };
        message.or_else(|| self.ready.pop_front())
    }

    pub fn disconnect(&mut self, now: Instant) {
        let broken = Failure {
            meaning: Meaning::Temporary,
            reason: "broken".to_owned(),
            is_answer: false,
        };
        // Whether another connection is worth while is not for this to decide.
        let _ = self.sequence.disconnected(&broken, now);
    }

    fn note_transmission(&mut self, frame: &Bytes) {
        let message = Message::decode(frame).expect("what we send is a message");
        if message.message_type == MessageType::InputStreamData {
            self.transmissions += 1;
        }
    }

    fn receive(&mut self, now: Instant, network: &mut Network) -> usize {
        for count in 0..READ_BUDGET {
            let Some(frame) = network.down.pop(now) else {
                return count;
            };
            match Message::decode(&frame) {
                Ok(message) => {
                    let payload = frame.slice_ref(message.payload);
                    self.sequence.handle_message(&message, payload, now);
                }
                Err(error) => self.sequence.handle_decode_failure(error, now),
            }
        }
        READ_BUDGET
    }

    fn dispatch(&mut self, now: Instant) {
        while let Some(delivery) = self.sequence.poll_delivery() {
            self.inbox_bytes += delivery.cost();
            self.inbox.push_back(delivery);
        }
        for received in self.sequence.poll_received() {
            self.acknowledgements.receive(received, now);
        }
        while self.sequence.poll_notice().is_some() {}
        if self.sequence.poll_key_request().is_some() {
            let result = KmsEncryptionResult {
                kms_cipher_text_key: "a2V5".to_owned(),
                kms_cipher_text_hash: None,
                challenge_acknowledgement: Some(true),
            };
            let encrypter = Encrypter::new(&data_key(false)).expect("randomness");
            self.sequence
                .provide_key(Ok(SessionKey { result, encrypter }), now);
        }
        if self.sequence.poll_writable() {
            self.waits_for_room = false;
        }
    }

    fn turn_gate(&mut self, now: Instant) {
        let closed = self.inbox_bytes >= GATE_CLOSES
            || (self.gate_is_closed && self.inbox_bytes > GATE_CLOSES / 2);
        if closed != self.gate_is_closed {
            self.gate_is_closed = closed;
            self.sequence.set_reading_paused(closed, now);
        }
    }

    /// The session takes what it can, and every byte is looked at.
    fn consume(&mut self, now: Instant, sent: &Sent) -> bool {
        if self.next_meal > now || self.blocked_until.is_some_and(|until| until > now) {
            return false;
        }
        let mut progress = false;
        for _ in 0..self.consumer.0 {
            let Some(delivery) = self.inbox.pop_front() else {
                break;
            };
            self.inbox_bytes -= delivery.cost();
            self.take(delivery, sent, now);
            progress = true;
        }
        if progress {
            self.next_meal = now + self.consumer.1;
        }
        progress
    }

    fn take(&mut self, delivery: Delivery, sent: &Sent, now: Instant) {
        assert!(!self.ended, "nothing comes after the end");
        match delivery {
            Delivery::Started(started) => {
                assert!(self.started.is_none(), "started twice");
                self.check_start(&started);
                self.started = Some(started);
                self.started_at = Some(now);
            }
            Delivery::Payload(payload_type, payload) => {
                assert!(self.started.is_some(), "output before the start");
                let &(expected_type, length) =
                    sent.get(self.taken).expect("more came than was sent");
                let position = self.taken_bytes;
                assert!(
                    payload_type == expected_type && payload == self.expected.at(position, length),
                    "the client got something else than was sent at {position}"
                );
                self.taken += 1;
                self.taken_bytes += length;
            }
            Delivery::Ended(end) => {
                assert!(
                    matches!(
                        end,
                        session_manager_plugin::internals::datachannel::End::Closed { .. }
                    ),
                    "{end:?}"
                );
                self.ended = true;
            }
        }
    }

    fn check_start(&self, started: &Started) {
        if self.kind.has_handshake() {
            assert_eq!(started.session_type, self.kind.name().parse().unwrap());
            assert_eq!(started.agent_version, "3.3.0.0");
        } else {
            assert_eq!(*started, Started::shell_without_handshake());
        }
    }

    /// Gives the window what it takes, as `DataChannel::send` does.
    fn send(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while self.sent < self.flow.bytes && !self.waits_for_room && self.next_input <= now {
            let longest = self.flow.payload.min(self.flow.bytes - self.sent);
            let length = if self.flow.ragged {
                self.random.usize(1..=longest)
            } else {
                longest
            };
            let encrypter = self.sequence.encrypter();
            let size = HEADER_SIZE + length + encrypter.as_ref().map_or(0, |_| OVERHEAD);
            let reserved = self.sequence.reserve(size, self.flow.urgency);
            let Some(reservation) = reserved else {
                self.waits_for_room = true;
                return progress;
            };
            let data = self.content.at(self.sent, length);
            let sealed = encrypter.map(|encrypter| encrypter.seal(data));
            let data = sealed.as_deref().unwrap_or(data);
            let frame =
                Message::stream(MessageType::InputStreamData, PayloadType::Output, data).encode();
            self.sequence
                .commit(reservation, bytes::BytesMut::from(frame.as_slice()));
            self.sent += length;
            self.next_input = now + self.flow.pace;
            progress = true;
        }
        progress
    }

    /// Every bound holds.
    fn check(&mut self) {
        let (messages, bytes) = self.sequence.window().kept();
        self.widest = self.widest.max(messages);
        assert!(messages <= MOST_MESSAGES + self.controls, "{messages}");
        let reserve = match self.flow.urgency {
            Urgency::Interactive => 64 * (LONGEST + HEADER_SIZE),
            Urgency::Bulk | Urgency::Control => 0,
        };
        assert!(
            bytes <= MAXIMUM_BYTES + reserve + self.controls * 1024,
            "{bytes}"
        );
        assert!((8..=MAXIMUM_BYTES / 1024).contains(&self.sequence.window().size()));
        assert!(self.sequence.reordered_bytes() <= REORDER_LIMIT);
        let batch = READ_BUDGET * (LONGEST + HEADER_SIZE);
        assert!(self.inbox_bytes <= GATE_CLOSES + batch + REORDER_LIMIT);
        assert!(
            self.started.is_some() || self.sequence.has_started() || self.sent == 0,
            "data before the session is established"
        );
    }

    pub fn times(&self) -> [Option<Instant>; 5] {
        let input =
            (self.sent < self.flow.bytes && !self.waits_for_room).then_some(self.next_input);
        let meal = (!self.inbox.is_empty()).then_some(self.next_meal);
        [
            self.armed,
            self.acknowledgements.next_timeout(),
            input,
            meal,
            self.blocked_until,
        ]
    }

    pub fn is_done_sending(&self) -> bool {
        self.sent == self.flow.bytes && self.sequence.is_acknowledged()
    }

    pub fn is_done(&self) -> bool {
        self.is_done_sending() && self.inbox.is_empty()
    }
}
