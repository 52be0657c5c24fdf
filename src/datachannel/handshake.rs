//! The handshake, as a state machine below which the order of messages is already restored.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{SessionType, Started};
use crate::error::Error;
use crate::message::content::{
    ActionStatus, HandshakeComplete, HandshakeRequest, HandshakeResponse, KmsEncryptionParameters,
    KmsEncryptionResult, ProcessedClientAction, RequestedClientAction, SessionTypeParameters,
};

/// What callers read who have no profile, and so no way to KMS.
pub const ENCRYPTION_UNSUPPORTED: &str = "Installed version of CLI does not support Session Manager encryption feature. \
    Please upgrade to the latest version of your CLI (e.g., AWS CLI).";

/// The largest request, and the largest end of a handshake, in bytes: real ones have a few hundred, and JSON takes many times its size.
const MAXIMUM_SIZE: usize = 64 * 1024;

/// The name of the action that asks for encryption.
const KMS_ENCRYPTION: &str = "KMSEncryption";

/// How far the handshake is.
#[derive(Debug)]
pub(super) struct Handshake {
    client_version: String,
    state: HandshakeState,
    /// The one request that is answered, as it came: it may come again.
    request: Option<Vec<u8>>,
    /// What it was answered.
    response: Option<HandshakeResponse>,
    encryption: Encryption,
    /// Why the client refused something: the session is going to end for this reason.
    refusal: Option<String>,
}

#[derive(Debug)]
enum HandshakeState {
    /// Nothing came, or the request is refused.
    Waiting,
    /// A data key is being made; the request waits for it.
    WantsKey(HandshakeRequest),
    /// The response is on its way.
    Responded {
        session_type: SessionType,
        properties: BTreeMap<String, String>,
        agent_version: String,
    },
    /// Data flows.
    Complete,
}

/// How far the session's encryption is. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    /// Nobody asked for it.
    NotAsked,
    /// There is no key yet, or none to be had.
    Asked,
    /// The agent has the key; the one challenge is still to come.
    Keyed,
    /// The challenge was answered.
    Proven,
}

/// What the request leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Send this.
    Respond(HandshakeResponse),
    /// Make a data key, then call [`Handshake::respond_with_key`].
    MakeKey(KmsEncryptionParameters),
}

impl Handshake {
    /// A handshake in which the client claims this version.
    pub(super) fn new(client_version: &str) -> Self {
        Self {
            client_version: client_version.to_owned(),
            state: HandshakeState::Waiting,
            request: None,
            response: None,
            encryption: Encryption::NotAsked,
            refusal: None,
        }
    }

    /// The agent's request. Only the first one counts: if it comes again it gets the same answer, and others get none.
    ///
    /// # Errors
    /// When it is no JSON of a request: there is nothing to answer then.
    pub(super) fn request(&mut self, payload: &[u8]) -> Result<Option<Step>, Error> {
        if let Some(first) = &self.request {
            let again = self.response.clone().filter(|_| first == payload);
            if again.is_none() {
                log::warn!("ignored another handshake request");
            }
            return Ok(again.map(Step::Respond));
        }
        let request: HandshakeRequest = parse(payload, "request")
            .map_err(|error| Error::Start(format!("{error}; is the agent's version supported?")))?;
        self.request = Some(payload.to_vec());
        let actions = &request.requested_client_actions;
        if actions.iter().any(is_encryption) {
            self.encryption = Encryption::Asked;
        }
        let key = actions.iter().find_map(|action| match action {
            RequestedClientAction::KmsEncryption(parameters) => Some(parameters.clone()),
            _ => None,
        });
        Ok(Some(match key {
            Some(parameters) => {
                self.state = HandshakeState::WantsKey(request);
                Step::MakeKey(parameters)
            }
            None => Step::Respond(self.respond(&request, None)),
        }))
    }

    /// Whether a request came.
    pub(super) const fn has_begun(&self) -> bool {
        self.request.is_some()
    }

    /// Whether the agent asked for encryption: from then on nothing clear is taken.
    pub(super) const fn asks_for_encryption(&self) -> bool {
        !matches!(self.encryption, Encryption::NotAsked)
    }

    /// Whether a data key is being made.
    pub(super) const fn wants_key(&self) -> bool {
        matches!(self.state, HandshakeState::WantsKey(_))
    }

    /// Takes the one encryption challenge, which comes between the key and the end of the handshake. Whether this is it.
    pub(super) fn take_challenge(&mut self) -> bool {
        let is_due = self.encryption == Encryption::Keyed
            && matches!(self.state, HandshakeState::Responded { .. });
        if is_due {
            self.encryption = Encryption::Proven;
        }
        is_due
    }

    /// The data key is made, or could not be; None when nobody waits for it any more.
    pub(super) fn respond_with_key(
        &mut self,
        key: Result<KmsEncryptionResult, String>,
    ) -> Option<HandshakeResponse> {
        match std::mem::replace(&mut self.state, HandshakeState::Waiting) {
            HandshakeState::WantsKey(request) => {
                if key.is_ok() {
                    self.encryption = Encryption::Keyed;
                }
                Some(self.respond(&request, Some(key)))
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn respond(
        &mut self,
        request: &HandshakeRequest,
        key: Option<Result<KmsEncryptionResult, String>>,
    ) -> HandshakeResponse {
        let mut session = None;
        let actions: Vec<_> = request
            .requested_client_actions
            .iter()
            .map(|action| match action {
                RequestedClientAction::SessionType(parameters) => {
                    match parameters.session_type.parse::<SessionType>() {
                        Ok(session_type) => {
                            session = Some((session_type, properties(parameters)));
                            succeeded("SessionType", None)
                        }
                        Err(error) => failed("SessionType", &error.to_string()),
                    }
                }
                RequestedClientAction::KmsEncryption(_) => match &key {
                    Some(Ok(result)) => succeeded(KMS_ENCRYPTION, Some(result.clone())),
                    Some(Err(error)) => failed(KMS_ENCRYPTION, error),
                    None => failed(KMS_ENCRYPTION, ENCRYPTION_UNSUPPORTED),
                },
                RequestedClientAction::Unknown { .. } if is_encryption(action) => failed(
                    KMS_ENCRYPTION,
                    "its parameters cannot be read; without it the session is not safe",
                ),
                RequestedClientAction::Unknown { action_type, .. } => ProcessedClientAction {
                    action_type: action_type.clone(),
                    action_status: ActionStatus::Unsupported,
                    action_result: None,
                    error: format!("Unsupported action {action_type}"),
                },
            })
            .collect();
        let errors: Vec<_> = actions
            .iter()
            .filter(|action| !action.error.is_empty())
            .map(|action| action.error.clone())
            .collect();
        self.refusal = errors.first().cloned();
        if let Some((session_type, properties)) = session {
            self.state = HandshakeState::Responded {
                session_type,
                properties,
                agent_version: request.agent_version.clone(),
            };
        }
        let response = HandshakeResponse {
            client_version: self.client_version.clone(),
            processed_client_actions: actions,
            errors: (!errors.is_empty()).then_some(errors),
        };
        self.response = Some(response.clone());
        response
    }

    /// The agent's last message.
    ///
    /// # Errors
    /// When it comes before the request was answered, when encryption was asked for and is not proven, or when it cannot be read.
    pub(super) fn complete(&mut self, payload: &[u8]) -> Result<Option<Started>, Error> {
        let complete: HandshakeComplete = parse(payload, "end").map_err(Error::Start)?;
        if matches!(self.encryption, Encryption::Asked | Encryption::Keyed) {
            return Err(Error::Start(self.refusal.clone().unwrap_or_else(|| {
                "the agent asked for encryption and ended the handshake without it; ended to be safe".to_owned()
            })));
        }
        match std::mem::replace(&mut self.state, HandshakeState::Complete) {
            HandshakeState::Responded {
                session_type,
                properties,
                agent_version,
            } => Ok(Some(Started {
                session_type,
                properties,
                agent_version,
                customer_message: complete.customer_message,
            })),
            HandshakeState::Complete => Ok(None),
            HandshakeState::Waiting | HandshakeState::WantsKey(_) => {
                Err(Error::Start(self.refusal.clone().unwrap_or_else(|| {
                    "the agent ended a handshake that it had not begun".to_owned()
                })))
            }
        }
    }

    /// Why the client refused something, if it did.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// Whether an action asks for encryption, even one whose parameters cannot be read.
fn is_encryption(action: &RequestedClientAction) -> bool {
    match action {
        RequestedClientAction::KmsEncryption(_) => true,
        RequestedClientAction::Unknown { action_type, .. } => action_type == KMS_ENCRYPTION,
        RequestedClientAction::SessionType(_) => false,
    }
}

/// Reads the JSON of a part of the handshake, unless it is far too large.
fn parse<T: DeserializeOwned>(payload: &[u8], what: &str) -> Result<T, String> {
    if payload.len() > MAXIMUM_SIZE {
        let size = payload.len();
        return Err(format!(
            "the {what} of the agent's handshake has {size} bytes, far too many"
        ));
    }
    serde_json::from_slice(payload)
        .map_err(|error| format!("the {what} of the agent's handshake cannot be read ({error})"))
}

fn succeeded(
    action_type: &str,
    action_result: Option<KmsEncryptionResult>,
) -> ProcessedClientAction {
    ProcessedClientAction {
        action_type: action_type.to_owned(),
        action_status: ActionStatus::Success,
        action_result,
        error: String::new(),
    }
}

fn failed(action_type: &str, error: &str) -> ProcessedClientAction {
    ProcessedClientAction {
        action_type: action_type.to_owned(),
        action_status: ActionStatus::Failed,
        action_result: None,
        error: format!("Failed to process action {action_type}: {error}"),
    }
}

/// All are strings in what agents send; a number is taken as its digits.
fn properties(parameters: &SessionTypeParameters) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let mut properties = BTreeMap::new();
    for (name, value) in parameters.properties.iter().flatten() {
        if let Some(value) = text(value) {
            properties.insert(name.clone(), value);
        }
    }
    properties
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
