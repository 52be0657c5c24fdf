//! Single sign-on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::aws::test_server::Server;

/// A portal that knows one token, and the service that refreshes it.
fn portal() -> Server {
    Server::new(|asked| {
        let (status, body) = match asked.target.as_str() {
            "/token" => {
                let body: Value = serde_json::from_str(&asked.body).unwrap();
                match body["refreshToken"] == "SECRETrefresh" {
                    true => (
                        200,
                        json!({"accessToken": "SECRETfresh", "expiresIn": 3600, "refreshToken": "SECRETnext", "tokenType": "Bearer"}),
                    ),
                    false => (
                        400,
                        json!({"error": "invalid_grant", "error_description": "no"}),
                    ),
                }
            }
            target => {
                assert_eq!(
                    target,
                    "/federation/credentials?role_name=Ops%2FX&account_id=111122223333"
                );
                let keys = json!({
                    "accessKeyId": "ASIASSO", "secretAccessKey": "SECRET", "sessionToken": "SECRET",
                    "expiration": 4_000_000_000_000_u64
                });
                match asked.header("x-amz-sso_bearer_token") {
                    "SECRETfresh" => (200, json!({"roleCredentials": keys})),
                    _ => (
                        401,
                        json!({"message": "Session token not found or invalid"}),
                    ),
                }
            }
        };
        (status, String::new(), body.to_string())
    })
}

fn sso_user(server: &Server) -> User {
    let user = User::new(
        "[profile P]\nsso_session=corp\nsso_account_id=111122223333\nsso_role_name=Ops/X\n[sso-session corp]\nsso_region=eu-north-1\n\
         sso_start_url=https://corp.example/start\n[profile old]\nsso_start_url=https://corp.example/start\nsso_region=eu-north-1\n\
         sso_account_id=111122223333\nsso_role_name=Ops/X\n[profile bad]\nsso_session=nowhere\nsso_account_id=1\nsso_role_name=x\n\
         [profile half]\nsso_account_id=1\nsso_region=x\nsso_start_url=y\n",
    );
    user.with("AWS_ENDPOINT_URL_SSO", &server.url)
        .with("AWS_ENDPOINT_URL_SSO_OIDC", &server.url)
}

fn sso_file(name: &str) -> String {
    format!(".aws/sso/cache/{}.json", sha1_hex(name))
}

#[test]
fn single_sign_on_with_a_good_token() {
    let server = portal();
    let user = sso_user(&server);
    let token =
        json!({"accessToken": "SECRETfresh", "expiresAt": in_an_hour(), "region": "eu-north-1"});
    user.write(&sso_file("corp"), &token.to_string());
    let found = user.find(Some("P")).unwrap();
    assert_eq!(found.access_key_id, "ASIASSO");
    assert!(found.expires.is_some());
    user.write(&sso_file("https://corp.example/start"), &token.to_string());
    assert_eq!(key(user.find(Some("old"))), "ASIASSO");
    assert!(user.error(Some("bad")).contains("[sso-session nowhere]"));
    assert!(
        user.error(Some("half"))
            .contains("sso_role_name is missing")
    );
}

#[test]
fn an_expired_single_sign_on_says_how_to_sign_on() {
    let server = portal();
    let user = sso_user(&server);
    let hint = "run `aws sso login --profile P`";
    assert!(user.error(Some("P")).contains(hint));
    user.write(&sso_file("corp"), "{}");
    assert!(user.error(Some("P")).contains(hint));
    let token = json!({"accessToken": "SECRETold", "expiresAt": "2020-01-01T00:00:00Z"});
    user.write(&sso_file("corp"), &token.to_string());
    assert!(user.error(Some("P")).contains(hint));
    assert!(server.asked().is_empty());
    // One that the portal does not take any more.
    let token = json!({"accessToken": "SECRETold", "expiresAt": in_an_hour()});
    user.write(&sso_file("corp"), &token.to_string());
    assert!(user.error(Some("P")).contains(hint));
}

#[test]
fn a_single_sign_on_token_is_refreshed_and_kept() {
    let server = portal();
    let user = sso_user(&server);
    let token = |refresh: &str| {
        json!({"accessToken": "SECRETold", "expiresAt": "2020-01-01T00:00:00Z", "refreshToken": refresh, "clientId": "id",
               "clientSecret": "SECRETclient", "registrationExpiresAt": in_an_hour(), "startUrl": "https://corp.example/start"})
    };
    user.write(&sso_file("corp"), &token("SECRETrefresh").to_string());
    assert_eq!(key(user.find(Some("P"))), "ASIASSO");
    let kept = fs::read_to_string(user.path(&sso_file("corp"))).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["accessToken"], "SECRETfresh");
    assert_eq!(kept["refreshToken"], "SECRETnext");
    assert_eq!(kept["startUrl"], "https://corp.example/start");
    assert!(
        crate::aws::time::parse(kept["expiresAt"].as_str().unwrap()).unwrap() > SystemTime::now()
    );
    let mode = fs::metadata(user.path(&sso_file("corp")))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    user.write(&sso_file("corp"), &token("SECRETrevoked").to_string());
    assert!(user.error(Some("P")).contains("aws sso login --profile P"));
}

#[test]
fn a_token_in_a_file_of_another_form_is_no_trouble() {
    let server = portal();
    let user = sso_user(&server);
    // What reads a structure from JSON takes an array for one.
    let expired = "2020-01-01T00:00:00Z";
    let token = json!([
        "SECRETold",
        expired,
        "SECRETrefresh",
        "id",
        "SECRETclient",
        null
    ]);
    user.write(&sso_file("corp"), &token.to_string());
    assert_eq!(key(user.find(Some("P"))), "ASIASSO");
    let kept = fs::read_to_string(user.path(&sso_file("corp"))).unwrap();
    assert_eq!(kept, token.to_string());
}
