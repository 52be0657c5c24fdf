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
mod tests {
    use super::*;
    use crate::message::content::to_json;

    fn request(actions: &str) -> String {
        format!(r#"{{"AgentVersion":"3.3.0.0","RequestedClientActions":{actions}}}"#)
    }

    fn respond(handshake: &mut Handshake, actions: &str) -> HandshakeResponse {
        match handshake.request(request(actions).as_bytes()).unwrap() {
            Some(Step::Respond(response)) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    #[test]
    fn answers_as_recorded_and_starts_with_what_the_agent_said() {
        let mut handshake = Handshake::new("1.2.677.0");
        let action = concat!(
            r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"localPortNumber":"57479","#,
            r#""portNumber":33921,"type":"LocalPortForwarding","host":null}}}]"#,
        );
        let response = respond(&mut handshake, action);
        assert_eq!(
            String::from_utf8(to_json(&response)).unwrap(),
            concat!(
                r#"{"ClientVersion":"1.2.677.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"#,
                r#""ActionResult":null,"Error":""}],"Errors":null}"#,
            )
        );
        let started = handshake
            .complete(br#"{"HandshakeTimeToComplete":306184810,"CustomerMessage":"hello"}"#);
        let started = started.unwrap().unwrap();
        assert_eq!(started.session_type, SessionType::Port);
        assert_eq!(started.properties["portNumber"], "33921");
        assert_eq!(started.properties.len(), 3);
        assert_eq!(
            (
                started.agent_version.as_str(),
                started.customer_message.as_str()
            ),
            ("3.3.0.0", "hello")
        );
        assert_eq!(handshake.complete(b"{}"), Ok(None));
    }

    #[test]
    fn refuses_what_it_does_not_know_and_says_so() {
        let mut handshake = Handshake::new("1.2.896.0");
        let action = concat!(
            r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Teleport","Properties":null}},{"ActionType":"#,
            r#""Dance","ActionParameters":7},{"ActionType":"Sing"}]"#,
        );
        let response = respond(&mut handshake, action);
        let statuses: Vec<_> = response
            .processed_client_actions
            .iter()
            .map(|action| action.action_status)
            .collect();
        assert_eq!(
            statuses,
            [
                ActionStatus::Failed,
                ActionStatus::Unsupported,
                ActionStatus::Unsupported
            ]
        );
        let errors = response.errors.unwrap();
        assert_eq!(
            errors[0],
            "Failed to process action SessionType: Unknown session type Teleport"
        );
        assert_eq!(errors[1], "Unsupported action Dance");
        assert_eq!(handshake.refusal(), Some(errors[0].as_str()));
        assert!(handshake.complete(b"{}").is_err());
    }

    #[test]
    fn waits_for_a_key_and_passes_on_why_there_is_none() {
        let mut handshake = Handshake::new("1.2.896.0");
        let actions = concat!(
            r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}},"#,
            r#"{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"arn","Challenge":"Y2g="}}]"#,
        );
        let step = handshake.request(request(actions).as_bytes()).unwrap();
        let parameters = KmsEncryptionParameters {
            kms_key_id: "arn".into(),
            challenge: Some("Y2g=".into()),
        };
        assert_eq!(step, Some(Step::MakeKey(parameters)));
        let response = handshake
            .respond_with_key(Err("AccessDeniedException: no".into()))
            .unwrap();
        assert_eq!(
            response.processed_client_actions[0].action_status,
            ActionStatus::Success
        );
        assert_eq!(
            response.processed_client_actions[1].error,
            "Failed to process action KMSEncryption: AccessDeniedException: no"
        );
        assert_eq!(handshake.respond_with_key(Err(String::new())), None);
    }

    #[test]
    fn p57_a_request_that_is_none_is_an_error() {
        let mut handshake = Handshake::new("1.2.896.0");
        assert!(handshake.request(b"{}").is_err());
        assert!(handshake.request(b"\xff").is_err());
        assert!(handshake.complete(br#"{"CustomerMessage":null}"#).is_err());
    }

    const SHELL: &str = r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}}]"#;
    const ENCRYPTED: &str = concat!(
        r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}},"#,
        r#"{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"arn"}}]"#,
    );

    fn key() -> KmsEncryptionResult {
        KmsEncryptionResult {
            kms_cipher_text_key: "a2V5".to_owned(),
            kms_cipher_text_hash: None,
            challenge_acknowledgement: None,
        }
    }

    #[test]
    fn p80_one_request_is_answered_and_its_repetition_the_same() {
        let mut handshake = Handshake::new("1.2.896.0");
        let first = respond(&mut handshake, SHELL);
        assert_eq!(respond(&mut handshake, SHELL), first);
        for other in [ENCRYPTED, "[]", "null"] {
            assert_eq!(handshake.request(request(other).as_bytes()), Ok(None));
        }
        assert_eq!(handshake.request(b"no JSON"), Ok(None));
        assert!(!handshake.asks_for_encryption());
        assert!(handshake.complete(b"{}").unwrap().is_some());
    }

    #[test]
    fn p80_while_the_key_is_made_nothing_else_is_answered() {
        let mut handshake = Handshake::new("1.2.896.0");
        assert!(matches!(
            handshake.request(request(ENCRYPTED).as_bytes()),
            Ok(Some(Step::MakeKey(_)))
        ));
        for again in [ENCRYPTED, SHELL, "[]"] {
            assert_eq!(handshake.request(request(again).as_bytes()), Ok(None));
        }
        let response = handshake.respond_with_key(Ok(key()));
        assert_eq!(
            handshake.request(request(ENCRYPTED).as_bytes()),
            Ok(response.map(Step::Respond)),
            "the same answer, with the same key"
        );
        assert_eq!(handshake.respond_with_key(Ok(key())), None);
    }

    #[test]
    fn p80_encryption_that_was_asked_for_is_proven_or_there_is_no_session() {
        let begin = || {
            let mut handshake = Handshake::new("1.2.896.0");
            assert!(handshake.request(request(ENCRYPTED).as_bytes()).is_ok());
            handshake
        };
        let mut handshake = begin();
        assert!(!handshake.take_challenge(), "before the key");
        assert!(handshake.complete(b"{}").is_err(), "before the key");
        let mut handshake = begin();
        handshake.respond_with_key(Ok(key()));
        assert!(handshake.complete(b"{}").is_err(), "without a challenge");
        let mut handshake = begin();
        handshake.respond_with_key(Err("denied".to_owned()));
        assert!(!handshake.take_challenge(), "without a key");
        let error = handshake.complete(b"{}").unwrap_err().to_string();
        assert!(error.contains("denied"), "{error}");
        let mut handshake = begin();
        handshake.respond_with_key(Ok(key()));
        assert!(handshake.take_challenge());
        assert!(!handshake.take_challenge(), "P79: only one");
        assert!(handshake.complete(b"{}").unwrap().is_some());
        assert!(!handshake.take_challenge(), "P79: after the start");
    }

    #[test]
    fn p57_a_part_of_the_handshake_that_is_far_too_large_is_not_even_parsed() {
        let filling = "1,".repeat(400_000);
        let large = request(&format!(
            r#"[{{"ActionType":"x","ActionParameters":[{filling}1]}}]"#
        ));
        let mut handshake = Handshake::new("1.2.896.0");
        let error = handshake.request(large.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("far too many"), "{error}");
        assert!(handshake.complete(large.as_bytes()).is_err());
    }
}
