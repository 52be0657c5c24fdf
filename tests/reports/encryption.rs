//! Encrypted sessions of callers that name no target (P106).

use sandbox::{Check, Config, Document, Failure, KmsConfig, Sandbox, SessionConfig};
use serde_json::{Value, json};

use crate::support::{Plugin, requests, strict_sandbox};

/// The original's text for a caller with three arguments.
const REFUSAL: &str = "Installed version of CLI does not support Session Manager encryption feature. Please upgrade to the latest version of \
                       your CLI (e.g., AWS CLI).";

/// A sandbox whose gateway takes connections that are not signed.
fn without_signatures() -> Sandbox {
    let config = Config {
        upgrade_signatures: Check::IfPresent,
        ..Config::default()
    };
    Sandbox::start(config).expect("a sandbox")
}

/// A session that its agent encrypts, and a call with the first `count` of six arguments, the fifth of which is `request`.
fn encrypted(sandbox: &Sandbox, count: usize, request: &str) -> (String, Plugin) {
    let mut config = SessionConfig::from(Document::Interactive {
        command: "read line; echo \"<$line>\"".to_owned(),
    });
    config.agent.kms = Some(KmsConfig::default());
    config.agent.instance_id = "mi-0fedcba9876543210".to_owned();
    let started = sandbox.start_session(config);
    let arguments = ["{}", "eu-central-1", "StartSession", "", request, ""];
    let plugin = Plugin::new(sandbox, &started)
        .with_api(sandbox)
        .arguments(&started, &arguments[..count]);
    (started.session.id().to_owned(), plugin)
}

/// What DescribeSessions was asked for.
fn described(sandbox: &Sandbox) -> Vec<Value> {
    requests(sandbox, "ssm:DescribeSessions")
}

#[test]
fn p106_callers_that_name_no_target_have_encrypted_sessions() {
    for (count, request) in [
        (3, ""),
        (4, ""),
        (5, "{}"),
        (6, ""),
        (6, r#"{"Target":null}"#),
    ] {
        let sandbox = strict_sandbox();
        let (id, plugin) = encrypted(&sandbox, count, request);
        let finished = plugin.run(b"in secret\n");
        assert!(
            finished.stdout.contains("<in secret>"),
            "{count}: {finished:?}"
        );
        assert_eq!(finished.code(), 0, "{count}: {finished:?}");
        let expected = json!({"State": "Active", "Filters": [{"key": "SessionId", "value": id}]});
        assert_eq!(described(&sandbox), [expected]);
    }
    // Nothing is looked up for a caller who names it.
    let sandbox = strict_sandbox();
    let (_, plugin) = encrypted(&sandbox, 6, r#"{"Target":"mi-0fedcba9876543210"}"#);
    let finished = plugin.run(b"in secret\n");
    assert!(finished.stdout.contains("<in secret>"), "{finished:?}");
    assert_eq!(described(&sandbox), [json!(null); 0]);
}

#[test]
fn p106_where_looking_it_up_is_denied_the_text_says_what_is_missing_and_which_action_helps() {
    for (count, request) in [(3, ""), (4, ""), (6, "{}")] {
        let sandbox = strict_sandbox();
        sandbox.fail_next("DescribeSessions", 1, Failure::access_denied());
        let (_, plugin) = encrypted(&sandbox, count, request);
        let finished = plugin.run(b"in secret\n");
        assert_eq!(finished.code(), 1, "{count}: {finished:?}");
        for part in ["Target", "argument 5", "ssm:DescribeSessions"] {
            assert!(
                finished.stderr.contains(part),
                "{count} {part}: {finished:?}"
            );
        }
    }
    let sandbox = strict_sandbox();
    sandbox.fail_next("GenerateDataKey", 1, Failure::access_denied());
    let (_, plugin) = encrypted(&sandbox, 3, "");
    let finished = plugin.run(b"in secret\n");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("kms:GenerateDataKey"),
        "{finished:?}"
    );
}

#[test]
fn p106_where_kms_cannot_be_asked_the_text_says_why() {
    let sandbox = without_signatures();
    let (_, plugin) = encrypted(&sandbox, 6, "{}");
    let name = "SSM_PLUGIN_SKIP_CLIENT_CONFIGURE";
    let finished = plugin.env(name, "true").run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains(name), "{finished:?}");
}

#[test]
fn p106_the_old_refusal_is_what_is_left_without_credentials() {
    let sandbox = without_signatures();
    for (count, is_old) in [(3, true), (4, false)] {
        let mut config = SessionConfig::from(Document::Shell);
        config.agent.kms = Some(KmsConfig::default());
        let started = sandbox.start_session(config);
        let url = sandbox.api_url();
        let arguments = ["{}", "eu-central-1", "StartSession", ""];
        let plugin = Plugin::new(&sandbox, &started)
            .env("AWS_ENDPOINT_URL", url)
            .arguments(&started, &arguments[..count]);
        let finished = plugin.run(b"");
        assert_eq!(finished.code(), 1, "{count}: {finished:?}");
        for output in [&finished.stdout, &finished.stderr] {
            assert_eq!(output.contains(REFUSAL), is_old, "{count}: {finished:?}");
        }
    }
}
