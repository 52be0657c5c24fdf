//! The real AWS CLI starts sessions against the sandbox, and runs the built program for them.

mod support;

use sandbox::{Config, Event, KmsConfig, Sandbox, SessionConfig};
use support::{Io, Plugin, TIMEOUT, aws_cli};

const PROMPT: &str = "remote> ";

/// A sandbox that wants everything signed, and whose shells have a prompt that is known.
fn sandbox() -> Sandbox {
    let config = Config {
        api_signatures: sandbox::Check::Required,
        upgrade_signatures: sandbox::Check::Required,
        session: session(),
        ..Config::default()
    };
    Sandbox::start(config).expect("a sandbox")
}

fn session() -> SessionConfig {
    let mut session = SessionConfig::default();
    session.agent.environment = vec![("PS1".into(), PROMPT.into())];
    session
}

/// The AWS CLI with these arguments, as for a shell; the built program is the first of its name.
fn aws(sandbox: &Sandbox, arguments: &str) -> Plugin {
    Plugin::bare([""; 0])
        .with_api(sandbox)
        .without("AWS_ENDPOINT_URL")
        .env("PATH", aws_cli::path())
        .before(&format!(
            "exec '{}' {arguments} --endpoint-url '{}'",
            aws_cli::aws().display(),
            sandbox.api_url()
        ))
}

fn start_session(sandbox: &Sandbox, arguments: &str) -> Plugin {
    let command = "ssm start-session --target i-0123456789abcdef0";
    aws(sandbox, &format!("{command} {arguments}"))
}

/// Whether TerminateSession was called, and answered well.
fn ended_over_the_api(sandbox: &Sandbox) -> bool {
    sandbox.wait_for_events(TIMEOUT, |events| {
        events.iter().any(|event| {
            matches!(event, Event::Api { operation, status: 200, .. } if operation.ends_with("TerminateSession"))
        })
    })
}

#[test]
fn a_person_works_in_a_shell() {
    let sandbox = sandbox();
    let aws = start_session(&sandbox, "").terminal().size(80, 24).spawn();
    let before = format!("{:?}", aws.settings());
    aws.terminal.wait_for(PROMPT);
    assert!(aws.is_raw());
    aws.type_in(b"until [ \"$(stty size)\" = '43 132' ]; do sleep 0.02; done; echo la''rge\r");
    aws.resize(132, 43);
    aws.terminal.wait_for("large");
    // The AWS CLI ignores these, and so it is inherited; over there they mean what they always mean.
    aws.type_in(b"sh -c 'echo f''irst; exec sleep 1000'\r");
    aws.terminal.wait_for("first");
    aws.type_in(&[3]);
    aws.type_in(b"sh -c 'echo s''econd; exec sleep 1000'\r");
    aws.terminal.wait_for("second");
    aws.type_in(&[0x1a]);
    aws.terminal.wait_for("Stopped");
    aws.type_in(b"kill -9 %1; wait; echo g''one\r");
    aws.terminal.wait_for("gone");
    aws.type_in(b"exit\rexit\r");
    assert_eq!(aws.wait().code(), Some(0));
    assert_eq!(format!("{:?}", aws.settings()), before);
    let finished = aws.finish();
    assert!(finished.terminal.contains("Exiting session with sessionId"));
    // No complaint about the plugin's version, and no trace of Python's.
    assert!(!finished.terminal.contains("arning"), "{finished:?}");
}

#[test]
fn the_escape_ends_the_session_over_the_api() {
    let sandbox = sandbox();
    let aws = start_session(&sandbox, "").terminal().spawn();
    let before = format!("{:?}", aws.settings());
    aws.terminal.wait_for(PROMPT);
    aws.type_in(b"~.");
    assert_eq!(aws.wait().code(), Some(0));
    assert_eq!(format!("{:?}", aws.settings()), before);
    assert!(ended_over_the_api(&sandbox));
}

#[test]
fn documents_take_their_parameters() {
    let sandbox = sandbox();
    let interactive = "--document-name AWS-StartInteractiveCommand --parameters 'command=[\"read -r line; echo got $line\"]'";
    let finished = start_session(&sandbox, interactive).run(b"hello\n");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("got hello\r\n"), "{finished:?}");

    let command = concat!(
        r#"--document-name AWS-StartNonInteractiveCommand --parameters '{"command":"#,
        r#"["sh -c \"echo out; echo err >&2; exit 3\""],"separateOutputStream":["True"]}'"#,
    );
    let finished = start_session(&sandbox, command).stdin(Io::Null).run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(
        finished.stdout.contains("out\nEXIT_CODE: 3"),
        "{finished:?}"
    );
    assert_eq!(finished.stderr, "err\n");

    // It turns every code but 0 into its own.
    let asked = start_session(&sandbox, command).env("SSM_PLUGIN_PROPAGATE_EXIT_CODE", "1");
    let finished = asked.stdin(Io::Null).run(b"");
    assert_eq!(finished.code(), 255, "{finished:?}");
}

#[test]
fn an_encrypted_shell_says_so_and_works() {
    let sandbox = sandbox();
    let mut session = session();
    session.agent.kms = Some(KmsConfig {
        require_challenge: true,
        ..KmsConfig::default()
    });
    sandbox.set_session_config(session);
    // The AWS CLI's endpoint is for its own service only.
    let aws = start_session(&sandbox, "").env("AWS_ENDPOINT_URL_KMS", sandbox.api_url());
    let aws = aws.terminal().spawn();
    aws.terminal
        .wait_for("This session is encrypted using AWS KMS.");
    aws.terminal.wait_for(PROMPT);
    aws.type_in(b"echo $((40+2)); exit\r");
    aws.terminal.wait_for("\n42\r");
    assert_eq!(aws.wait().code(), Some(0));
}

#[test]
fn a_task_of_ecs_is_entered() {
    let sandbox = sandbox();
    let command = "ecs execute-command --cluster cluster --task 0123456789abcdef0123456789abcdef --container app --interactive --command \
                   sh";
    let aws = aws(&sandbox, command).terminal().spawn();
    aws.terminal.wait_for("Starting session with SessionId");
    aws.type_in(b"echo $((40+2)); exit\r");
    aws.terminal.wait_for("\n42\r");
    assert_eq!(aws.wait().code(), Some(0));
    // It looks first whether there is a plugin.
    let finished = aws.finish();
    assert!(
        finished
            .terminal
            .contains("The Session Manager plugin was installed successfully"),
        "{finished:?}"
    );
}

#[test]
fn a_session_that_cannot_start_fails_with_the_reason() {
    let sandbox = sandbox();
    let aws = start_session(&sandbox, "").env("SSM_PLUGIN_ALLOW_STREAM_HOST", "elsewhere");
    let finished = aws.run(b"");
    assert_eq!(finished.code(), 255, "{finished:?}");
    assert!(
        finished.stdout.contains("Cannot perform start session: "),
        "{finished:?}"
    );
    assert!(finished.stderr.contains("SSM_PLUGIN_ALLOW_STREAM_HOST"));
}
