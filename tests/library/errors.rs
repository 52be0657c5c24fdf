//! What goes wrong, as a type.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Failure, SessionConfig, Target, TargetState};
use session_manager_plugin::{Client, ClientError, ErrorKind, Fault};

use super::{client, node, sandbox, sandbox_of};

#[track_caller]
fn is(result: Result<impl std::fmt::Debug, ClientError>, kind: ErrorKind) -> ClientError {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(!error.to_string().is_empty() && !kind.advice().is_empty());
    error
}

#[test]
fn targets_that_cannot_be_had() {
    let mut targets = vec![
        Target::new(1, "web"),
        Target::new(2, "twin"),
        Target::new(3, "twin"),
        Target::new(4, "away"),
        Target::new(5, "forbidden"),
    ];
    targets[3].state = TargetState::ConnectionLost;
    targets[4].is_denied = true;
    let away = targets[3].id.clone();
    let sandbox = sandbox_of(targets);
    let client = client(&sandbox);
    is(client.target(""), ErrorKind::InvalidInput);
    is(client.target("tag:nothing"), ErrorKind::InvalidInput);
    is(client.target("nobody"), ErrorKind::TargetNotFound);
    is(client.target("twin"), ErrorKind::TargetAmbiguous);
    is(client.target("away"), ErrorKind::TargetNotConnected);
    let away = client.target(&away).unwrap();
    let error = is(
        client.exec(&away, ["true"]).output(),
        ErrorKind::TargetNotConnected,
    );
    assert!(error.kind().is_temporary());
    let forbidden = client.target("forbidden").unwrap();
    let forward = client.forward(&forbidden).remote("localhost", 1);
    let denials = [
        is(
            client.exec(&forbidden, ["true"]).output(),
            ErrorKind::Denied,
        ),
        is(
            client.connect(&forbidden, "localhost", 1),
            ErrorKind::Denied,
        ),
        is(forward.start(), ErrorKind::Denied),
        is(client.shell(&forbidden), ErrorKind::Denied),
    ];
    for error in denials {
        assert_eq!(error.aws_code(), Some("AccessDeniedException"));
        assert_eq!(error.kind().fault(), Fault::Account);
        assert!(error.to_string().contains("ssm:StartSession"), "{error}");
    }
}

#[test]
fn what_aws_and_the_network_do() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let run = |client: &Client| client.exec(&target, ["true"]).output();
    sandbox.fail_next(
        "StartSession",
        10,
        Failure::error(400, "ThrottlingException", "slower"),
    );
    is(run(&client), ErrorKind::Throttled);
    sandbox.fail_next(
        "StartSession",
        1000,
        Failure::error(400, "ThrottlingException", "slower"),
    );
    let fed = |client: &Client| client.exec(&target, ["cat"]).stdin("x").output();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("hosts");
    let copied = |client: &Client| client.copy(&target).download("/etc/hosts", &here);
    let error = is(fed(&client), ErrorKind::Throttled);
    assert_eq!(error.aws_code(), Some("ThrottlingException"));
    is(copied(&client), ErrorKind::Throttled);

    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let unreachable = Client::builder()
        .variables(sandbox.environment())
        .endpoint(format!("http://{nobody}"))
        .build()
        .unwrap();
    is(run(&unreachable), ErrorKind::Network);
    is(fed(&unreachable), ErrorKind::Network);

    // A listener that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = Client::builder()
        .variables(sandbox.environment())
        .endpoint(format!("http://{}", silent.local_addr().unwrap()))
        .build()
        .unwrap()
        .with_timeout(Duration::from_millis(300));
    let began = Instant::now();
    is(run(&hanging), ErrorKind::TimedOut);
    is(hanging.target("web-1"), ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn settings_and_arguments() {
    let configuration = |builder: session_manager_plugin::ClientBuilder| {
        // Without the files of whoever runs the test.
        let nowhere = [
            ("AWS_CONFIG_FILE", "/nonexistent/a"),
            ("HOME", "/nonexistent"),
        ];
        is(builder.variables(nowhere).build(), ErrorKind::Configuration);
    };
    configuration(Client::builder());
    configuration(Client::builder().region("eu-central-1").proxy("ftp://a"));
    configuration(
        Client::builder()
            .region("eu-central-1")
            .ca_bundle("/nonexistent/ca.pem"),
    );
    configuration(
        Client::builder()
            .region("eu-central-1")
            .allow_stream_host("a b"),
    );
    let both = Client::builder()
        .region("eu-central-1")
        .profile("a")
        .credentials("AKIA", "hush", None);
    assert!(!format!("{both:?}").contains("hush"));
    is(both.build(), ErrorKind::InvalidInput);

    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    is(client.connect(&target, "a b", 1), ErrorKind::InvalidInput);
    is(
        client.connect(&target, "localhost", 0),
        ErrorKind::InvalidInput,
    );
    is(client.forward(&target).start(), ErrorKind::InvalidInput);
    let local = |address: &str| {
        client
            .forward(&target)
            .local(address)
            .remote("a", 1)
            .start()
    };
    is(local("localhost"), ErrorKind::InvalidInput);
    is(local("127.0.0.1"), ErrorKind::InvalidInput);
    // No address of this machine.
    is(local("192.0.2.1:0"), ErrorKind::Local);
}

#[test]
fn agents_that_are_too_old_or_silent() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let agent = |agent: AgentConfig| {
        sandbox.set_session_config(SessionConfig {
            agent,
            ..SessionConfig::default()
        });
    };
    agent(AgentConfig {
        version: "3.0.100.0".into(),
        ..AgentConfig::default()
    });
    is(
        client.connect(&target, "localhost", 1),
        ErrorKind::AgentTooOld,
    );
    is(
        client.forward(&target).remote("localhost", 1).start(),
        ErrorKind::AgentTooOld,
    );
    agent(AgentConfig {
        silent: true,
        ..AgentConfig::default()
    });
    let hasty = client.with_timeout(Duration::from_secs(1));
    is(hasty.connect(&target, "localhost", 1), ErrorKind::TimedOut);
    is(
        hasty.forward(&target).remote("localhost", 1).start(),
        ErrorKind::TimedOut,
    );
    is(hasty.shell(&target), ErrorKind::TimedOut);
    is(hasty.exec(&target, ["true"]).output(), ErrorKind::TimedOut);
}
