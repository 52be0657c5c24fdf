//! `doctor` on working and on broken set-ups, by the built program.

#[path = "../support/mod.rs"]
mod support;

mod beside;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use sandbox::{
    Config, Failure, ProxyBehaviour, ProxyConfig, ProxyKind, Sandbox, Target, TargetState,
};
use serde_json::Value;
use support::{Finished, Io, Plugin, free_port, requests};

fn sandbox_with(change: impl FnOnce(&mut Config)) -> Sandbox {
    let mut config = Config {
        api_tls: true,
        targets: vec![Target::new(1, "web-1")],
        ..Config::default()
    };
    change(&mut config);
    Sandbox::start(config).expect("a sandbox")
}

fn sandbox() -> Sandbox {
    sandbox_with(|_| ())
}

/// With the sandbox's gateway in place of ssmmessages.
fn plugin(sandbox: &Sandbox, arguments: &[&str]) -> Plugin {
    Plugin::bare([&["doctor"], arguments].concat())
        .with_api(sandbox)
        .env("AWS_CA_BUNDLE", sandbox.ca_file())
        .env("SSM_PLUGIN_STREAM_ENDPOINT", sandbox.gateway_host())
        .stdin(Io::Null)
}

/// The result of a step.
fn check(finished: &Finished, name: &str) -> (String, String) {
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let lines = finished.stdout.lines();
    let found = lines
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {finished:?}"));
    let all = format!("{} {}", text(&found, "detail"), text(&found, "next_step"));
    (text(&found, "result"), all)
}

/// Runs `doctor`, asserts the result of one step, and returns all of them.
fn expect(plugin: Plugin, code: i32, name: &str, result: &str, texts: &[&str]) -> Finished {
    let start = Instant::now();
    let finished = plugin.spawn().finish();
    assert_eq!(finished.code(), code, "{finished:?}");
    let (found, detail) = check(&finished, name);
    assert_eq!(found, result, "{name}: {detail}");
    for text in texts {
        assert!(detail.contains(text), "{text:?} is not in {detail:?}");
    }
    // Every step has a bound, and they run side by side.
    assert!(start.elapsed() < Duration::from_secs(45));
    finished
}

#[test]
fn all_is_well() {
    let sandbox = sandbox();
    let json = expect(
        plugin(&sandbox, &["--json", "--target", "web-1"]),
        0,
        "session",
        "ok",
        &["started and ended"],
    );
    for (name, text) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("variables", "AWS_ACCESS_KEY_ID"),
        ("roots", "AWS_CA_BUNDLE"),
        ("region", "eu-central-1"),
        ("endpoints", "ssmmessages at 127.0.0.1:"),
        ("proxy", "ssm directly"),
        ("ssm", "TLS"),
        ("ssmmessages", "TLS"),
        ("clock", "as the service's"),
        ("credentials", "the environment's variables"),
        ("identity", "arn:aws:iam::111122223333:user/sandbox"),
        ("target", "Online"),
        ("agent", "3.3.0.0"),
        ("terminal", "none"),
        ("limits", "descriptors"),
    ] {
        let (result, detail) = check(&json, name);
        assert_eq!(result, "ok", "{name}: {detail}");
        assert!(detail.contains(text), "{name}: {detail}");
    }
    assert_eq!(
        json.stdout.lines().last(),
        Some(r#"{"event":"end","code":0}"#)
    );
    assert_eq!(requests(&sandbox, "ssm:TerminateSession").len(), 1);

    let text = plugin(&sandbox, &[]).spawn().finish();
    assert_eq!(text.code(), 0, "{text:?}");
    assert!(
        text.stdout.contains("ok       identity     arn:"),
        "{text:?}"
    );
    assert!(
        text.stdout.ends_with("\nNothing stands in the way.\n"),
        "{text:?}"
    );
    for finished in [json, text] {
        let secret = &sandbox.credentials().secret_access_key;
        assert!(!format!("{finished:?}").contains(secret));
    }
}

#[test]
fn no_credentials() {
    let sandbox = sandbox();
    let plugin = plugin(&sandbox, &["--json", "--target", "web-1"])
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY");
    let finished = expect(
        plugin,
        1,
        "credentials",
        "problem",
        &["were found", "aws configure"],
    );
    assert_eq!(check(&finished, "ssm").0, "ok");
    assert!(
        !finished.stdout.contains("\"session\""),
        "nothing can be asked: {finished:?}"
    );
}

#[test]
fn credentials_that_are_over() {
    let sandbox = sandbox();
    let over =
        plugin(&sandbox, &["--json"]).env("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z");
    expect(
        over,
        1,
        "credentials",
        "problem",
        &["expired", "ago", "aws sso login"],
    );
    let failure = Failure::error(
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    sandbox.fail_next("GetCallerIdentity", 1, failure);
    let plugin = plugin(&sandbox, &["--json", "--profile", "work"]).env("AWS_CONFIG_FILE", {
        let path = sandbox.ca_file().with_file_name("config");
        std::fs::write(&path, "[profile work]\nregion = eu-central-1\n").unwrap();
        path
    });
    expect(
        plugin,
        1,
        "identity",
        "problem",
        &["ExpiredToken", "aws sso login --profile work"],
    );
}

#[test]
fn a_clock_that_is_ten_minutes_off() {
    for (is_ahead, word) in [(true, "behind"), (false, "ahead of")] {
        let sandbox = sandbox_with(|config| {
            config.clock_skew = Some((is_ahead, Duration::from_secs(600)));
        });
        let finished = expect(
            plugin(&sandbox, &["--json"]),
            0,
            "clock",
            "warning",
            &[word, "refuses signatures", "set-ntp"],
        );
        // Ours are put right.
        assert_eq!(check(&finished, "identity").0, "ok");
    }
}

#[test]
fn proxies_that_refuse_or_are_not_there() {
    let sandbox = sandbox();
    let proxy = sandbox
        .start_proxy(ProxyConfig {
            behaviour: ProxyBehaviour::Refuse,
            ..ProxyConfig::new(ProxyKind::Connect)
        })
        .unwrap();
    let nobody = ([127, 0, 0, 1], free_port()).into();
    for (address, texts) in [
        (proxy, &["403", "allow CONNECT to ssmmessages.example:443"]),
        (nobody, &["refused the connection", "NO_PROXY"]),
    ] {
        // What is on this machine never goes through a proxy.
        let plugin = plugin(&sandbox, &["--json"])
            .env("SSM_PLUGIN_STREAM_ENDPOINT", "ssmmessages.example:443")
            .env("HTTPS_PROXY", format!("http://me:geheim@{address}"));
        let finished = expect(plugin, 1, "ssmmessages", "problem", texts);
        assert!(
            check(&finished, "proxy")
                .1
                .contains("ssmmessages through http://127.0.0.1")
        );
        assert!(!finished.stdout.contains("geheim"), "{finished:?}");
    }
    let wrong = plugin(&sandbox, &["--json"]).env("HTTPS_PROXY", "ftp://me:geheim@proxy");
    let finished = expect(
        wrong,
        1,
        "proxy",
        "problem",
        &["HTTPS_PROXY", "correct the variable"],
    );
    assert!(!finished.stdout.contains("geheim"), "{finished:?}");
}

#[test]
fn an_authority_that_is_unknown() {
    let (sandbox, other) = (sandbox(), sandbox());
    let strange = plugin(&sandbox, &["--json"]).env("AWS_CA_BUNDLE", other.ca_file());
    expect(
        strange,
        1,
        "ssm",
        "problem",
        &["certificate", "AWS_CA_BUNDLE"],
    );
    let missing = plugin(&sandbox, &["--json"]).env("AWS_CA_BUNDLE", "/nowhere/ca.pem");
    expect(
        missing,
        1,
        "roots",
        "problem",
        &["AWS_CA_BUNDLE", "/nowhere/ca.pem"],
    );
}

#[test]
fn a_name_that_has_no_address() {
    let sandbox = sandbox();
    let plugin =
        plugin(&sandbox, &["--json"]).env("SSM_PLUGIN_STREAM_ENDPOINT", "ssmmessages.invalid");
    expect(
        plugin,
        1,
        "ssmmessages",
        "problem",
        &["no address", "ssmmessages.invalid", "interface endpoint"],
    );
}

#[test]
fn a_port_that_never_answers() {
    let sandbox = sandbox();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plugin = plugin(&sandbox, &["--json"]).env(
        "SSM_PLUGIN_STREAM_ENDPOINT",
        silent.local_addr().unwrap().to_string(),
    );
    expect(
        plugin,
        1,
        "ssmmessages",
        "problem",
        &[
            "did not answer in time (the TLS handshake)",
            "before: connection",
            "allow TCP to 127.0.0.1 port",
        ],
    );
}

#[test]
fn a_port_that_nobody_listens_on() {
    let sandbox = sandbox();
    let url = format!("https://127.0.0.1:{}", free_port());
    let plugin = plugin(&sandbox, &["--json"]).env("AWS_ENDPOINT_URL_SSM", url);
    expect(
        plugin,
        1,
        "ssm",
        "problem",
        &["refused the connection", "firewall"],
    );
}

#[test]
fn a_target_that_cannot_be_looked_up_is_not_said_to_be_denied() {
    let sandbox = sandbox();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for (target, result) in [("web-1", "problem"), ("i-00000000000000001", "warning")] {
        let plugin = plugin(&sandbox, &["--json", "--target", target]);
        let plugin = plugin.env("AWS_ENDPOINT_URL_SSM", &nobody);
        let finished = expect(plugin, 1, "target", result, &["see whether ssm is reached"]);
        let (_, detail) = check(&finished, "target");
        assert!(!detail.contains("allowed"), "{detail}");
    }
}

#[test]
fn a_target_that_is_offline_or_unknown() {
    let sandbox = sandbox();
    sandbox.change_target("i-00000000000000001", |target| {
        target.state = TargetState::ConnectionLost;
    });
    let offline = plugin(&sandbox, &["--json", "--target", "i-00000000000000001"]);
    let finished = expect(
        offline,
        1,
        "target",
        "problem",
        &["ConnectionLost", "amazon-ssm-agent"],
    );
    let (result, detail) = check(&finished, "session");
    assert_eq!(result, "problem");
    assert!(detail.contains("TargetNotConnected"), "{detail}");
    let unknown = plugin(&sandbox, &["--json", "--target", "i-0abc"]);
    expect(
        unknown,
        1,
        "target",
        "problem",
        &["no managed node", "AmazonSSMManagedInstanceCore"],
    );
    let by_name = plugin(&sandbox, &["--json"]).env("SSM_PLUGIN_TARGET", "web-2");
    expect(by_name, 1, "target", "problem", &["web-2", "list"]);
}

#[test]
fn an_agent_that_is_too_old() {
    let sandbox = sandbox();
    sandbox.change_target("i-00000000000000001", |target| {
        target.agent_version = "3.0.161.0".to_owned();
    });
    let old = plugin(&sandbox, &["--json", "--target", "web-1"]);
    expect(
        old,
        0,
        "agent",
        "warning",
        &[
            "3.0.161.0",
            "too old for",
            "ports of other hosts",
            "AWS-UpdateSSMAgent",
        ],
    );
}

#[test]
fn start_session_denied() {
    let sandbox = sandbox();
    sandbox.change_target("i-00000000000000001", |target| target.is_denied = true);
    let denied = plugin(&sandbox, &["--json", "--target", "web-1"]);
    expect(
        denied,
        1,
        "session",
        "problem",
        &[
            "AccessDenied",
            "ssm:StartSession",
            "SSM-SessionManagerRunShell",
        ],
    );
    // Without permission to look nodes up sessions can be started all the same.
    let sandbox = sandbox_with(|_| ());
    sandbox.fail_next("DescribeInstanceInformation", 1, Failure::access_denied());
    let blind = plugin(&sandbox, &["--json", "--target", "i-00000000000000001"]);
    let finished = expect(
        blind,
        0,
        "target",
        "warning",
        &["ssm:DescribeInstanceInformation"],
    );
    assert_eq!(check(&finished, "session").0, "ok");
}

#[test]
fn no_region_and_a_profile_that_is_not_there() {
    let sandbox = sandbox();
    let nowhere = plugin(&sandbox, &["--json"])
        .without("AWS_REGION")
        .without("AWS_DEFAULT_REGION");
    expect(
        nowhere,
        1,
        "region",
        "problem",
        &["no region", "AWS_REGION"],
    );
    let nobody = plugin(&sandbox, &["--json", "--profile", "gone"]);
    expect(nobody, 1, "files", "problem", &["gone", "--profile"]);
}

#[test]
fn few_descriptors() {
    let sandbox = sandbox();
    let few = plugin(&sandbox, &["--json"]).before("ulimit -n 60");
    expect(
        few,
        0,
        "limits",
        "warning",
        &["60 descriptors", "ulimit -n"],
    );
}
