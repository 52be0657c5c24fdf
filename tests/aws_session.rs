//! Sessions with a service that checks: signatures, new tokens, data keys; and what is kept from everybody.

mod support;

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::faults::{After, Cut, Ending, Faults};
use sandbox::{
    AgentConfig, Config, Credentials, Document, Event, KmsConfig, ProxyConfig, ProxyKind, Sandbox,
    SessionConfig,
};
use serde_json::{Value, json};
use support::{Finished, Io, Plugin, process_answer};

/// A command whose connection breaks once, after some output.
fn breaking() -> SessionConfig {
    let mut config = SessionConfig::from(Document::command("seq 1 20000"));
    config.to_client = Faults {
        cuts: VecDeque::from([Cut {
            after: After::Bytes(40_000),
            lose: 0,
            ending: Ending::bye(),
        }]),
        ..Faults::default()
    };
    config.agent.drain_timeout = support::TIMEOUT;
    config
}

fn assert_complete(finished: &Finished) {
    assert_eq!(
        finished.code(),
        0,
        "{} {}",
        finished.stdout,
        finished.stderr
    );
    let expected: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(
        finished.stdout.contains(&expected),
        "{} bytes",
        finished.stdout.len()
    );
}

/// Of every upgrade: by whom it was signed, and its `Host`.
fn upgrades(sandbox: &Sandbox) -> Vec<(Option<String>, String)> {
    let upgrades = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Upgrade {
                signed_by, headers, ..
            } => Some((signed_by, header(&headers, "host"))),
            _ => None,
        });
    upgrades.collect()
}

fn header(headers: &[(String, String)], name: &str) -> String {
    let found = headers
        .iter()
        .find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map_or_else(String::new, |(_, value)| value.clone())
}

/// The calls of an operation: who signed it, and what it said.
fn calls(sandbox: &Sandbox, wanted: &str) -> Vec<(Option<String>, Value)> {
    let calls = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Api {
                operation,
                signed_by,
                request,
                ..
            } if operation == wanted => Some((signed_by, request)),
            _ => None,
        });
    calls.collect()
}

fn program(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join("credentials");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A configuration file whose default profile asks a program.
fn process_config(directory: &Path, script: &str) -> PathBuf {
    let program = program(directory, script);
    let path = directory.join("config");
    fs::write(
        &path,
        format!("[default]\ncredential_process = {}\n", program.display()),
    )
    .unwrap();
    path
}

#[test]
fn p22_a_break_is_resumed_with_a_new_url_a_new_token_good_credentials_and_a_new_signature() {
    let key = |name: &str| Credentials {
        access_key_id: name.to_owned(),
        secret_access_key: format!("secret of {name}").replace(' ', "-"),
        session_token: None,
    };
    let [first, second] = [key("AKIAFIRST"), key("AKIASECOND")];
    let sandbox = Sandbox::start(Config {
        credentials: vec![first.clone(), second.clone()],
        ..Config::strict()
    });
    let sandbox = sandbox.unwrap();
    let mut config = breaking();
    let gateway = sandbox.gateway_host();
    let other_name = gateway.replace("127.0.0.1", "localhost");
    config.gateway.resume_host = Some(other_name.clone());
    let started = sandbox.start_session(config);
    let directory = tempfile::tempdir().unwrap();
    // One key at the first time, the other ever after: the source is not asked again while what it gave is good (P69).
    let (mark, first, second) = (
        directory.path().join("mark"),
        process_answer(&first),
        process_answer(&second),
    );
    let script = format!(
        "if mkdir {}; then echo '{first}'; else echo '{second}'; fi 2>/dev/null",
        mark.display()
    );
    let plugin = Plugin::new(&sandbox, &started)
        .env("AWS_CONFIG_FILE", process_config(directory.path(), &script))
        .env("AWS_ENDPOINT_URL_SSM", sandbox.api_url())
        .env(
            "SSM_PLUGIN_ALLOW_STREAM_HOST",
            format!("{gateway},{other_name}"),
        );
    let finished = plugin.stdin(Io::Null).run(b"");
    assert_complete(&finished);

    let by = |key: &str| Some(key.to_owned());
    assert_eq!(
        upgrades(&sandbox),
        [(by("AKIAFIRST"), gateway), (by("AKIAFIRST"), other_name)]
    );
    let resumes = calls(&sandbox, "ssm:ResumeSession");
    assert_eq!(
        resumes,
        [(by("AKIAFIRST"), json!({"SessionId": started.session.id()}))]
    );
    let tokens: Vec<String> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Opened {
                token,
                refused: None,
                ..
            } => Some(token),
            _ => None,
        })
        .collect();
    assert_eq!(tokens.len(), 2);
    assert_ne!(tokens[0], tokens[1]);
}

#[test]
fn p23_an_ecs_session_resumes_at_ssm() {
    const SSM: &str = "ssm.eu-central-1.amazonaws.com";
    let sandbox = Sandbox::start(Config {
        api_tls: true,
        certificate_names: vec![SSM.to_owned()],
        ..Config::strict()
    });
    let sandbox = sandbox.unwrap();
    let api = sandbox.api_url();
    let api = api.trim_start_matches("https://").trim_end_matches('/');
    let proxy = ProxyConfig {
        names: vec![(
            SSM.to_owned(),
            api.replace("localhost", "127.0.0.1").parse().unwrap(),
        )],
        ..ProxyConfig::new(ProxyKind::Connect)
    };
    let proxy = sandbox.start_proxy(proxy).unwrap();
    let callers = [
        (
            "https://ecs.eu-central-1.amazonaws.com",
            "ecs:cluster_task_runtime",
        ),
        ("http://127.0.0.1:1", "ecs:cluster_task_runtime"),
        (
            "wss://ssmmessages.eu-central-1.amazonaws.com/v1/data-channel/x",
            "i-0123456789abcdef0",
        ),
        ("", "i-0123456789abcdef0"),
    ];
    for (endpoint, target) in callers {
        let started = sandbox.start_session(breaking());
        let request = json!({ "Target": target }).to_string();
        let plugin = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .without("AWS_ENDPOINT_URL")
            .arguments(
                &started,
                &["{}", "eu-central-1", "StartSession", "", &request, endpoint],
            )
            .env("HTTPS_PROXY", format!("http://{proxy}"));
        let finished = plugin.stdin(Io::Null).run(b"");
        assert_complete(&finished);
    }
    let asked: Vec<String> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Proxy { destination, .. } => Some(destination),
            _ => None,
        })
        .collect();
    assert_eq!(asked, vec![format!("{SSM}:443"); callers.len()]);
}

#[test]
fn p26_without_credentials_the_dial_is_unsigned_and_quick() {
    // Takes connections, and never says a word.
    let metadata = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", metadata.local_addr().unwrap());
    let sandbox = support::sandbox();
    let started = sandbox.start_session(Document::command("echo it works"));
    let begin = std::time::Instant::now();
    let finished = Plugin::new(&sandbox, &started)
        .without("AWS_EC2_METADATA_DISABLED")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
        .stdin(Io::Null)
        .run(b"");
    assert!(finished.stdout.contains("it works"), "{}", finished.stderr);
    assert_eq!(finished.code(), 0);
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(upgrades(&sandbox), [(None, sandbox.gateway_host())]);
}

#[test]
fn p25_a_dial_that_is_refused_for_want_of_credentials_says_so() {
    let sandbox = Sandbox::start(Config::strict()).unwrap();
    let started = sandbox.start_session(Document::command("true"));
    let finished = Plugin::new(&sandbox, &started).stdin(Io::Null).run(b"");
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stderr.contains("403") && finished.stderr.contains("not signed"),
        "{}",
        finished.stderr
    );
    assert_eq!(upgrades(&sandbox).len(), 1, "the same again would not help");
}

#[test]
fn p27_a_presigned_url_is_neither_signed_nor_resumed() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(breaking());
    let mut response = started.response();
    let url = response["StreamUrl"].as_str().unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    response["StreamUrl"] =
        format!("{url}{mark}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00").into();
    let finished = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .env("AWS_SSM_START_SESSION_RESPONSE", response.to_string())
        .stdin(Io::Null)
        .run(b"");
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    let authorizations: Vec<String> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Upgrade { headers, .. } => Some(header(&headers, "authorization")),
            _ => None,
        })
        .collect();
    assert_eq!(authorizations, [""]);
    assert!(calls(&sandbox, "ssm:ResumeSession").is_empty());
}

#[test]
fn a_clock_that_is_off_is_put_right() {
    for ahead in [true, false] {
        let sandbox = Sandbox::start(Config {
            clock_skew: Some((ahead, Duration::from_secs(3600))),
            ..Config::strict()
        });
        let sandbox = sandbox.unwrap();
        let started = sandbox.start_session(breaking());
        let finished = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .stdin(Io::Null)
            .run(b"");
        assert_complete(&finished);
    }
}

#[test]
fn p48_no_secret_in_the_log_the_errors_the_arguments_or_a_childs_environment() {
    let sandbox = Sandbox::start(Config::strict()).unwrap();
    let credentials = sandbox.credentials().clone();
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("environment");
    let script = format!(
        "env > {}; echo '{}'",
        seen.display(),
        process_answer(&credentials)
    );
    let log = directory.path().join("log");
    let started = sandbox.start_session(SessionConfig {
        agent: AgentConfig {
            kms: Some(KmsConfig::default()),
            environment: vec![("PS1".to_owned(), "$ ".to_owned())],
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    let plugin = Plugin::new(&sandbox, &started)
        .env("AWS_CONFIG_FILE", process_config(directory.path(), &script))
        .env("AWS_ENDPOINT_URL", sandbox.api_url())
        .env("SSM_PLUGIN_LOG", "trace")
        .env("SSM_PLUGIN_LOG_FILE", &log)
        .terminal()
        .spawn();
    plugin.terminal.wait_for("$ ");
    let process = PathBuf::from(format!("/proc/{}", plugin.pid.as_raw_nonzero()));
    let arguments = fs::read_to_string(process.join("cmdline")).unwrap();
    assert!(started.session.end_connection(Ending::bye()));
    assert!(started.session.wait_for_connection(2, support::TIMEOUT));
    plugin.type_in(b"exit\r");
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{}", finished.terminal);

    let log = fs::read_to_string(log).unwrap();
    let environment = fs::read_to_string(seen).unwrap();
    assert!(log.contains("credentials with key"), "{log}");
    assert!(environment.contains("HOME="), "{environment}");
    let mut secrets = started.session.tokens();
    secrets.push(credentials.secret_access_key);
    secrets.push("Signature=".to_owned());
    let url = started.response()["StreamUrl"].as_str().unwrap().to_owned();
    secrets.extend(url.split_once('?').map(|(_, query)| query.to_owned()));
    for (place, text) in [
        ("log", &log),
        ("arguments", &arguments),
        ("environment", &environment),
        ("terminal", &finished.terminal),
    ] {
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
    }
    assert!(!environment.contains("AWS_SSM_START_SESSION_RESPONSE"));
}
