//! Which hosts get the token, and how it travels.

use sandbox::Document;
use serde_json::json;

use crate::support::{Finished, Plugin, sandbox};

fn run(stream_url: &str, variables: &[(&str, &str)]) -> Finished {
    let response =
        json!({"SessionId": "s-1", "StreamUrl": stream_url, "TokenValue": "confidential-token"});
    let response = response.to_string();
    let arguments = [&response, "eu-west-1", "StartSession", "", "", ""];
    let mut plugin = Plugin::bare(arguments);
    for (name, value) in variables {
        plugin = plugin.env(name, *value);
    }
    plugin.run(b"")
}

#[test]
fn p92_hosts_that_only_look_like_session_managers_hear_nothing() {
    for host in [
        "ssmmessages.s3.amazonaws.com",
        "ssmmessages.s3-us-west-2.amazonaws.com",
        "ssmmessages.elasticbeanstalk.com.cn.amazonaws.com",
        "vpce-1.ssmmessages.s3.vpce.amazonaws.com",
        "ssmmessages.eu-west-1.amazonaws.com:0",
        "ssmmessages.eu-west-1.amazonaws.com:99999",
        "ssmmessages.eu-west-1.amazonaws.com:443x",
        "[ssmmessages.eu-west-1.amazonaws.com]",
        "[ssmmessages.eu-west-1.amazonaws.com]:443",
    ] {
        let finished = run(
            &format!("wss://{host}/v1/data-channel/s?role=publish_subscribe"),
            &[],
        );
        assert_eq!(finished.code(), 1, "{host}: {finished:?}");
        let text = "Cannot perform start session: the StreamUrl of the session ";
        assert!(finished.stdout.contains(text), "{host}: {finished:?}");
        assert!(
            !finished.stdout.contains("Starting session"),
            "{host}: {finished:?}"
        );
    }
}

#[test]
fn p87_a_replacement_takes_clear_text_to_no_other_machine() {
    for endpoint in ["nowhere.invalid", "nowhere.invalid:80", "192.0.2.1"] {
        let finished = run(
            "ws://127.0.0.1:9/v1/data-channel/s?role=publish_subscribe",
            &[
                ("SSM_PLUGIN_ALLOW_STREAM_HOST", "127.0.0.1"),
                ("SSM_PLUGIN_STREAM_ENDPOINT", endpoint),
            ],
        );
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(
            finished.stdout.contains("SSM_PLUGIN_STREAM_ENDPOINT"),
            "{finished:?}"
        );
    }
}

#[test]
fn p96_a_region_that_breaks_lines_is_refused() {
    let sandbox = sandbox();
    for region in [
        "eu-central-1\r\nX-Injected: yes",
        "eu-central-1\n",
        "eu central",
        "EU\u{7}",
    ] {
        let started = sandbox.start_session(Document::command("echo done"));
        let arguments = ["{}", region, "StartSession", "", "", &sandbox.api_url()];
        let finished = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .arguments(&started, &arguments)
            .run(b"");
        assert_eq!(finished.code(), 1, "{region:?}: {finished:?}");
        let shown = format!("Cannot perform start session: {region:?} is no region");
        assert!(finished.stdout.contains(&shown), "{region:?}: {finished:?}");
        let own = Plugin::bare(["exec", "--target", "i-1", "--", "true"])
            .with_api(&sandbox)
            .env("AWS_REGION", region)
            .run(b"");
        assert_eq!(own.code(), 1, "{region:?}: {own:?}");
        assert!(own.stderr.contains("is no region"), "{region:?}: {own:?}");
    }
    assert!(sandbox.events().iter().all(|event| {
        !matches!(
            event,
            sandbox::Event::Upgrade { .. } | sandbox::Event::Api { .. }
        )
    }));
}

#[test]
fn a_scheme_is_the_same_in_any_case() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::command("echo it works"));
    let mut response = started.response();
    let url = started.stream_url.replace("wss://", "WSS://");
    assert_ne!(url, started.stream_url);
    response["StreamUrl"] = url.into();
    let plugin = Plugin::new(&sandbox, &started);
    let finished = plugin
        .env("AWS_SSM_START_SESSION_RESPONSE", response.to_string())
        .run(b"");
    assert!(finished.stdout.contains("it works"), "{finished:?}");
}
