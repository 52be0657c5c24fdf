//! `aws login`.

use serde_json::json;

use super::*;

const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/Admin/me";
/// SHA-256 of the session's name, as botocore 1.43.11 makes it.
const FILE: &str =
    ".aws/login/cache/46f66c2f31010ce9cc081bfd94060fab8ad70f51b5ef005c364d71f1294360ad.json";

fn user() -> User {
    User::new(&format!("[profile P]\nlogin_session={SESSION}\n"))
}

/// As the AWS CLI writes it (the fields of botocore's LoginCredentialFetcher).
fn token(expires: &str) -> String {
    json!({
        "accessToken": {"accessKeyId": "ASIALOGIN", "secretAccessKey": "SECRETkey", "sessionToken": "SECRETtoken",
                        "accountId": "111122223333", "expiresAt": expires},
        "tokenType": "aws_sigv4",
        "refreshToken": "SECRETrefresh",
        "idToken": "SECRETid",
        "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": "-----BEGIN EC PRIVATE KEY-----\nSECRET\n-----END EC PRIVATE KEY-----\n",
    })
    .to_string()
}

#[test]
fn a_session_that_lasts_is_used() {
    let user = user();
    user.write(FILE, &token(&in_an_hour()));
    let found = user.find(Some("P")).unwrap();
    assert_eq!(found.access_key_id, "ASIALOGIN");
    assert!(found.expires.is_some());
    let elsewhere = user.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::rename(
        user.path(FILE),
        elsewhere.join(FILE.rsplit('/').next().unwrap()),
    )
    .unwrap();
    assert!(user.error(Some("P")).contains("aws login --profile P"));
    let user = user.with("AWS_LOGIN_CACHE_DIRECTORY", elsewhere.to_str().unwrap());
    assert_eq!(key(user.find(Some("P"))), "ASIALOGIN");
}

#[test]
fn one_that_has_expired_says_how_to_log_in() {
    let user = user();
    let hint = "run `aws login --profile P` (its credentials last for 15 minutes; \
                `aws configure export-credentials --profile P` renews them";
    assert!(user.error(Some("P")).contains(hint));
    for bad in ["{}", "x", &token("2020-01-01T00:00:00Z"), &token("soon")] {
        user.write(FILE, bad);
        assert!(user.error(Some("P")).contains(hint), "{bad}");
    }
}

#[test]
fn the_aws_cli_renews_it() {
    let user = user();
    user.write(FILE, &token("2020-01-01T00:00:00Z"));
    let expires = in_an_hour();
    user.program(
        "bin/aws",
        &format!(
            "[ \"$*\" = 'configure export-credentials --format process --profile P' ] || exit 1; \
             echo '{{\"Version\": 1, \"AccessKeyId\": \"ASIANEW\", \"SecretAccessKey\": \"x\", \"SessionToken\": \"y\", \
             \"Expiration\": \"{expires}\"}}'"
        ),
    );
    let path = format!("{}:/usr/bin:/bin", user.path("bin").display());
    let user = user.with("PATH", &path);
    assert_eq!(key(user.find(Some("P"))), "ASIANEW");
}

#[test]
fn where_the_aws_cli_fails_its_words_are_told() {
    let user = user();
    user.write(FILE, &token("2020-01-01T00:00:00Z"));
    let path = format!("{}:/usr/bin:/bin", user.path("bin").display());
    let user = user.with("PATH", &path);
    for (script, told) in [
        (
            "printf 'Your session has \\033[31mexpired\\n' >&2; exit 255",
            "exit status: 255: Your session has",
        ),
        (
            "echo '{\"Version\": 1, \"SecretAccessKey\": \"SECRET\"'",
            "printed no credentials",
        ),
        ("yes SECRET", "prints too much"),
    ] {
        user.program("bin/aws", script);
        let error = user.error(Some("P"));
        assert!(error.contains(told), "{error}");
        assert!(error.contains("run `aws login --profile P`"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    // As long as they last, those at hand do.
    let soon = SystemTime::now() + Duration::from_secs(60);
    let soon = humantime::format_rfc3339_seconds(soon).to_string();
    user.write(FILE, &token(&soon));
    assert_eq!(key(user.find(Some("P"))), "ASIALOGIN");
}

#[test]
fn p67_an_aws_cli_without_a_network_is_no_denial() {
    let user = user();
    user.write(FILE, &token("2020-01-01T00:00:00Z"));
    let path = format!("{}:/usr/bin:/bin", user.path("bin").display());
    let user = user.with("PATH", &path);
    user.program("bin/aws", "echo Could not connect >&2; exit 255");
    let error = user.find(Some("P")).unwrap_err();
    assert!(
        matches!(error, CredentialsError::Temporary { .. }),
        "{error}"
    );
}

#[test]
fn p26_an_aws_cli_that_hangs_is_stopped() {
    let user = user();
    user.write(FILE, &token("2020-01-01T00:00:00Z"));
    let path = format!("{}:/usr/bin:/bin", user.path("bin").display());
    let user = user.with("PATH", &path);
    user.program("bin/aws", "echo $$ > \"$HOME/pid\"; exec sleep 1000");
    let limit = Limit::within(Duration::from_millis(500));
    let error = call(Chain::look, &user.chain(Some("P")), &limit).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("took too long"), "{text}");
    assert!(text.contains("run `aws login --profile P`"), "{text}");
    if let Ok(pid) = fs::read_to_string(user.path("pid")) {
        assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    }
}
