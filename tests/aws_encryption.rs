//! Encrypted sessions: a data key of KMS, the agent's challenge, and what happens when somebody cheats.

mod support;

use std::time::Duration;

use sandbox::{
    AgentConfig, Document, Failure, KmsConfig, KmsMisbehaviour, Sandbox, SessionConfig, Started,
};
use serde_json::{Value, json};
use support::{Finished, Plugin};

fn encrypted(kms: KmsConfig, document: Document) -> SessionConfig {
    SessionConfig {
        document,
        agent: AgentConfig {
            kms: Some(kms),
            handshake_timeout: Duration::from_secs(5),
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    }
}

fn command() -> Document {
    Document::Interactive {
        command: "read line; echo \"<$line>\"".to_owned(),
    }
}

fn run_encrypted(sandbox: &Sandbox, started: &Started) -> Finished {
    Plugin::new(sandbox, started)
        .with_api(sandbox)
        .run(b"in secret\n")
}

#[test]
fn an_encrypted_session_with_and_without_a_challenge() {
    let sandbox = support::sandbox();
    for (challenge, require_challenge) in [(true, true), (true, false), (false, false)] {
        let kms = KmsConfig {
            challenge,
            require_challenge,
            ..KmsConfig::default()
        };
        let started = sandbox.start_session(encrypted(kms, command()));
        let finished = run_encrypted(&sandbox, &started);
        assert!(
            finished.stdout.contains("<in secret>"),
            "{} {}",
            finished.stdout,
            finished.stderr
        );
        assert_eq!(finished.code(), 0);
    }
    let has_challenge = |request: &Value| {
        let context = &request["EncryptionContext"];
        context.get("aws:ssm:RandomChallenge").is_some()
    };
    let requests = support::requests(&sandbox, "kms:GenerateDataKey");
    let challenged: Vec<bool> = requests.iter().map(has_challenge).collect();
    assert_eq!(challenged, [true, true, false]);
}

#[test]
fn an_agent_that_is_not_as_safe_as_it_said_ends_the_session() {
    let sandbox = support::sandbox();
    for misbehaviour in [
        KmsMisbehaviour::ClearText,
        KmsMisbehaviour::NoChallenge,
        KmsMisbehaviour::WrongKey,
        KmsMisbehaviour::BadTag,
    ] {
        let kms = KmsConfig {
            misbehaviour: Some(misbehaviour),
            ..KmsConfig::default()
        };
        let document = Document::Interactive {
            command: "echo leaked".to_owned(),
        };
        let started = sandbox.start_session(encrypted(kms, document));
        let finished = run_encrypted(&sandbox, &started);
        assert_eq!(
            finished.code(),
            1,
            "{misbehaviour:?}: {} {}",
            finished.stdout,
            finished.stderr
        );
        assert!(
            !finished.stdout.contains("leaked"),
            "{misbehaviour:?}: {}",
            finished.stdout
        );
    }
}

#[test]
fn a_key_of_another_context_opens_nothing() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(encrypted(KmsConfig::default(), command()));
    let request = json!({ "Target": "i-another" }).to_string();
    let plugin = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .arguments(
            &started,
            &["{}", "eu-central-1", "StartSession", "", &request, ""],
        );
    let finished = plugin.run(b"in secret\n");
    assert!(
        !finished.stdout.contains("<in secret>"),
        "{}",
        finished.stdout
    );
}

#[test]
fn kmss_refusal_is_told_in_its_words() {
    let sandbox = support::sandbox();
    let words = "arn:aws:kms:eu-central-1:111122223333:key/x is disabled.";
    sandbox.fail_next(
        "GenerateDataKey",
        1,
        Failure::error(400, "DisabledException", words),
    );
    let started = sandbox.start_session(encrypted(KmsConfig::default(), command()));
    let finished = run_encrypted(&sandbox, &started);
    let shown = format!("{}{}", finished.stdout, finished.stderr);
    assert!(shown.contains(words), "{shown}");
    assert_eq!(finished.code(), 1);
}
