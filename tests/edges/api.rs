//! APIs, proxies and gateways that answer with anything, without end.

use std::fs;
use std::io::Write;
use std::thread;

use serde_json::json;

use crate::support::api::Script;
use crate::support::{Finished, Plugin, sandbox};
use crate::usage::watch;

/// Runs it to its end, which must be exit code 1, and fails if it uses too much until then.
fn refuses(what: &str, plugin: Plugin) -> Finished {
    let running = plugin.spawn();
    let usage = watch(&running);
    let finished = running.finish();
    eprintln!("{what}: {usage:?}: {}", finished.stderr.trim());
    assert_eq!(finished.code(), 1, "{what}: {finished:?}");
    finished
}

fn exec() -> Plugin {
    Plugin::bare(["exec", "--target", "i-1", "--", "true"])
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "eu-west-1")
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn p78_an_endless_answer_costs_neither_memory_nor_time() {
    let long = "e".repeat(300);
    let floods = [
        (
            "",
            format!("HTTP/1.1 100 Continue\r\nX-Pad: {long}\r\n\r\n"),
        ),
        ("HTTP/1.1 200 OK\r\n", format!("A: {long}\r\n")),
        (CHUNKED, format!("1;{long}\r\nx\r\n")),
        (CHUNKED, "1\r\nx\r\n".to_owned()),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            format!("A: {long}\r\n"),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", long.clone()),
    ];
    thread::scope(|scope| {
        for (beginning, again) in floods {
            scope.spawn(move || {
                let api = Script::flood(beginning, again);
                let finished = refuses("an API", exec().env("AWS_ENDPOINT_URL", api.url()));
                assert!(
                    finished.stderr.contains("StartSession failed"),
                    "{finished:?}"
                );
            });
        }
    });
}

#[test]
fn p78_a_proxys_endless_answer_is_none() {
    for (beginning, again) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        ("HTTP/1.1 200 OK\r\n", format!("A: {}\r\n", "e".repeat(300))),
        ("HTTP/1.1 200 OK\r\nA: ", "e".repeat(300)),
    ] {
        let proxy = Script::flood(beginning, again);
        let finished = refuses("a proxy", exec().env("HTTPS_PROXY", proxy.url()));
        assert!(
            finished.stderr.contains("the proxy http://"),
            "{finished:?}"
        );
    }
}

#[test]
fn p78_an_endless_answer_to_the_upgrade_is_none() {
    for (beginning, again) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        (
            "HTTP/1.1 101 Switching Protocols\r\n",
            format!("A: {}\r\n", "e".repeat(300)),
        ),
        ("HTTP/1.1 101 Switching Protocols\r\nA: ", "e".repeat(300)),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "e".repeat(300)),
    ] {
        let gateway = Script::flood(beginning, again);
        let url = format!(
            "ws://{}/v1/data-channel/s?role=publish_subscribe",
            gateway.host()
        );
        let response =
            json!({"SessionId": "s-1", "StreamUrl": url, "TokenValue": "token"}).to_string();
        let plugin = Plugin::bare([&response, "eu-west-1", "StartSession"])
            .env("SSM_PLUGIN_ALLOW_STREAM_HOST", gateway.host())
            .env("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true");
        refuses("a gateway", plugin);
    }
}

/// A profile for single sign-on whose token has expired, and can be refreshed.
fn sso(api: &str) -> Plugin {
    let plugin = exec()
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .env("AWS_PROFILE", "p")
        .env("AWS_ENDPOINT_URL", api);
    let config = "[profile p]\nsso_session = s\nsso_account_id = 111122223333\nsso_role_name = r\n\
        [sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://x.awsapps.com/start\n";
    let token = json!({
        "accessToken": "old-access-token", "expiresAt": "2020-01-01T00:00:00Z", "refreshToken": "old-refresh-token",
        "clientId": "client", "clientSecret": "old-client-secret", "registrationExpiresAt": "2100-01-01T00:00:00Z",
    });
    let cache = plugin.home().join(".aws/sso/cache");
    fs::create_dir_all(&cache).expect("a directory");
    fs::write(plugin.home().join(".aws/config"), config).expect("a file");
    fs::write(cache.join(SESSION_FILE), token.to_string()).expect("a file");
    plugin
}

/// SHA-1 of `s`.
const SESSION_FILE: &str = "a0f1490a20d0211c997b44bc357e1972deab8ae3.json";

#[test]
fn p93_a_lifetime_beyond_all_times_is_a_long_one() {
    for expires_in in [
        1_u64 << 53,
        (1 << 53) + 1,
        1 << 62,
        i64::MAX as u64,
        u64::MAX,
    ] {
        let answer = move |head: &str| {
            if head.starts_with("POST /token") {
                (
                    200,
                    json!({"accessToken": "new-access-token", "expiresIn": expires_in}),
                )
            } else if head.starts_with("GET /federation/credentials") {
                let keys = json!({"accessKeyId": "ASIAX", "secretAccessKey": "y", "sessionToken": "z", "expiration": u64::MAX});
                (200, json!({ "roleCredentials": keys }))
            } else {
                (
                    400,
                    json!({"__type": "TargetNotConnected", "message": "i-1 is not connected."}),
                )
            }
        };
        let api = Script::new(move |head, socket| {
            let (status, body) = answer(head);
            let body = body.to_string();
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = socket.write_all(text.as_bytes());
        });
        let running = sso(&api.url()).spawn();
        running.close_stdin();
        running.wait();
        let kept = running.home().join(".aws/sso/cache").join(SESSION_FILE);
        let kept = fs::read_to_string(kept).expect("the token");
        let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
        assert_eq!(kept["accessToken"], "new-access-token");
        let expires = kept["expiresAt"].as_str().expect("a moment");
        assert!(expires.starts_with("202"), "{expires}");
        let finished = running.finish();
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(finished.stderr.contains("is not connected"), "{finished:?}");
    }
}

#[test]
fn p94_clear_text_to_other_hosts_is_said_once() {
    let elsewhere = exec()
        .env("AWS_ENDPOINT_URL", "http://nowhere.invalid:4566")
        .run(b"");
    assert_eq!(elsewhere.code(), 1);
    let said = |finished: &Finished| finished.stderr.matches("goes out unencrypted").count();
    assert_eq!(said(&elsewhere), 1, "{elsewhere:?}");
    assert!(
        elsewhere.stderr.contains("nowhere.invalid:4566"),
        "{elsewhere:?}"
    );
    let sandbox = sandbox();
    let here = Plugin::bare(["exec", "--target", "i-0123456789abcdef0", "--", "true"])
        .with_api(&sandbox)
        .run(b"");
    assert_eq!((here.code(), said(&here)), (0, 0), "{here:?}");
    let imds = Plugin::bare(["exec", "--target", "i-1", "--", "true"])
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .env(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "http://nowhere.invalid",
        )
        .run(b"");
    assert_eq!((imds.code(), said(&imds)), (1, 1), "{imds:?}");
    // By the contract too, where nothing is called yet.
    let started = sandbox.start_session(sandbox::Document::command("echo done"));
    let called = Plugin::new(&sandbox, &started)
        .env("AWS_ENDPOINT_URL_KMS", "http://nowhere.invalid")
        .run(b"");
    assert_eq!((called.code(), said(&called)), (0, 1), "{called:?}");
}

#[test]
fn p94_secrets_of_single_sign_on_never_go_in_the_clear() {
    let finished = sso("http://nowhere.invalid").run(b"");
    assert_eq!(finished.code(), 1);
    assert!(finished.stderr.contains("single sign-on"), "{finished:?}");
    assert!(
        finished.stderr.contains("is not encrypted: its tokens"),
        "{finished:?}"
    );
}
