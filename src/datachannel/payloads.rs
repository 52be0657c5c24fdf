//! What the agent's messages say, once they are in order: handshake, challenge, output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handshake::Step;
use super::sequence_state::{Phase, SequenceState, SessionKey};
use super::{Delivery, Started, challenge};
use crate::encryption::Encrypter;
use crate::error::Error;
use crate::message::PayloadType;
use crate::message::content::{HandshakeResponse, to_json};

/// The agent says that the handshake is complete a moment before it is: what arrives in between is acknowledged and lost.
const READY_DELAY: Duration = Duration::from_millis(10);

impl SequenceState {
    /// The next message in order.
    pub(super) fn take(&mut self, payload_type: u32, payload: Bytes, now: Instant) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        match PayloadType::try_from(payload_type) {
            Ok(PayloadType::HandshakeRequest) => self.take_request(&payload, now),
            Ok(PayloadType::HandshakeComplete) => self.take_complete(&payload, now),
            Ok(
                payload_type @ (PayloadType::Output
                | PayloadType::StdErr
                | PayloadType::ExitCode
                | PayloadType::Flag),
            ) => self.take_data(payload_type, payload),
            Ok(PayloadType::EncryptionChallengeRequest) => self.take_challenge(&payload),
            Ok(ignored) => log::debug!("ignored a payload of type {ignored:?}"),
            Err(unknown) => log::debug!("ignored a payload of unknown type {unknown}"),
        }
    }

    fn take_request(&mut self, payload: &[u8], now: Instant) {
        let Phase::Opening(opening) = &mut self.phase else {
            log::warn!("ignored a handshake request after the start of the session");
            return;
        };
        opening.requested();
        match self.handshake.request(payload) {
            // Before the agent begins anything.
            Ok(_) if self.require_encryption && !self.handshake.asks_for_encryption() => {
                self.fail_unencrypted();
            }
            Ok(Some(Step::Respond(response))) => self.respond(&response, now),
            Ok(Some(Step::MakeKey(parameters))) => self.key_request = Some(parameters),
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    fn take_complete(&mut self, payload: &[u8], now: Instant) {
        if !matches!(self.phase, Phase::Opening(_)) {
            log::warn!("ignored the end of a handshake after the start of the session");
            return;
        }
        match self.handshake.complete(payload) {
            Ok(Some(started)) => self.start(started, Some(now + READY_DELAY)),
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    fn take_data(&mut self, payload_type: PayloadType, payload: Bytes) {
        if matches!(self.phase, Phase::Opening(_)) {
            if self.handshake.has_begun() {
                let reason = if self.handshake.asks_for_encryption() {
                    "the agent asked for encryption, and sent data before it; ended to be safe"
                } else {
                    "the agent sent data before the end of its handshake"
                };
                return self.fail_because(reason);
            }
            self.start(Started::shell_without_handshake(), None);
        }
        if !self.has_ended() {
            self.deliver(payload_type, payload);
        }
    }

    fn take_challenge(&mut self, payload: &[u8]) {
        let answer = if self.handshake.take_challenge() {
            challenge::answer(self.encrypter.as_deref(), payload)
        } else {
            Err("came when none was due".to_owned())
        };
        match answer {
            Ok(answer) => {
                self.control(PayloadType::EncryptionChallengeResponse, &to_json(&answer));
            }
            Err(reason) => self.fail_because(&format!(
                "the agent's encryption challenge {reason}; the session is not safe"
            )),
        }
    }

    /// The data key was made, or could not be, for this reason.
    pub fn provide_key(&mut self, key: Result<SessionKey, String>, now: Instant) {
        if self.has_ended() || !self.handshake.wants_key() {
            return;
        }
        let result = key.map(|key| {
            self.encrypter = Some(Arc::new(key.encrypter));
            key.result
        });
        if let Some(response) = self.handshake.respond_with_key(result) {
            self.respond(&response, now);
        }
    }

    /// The key of an encrypted session, for what is sent.
    pub fn encrypter(&self) -> Option<Arc<Encrypter>> {
        self.encrypter.clone()
    }

    fn deliver(&mut self, payload_type: PayloadType, payload: Bytes) {
        let is_encrypted = matches!(
            payload_type,
            PayloadType::Output | PayloadType::StdErr | PayloadType::ExitCode
        );
        let payload = match &self.encrypter {
            Some(encrypter) if is_encrypted => match encrypter.open(&payload) {
                Ok(plaintext) => Bytes::from(plaintext),
                Err(error) => {
                    self.fail(Error::Lost(format!(
                        "the session is encrypted, and {error}: somebody changed it, or sent it in the clear; ended to be safe"
                    )));
                    return;
                }
            },
            _ => payload,
        };
        self.deliveries
            .push_back(Delivery::Payload(payload_type, payload));
    }

    fn respond(&mut self, response: &HandshakeResponse, now: Instant) {
        self.control(PayloadType::HandshakeResponse, &to_json(response));
        if let Phase::Opening(opening) = &mut self.phase
            && self.handshake.refusal().is_some()
        {
            opening.refused(now);
        }
    }

    pub(super) fn fail_unencrypted(&mut self) {
        self.fail_because(
            "the agent does not encrypt this session with KMS, and SSM_PLUGIN_REQUIRE_ENCRYPTION asks for that",
        );
    }
}
