//! The agent: the sandbox's rules of the stream, and on top of them a session that makes a handshake, takes input and talks.

use std::collections::VecDeque;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use sandbox::agent::stream::{HandlerError, Received, Stream};
use session_manager_plugin::internals::encryption::Encrypter;
use session_manager_plugin::internals::message::content::{
    ActionStatus, EncryptionChallenge, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    KmsEncryptionParameters, RequestedClientAction, SessionTypeParameters, Size, to_json,
};
use session_manager_plugin::internals::message::{Message, MessageType, PayloadType};

use crate::network::{Content, Way, data_key};
use crate::plan::{Flow, Kind, Plan};

/// What the client has to send back under its own key.
const CHALLENGE: [u8; 64] = [7; 64];

/// What it has sent of its own, for the client to be checked against.
pub type Sent = Vec<(PayloadType, usize)>;

#[derive(Debug)]
pub struct Agent {
    stream: Stream,
    session: Session,
    flow: Flow,
    ahead: usize,
    settles: std::time::Duration,
    /// What was made and not yet taken by its socket, and how much of it is acknowledgements.
    outgoing: VecDeque<Bytes>,
    acknowledgements: usize,
    /// When it begins, then None.
    starts_at: Option<Instant>,
    /// Nothing is read before this.
    blocked_until: Option<Instant>,
    /// Nothing new is said before this.
    next_output: Instant,
    random: fastrand::Rng,
    content: Content,
    /// Payload types and lengths of the output.
    pub sent: Sent,
    pub sent_bytes: usize,
}

/// The handler of the stream.
#[derive(Debug)]
struct Session {
    kind: Kind,
    state: State,
    content: Content,
    encrypter: Encrypter,
    received: usize,
    flags: Vec<usize>,
    size: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Unborn,
    /// The request went out.
    Requested,
    /// The response came.
    Responded,
    /// The challenge of an encrypted session went out.
    Challenged,
    /// And was answered, or was not needed.
    Agreed,
    /// HandshakeComplete went out; what comes before this moment is lost. Or, without a handshake, the pty is not open yet.
    Settling(Instant),
    Ready,
}

impl Agent {
    pub fn new(plan: &Plan, start: Instant) -> Self {
        let session = Session {
            kind: plan.kind,
            state: State::Unborn,
            content: Content::new(plan.seed),
            encrypter: Encrypter::new(&data_key(true)).expect("randomness"),
            received: 0,
            flags: Vec::new(),
            size: None,
        };
        Self {
            stream: Stream::new(start),
            session,
            flow: plan.down.clone(),
            ahead: plan.agent_ahead,
            settles: plan.agent_settles,
            outgoing: VecDeque::new(),
            acknowledgements: 0,
            starts_at: Some(start + plan.agent_starts),
            blocked_until: None,
            next_output: start,
            random: fastrand::Rng::with_seed(plan.seed ^ 0xA6E7),
            content: Content::new(plan.seed + 1),
            sent: Sent::new(),
            sent_bytes: 0,
        }
    }

    /// Does all that can be done now, with a way to the client or without. Whether that was anything.
    pub fn turn(&mut self, now: Instant, mut down: Option<&mut Way>, void: bool) -> bool {
        let mut progress = self.advance(now);
        loop {
            self.collect();
            // Those who talk and who resend block in their writing, each for itself; so does the reader with its acknowledgements.
            if self.outgoing.len() == self.acknowledgements {
                self.stream.handle_timeout(now);
                self.collect();
            }
            if self.outgoing.len() == self.acknowledgements {
                progress |= self.talk(now);
                self.collect();
            }
            match &mut down {
                Some(down) if down.has_room(now) => {
                    let Some(frame) = self.outgoing.pop_front() else {
                        return progress;
                    };
                    self.acknowledgements -= usize::from(is_acknowledgement(&frame));
                    down.push(frame, now);
                }
                None if void && !self.outgoing.is_empty() => {
                    self.outgoing.clear();
                    self.acknowledgements = 0;
                }
                _ => return progress,
            }
            progress = true;
        }
    }

    fn collect(&mut self) {
        while let Some(frame) = self.stream.poll_transmit() {
            self.acknowledgements += usize::from(is_acknowledgement(&frame));
            self.outgoing.push_back(frame);
        }
    }

    fn advance(&mut self, now: Instant) -> bool {
        let before = self.session.state;
        if self.starts_at.is_some_and(|at| at <= now) {
            self.starts_at = None;
            if self.session.kind.has_handshake() {
                self.session.state = State::Requested;
                let request = self.session.request();
                self.stream
                    .send(PayloadType::HandshakeRequest, &request, now);
            } else {
                self.session.state = State::Settling(now + self.settles);
            }
        }
        match self.session.state {
            State::Responded if self.session.kind == Kind::Encrypted => {
                let challenge = EncryptionChallenge {
                    challenge: BASE64_STANDARD.encode(self.session.encrypter.seal(&CHALLENGE)),
                };
                self.stream.send(
                    PayloadType::EncryptionChallengeRequest,
                    &to_json(&challenge),
                    now,
                );
                self.session.state = State::Challenged;
            }
            State::Responded | State::Agreed => {
                let complete = HandshakeComplete {
                    handshake_time_to_complete: 1,
                    customer_message: String::new(),
                };
                self.stream
                    .send(PayloadType::HandshakeComplete, &to_json(&complete), now);
                self.session.state = State::Settling(now + self.settles);
            }
            State::Settling(until) if until <= now => self.session.state = State::Ready,
            _ => {}
        }
        before != self.session.state
    }

    /// Says one thing more, if it is time to.
    fn talk(&mut self, now: Instant) -> bool {
        let may = match self.session.state {
            State::Ready => self.session.kind != Kind::Silent || self.session.received > 0,
            _ => false,
        };
        if !may
            || self.sent_bytes >= self.flow.bytes
            || self.next_output > now
            || self.stream.outgoing().unacknowledged() >= self.ahead
        {
            return false;
        }
        let longest = self.flow.payload.min(self.flow.bytes - self.sent_bytes);
        let length = if self.flow.ragged {
            self.random.usize(1..=longest)
        } else {
            longest
        };
        let payload_type = match (self.session.kind, self.random.u8(..4)) {
            (Kind::Command, 0) => PayloadType::StdErr,
            (Kind::Command, 1) => PayloadType::ExitCode,
            _ => PayloadType::Output,
        };
        let payload = self.content.at(self.sent_bytes, length);
        if self.session.kind == Kind::Encrypted {
            let sealed = self.session.encrypter.seal(payload);
            self.stream.send(payload_type, &sealed, now);
        } else {
            self.stream.send(payload_type, payload, now);
        }
        self.sent.push((payload_type, length));
        self.sent_bytes += length;
        self.next_output = now + self.flow.pace;
        true
    }

    /// Whether it would read.
    pub fn reads(&self, now: Instant, is_connected: bool) -> bool {
        is_connected
            && self.session.state != State::Unborn
            && self.blocked_until.is_none_or(|until| until <= now)
            && self.acknowledgements == 0
    }

    pub fn receive(&mut self, frame: &Bytes, now: Instant) {
        if let Received::Stuck(number, error) =
            self.stream
                .handle_message(frame, now, &mut |message: &Message<'_>| {
                    self.session.handle(message)
                })
        {
            panic!("the agent is stuck at {number}: {error:?}");
        }
    }

    pub fn block(&mut self, until: Instant) {
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    /// The service lets it go on, or its own connection is a new one.
    pub fn unpause(&mut self) {
        self.stream.reconnected();
    }

    pub fn times(&self) -> [Option<Instant>; 5] {
        let output = (self.sent_bytes < self.flow.bytes).then_some(self.next_output);
        let drained = match self.session.state {
            State::Settling(until) => Some(until),
            _ => None,
        };
        [
            self.stream.next_timeout(),
            output,
            drained,
            self.starts_at,
            self.blocked_until,
        ]
    }

    pub fn received(&self) -> usize {
        self.session.received
    }

    /// Bytes of data received before each flag.
    pub fn flags(&self) -> &[usize] {
        &self.session.flags
    }

    pub const fn size(&self) -> Option<Size> {
        self.session.size
    }

    pub fn unacknowledged(&self) -> usize {
        self.stream.outgoing().unacknowledged()
    }

    pub fn resent(&self) -> u64 {
        self.stream.outgoing().resent()
    }

    /// In short, for messages.
    pub fn describe(&self, now: Instant) -> String {
        format!(
            "{:?}, blocked {}, writing {}, expects {}, buffers {}",
            self.session.state,
            self.blocked_until.is_some_and(|until| until > now),
            self.outgoing.len(),
            self.stream.incoming().expected(),
            self.stream.incoming().buffered(),
        )
    }

    pub fn is_done(&self) -> bool {
        self.sent_bytes == self.flow.bytes
            && self.unacknowledged() == 0
            && self.outgoing.is_empty()
            && self.session.state == State::Ready
    }
}

fn is_acknowledgement(frame: &[u8]) -> bool {
    Message::decode(frame).is_ok_and(|message| message.message_type == MessageType::Acknowledge)
}

impl Session {
    fn request(&self) -> Vec<u8> {
        let mut actions = vec![RequestedClientAction::SessionType(SessionTypeParameters {
            session_type: self.kind.name().to_owned(),
            properties: None,
        })];
        if self.kind == Kind::Encrypted {
            actions.push(RequestedClientAction::KmsEncryption(
                KmsEncryptionParameters {
                    kms_key_id: "arn".to_owned(),
                    challenge: Some("Y2g=".to_owned()),
                },
            ));
        }
        to_json(&HandshakeRequest {
            agent_version: "3.3.0.0".to_owned(),
            requested_client_actions: actions,
        })
    }

    fn handle(&mut self, message: &Message<'_>) -> Result<(), HandlerError> {
        let is_ready = self.state == State::Ready;
        if !is_ready && !self.kind.has_handshake() {
            return Err(HandlerError::NotReady);
        }
        match PayloadType::try_from(message.payload_type) {
            Ok(PayloadType::HandshakeResponse) => {
                let response: HandshakeResponse =
                    serde_json::from_slice(message.payload).expect("a handshake response");
                assert!(
                    response
                        .processed_client_actions
                        .iter()
                        .all(|action| action.action_status == ActionStatus::Success)
                );
                if self.state == State::Requested {
                    self.state = State::Responded;
                }
            }
            Ok(PayloadType::Output) => {
                assert!(is_ready, "data before the handshake was complete: lost");
                let opened = (self.kind == Kind::Encrypted)
                    .then(|| self.encrypter.open(message.payload).expect("encrypted"));
                let payload = opened.as_deref().unwrap_or(message.payload);
                let length = payload.len();
                assert!(
                    self.content.at(self.received, length) == payload,
                    "the agent got something else than was sent at {}",
                    self.received
                );
                self.received += length;
            }
            Ok(PayloadType::EncryptionChallengeResponse) => {
                let answer: EncryptionChallenge =
                    serde_json::from_slice(message.payload).expect("an answer");
                let answer = BASE64_STANDARD.decode(answer.challenge).expect("Base64");
                assert_eq!(self.encrypter.open(&answer).expect("encrypted"), CHALLENGE);
                if self.state == State::Challenged {
                    self.state = State::Agreed;
                }
            }
            Ok(PayloadType::Size) if is_ready => {
                self.size = Some(serde_json::from_slice(message.payload).expect("a size"));
            }
            // A real agent in a handshake acknowledges and ignores it.
            Ok(PayloadType::Size) => {}
            Ok(PayloadType::Flag) => {
                assert!(is_ready, "a flag before the handshake was complete");
                self.flags.push(self.received);
            }
            other => panic!("the agent got a payload of type {other:?}"),
        }
        Ok(())
    }
}
