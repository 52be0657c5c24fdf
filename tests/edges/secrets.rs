//! Services, proxies and gateways that repeat secrets: none is shown or logged.

use std::fs;
use std::io::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox::{Document, SessionConfig};
use serde_json::json;

use crate::support::api::Script;
use crate::support::gateway::{Answer, Gateway};
use crate::support::{Finished, Plugin, sandbox};

const SESSION_TOKEN: &str =
    "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJH+confidential/session+token==";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYconfidentialkey";
const TOKEN_VALUE: &str = "AAEAAbConfidentialTokenValue/+1234567890abcdefghijklmnopqrstuvwxyz==";
const CELL: &str = "AAEAAZConfidentialCellNumber0123456789";

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Called with secrets of every kind, and a log of everything.
struct Secretive {
    plugin: Plugin,
    folder: tempfile::TempDir,
}

impl Secretive {
    fn new(plugin: Plugin) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plugin = plugin
            .env("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_SESSION_TOKEN", SESSION_TOKEN)
            .env("AWS_REGION", "eu-west-1")
            .env("SSM_PLUGIN_LOG", "trace")
            .env("SSM_PLUGIN_LOG_FILE", folder.path().join("log"));
        Self { plugin, folder }
    }

    /// Runs it to its end; all that it said and logged, in which no part of a secret may be.
    fn run(self, more: &[&str]) -> (Finished, String) {
        let finished = self.plugin.run(b"");
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let all = format!("{}{}{}", finished.stdout, finished.stderr, log);
        let squeezed: String = all.split_whitespace().collect();
        let secrets = [SESSION_TOKEN, SECRET_KEY, TOKEN_VALUE, CELL];
        for secret in secrets.iter().chain(more) {
            for form in [
                (*secret).to_owned(),
                encoded(secret),
                secret.replace('/', "\\/"),
            ] {
                for at in (0..form.len() - 20).step_by(10) {
                    let part = &form[at..at + 20];
                    assert!(!squeezed.contains(part), "{part} in {all}");
                }
            }
        }
        (finished, all)
    }
}

/// An error message that repeats all secrets of a request, in every form.
fn canonical(head: &str) -> String {
    format!(
        "The request signature we calculated does not match. The Canonical String for this request should have been 'POST / {head} \
         X-Amz-Security-Token={} {SECRET_KEY} \\/ {}'",
        encoded(SESSION_TOKEN),
        SESSION_TOKEN.replace('/', "\\/"),
    )
}

#[test]
fn p89_what_an_api_repeats_is_hidden() {
    for (status, code) in [
        (403, "InvalidSignatureException"),
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
    ] {
        let api = Script::new(move |head, socket| {
            let body = json!({"__type": code, "message": canonical(head)}).to_string();
            let length = body.len();
            let _ = write!(
                socket,
                "HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        });
        let plugin = Plugin::bare(["exec", "--target", "i-1", "--", "true"]);
        let (finished, _) = Secretive::new(plugin.env("AWS_ENDPOINT_URL", api.url())).run(&[]);
        assert_eq!(finished.code(), 1);
        assert!(
            finished.stderr.contains(code) && finished.stderr.contains("(hidden)"),
            "{finished:?}"
        );
    }
}

#[test]
fn p89_what_sts_repeats_is_hidden() {
    let api = Script::new(|head, socket| {
        let words = canonical(head).replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>{words}</Message></Error></ErrorResponse>"
        );
        let length = body.len();
        let _ = write!(
            socket,
            "HTTP/1.1 403 No\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    });
    let plugin = Plugin::bare(["exec", "--target", "i-1", "--profile", "p", "--", "true"]);
    let config = "[profile p]\nrole_arn = arn:aws:iam::111122223333:role/r\ncredential_source = Environment\n";
    fs::create_dir(plugin.home().join(".aws")).expect("a folder");
    fs::write(plugin.home().join(".aws/config"), config).expect("a file");
    let (finished, _) = Secretive::new(plugin.env("AWS_ENDPOINT_URL", api.url())).run(&[]);
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stderr.contains("SignatureDoesNotMatch"),
        "{finished:?}"
    );
}

#[test]
fn p89_what_a_proxy_repeats_is_hidden() {
    const PASSWORD: &str = "a-very-confidential-password-of-a-proxy";
    let proxy = Script::new(|head, socket| {
        let login = head
            .lines()
            .find(|line| line.starts_with("Proxy-Authorization"));
        let _ = write!(
            socket,
            "HTTP/1.1 403 {} {PASSWORD}\r\n\r\n",
            login.unwrap_or_default()
        );
    });
    let plugin = Plugin::bare(["exec", "--target", "i-1", "--", "true"]);
    let url = format!("http://me:{PASSWORD}@{}", proxy.host());
    let basic = "bWU6YS12ZXJ5LWNvbmZpZGVudGlhbC1wYXNzd29yZC1vZi1hLXByb3h5";
    let (finished, _) = Secretive::new(plugin.env("HTTPS_PROXY", url)).run(&[PASSWORD, basic]);
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stderr.contains("refused to connect us"),
        "{finished:?}"
    );
}

#[test]
fn p89_what_a_gateway_repeats_is_hidden() {
    let gateway = Gateway::start(|dial| {
        if dial.number == 0 {
            let peer = dial.accept()?;
            peer.output(b"hello\r\n")?;
            // As much as fits into a reason.
            return peer.close(1008, &format!("{TOKEN_VALUE} {}", &SESSION_TOKEN[20..60]));
        }
        let head = dial.head.clone();
        dial.refuse(403, &format!("{head} {TOKEN_VALUE} {}", encoded(CELL)))
    });
    let mut response = gateway.response();
    let url = response["StreamUrl"].as_str().expect("a URL").to_owned();
    response["StreamUrl"] = format!("{url}&cell-number={CELL}").into();
    response["TokenValue"] = TOKEN_VALUE.into();
    let plugin = gateway.plugin();
    let plugin = plugin.env("AWS_SSM_START_SESSION_RESPONSE", response.to_string());
    let (finished, all) = Secretive::new(plugin).run(&[]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(all.contains("1008 (hidden)"), "{all}");
    assert!(finished.stderr.contains("403"), "{finished:?}");
}

#[test]
fn p89_what_an_agents_last_words_repeat_is_hidden_by_each_of_our_own_commands() {
    const SECRET: &str = "secret/key/that/opens/nothing";
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        peer.channel_closed(&format!("no {SECRET} token-of-own"))?;
        peer.serve()
    });
    let mut response = gateway.response();
    response["TokenValue"] = "token-of-own-session".into();
    gateway
        .api
        .on("StartSession", move |_| Answer::Json(200, response.clone()));
    let target = ["--target", "i-0123456789abcdef0"];
    let commands: [&[&str]; 8] = [
        &["start-session"],
        &["exec", "--", "true"],
        &["exec", "--json", "--", "true"],
        &["exec", "-i", "--", "true"],
        &["port-forward", "--once", "80"],
        &["ssh-proxy", "--port", "22"],
        &["cp", "/etc/hostname", "i-0123456789abcdef0:/nowhere/at/all"],
        &[
            "cp",
            "--json",
            "/etc/hostname",
            "i-0123456789abcdef0:/nowhere/at/all",
        ],
    ];
    for command in commands {
        let mut arguments = vec![command[0]];
        if command[0] != "cp" {
            arguments.extend(target);
        }
        arguments.extend(&command[1..]);
        let finished = gateway
            .plugin()
            .without("AWS_SSM_START_SESSION_RESPONSE")
            .env("AWS_REGION", "eu-central-1")
            .called_with(&arguments)
            .run(b"");
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(all.contains("no (hidden)"), "{command:?}: {finished:?}");
        assert!(!all.contains(SECRET), "{command:?}: {finished:?}");
    }
}

#[test]
fn p89_what_the_last_words_and_the_customers_message_repeat_is_hidden() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::command("sleep 60"));
    config.agent.handshake = Some(true);
    let started = sandbox.start_session(config);
    let token = started.token_value.clone();
    let running = Plugin::new(&sandbox, &started).spawn();
    running.stdout.wait_for("Starting session");
    started
        .session
        .terminate(&format!("the token {token} is no more"));
    let finished = running.finish();
    assert!(
        finished.stdout.contains("the token (hidden) is no more"),
        "{finished:?}"
    );
    assert!(!finished.stdout.contains(&token), "{finished:?}");
}

#[test]
fn p89_the_end_of_a_token_that_is_longer_than_any_is_hidden() {
    let numbers =
        (0_u64..).map(|number| format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut token = String::new();
    numbers
        .take_while(|number| {
            token.push_str(number);
            token.len() < 100_000
        })
        .for_each(drop);
    let parts = [
        token[16_300..16_600].to_owned(),
        token[token.len() - 200..].to_owned(),
    ];
    let words = parts.join(" and ");
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.channel_closed(&words)?;
        peer.serve()
    });
    let mut response = gateway.response();
    response["TokenValue"] = token.into();
    let plugin = gateway
        .plugin()
        .env("AWS_SSM_START_SESSION_RESPONSE", response.to_string());
    let (finished, _) = Secretive::new(plugin).run(&[&parts[0], &parts[1]]);
    assert!(finished.stdout.contains("(hidden)"), "{finished:?}");
}
