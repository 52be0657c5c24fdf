//! What takes its time is told.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;
use sandbox::{Document, Sandbox};
use serde_json::json;

use crate::support::{Io, Plugin, Running, process_answer, strict_sandbox};

fn exec(sandbox: &Sandbox) -> Plugin {
    Plugin::bare(["exec", "--target", "i-1", "--", "echo", "it works"])
        .with_api(sandbox)
        .stdin(Io::Null)
}

const ROLE: &str = "[profile p]\nrole_arn=arn:aws:iam::111122223333:role/x\nsource_profile=base\n\
                    [profile base]\naws_access_key_id=a\naws_secret_access_key=b\n";
const SSO: &str = "[profile p]\nsso_session=corp\nsso_account_id=111122223333\nsso_role_name=Ops\n\
                   [sso-session corp]\nsso_region=eu-central-1\nsso_start_url=https://corp.example/start\n";
/// SHA-1 of `corp`.
const SSO_CACHE: &str = "sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";

#[test]
fn p107_what_is_waited_for_is_told_after_3_seconds() {
    let sandbox = strict_sandbox();
    // Takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    fs::create_dir_all(aws.join("sso/cache")).unwrap();
    let token = json!({"accessToken": "t", "expiresAt": "2100-01-01T00:00:00Z"});
    fs::write(aws.join(SSO_CACHE), token.to_string()).unwrap();
    let configured = |name: &str, text: &str| {
        let file = home.path().join(name);
        fs::write(&file, text).unwrap();
        exec(&sandbox)
            .without_keys()
            .env("HOME", home.path())
            .env("AWS_CONFIG_FILE", file)
            .env("AWS_PROFILE", "p")
    };
    let process = "[profile p]\ncredential_process=sleep 50\n";
    let started = sandbox.start_session(Document::Shell);
    let called = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .without_keys()
        .env("HOME", home.path())
        .env("AWS_CONFIG_FILE", home.path().join("process"))
        .env("AWS_PROFILE", "p");
    let host = silent.trim_start_matches("http://").to_owned();
    let response =
        json!({"SessionId": "s-1", "TokenValue": "t", "StreamUrl": format!("ws://{host}/")});
    let dialling = Plugin::bare([&response.to_string(), "eu-central-1", "StartSession"])
        .env("SSM_PLUGIN_ALLOW_STREAM_HOST", host);
    let cases: [(Plugin, &str); 9] = [
        (dialling, "waiting for 127.0.0.1, up to 30 s"),
        (
            configured("process", process),
            "waiting for credential_process of the profile p, up to 60 s",
        ),
        (
            called,
            "waiting for credential_process of the profile p, up to 60 s",
        ),
        (
            configured("role", ROLE).env("AWS_ENDPOINT_URL_STS", &silent),
            "waiting for the role of profile p, up to 10 s",
        ),
        (
            configured("sso", SSO).env("AWS_ENDPOINT_URL_SSO", &silent),
            "waiting for the single sign-on of profile p, up to 10 s",
        ),
        (
            exec(&sandbox)
                .without_keys()
                .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{silent}/x")),
            "waiting for the container's credentials, up to 10 s",
        ),
        (
            exec(&sandbox).env("AWS_ENDPOINT_URL_SSM", &silent),
            "waiting for StartSession, up to 90 s",
        ),
        (
            Plugin::bare(["port-forward", "--target", "i-1", "80"])
                .with_api(&sandbox)
                .env("AWS_ENDPOINT_URL_SSM", &silent),
            "waiting for StartSession, up to 90 s",
        ),
        (
            Plugin::bare(["cp", "i-1:/etc/hostname", "-"])
                .with_api(&sandbox)
                .env("AWS_ENDPOINT_URL_SSM", &silent),
            "waiting for StartSession, up to 60 s",
        ),
    ];
    let running: Vec<(Running, &str)> = cases
        .into_iter()
        .map(|(plugin, line)| (plugin.spawn(), line))
        .collect();
    for (plugin, line) in &running {
        plugin
            .stderr
            .wait_for(&format!("session-manager-plugin: {line}"));
    }
    for (plugin, _) in &running {
        plugin.signal(Signal::TERM);
    }
    for (plugin, _) in &running {
        plugin.wait();
    }
}

#[test]
fn p107_a_line_comes_once_and_only_where_it_takes_long() {
    let sandbox = strict_sandbox();
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    fs::create_dir(&aws).unwrap();
    fs::write(aws.join("answer"), process_answer(sandbox.credentials())).unwrap();
    let run = |seconds: &str| {
        let process = format!("sh -c \"sleep {seconds}; cat ~/.aws/answer\"");
        fs::write(
            aws.join("config"),
            format!("[profile p]\ncredential_process={process}\n"),
        )
        .unwrap();
        let plugin = exec(&sandbox).without_keys().env("AWS_PROFILE", "p");
        plugin.env("HOME", home.path()).run(b"")
    };
    let finished = run("3.3");
    assert_eq!(finished.stdout, "it works\n", "{finished:?}");
    assert_eq!(
        finished.stderr.matches("waiting for").count(),
        1,
        "{finished:?}"
    );
    let finished = run("0");
    assert_eq!(finished.stdout, "it works\n", "{finished:?}");
    assert_eq!(finished.stderr, "", "{finished:?}");
}
