//! What containers and instances are given.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::aws::test_server::Server;
use crate::network::Cancel;

#[test]
fn credentials_of_a_container() {
    let expires = in_an_hour();
    let server = Server::new(move |asked| {
        let body = json!({"AccessKeyId": "ASIAECS", "SecretAccessKey": "SECRET", "Token": "SECRET", "Expiration": expires});
        match asked.header("authorization") {
            "SECRETauth" => (200, String::new(), body.to_string()),
            _ => (
                403,
                String::new(),
                json!({"code": "AccessDenied", "message": "wrong token"}).to_string(),
            ),
        }
    });
    let user = User::new("").with(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        &format!("{}/creds", server.url),
    );
    assert!(user.error(None).contains("wrong token (AccessDenied)"));
    let user = user.with("AWS_CONTAINER_AUTHORIZATION_TOKEN", "SECRETauth");
    assert_eq!(key(user.find(None)), "ASIAECS");
    user.write("token", "SECRETauth\n");
    let file = user.path("token").to_str().unwrap().to_owned();
    let user = user
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN", "SECRETwrong")
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file);
    assert_eq!(key(user.find(None)), "ASIAECS");
    let user = user.with("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/");
    assert!(user.error(None).contains("not encrypted"));
}

fn metadata(role: &'static str) -> Server {
    Server::new(move |asked| {
        let keys = json!({
            "Code": "Success", "AccessKeyId": "ASIAEC2", "SecretAccessKey": "SECRET", "Token": "SECRET",
            "Expiration": "2100-01-01T00:00:00Z"
        });
        let has_token = asked.header("x-aws-ec2-metadata-token") == "SECRETimds";
        let (status, body) = match (asked.method.as_str(), asked.target.as_str()) {
            ("PUT", "/latest/api/token") => (200, "SECRETimds".to_owned()),
            _ if !has_token => (401, String::new()),
            (_, "/latest/meta-data/iam/security-credentials/") => match role {
                "" => (404, String::new()),
                role => (200, role.to_owned()),
            },
            (_, "/latest/meta-data/iam/security-credentials/Node") => (200, keys.to_string()),
            other => panic!("{other:?}"),
        };
        (status, String::new(), body)
    })
}

#[test]
fn credentials_of_an_instance() {
    let server = metadata("Node");
    let user = User::new("[profile p]\nregion=x\n")
        .with("AWS_EC2_METADATA_DISABLED", "false")
        .with(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            &format!("{}/", server.url),
        );
    assert_eq!(key(user.find(None)), "ASIAEC2");
    assert_eq!(server.asked()[0].method, "PUT");
    // A profile without credentials leaves it to what comes after, as in the SDKs.
    assert_eq!(key(user.find(Some("p"))), "ASIAEC2");
    let server = metadata("");
    let user = user.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url);
    assert_eq!(user.find(None).unwrap_err(), CredentialsError::NotFound);
}

#[test]
fn p26_metadata_that_does_not_answer_costs_seconds_at_most() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let user = User::new("[profile sure]\nrole_arn=a\ncredential_source=Ec2InstanceMetadata\n")
        .with("AWS_EC2_METADATA_DISABLED", "false")
        .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url);
    let begin = Instant::now();
    assert_eq!(user.find(None).unwrap_err(), CredentialsError::NotFound);
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(
        user.error(Some("sure"))
            .contains("the instance's credentials")
    );

    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let limit = Limit::within(Duration::from_secs(30)).or_cancelled(&cancel);
    let error = call(Chain::look, &user.chain(None), &limit).unwrap_err();
    assert_eq!(error, CredentialsError::Cancelled);
}
