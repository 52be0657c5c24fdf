//! Errors of AWS: shown in its own words, with advice.

use sandbox::{Failure, GatewayConfig, SessionConfig, Upgrade};

use super::*;

/// Lets StartSession fail, and returns what the program says.
fn start_fails(failure: Failure) -> String {
    let sandbox = sandbox(three());
    sandbox.fail_next("ssm:StartSession", 9, failure);
    let finished = own(&sandbox, &["exec", "--target", &id(1), "true"]).run(b"");
    assert_eq!(finished.code(), 1);
    finished.stderr
}

#[test]
fn what_users_meet_at_start() {
    for (failure, parts) in [
        (
            Failure::access_denied(),
            [
                "User: arn:aws:iam::111122223333:user/sandbox",
                "ssm:StartSession",
            ],
        ),
        (
            Failure::error(400, "TargetNotConnected", "i-1 is not connected."),
            ["i-1 is not connected.", "session-manager-plugin list"],
        ),
        (
            Failure::error(400, "InvalidDocument", "Document x does not exist."),
            ["Document x does not exist.", "list-documents"],
        ),
        (
            Failure::error(400, "ServiceQuotaExceededException", "Too many sessions."),
            ["Too many sessions.", "Service Quotas"],
        ),
        (Failure::throttled(), ["Rate exceeded", "tried again"]),
    ] {
        let stderr = start_fails(failure);
        for part in parts {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}

#[test]
fn expired_credentials_name_the_profile_and_how_to_log_in() {
    let expired = || {
        Failure::error(
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )
    };
    let stderr = start_fails(expired());
    assert!(stderr.contains("have expired"), "{stderr}");
    let sandbox = sandbox(three());
    sandbox.fail_next("ssm:StartSession", 9, expired());
    let keys = sandbox.credentials();
    let plugin = own(
        &sandbox,
        &["exec", "--profile", "work", "--target", &id(1), "true"],
    );
    let directory = plugin.home().join(".aws");
    std::fs::create_dir_all(&directory).expect("a directory");
    let config = format!(
        "[profile work]\nsso_session = corp\naws_access_key_id = {}\naws_secret_access_key = {}\n[sso-session corp]\nsso_region = \
         eu-central-1\n",
        keys.access_key_id, keys.secret_access_key
    );
    let file = directory.join("config");
    std::fs::write(&file, config).expect("a file");
    let finished = plugin.env("AWS_CONFIG_FILE", file).run(b"");
    assert!(
        finished.stderr.contains("`aws sso login --profile work`"),
        "{finished:?}"
    );
}

#[test]
fn a_signed_upgrade_that_is_forbidden_names_its_action() {
    let sandbox = sandbox(three());
    sandbox.set_session_config(SessionConfig {
        gateway: GatewayConfig {
            upgrades: vec![Upgrade::Status(403); 20].into(),
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    let finished = own(&sandbox, &["exec", "--target", &id(1), "true"]).run(b"");
    assert_eq!(finished.code(), 1);
    assert!(finished.stderr.contains("HTTP status 403"), "{finished:?}");
    assert!(
        finished.stderr.contains("ssmmessages:OpenDataChannel"),
        "{finished:?}"
    );
}

#[test]
fn a_call_by_the_contract_is_told_the_same() {
    let sandbox = sandbox(three());
    let started = sandbox.start_session(SessionConfig {
        gateway: GatewayConfig {
            upgrades: vec![Upgrade::Status(403); 20].into(),
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    let finished = Plugin::new(&sandbox, &started).with_api(&sandbox).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    let reason = finished
        .stdout
        .lines()
        .find(|line| line.starts_with("Cannot perform start session: "));
    assert!(
        reason.is_some_and(|reason| reason.contains("ssmmessages:OpenDataChannel")),
        "{finished:?}"
    );
}

#[test]
fn the_endpoint_that_was_asked_for_is_called_or_refused() {
    let sandbox = sandbox(three());
    for wrong in ["ssm.example.com", "ftp://x", "http://127.0.0.1:99999"] {
        for command in [&["list"][..], &["exec", "--target", "web-1", "--", "true"]] {
            let arguments = [&command[..1], &["--endpoint-url", wrong], &command[1..]].concat();
            let finished = own(&sandbox, &arguments).run(b"");
            assert_eq!(finished.code(), 2, "{arguments:?} {finished:?}");
            assert!(
                finished.stderr.contains("--endpoint-url"),
                "{arguments:?} {finished:?}"
            );
        }
    }
    assert!(operations(&sandbox).is_empty(), "AWS's own was called");
    let finished = own(&sandbox, &["list", "--endpoint-url", &sandbox.api_url()])
        .env("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:1")
        .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
}
