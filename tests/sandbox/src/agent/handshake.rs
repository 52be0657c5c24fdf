//! The handshake from the agent's side: request, response, encryption challenge, complete.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use session_manager_plugin::internals::message::PayloadType;
use session_manager_plugin::internals::message::content::{
    ActionStatus, EncryptionChallenge, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    KmsEncryptionParameters, KmsEncryptionResult, RequestedClientAction, SessionTypeParameters,
    to_json,
};

use super::encryption::{Cipher, KEY_BYTES};
use super::stream::HandlerError;
use super::{Agent, Signal};
use crate::config::{Document, KmsConfig, KmsMisbehaviour};
use crate::threads::lock;

const KMS_ACTION: &str = "KMSEncryption";
const TOO_OLD: &str = "Handshake timed out. Please ensure that you have the latest version of the session manager plugin.";
/// Clients up to this one print stderr and exit code into the output.
const LAST_WITHOUT_SEPARATE_OUTPUT: &str = "1.2.295";

fn random(bytes: &mut [u8]) -> Result<(), String> {
    getrandom::fill(bytes).map_err(|error| error.to_string())
}

impl Agent {
    /// The whole handshake; on failure, what the service is told.
    pub(super) fn shake_hands(&self, signals: &Receiver<Signal>) -> Result<(), String> {
        let start = Instant::now();
        let config = &self.session().config.agent;
        let kms = config.kms.as_ref().filter(|_| {
            // Ports are never encrypted.
            !matches!(
                self.session().config.document,
                Document::Port { .. } | Document::Ssh { .. }
            )
        });
        let challenge = match kms {
            Some(kms) if kms.challenge => {
                let mut bytes = [0; 16];
                random(&mut bytes)?;
                Some(STANDARD.encode(bytes))
            }
            _ => None,
        };
        self.channel.set_encrypting(kms.is_some());
        self.send(
            PayloadType::HandshakeRequest,
            &to_json(&self.request(kms, challenge.clone())),
        );
        let response = self.wait_for(signals, TOO_OLD, |signal| match signal {
            Signal::Response(response) => Some(*response),
            _ => None,
        })?;
        lock(&self.client_version).clone_from(&response.client_version);
        self.session()
            .note_agent(format!("handshake with client {}", response.client_version));
        for action in &response.processed_client_actions {
            if action.action_status != ActionStatus::Success {
                return Err(format!(
                    "{} failed on client with status {} error: {}",
                    action.action_type,
                    u8::from(action.action_status),
                    action.error
                ));
            }
            if let (KMS_ACTION, Some(kms)) = (action.action_type.as_str(), kms) {
                self.take_key(kms, action.action_result.as_ref(), challenge.as_deref())?;
            }
        }
        if let Some(kms) = kms {
            self.challenge(signals, kms)?;
        }
        let complete = HandshakeComplete {
            handshake_time_to_complete: i64::try_from(start.elapsed().as_nanos())
                .unwrap_or(i64::MAX),
            customer_message: config
                .customer_message
                .clone()
                .unwrap_or_else(|| self.message(&response.client_version, kms.is_some())),
        };
        // The real one takes no data for a moment after it has sent this; here the test says for how long.
        if config.loses_input_after_handshake.is_zero() {
            self.taking_data.store(true, Ordering::SeqCst);
        }
        self.send(PayloadType::HandshakeComplete, &to_json(&complete));
        if let Some(KmsConfig {
            misbehaviour: Some(KmsMisbehaviour::ClearText | KmsMisbehaviour::NoChallenge),
            ..
        }) = kms
        {
            self.channel.set_encrypting(false);
        }
        Ok(())
    }

    fn send(&self, payload_type: PayloadType, payload: &[u8]) {
        // Closed: everything is about to end.
        let _ = self.channel.send(payload_type, payload);
    }

    fn request(&self, kms: Option<&KmsConfig>, challenge: Option<String>) -> HandshakeRequest {
        let session = &self.session().config;
        let properties = match session.document.properties() {
            Value::Object(properties) => Some(properties.into_iter().collect()),
            _ => None,
        };
        let mut actions = vec![RequestedClientAction::SessionType(SessionTypeParameters {
            session_type: session.document.session_type().to_owned(),
            properties,
        })];
        if let Some(kms) = kms {
            actions.push(RequestedClientAction::KmsEncryption(
                KmsEncryptionParameters {
                    kms_key_id: kms.key_id.clone(),
                    challenge,
                },
            ));
        }
        for (name, parameters) in &session.agent.extra_actions {
            actions.push(RequestedClientAction::Unknown {
                action_type: name.clone(),
                action_parameters: parameters.clone(),
            });
        }
        HandshakeRequest {
            agent_version: session.agent.version.clone(),
            requested_client_actions: actions,
        }
    }

    fn message(&self, client_version: &str, encrypted: bool) -> String {
        let mut message = String::new();
        let separate = matches!(
            self.session().config.document,
            Document::NonInteractive {
                separate_output: true,
                ..
            }
        );
        if separate && !is_newer(client_version, LAST_WITHOUT_SEPARATE_OUTPUT) {
            message.push_str("Please update session manager plugin version (minimum required version 1.2.312.0) for fully support of \
                              separate StdOut/StdErr output.\r\n");
        }
        if encrypted {
            message.push_str("This session is encrypted using AWS KMS.");
        }
        message
    }

    /// Has KMS decrypt the client's data key.
    fn take_key(
        &self,
        kms: &KmsConfig,
        result: Option<&KmsEncryptionResult>,
        challenge: Option<&str>,
    ) -> Result<(), String> {
        let result = result.ok_or("no encrypted key in the handshake response")?;
        let acknowledged = result.challenge_acknowledgement.unwrap_or(false);
        if kms.require_challenge && !acknowledged {
            return Err(
                "client does not support required encryption context random challenge".into(),
            );
        }
        let mut context = vec![
            ("aws:ssm:SessionId", self.session().id()),
            (
                "aws:ssm:TargetId",
                self.session().config.agent.instance_id.as_str(),
            ),
        ];
        if let (true, Some(challenge)) = (acknowledged, challenge) {
            context.push(("aws:ssm:RandomChallenge", challenge));
        }
        let context = context
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let blob = STANDARD
            .decode(&result.kms_cipher_text_key)
            .map_err(|error| error.to_string())?;
        let key = self.shared.kms.decrypt(&blob, &context).map_err(|error| {
            format!("Fetching data key failed: Unable to retrieve data key, {error}")
        })?;
        let mut cipher = Cipher::new(&key)?;
        match kms.misbehaviour {
            Some(KmsMisbehaviour::WrongKey) => {
                let mut other = [0; KEY_BYTES];
                random(&mut other)?;
                cipher = Cipher::new(&other)?;
            }
            Some(KmsMisbehaviour::BadTag)
            | Some(KmsMisbehaviour::ClearText)
            | Some(KmsMisbehaviour::NoChallenge)
            | None => {}
        }
        self.channel.set_cipher(cipher);
        Ok(())
    }

    /// Has the client prove that it has the key.
    fn challenge(&self, signals: &Receiver<Signal>, kms: &KmsConfig) -> Result<(), String> {
        if kms.misbehaviour == Some(KmsMisbehaviour::NoChallenge) {
            return Ok(());
        }
        let mut plain = [0; 64];
        random(&mut plain)?;
        *lock(&self.expected_challenge) = plain.to_vec();
        let content = EncryptionChallenge {
            challenge: STANDARD.encode(self.channel.encrypt(&plain)?),
        };
        self.send(PayloadType::EncryptionChallengeRequest, &to_json(&content));
        self.wait_for(
            signals,
            "Timed out waiting for encryption challenge.",
            |signal| match signal {
                Signal::Challenge(outcome) => Some(outcome),
                _ => None,
            },
        )?;
        if kms.misbehaviour == Some(KmsMisbehaviour::BadTag) {
            self.channel.break_tags();
        }
        Ok(())
    }

    /// The handler of the response.
    pub(super) fn take_response(&self, payload: &[u8]) -> Result<(), HandlerError> {
        let response = serde_json::from_slice::<HandshakeResponse>(payload)
            .map_err(|error| HandlerError::Failed(format!("handshake response: {error}")))?;
        self.signal(Signal::Response(Box::new(Ok(response))));
        Ok(())
    }

    /// The handler of the challenge's answer; a wrong one fails, and so is never acknowledged.
    pub(super) fn take_challenge(&self, payload: &[u8]) -> Result<(), HandlerError> {
        let check = || {
            let content: EncryptionChallenge =
                serde_json::from_slice(payload).map_err(|error| error.to_string())?;
            let message = STANDARD
                .decode(&content.challenge)
                .map_err(|error| error.to_string())?;
            if self.channel.decrypt(&message)? == *lock(&self.expected_challenge) {
                Ok(())
            } else {
                Err("Encryption challenge does not match!".to_owned())
            }
        };
        check().map_err(HandlerError::Failed)?;
        self.signal(Signal::Challenge(Ok(())));
        Ok(())
    }
}

/// Whether one version, numbers between dots, is newer than another. What is missing counts as 0.
pub(super) fn is_newer(version: &str, than: &str) -> bool {
    let numbers = |text: &str| {
        let mut numbers: Vec<u64> = text
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect();
        numbers.resize(numbers.len().max(4), 0);
        numbers
    };
    numbers(version) > numbers(than)
}

#[cfg(test)]
mod tests {
    use super::is_newer;

    #[test]
    fn versions_are_compared_number_by_number() {
        assert!(is_newer("1.2.896.0", "1.2.331.0"));
        assert!(is_newer("1.10", "1.9.9.9"));
        assert!(!is_newer("1.1.70", "1.1.70.0"));
        assert!(!is_newer("1.2.295", "1.2.295.0"));
    }
}
