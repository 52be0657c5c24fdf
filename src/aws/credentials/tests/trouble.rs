//! Sources that have trouble for a moment, and sources that refuse: two things, whatever the source (P67).

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;
use crate::aws::test_server::Server;
use crate::error::Meaning;

/// A user for each source that asks a service, which is this one.
fn users(server: &Server) -> Vec<(&'static str, User)> {
    let config = format!(
        "[profile base]\n{KEYS}[profile p]\nrole_arn=arn:aws:iam::1:role/x\nsource_profile=base\n"
    );
    let role = User::new(&config).with("AWS_ENDPOINT_URL_STS", &server.url);
    let web = User::new("[profile p]\nrole_arn=arn:x\nweb_identity_token_file=~/token\n")
        .with("AWS_ENDPOINT_URL_STS", &server.url);
    web.write("token", "SECRETtoken");
    let sso = "[profile p]\nsso_session=corp\nsso_account_id=1\nsso_role_name=x\n\
               [sso-session corp]\nsso_region=eu-north-1\nsso_start_url=https://corp.example/start\n";
    let signed_on = |expires: String, refresh: Option<&str>| {
        let user = User::new(sso)
            .with("AWS_ENDPOINT_URL_SSO", &server.url)
            .with("AWS_ENDPOINT_URL_SSO_OIDC", &server.url);
        let token = json!({
            "accessToken": "SECRETaccess", "expiresAt": expires, "refreshToken": refresh, "clientId": "id",
            "clientSecret": "SECRETclient"
        });
        let file = format!(".aws/sso/cache/{}.json", sha1_hex("corp"));
        user.write(&file, &token.to_string());
        user
    };
    let container = User::new("[profile p]\nregion=x\n")
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.url);
    let instance = "[profile p]\nrole_arn=arn:x\ncredential_source=Ec2InstanceMetadata\n";
    let instance = User::new(instance)
        .with("AWS_EC2_METADATA_DISABLED", "false")
        .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url);
    vec![
        ("role", role),
        ("web identity", web),
        ("single sign-on", signed_on(in_an_hour(), None)),
        (
            "refresh of single sign-on",
            signed_on("2020-01-01T00:00:00Z".to_owned(), Some("SECRETrefresh")),
        ),
        ("container", container),
        ("instance", instance),
    ]
}

fn meaning(user: &User) -> (Meaning, String) {
    let error = user.find(Some("p")).unwrap_err();
    let failure = error.failure();
    (failure.meaning, failure.reason)
}

#[test]
fn p67_a_source_in_trouble_is_no_refusal() {
    // Nothing at all, for 0.
    for status in [500, 503, 429, 0] {
        let server = Server::fixed(status, "busy");
        for (source, user) in users(&server) {
            let (meaning, reason) = meaning(&user);
            assert_eq!(meaning, Meaning::Temporary, "{source} {status}: {reason}");
        }
    }
    // Somebody who answers with something else, as portals of hotels do.
    let server = Server::fixed(200, "<html>log in</html>");
    for (source, user) in users(&server) {
        let (meaning, reason) = meaning(&user);
        assert_eq!(meaning, Meaning::Temporary, "{source}: {reason}");
    }
    let server = Server::fixed(200, r#"{"accessToken":"","expiresIn":3600}"#);
    for (source, user) in users(&server) {
        let (meaning, reason) = meaning(&user);
        assert_eq!(meaning, Meaning::Temporary, "{source}: {reason}");
    }
}

#[test]
fn p119_a_try_that_the_deadline_cuts_off_does_not_hide_the_answer_before_it() {
    for what in ["container", "single sign-on", "role"] {
        let asked = AtomicU32::new(0);
        let server = Server::new(move |_| {
            if asked.fetch_add(1, Ordering::SeqCst) > 0 {
                std::thread::sleep(Duration::from_secs(5));
            }
            (503, String::new(), "busy".to_owned())
        });
        let users = users(&server);
        let (_, user) = users.iter().find(|(source, _)| *source == what).unwrap();
        let limit = Limit::within(Duration::from_millis(1500));
        let error = call(Chain::look, &user.chain(Some("p")), &limit).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("503"), "{what}: {told}");
    }
}

#[test]
fn p67_a_refusal_without_a_name_is_trouble() {
    for status in [302, 403, 404] {
        let server = Server::fixed(status, "<html>not here</html>");
        for (source, user) in users(&server) {
            let (meaning, reason) = meaning(&user);
            assert_eq!(meaning, Meaning::Temporary, "{source} {status}: {reason}");
        }
    }
}

#[test]
fn p67_a_refusal_is_a_refusal() {
    let server = Server::fixed(403, r#"{"__type":"AccessDenied","message":"not you"}"#);
    for (source, user) in users(&server) {
        let (meaning, reason) = meaning(&user);
        assert_eq!(meaning, Meaning::Denied, "{source}: {reason}");
    }
}

#[test]
fn p67_metadata_in_trouble_is_no_lack_of_credentials() {
    let server = Server::fixed(503, "busy");
    let user = User::new("[profile p]\nregion=x\n")
        .with("AWS_EC2_METADATA_DISABLED", "false")
        .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url);
    assert_eq!(meaning(&user).0, Meaning::Temporary);
}

#[test]
fn p67_a_process_that_fails_may_not_fail_the_next_time() {
    let user = User::new("").with("PATH", "/usr/bin:/bin");
    for (script, expected) in [
        ("exit 1", Meaning::Temporary),
        ("echo nonsense", Meaning::Temporary),
    ] {
        let program = user.program("process", script);
        user.write(
            ".aws/config",
            &format!("[profile p]\ncredential_process={program}\n"),
        );
        assert_eq!(meaning(&user).0, expected, "{script}");
    }
    user.write(
        ".aws/config",
        "[profile p]\ncredential_process=/no/such/program\n",
    );
    assert_eq!(meaning(&user).0, Meaning::Denied);
}
