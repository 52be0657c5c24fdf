//! The handshake alone.

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
    let started =
        handshake.complete(br#"{"HandshakeTimeToComplete":306184810,"CustomerMessage":"hello"}"#);
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
