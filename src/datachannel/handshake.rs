//! The handshake, as a state machine below which the order of messages is already restored.

use std::collections::BTreeMap;

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

/// Where the handshake stands.
#[derive(Debug)]
pub struct Handshake {
    client_version: String,
    state: State,
    /// Why the client refused something: the session is going to end for this reason.
    refusal: Option<String>,
}

#[derive(Debug)]
enum State {
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

/// What the request leads to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Send this.
    Respond(HandshakeResponse),
    /// Make a data key, then call [`Handshake::respond_with_key`].
    MakeKey(KmsEncryptionParameters),
}

impl Handshake {
    /// A handshake in which the client claims this version.
    pub fn new(client_version: &str) -> Self {
        Self {
            client_version: client_version.to_owned(),
            state: State::Waiting,
            refusal: None,
        }
    }

    /// The agent's request. One that comes again is answered again.
    ///
    /// # Errors
    /// When it is no JSON of a request: there is nothing to answer then.
    pub fn request(&mut self, payload: &[u8]) -> Result<Step, Error> {
        let request: HandshakeRequest = serde_json::from_slice(payload).map_err(|error| {
            Error::Start(format!(
                "the agent's handshake request cannot be read ({error}); is its version supported?"
            ))
        })?;
        let key = request
            .requested_client_actions
            .iter()
            .find_map(|action| match action {
                RequestedClientAction::KmsEncryption(parameters) => Some(parameters.clone()),
                _ => None,
            });
        Ok(match key {
            Some(parameters) => {
                self.state = State::WantsKey(request);
                Step::MakeKey(parameters)
            }
            None => Step::Respond(self.respond(&request, None)),
        })
    }

    /// The data key is made, or could not be; None when nobody waits for it any more.
    pub fn respond_with_key(
        &mut self,
        key: Result<KmsEncryptionResult, String>,
    ) -> Option<HandshakeResponse> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::WantsKey(request) => Some(self.respond(&request, Some(key))),
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
                    Some(Ok(result)) => succeeded("KMSEncryption", Some(result.clone())),
                    Some(Err(error)) => failed("KMSEncryption", error),
                    None => failed("KMSEncryption", ENCRYPTION_UNSUPPORTED),
                },
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
            self.state = State::Responded {
                session_type,
                properties,
                agent_version: request.agent_version.clone(),
            };
        }
        HandshakeResponse {
            client_version: self.client_version.clone(),
            processed_client_actions: actions,
            errors: (!errors.is_empty()).then_some(errors),
        }
    }

    /// The agent's last message.
    ///
    /// # Errors
    /// When it comes before the request was answered, or cannot be read.
    pub fn complete(&mut self, payload: &[u8]) -> Result<Option<Started>, Error> {
        let complete: HandshakeComplete = serde_json::from_slice(payload).map_err(|error| {
            Error::Start(format!(
                "the end of the agent's handshake cannot be read ({error})"
            ))
        })?;
        match std::mem::replace(&mut self.state, State::Complete) {
            State::Responded {
                session_type,
                properties,
                agent_version,
            } => Ok(Some(Started {
                session_type,
                properties,
                agent_version,
                customer_message: complete.customer_message,
            })),
            State::Complete => Ok(None),
            State::Waiting | State::WantsKey(_) => {
                Err(Error::Start(self.refusal.clone().unwrap_or_else(|| {
                    "the agent ended a handshake that it had not begun".to_owned()
                })))
            }
        }
    }

    /// Why the client refused something, if it did.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
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
    let properties = parameters.properties.iter().flatten();
    properties
        .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect()
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
            Step::Respond(response) => response,
            Step::MakeKey(_) => panic!("no key was asked for"),
        }
    }

    #[test]
    fn answers_as_recorded_and_starts_with_what_the_agent_said() {
        let mut handshake = Handshake::new("1.2.677.0");
        let action = r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"localPortNumber":"57479","portNumber":33921,"type":"LocalPortForwarding","host":null}}}]"#;
        let response = respond(&mut handshake, action);
        assert_eq!(
            String::from_utf8(to_json(&response)).unwrap(),
            r#"{"ClientVersion":"1.2.677.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#
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
        let action = r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Teleport","Properties":null}},{"ActionType":"Dance","ActionParameters":7},{"ActionType":"Sing"}]"#;
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
        let actions = r#"[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}},{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"arn","Challenge":"Y2g="}}]"#;
        let step = handshake.request(request(actions).as_bytes()).unwrap();
        let parameters = KmsEncryptionParameters {
            kms_key_id: "arn".into(),
            challenge: Some("Y2g=".into()),
        };
        assert_eq!(step, Step::MakeKey(parameters));
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
}
