//! The drop-in contract, sections 1 to 4: forms of call, texts, exit codes, variables.

mod support;

use sandbox::{AgentConfig, Config, Document, Sandbox, SessionConfig, Upgrade};
use serde_json::json;
use support::{Finished, Io, Plugin, sandbox};

const COMMAND: &str = "echo hello";

fn banner(id: &str) -> String {
    format!("\nStarting session with SessionId: {id}\n")
}

fn farewell(id: &str) -> String {
    format!("\n\nExiting session with sessionId: {id}.\n\n")
}

/// Runs a command over there, called with these arguments.
fn called(sandbox: &Sandbox, arguments: &[&str]) -> (String, Finished) {
    let started = sandbox.start_session(Document::command(COMMAND));
    let id = started.session.id().to_owned();
    let plugin = Plugin::new(sandbox, &started).arguments(&started, arguments);
    (id, plugin.run(b""))
}

fn assert_ran(id: &str, finished: &Finished) {
    assert_eq!(
        finished.stdout,
        format!("{}hello\n{}", banner(id), farewell(id)),
        "{finished:?}"
    );
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code(), 0);
}

#[test]
fn without_arguments_it_says_that_it_is_installed() {
    let finished = Plugin::bare([""; 0]).run(b"");
    assert_eq!(
        finished.stdout,
        "\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n"
    );
    assert_eq!((finished.stderr.as_str(), finished.code()), ("", 0));
}

#[test]
fn the_version_is_that_of_the_protocol() {
    let finished = Plugin::bare(["--version"]).run(b"");
    assert_eq!(finished.stdout, "1.2.896.0\n");
    assert_eq!((finished.stderr.as_str(), finished.code()), ("", 0));
}

#[test]
fn one_or_two_other_arguments_are_an_unknown_operation() {
    for arguments in [&["ls"][..], &["ls", "-l"]] {
        let finished = Plugin::bare(arguments).run(b"");
        assert_eq!(
            finished.stdout,
            "\nUnknown operation ls. \nUse session-manager-plugin --version to check the version.\n\n"
        );
        assert_eq!(finished.code(), 2);
        assert_ne!(finished.stderr, "");
    }
}

#[test]
fn another_operation_is_invalid() {
    let finished = Plugin::bare(["{}", "eu-central-1", "ResumeSession"]).run(b"");
    assert_eq!(finished.stdout, "Invalid Operation");
    assert_eq!(finished.code(), 2);
}

#[test]
fn help_is_ours() {
    for argument in ["help", "--help", "-h"] {
        let finished = Plugin::bare([argument]).run(b"");
        assert!(finished.stdout.contains(env!("CARGO_PKG_VERSION")));
        assert_eq!((finished.stderr.as_str(), finished.code()), ("", 0));
    }
}

#[test]
fn every_caller_gets_its_session() {
    let sandbox = sandbox();
    let target = json!({ "Target": "i-0123456789abcdef0" }).to_string();
    let ecs = json!({ "Target": "ecs:cluster_task_runtime" }).to_string();
    let ecs_endpoint = "https://ecs.eu-central-1.amazonaws.com";
    let ssm_endpoint = "https://ssm.eu-central-1.amazonaws.com";
    let wss = "wss://ssmmessages.eu-central-1.amazonaws.com/v1/data-channel/x";
    for arguments in [
        &["{}", "eu-central-1", "StartSession"][..],
        &["{}", "eu-central-1", "StartSession", "work"],
        &["{}", "eu-central-1", "StartSession", "", &target],
        &[
            "{}",
            "eu-central-1",
            "StartSession",
            "",
            &target,
            ssm_endpoint,
        ],
        &["{}", "eu-central-1", "StartSession", "", &ecs, ecs_endpoint],
        &[
            "{}",
            "eu-central-1",
            "StartSession",
            "",
            "{\"Target\":null}",
            wss,
        ],
        &[
            "{}",
            "eu-central-1",
            "StartSession",
            "",
            &target,
            "",
            "seven",
            "8",
        ],
    ] {
        let (id, finished) = called(&sandbox, arguments);
        assert_ran(&id, &finished);
    }
}

#[test]
fn the_response_may_come_in_a_variable() {
    let sandbox = sandbox();
    for variable in [
        "AWS_SSM_START_SESSION_RESPONSE",
        "AWS_SSM_START_SESSION_RESPONSE_ab12",
    ] {
        let started = sandbox.start_session(Document::command(COMMAND));
        let finished = Plugin::new(&sandbox, &started)
            .arguments(&started, &[variable, "eu-central-1", "StartSession"])
            .env(variable, started.response().to_string())
            .run(b"");
        assert_ran(started.session.id(), &finished);
    }
}

#[test]
fn keys_match_without_regard_to_case() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::command(COMMAND));
    let response = json!({
        "sessionId": started.session.id(),
        "streamUrl": started.stream_url,
        "tokenValue": started.token_value,
        "ResponseMetadata": { "RequestId": "1", "RetryAttempts": 0 },
        "other": null,
    });
    let finished = Plugin::new(&sandbox, &started)
        .arguments(
            &started,
            &[&response.to_string(), "eu-central-1", "StartSession"],
        )
        .run(b"");
    assert_ran(started.session.id(), &finished);
}

#[test]
fn p47_bad_calls_are_clear_errors() {
    let good =
        json!({"SessionId":"s","StreamUrl":"wss://h/x","TokenValue":"very-secret"}).to_string();
    for (arguments, reason) in [
        (vec!["{}"], "SessionId"),
        (
            vec![r#"{"SessionId":null,"StreamUrl":"u","TokenValue":"t"}"#],
            "SessionId",
        ),
        (vec![r#"{"SessionId":"s","TokenValue":"t"}"#], "StreamUrl"),
        (vec![r#"{"SessionId":"s","StreamUrl":"u"}"#], "TokenValue"),
        (vec!["nothing of the sort"], "not JSON"),
        (
            vec!["AWS_SSM_START_SESSION_RESPONSE"],
            "AWS_SSM_START_SESSION_RESPONSE",
        ),
        (vec![good.as_str(), "", "{"], "argument 5"),
        (vec![good.as_str(), "", "[]"], "argument 5"),
        (vec![good.as_str()], "amazonaws.com"),
    ] {
        let mut all = vec![arguments[0], "eu-central-1", "StartSession"];
        all.extend(&arguments[1..]);
        let finished = Plugin::bare(all).run(b"");
        assert!(
            finished
                .stdout
                .starts_with("Cannot perform start session: ")
                && finished.stdout.ends_with('\n')
                && finished.stdout.lines().count() == 1,
            "{finished:?}"
        );
        if reason != "amazonaws.com" {
            assert!(finished.stdout.contains(reason), "{finished:?}");
        }
        assert!(!finished.stderr.is_empty());
        assert!(!format!("{finished:?}").contains("very-secret"));
        assert_eq!(finished.code(), 1);
    }
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    let response = json!({"SessionId":"s","StreamUrl":"wss://h/x","TokenValue":"t"}).to_string();
    for (name, value) in [
        ("SSM_PLUGIN_PAYLOAD_SIZE", "0"),
        ("SSM_PLUGIN_ESCAPE", "long"),
        ("SSM_PLUGIN_QUIET", "perhaps"),
        ("SSM_PLUGIN_LOG", "loud"),
    ] {
        let finished = Plugin::bare([response.as_str(), "r", "StartSession"])
            .env(name, value)
            .run(b"");
        assert!(finished.stdout.contains(name), "{finished:?}");
        assert!(finished.stderr.contains(name), "{finished:?}");
        assert_eq!(finished.code(), 1);
    }
}

#[test]
fn quiet_keeps_our_lines_off_stdout() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::command(COMMAND));
    let id = started.session.id();
    let finished = Plugin::new(&sandbox, &started)
        .env("SSM_PLUGIN_QUIET", "1")
        .run(b"");
    assert_eq!(finished.stdout, "hello\n");
    assert_eq!(finished.stderr, format!("{}{}", banner(id), farewell(id)));
    assert_eq!(finished.code(), 0);
}

#[test]
fn p50_stderr_and_the_exit_code_are_apart() {
    let sandbox = sandbox();
    let document = || Document::separate_command("sh -c 'echo out; echo err >&2; exit 3'");
    let started = sandbox.start_session(document());
    let id = started.session.id();
    let finished = Plugin::new(&sandbox, &started).run(b"");
    assert_eq!(
        finished.stdout,
        format!("{}out\nEXIT_CODE: 3{}", banner(id), farewell(id))
    );
    assert_eq!(finished.stderr, "err\n");
    assert_eq!(finished.code(), 0);

    let started = sandbox.start_session(document());
    let finished = Plugin::new(&sandbox, &started)
        .env("SSM_PLUGIN_PROPAGATE_EXIT_CODE", "1")
        .run(b"");
    assert_eq!(finished.code(), 3);
}

#[test]
fn p50_who_takes_stdout_apart_gets_stderr_on_it() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::NonInteractive {
        command: "sh -c 'echo err >&2'".into(),
        separate_output: true,
        stdout_prefix: "O:".into(),
        stderr_prefix: "E:".into(),
    });
    let request = json!({
        "Target": "i-0123456789abcdef0",
        "Parameters": { "stderrSeparatorPrefix": ["E:"] },
    });
    let finished = Plugin::new(&sandbox, &started)
        .arguments(
            &started,
            &[
                "{}",
                "eu-central-1",
                "StartSession",
                "",
                &request.to_string(),
                "",
            ],
        )
        .run(b"");
    assert!(finished.stdout.contains("E:err"), "{finished:?}");
    assert_eq!(finished.stderr, "");
}

#[test]
fn p56_what_the_service_says_is_shown_without_its_control_characters() {
    let sandbox = sandbox();
    let started = sandbox.start_session(SessionConfig {
        document: Document::separate_command("sh -c 'echo begun; sleep 600'"),
        agent: AgentConfig {
            customer_message: Some("\u{1b}[31mencrypted\u{7}".into()),
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    let id = started.session.id().to_owned();
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("[31mencrypted\nbegun\n");
    started.session.terminate("by \u{1b}[2Jadministrator");
    let finished = plugin.finish();
    assert_eq!(
        finished.stdout,
        format!(
            "{}[31mencrypted\nbegun\n\n\nSessionId: {id} : by [2Jadministrator\n\n",
            banner(&id)
        )
    );
    assert_eq!(finished.code(), 0);
}

#[test]
fn p25_what_cannot_start_says_why() {
    let sandbox = sandbox();
    for upgrade in [
        Upgrade::Status(404),
        Upgrade::Raw(b"HTTP/1.1 nonsense\r\n\r\n".to_vec()),
        Upgrade::Reset,
    ] {
        let mut config = SessionConfig::from(Document::Shell);
        // However often it is tried.
        config.gateway.upgrades = vec![upgrade.clone(); 20].into();
        let started = sandbox.start_session(config);
        let finished = Plugin::new(&sandbox, &started).run(b"");
        assert!(
            finished.stdout.contains("\nCannot perform start session: "),
            "{upgrade:?}: {finished:?}"
        );
        assert!(!finished.stderr.is_empty());
        assert!(!finished.stdout.contains(&started.token_value));
        assert_eq!(finished.code(), 1, "{upgrade:?}");
    }
}

#[test]
fn p25_a_connection_refused_and_an_unknown_authority_say_why() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Shell);
    let unknown = Plugin::new(&sandbox, &started).without("AWS_CA_BUNDLE");
    let finished = unknown.run(b"");
    assert!(finished.stderr.contains("certificate"), "{finished:?}");
    assert_eq!(finished.code(), 1);

    sandbox.stop_gateway();
    let finished = Plugin::new(&sandbox, &started).run(b"");
    assert!(finished.stdout.contains("\nCannot perform start session: "));
    assert!(finished.stderr.contains("refused"), "{finished:?}");
    assert_eq!(finished.code(), 1);
}

#[test]
fn a_missing_ca_file_is_named() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Shell);
    let finished = Plugin::new(&sandbox, &started)
        .env("AWS_CA_BUNDLE", "/no/such/file.pem")
        .run(b"");
    assert!(finished.stdout.contains("AWS_CA_BUNDLE"), "{finished:?}");
    assert_eq!(finished.code(), 1);
}

#[test]
fn p40_stdin_may_be_anything() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("input");
    std::fs::write(&file, "a line\n").expect("a file");
    for stdin in [Io::Null, Io::Closed, Io::File(file), Io::Terminal] {
        let started = sandbox.start_session(Document::command(COMMAND));
        let finished = Plugin::new(&sandbox, &started)
            .stdin(stdin.clone())
            .spawn()
            .finish();
        assert_ran(started.session.id(), &finished);
    }
}

#[test]
fn stdout_and_stderr_may_be_anything() {
    let sandbox = Sandbox::start(Config {
        tls: false,
        ..Config::default()
    })
    .expect("a sandbox");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("output");
    for stdout in [Io::Null, Io::Closed, Io::File(file.clone()), Io::Terminal] {
        let started = sandbox.start_session(Document::command(COMMAND));
        let finished = Plugin::new(&sandbox, &started)
            .stdout(stdout.clone())
            .stderr(Io::Closed)
            .spawn()
            .finish();
        assert_eq!(finished.code(), 0, "{stdout:?} {finished:?}");
        let id = started.session.id();
        let all = format!("{}hello\n{}", banner(id), farewell(id));
        match stdout {
            Io::File(path) => {
                assert_eq!(std::fs::read_to_string(path).expect("the file"), all);
            }
            Io::Terminal => assert_eq!(finished.terminal, all.replace('\n', "\r\n")),
            _ => {}
        }
    }
}

#[test]
fn p48_the_log_holds_no_secrets() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::command(COMMAND));
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let finished = Plugin::new(&sandbox, &started)
        .env("SSM_PLUGIN_LOG", "trace")
        .env("SSM_PLUGIN_LOG_FILE", &log)
        .run(b"");
    assert_ran(started.session.id(), &finished);
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("begins"), "{log}");
    assert!(!log.contains(&started.token_value), "{log}");
    assert!(!log.contains("role=publish_subscribe"), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let sandbox = sandbox();
    for path in ["/no/such/directory/log", "/dev/full"] {
        let started = sandbox.start_session(Document::command(COMMAND));
        let finished = Plugin::new(&sandbox, &started)
            .env("SSM_PLUGIN_LOG", "trace")
            .env("SSM_PLUGIN_LOG_FILE", path)
            .run(b"");
        let id = started.session.id();
        assert_eq!(
            finished.stdout,
            format!("{}hello\n{}", banner(id), farewell(id))
        );
        assert_eq!(finished.code(), 0);
    }
}
