//! The client against servers that do and do not do as asked.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::test_server::{Asked, Server};
use super::*;
use crate::error::Meaning;
use crate::network::{Cancel, Limit, Network};
use crate::settings::Environment;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJsessiontoken";

fn limit() -> Limit {
    Limit::within(Duration::from_secs(30))
}

fn client(server: &Server) -> Api {
    let environment = Environment::from([
        ("AWS_ACCESS_KEY_ID", KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("AWS_ENDPOINT_URL", &server.url),
    ]);
    let options = ApiOptions {
        region: Some("eu-west-1".to_owned()),
        target: Some("i-0123".to_owned()),
        ..ApiOptions::default()
    };
    let network = Network::new(&environment, None).unwrap();
    Api::new(options, &environment, &Configured::default(), network).unwrap()
}

/// Whether a request is signed by our key for a service.
fn is_signed(asked: &Asked, service: &str) -> bool {
    let authorization = asked.header("authorization");
    let part = |name: &str| {
        let (_, after) = authorization.split_once(name).unwrap();
        after.split(',').next().unwrap().to_owned()
    };
    let moment = asked.header("x-amz-date");
    let scope = sigv4::Scope {
        date: &moment[..8],
        region: "eu-west-1",
        service,
    };
    assert_eq!(part("Credential="), format!("{KEY_ID}/{scope}"));
    let names = part("SignedHeaders=");
    assert!(names.contains("x-amz-security-token"), "{names}");
    let headers: Vec<(&str, &str)> = names
        .split(';')
        .map(|name| (name, asked.header(name)))
        .collect();
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let request = sigv4::SignableRequest {
        method: &asked.method,
        path,
        query,
        headers: &headers,
        payload_hash: &sigv4::payload_hash(asked.body.as_bytes()),
    };
    let text = sigv4::string_to_sign(moment, &scope, &request.canonical());
    part("Signature=") == sigv4::signature(SECRET, &scope, &text)
}

#[test]
fn start_resume_terminate() {
    let server = Server::new(|asked| {
        let body = match asked.header("x-amz-target") {
            "AmazonSSM.StartSession" => {
                json!({"SessionId": "s-1", "StreamUrl": "wss://x/", "TokenValue": "t", "Extra": 1})
            }
            "AmazonSSM.ResumeSession" => {
                json!({"SessionId": "s-1", "StreamUrl": "wss://y/", "TokenValue": "u"})
            }
            _ => json!({"SessionId": "s-1"}),
        };
        (200, String::new(), body.to_string())
    });
    let client = client(&server);
    let request = StartRequest {
        target: "i-0123".to_owned(),
        reason: Some("why".to_owned()),
        ..StartRequest::default()
    };
    let started = client.start_session(&request, &limit()).unwrap();
    assert_eq!(
        (started.session_id.as_str(), started.stream_url.as_str()),
        ("s-1", "wss://x/")
    );
    assert_eq!(started.token.expose(), "t");
    let resumed = client.resume_session("s-1", &limit()).unwrap();
    assert_eq!(resumed.token.unwrap().expose(), "u");
    assert_eq!(resumed.stream_url.as_deref(), Some("wss://y/"));
    client.terminate_session("s-1", &limit()).unwrap();

    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    for asked in &asked {
        assert!(is_signed(asked, "ssm"));
        assert_eq!(
            (asked.method.as_str(), asked.target.as_str()),
            ("POST", "/")
        );
        assert_eq!(asked.header("content-type"), "application/x-amz-json-1.1");
    }
    let bodies: Vec<Value> = asked
        .iter()
        .map(|asked| serde_json::from_str(&asked.body).unwrap())
        .collect();
    assert_eq!(bodies[0], json!({"Target": "i-0123", "Reason": "why"}));
    assert_eq!(bodies[1], json!({"SessionId": "s-1"}));
    assert_eq!(
        asked[2].header("x-amz-target"),
        "AmazonSSM.TerminateSession"
    );
}

#[test]
fn p20_a_resume_without_a_token_is_no_error() {
    for body in [
        "{}",
        r#"{"SessionId":"s","TokenValue":null,"StreamUrl":""}"#,
        r#"{"TokenValue":""}"#,
    ] {
        let server = Server::fixed(200, body);
        let resumed = client(&server).resume_session("s", &limit()).unwrap();
        assert!(resumed.token.is_none() && resumed.stream_url.is_none());
    }
}

#[test]
fn p20_refusals_keep_awss_words() {
    let server = Server::fixed(
        400,
        r#"{"__type":"DoesNotExistException","message":"Session does not exist"}"#,
    );
    let error = client(&server).resume_session("s", &limit()).unwrap_err();
    assert_eq!(error.failure().meaning, Meaning::Gone);
    assert_eq!(
        error.to_string(),
        "ResumeSession failed: Session does not exist (DoesNotExistException)"
    );
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn throttling_and_server_errors_are_tried_again() {
    let count = AtomicU32::new(0);
    let server = Server::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => (
            400,
            String::new(),
            r#"{"__type":"ThrottlingException"}"#.to_owned(),
        ),
        1 => (0, String::new(), String::new()),
        _ => (200, String::new(), "{}".to_owned()),
    });
    client(&server).terminate_session("s", &limit()).unwrap();
    assert_eq!(server.asked().len(), 3);

    let server = Server::fixed(503, "<html>busy</html>");
    let error = client(&server)
        .terminate_session("s", &limit())
        .unwrap_err();
    assert_eq!(error.failure().meaning, Meaning::Temporary);
    assert_eq!(
        error.to_string(),
        "TerminateSession failed: HTTP status 503"
    );
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn cancelling_ends_the_waits_between_tries() {
    let server = Server::fixed(503, "");
    let client = client(&server);
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let error = client
        .terminate_session("s", &limit().or_cancelled(&cancel))
        .unwrap_err();
    assert!(error.is_given_up());
    let short = Limit::until(Instant::now());
    let error = client.terminate_session("s", &short).unwrap_err();
    assert_eq!(error.failure().meaning, Meaning::Temporary);
}

#[test]
fn a_clock_that_is_off_is_put_right_once() {
    let server = Server::new(|asked| {
        let signed_at = time::parse_compact(asked.header("x-amz-date")).unwrap();
        let server_time = SystemTime::now() + Duration::from_secs(3600);
        if server_time.duration_since(signed_at).unwrap_or_default() > Duration::from_secs(300) {
            let date = httpdate::fmt_http_date(server_time);
            let body = json!({"__type": "InvalidSignatureException", "message": "Signature expired: a is now earlier than b"});
            (403, format!("Date: {date}\r\n"), body.to_string())
        } else {
            (200, String::new(), "{}".to_owned())
        }
    });
    let client = client(&server);
    client.terminate_session("s", &limit()).unwrap();
    assert_eq!(server.asked().len(), 2);
    // What was learnt stays.
    client.terminate_session("s", &limit()).unwrap();
    assert_eq!(server.asked().len(), 3);
    assert!(is_signed(&server.asked()[2], "ssm"));

    let right = httpdate::fmt_http_date(SystemTime::now());
    assert!(client.correct_clock(&right));
    assert!(!client.correct_clock(&right));
    assert!(!client.correct_clock("yesterday"));
}

#[test]
fn a_signature_that_is_wrong_anyway_is_not_tried_again() {
    let server = Server::new(|_| {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let body = r#"{"__type":"InvalidSignatureException","message":"wrong"}"#;
        (403, format!("Date: {date}\r\n"), body.to_owned())
    });
    let error = client(&server)
        .terminate_session("s", &limit())
        .unwrap_err();
    assert_eq!(error.failure().meaning, Meaning::Denied);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_data_key_with_its_context() {
    let key: Vec<u8> = (0..64).collect();
    let body =
        json!({"CiphertextBlob": "YmxvYg==", "Plaintext": STANDARD.encode(&key), "KeyId": "k"});
    let server = Server::fixed(200, &body.to_string());
    let client = client(&server);
    let made = client
        .generate_data_key("arn:k", "s-1", "i-0123", Some("Y2g="), &limit())
        .unwrap();
    assert_eq!(made.ciphertext, "YmxvYg==");
    assert_eq!(made.plaintext.to_vec(), key);
    client
        .generate_data_key("arn:k", "s-1", "i-0123", None, &limit())
        .unwrap();
    let asked = server.asked();
    assert!(is_signed(&asked[0], "kms"));
    assert_eq!(
        asked[0].header("x-amz-target"),
        "TrentService.GenerateDataKey"
    );
    let body: Value = serde_json::from_str(&asked[0].body).unwrap();
    let expected = json!({
        "KeyId": "arn:k",
        "NumberOfBytes": 64,
        "EncryptionContext": {
            "aws:ssm:SessionId": "s-1",
            "aws:ssm:TargetId": "i-0123",
            "aws:ssm:RandomChallenge": "Y2g=",
        },
    });
    assert_eq!(body, expected);
    assert!(!asked[1].body.contains("RandomChallenge"));
}

#[test]
fn a_key_of_the_wrong_length_and_kmss_refusal() {
    let body = json!({"CiphertextBlob": "YmxvYg==", "Plaintext": STANDARD.encode([0; 32])});
    let server = Server::fixed(200, &body.to_string());
    client(&server)
        .generate_data_key("k", "s", "i-1", None, &limit())
        .unwrap_err();
    let server = Server::fixed(
        400,
        r#"{"__type":"DisabledException","message":"arn:k is disabled."}"#,
    );
    let error = client(&server)
        .generate_data_key("k", "s", "i-1", None, &limit())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "GenerateDataKey failed: arn:k is disabled. (DisabledException)"
    );
}

#[test]
fn every_upgrade_is_signed_for_its_host() {
    let server = Server::fixed(200, "{}");
    let uri = "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/s-1?role=publish_subscribe&cell-number=AA%3D";
    let uri: http::Uri = uri.parse().unwrap();
    let headers = client(&server).sign_upgrade(&uri, &limit()).unwrap();
    let mut asked = Asked {
        method: "GET".to_owned(),
        target: uri.path_and_query().unwrap().to_string(),
        ..Asked::default()
    };
    asked
        .headers
        .insert("host".to_owned(), uri.host().unwrap().to_owned());
    for (name, value) in &headers {
        asked
            .headers
            .insert(name.to_string(), value.to_str().unwrap().to_owned());
    }
    assert!(is_signed(&asked, "ssmmessages"));
    assert!(
        asked
            .header("authorization")
            .contains("SignedHeaders=host;x-amz-date;x-amz-security-token,")
    );
    assert!(server.asked().is_empty());
}

#[test]
fn p48_nothing_that_is_shown_holds_a_secret() {
    let server = Server::fixed(
        200,
        r#"{"SessionId":"s","StreamUrl":"wss://x/","TokenValue":"opensesame"}"#,
    );
    let client = client(&server);
    let started = client
        .start_session(&StartRequest::default(), &limit())
        .unwrap();
    let resumed = client.resume_session("s", &limit()).unwrap();
    let shown = format!("{client:?} {started:?} {resumed:?}");
    for secret in [SECRET, TOKEN, "opensesame"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn no_region_is_told() {
    let environment = Environment::from([]);
    let network = Network::new(&environment, None).unwrap();
    let error = Api::new(
        ApiOptions::default(),
        &environment,
        &Configured::default(),
        network,
    )
    .unwrap_err();
    assert!(error.to_string().contains("AWS_REGION"), "{error}");
}

#[test]
fn a_client_is_for_every_thread() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Api>();
}
