//! Every source of credentials once, as the program finds it, with a service that takes nothing unsigned.

mod support;

use std::fs;

use sandbox::{Config, Credentials, Document, Event, Sandbox};
use serde_json::json;
use support::{Finished, Io, Plugin};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::start(Config::strict());
    sandbox.unwrap()
}

/// A user's `.aws` directory.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let files_of_user = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = files_of_user.0.path().join(".aws").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        files_of_user
    }
}

/// Runs a session whose upgrade must be signed.
fn run(sandbox: &Sandbox, files: &Files, profile: &str, variables: &[(&str, String)]) -> Finished {
    let started = sandbox.start_session(Document::command("echo it works"));
    let mut plugin = Plugin::new(sandbox, &started)
        .arguments(
            &started,
            &[
                "{}",
                "eu-central-1",
                "StartSession",
                profile,
                r#"{"Target":"i-1"}"#,
                "",
            ],
        )
        .env("AWS_ENDPOINT_URL", sandbox.api_url())
        .env("HOME", files.0.path())
        .stdin(Io::Null);
    for (name, value) in variables {
        plugin = plugin.env(name, value);
    }
    plugin.run(b"")
}

fn assert_works(sandbox: &Sandbox, finished: &Finished, asked: &str) {
    assert!(
        finished.stdout.contains("it works"),
        "{} {}",
        finished.stdout,
        finished.stderr
    );
    assert_eq!(finished.code(), 0);
    let was_asked = sandbox
        .events()
        .iter()
        .any(|event| matches!(event, Event::Api { operation, status: 200, .. } if operation.contains(asked)));
    assert!(
        was_asked || asked.is_empty(),
        "{asked} in {:?}",
        sandbox.events()
    );
}

fn keys(sandbox: &Sandbox, section: &str) -> String {
    let Credentials {
        access_key_id,
        secret_access_key,
        ..
    } = sandbox.credentials();
    format!(
        "[{section}]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"
    )
}

#[test]
fn the_environment_and_files() {
    let sandbox = sandbox();
    let Credentials {
        access_key_id,
        secret_access_key,
        ..
    } = sandbox.credentials().clone();
    let variables = [
        ("AWS_ACCESS_KEY_ID", access_key_id),
        ("AWS_SECRET_ACCESS_KEY", secret_access_key),
    ];
    assert_works(
        &sandbox,
        &run(&sandbox, &Files::new(&[]), "", &variables),
        "",
    );
    let files = Files::new(&[
        ("credentials", &keys(&sandbox, "dev")),
        ("config", "[profile dev]\nregion=eu-central-1\n"),
    ]);
    assert_works(&sandbox, &run(&sandbox, &files, "dev", &[]), "");
    assert_works(
        &sandbox,
        &run(&sandbox, &files, "", &[("AWS_PROFILE", "dev".to_owned())]),
        "",
    );
}

#[test]
fn roles() {
    let sandbox = sandbox();
    let config = "[profile role]\nrole_arn=arn:aws:iam::111122223333:role/x\nsource_profile=base\n\
                  [profile denied]\nrole_arn=arn:aws:iam::111122223333:role/denied\nsource_profile=base\n";
    let files = Files::new(&[("config", config), ("credentials", &keys(&sandbox, "base"))]);
    assert_works(&sandbox, &run(&sandbox, &files, "role", &[]), "AssumeRole");
    let finished = run(&sandbox, &files, "denied", &[]);
    assert_eq!(finished.code(), 1, "{}", finished.stdout);
}

#[test]
fn a_web_identity() {
    let sandbox = sandbox();
    let files = Files::new(&[("token", sandbox.secrets().web_identity_token.as_str())]);
    let token = files.0.path().join(".aws/token");
    let variables = [
        (
            "AWS_ROLE_ARN",
            "arn:aws:iam::111122223333:role/pod".to_owned(),
        ),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
    ];
    assert_works(
        &sandbox,
        &run(&sandbox, &files, "", &variables),
        "AssumeRoleWithWebIdentity",
    );
}

const SSO: &str = "[profile sso]\nsso_session=corp\nsso_account_id=111122223333\nsso_role_name=Ops\n\
                   [sso-session corp]\nsso_region=eu-central-1\nsso_start_url=https://corp.example/start\n";
/// SHA-1 of `corp`.
const SSO_CACHE: &str = "sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";

#[test]
fn single_sign_on() {
    let sandbox = sandbox();
    let good = json!({"accessToken": sandbox.secrets().sso_access_token, "expiresAt": "2100-01-01T00:00:00Z"});
    let files = Files::new(&[("config", SSO), (SSO_CACHE, &good.to_string())]);
    assert_works(&sandbox, &run(&sandbox, &files, "sso", &[]), "sso");
    let old = json!({
        "accessToken": "old", "expiresAt": "2020-01-01T00:00:00Z", "refreshToken": sandbox.secrets().sso_refresh_token,
        "clientId": "id", "clientSecret": "secret", "registrationExpiresAt": "2100-01-01T00:00:00Z",
    });
    let files = Files::new(&[("config", SSO), (SSO_CACHE, &old.to_string())]);
    assert_works(&sandbox, &run(&sandbox, &files, "sso", &[]), "sso");
    let kept = fs::read_to_string(files.0.path().join(".aws").join(SSO_CACHE)).unwrap();
    assert!(
        kept.contains(&sandbox.secrets().sso_new_access_token),
        "{kept}"
    );
}

#[test]
fn an_expired_single_sign_on_says_how_to_sign_on() {
    let sandbox = sandbox();
    let expired = json!({"accessToken": "old", "expiresAt": "2020-01-01T00:00:00Z"});
    let files = Files::new(&[("config", SSO), (SSO_CACHE, &expired.to_string())]);
    // Where it matters most: starting a session ourselves.
    let finished = Plugin::bare([
        "start-session",
        "--target",
        "i-1",
        "--profile",
        "sso",
        "--region",
        "eu-central-1",
    ])
    .env("AWS_ENDPOINT_URL", sandbox.api_url())
    .env("HOME", files.0.path())
    .stdin(Io::Null)
    .run(b"");
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stdout.contains("aws sso login --profile sso"),
        "{}",
        finished.stdout
    );
}

#[test]
fn containers_and_instances() {
    let sandbox = sandbox();
    let files = Files::new(&[]);
    let container = |with_token| {
        let url = sandbox.container_url(with_token);
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
    };
    let finished = run(&sandbox, &files, "", &[container(false)]);
    assert_works(&sandbox, &finished, "");
    let token = (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        sandbox.secrets().container_token.clone(),
    );
    let finished = run(&sandbox, &files, "", &[container(true), token]);
    assert_works(&sandbox, &finished, "");
    let instance = [
        ("AWS_EC2_METADATA_DISABLED", "false".to_owned()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", sandbox.metadata_url()),
    ];
    assert_works(&sandbox, &run(&sandbox, &files, "", &instance), "imds");
}

#[test]
fn without_any_the_service_decides() {
    let sandbox = sandbox();
    let finished = run(&sandbox, &Files::new(&[]), "", &[]);
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stdout.contains("Cannot perform start session: "),
        "{}",
        finished.stdout
    );
}
