//! Sessions end and connections break; forwards go on.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandbox::faults::Ending;
use sandbox::{Failure, GatewayConfig, Session, SessionConfig};

use crate::port_support::{Server, connect, fast, half_close, read_all, version};
use crate::support::{exit_code, wait_until};
use crate::{
    SOON, TARGET, echo_on, fast_sandbox, forward, only_port, port_of, ready, starts, try_echo,
    wait_for_end,
};

#[test]
fn twenty_ended_sessions_and_twenty_broken_connections() {
    let sandbox = fast_sandbox();
    let servers: Vec<Server> = (0..6).map(|_| Server::echo()).collect();
    let all: Vec<String> = servers
        .iter()
        .map(|server| format!("0:{}", server.port()))
        .collect();
    let plugin = forward(&sandbox, &all).spawn();
    let lines = ready(&plugin, 6);
    let port_to = |server: &Server| {
        let line = lines
            .iter()
            .find(|line| line.contains(&format!("localhost:{} ", server.port())));
        port_of(line.expect("its line"))
    };
    let (other, servers) = servers.split_first().expect("six");
    let mut bystander = try_echo(port_to(other)).expect("an echo");
    for round in 0..20 {
        let server = &servers[round % servers.len()];
        let port = port_to(server);
        let began = Instant::now();
        let mut stream = try_echo(port).expect("an echo");
        assert!(
            began.elapsed() < SOON,
            "round {round}: {:?}",
            began.elapsed()
        );
        let sessions = sandbox.sessions();
        let is_its = |session: &&Arc<Session>| {
            session.config().document.properties()["portNumber"].as_str()
                == Some(&*server.port().to_string())
        };
        let session = sessions.iter().find(is_its).expect("a session");
        // A broken connection is no end: the data waits, and goes on.
        assert!(session.end_connection(Ending::Reset), "round {round}");
        echo_on(&mut stream).expect("the same connection");
        session.terminate(["ended by somebody else", ""][round % 2]);
        wait_for_end(&mut stream);
    }
    echo_on(&mut bystander).expect("the connection of another session");
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
    wait_until("the end of all sessions", || sandbox.sessions().is_empty());
}

#[test]
fn idle_sessions_and_those_of_an_age_are_followed_by_others() {
    for gateway in [
        GatewayConfig {
            idle_timeout: Some(Duration::from_millis(300)),
            ..GatewayConfig::default()
        },
        GatewayConfig {
            maximum_duration: Some(Duration::from_millis(500)),
            ..GatewayConfig::default()
        },
    ] {
        let sandbox = fast_sandbox();
        sandbox.set_session_config(SessionConfig {
            agent: fast(),
            gateway,
            ..SessionConfig::default()
        });
        let server = Server::echo();
        let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
        let port = only_port(&plugin);
        for _ in 0..3 {
            let mut stream = try_echo(port).expect("an echo");
            wait_for_end(&mut stream);
        }
        plugin
            .stderr
            .wait_for_count("the next connection starts another", 3);
        // Nobody connects: nothing is started.
        let before = starts(&sandbox);
        assert!(before <= 4, "{before}");
    }
}

#[test]
fn a_restarted_agent_and_a_target_that_is_away_for_a_while() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let port = only_port(&plugin);
    let mut stream = try_echo(port).expect("an echo");
    let away = Failure::Error {
        status: 400,
        code: "TargetNotConnected".into(),
        message: format!("{TARGET} is not connected."),
    };
    sandbox.fail_next("StartSession", 2, away);
    sandbox.restart_agent(TARGET);
    wait_for_end(&mut stream);
    // The connection fails, that is reported, and the forward goes on.
    for _ in 0..2 {
        assert!(try_echo(port).is_err());
    }
    plugin.stderr.wait_for_count("is not connected", 2);
    let mut stream = try_echo(port).expect("an echo");
    echo_on(&mut stream).expect("an echo");
}

#[test]
fn throttling_is_waited_for() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let port = only_port(&plugin);
    let mut stream = try_echo(port).expect("an echo");
    let throttled = Failure::Error {
        status: 400,
        code: "ThrottlingException".into(),
        message: "Rate exceeded".into(),
    };
    sandbox.fail_next("StartSession", 1, throttled);
    sandbox.restart_agent(TARGET);
    wait_for_end(&mut stream);
    try_echo(port).expect("an echo");
}

#[test]
fn a_denial_ends_the_command_with_its_reason() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let denied = || Failure::Error {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "User is not authorized".into(),
    };
    sandbox.fail_next("StartSession", 1, denied());
    let finished = forward(&sandbox, &["0:80"]).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("ssm:StartSession"), "{finished:?}");
    assert_eq!(finished.stdout, "");

    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let port = only_port(&plugin);
    let mut stream = try_echo(port).expect("an echo");
    sandbox.fail_next("StartSession", 1, denied());
    sandbox.restart_agent(TARGET);
    wait_for_end(&mut stream);
    assert!(try_echo(port).is_err());
    let finished = plugin.finish();
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("User is not authorized"),
        "{finished:?}"
    );
}

#[test]
fn on_demand_nothing_is_started_before_somebody_connects() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &["--on-demand", &format!("0:{}", server.port())]).spawn();
    let lines = ready(&plugin, 1);
    assert!(
        lines[0].ends_with("(i-0123456789abcdef0, on demand)"),
        "{lines:?}"
    );
    assert_eq!(starts(&sandbox), 0);
    try_echo(port_of(&lines[0])).expect("an echo");
    assert_eq!(starts(&sandbox), 1);
}

#[test]
fn once_ends_with_its_first_session() {
    let sandbox = fast_sandbox();
    let plugin = forward(&sandbox, &["--once", "--quiet", "0:80", "0:81"]).spawn();
    ready(&plugin, 2);
    sandbox.sessions()[0].terminate("");
    assert_eq!(exit_code(plugin.wait()), 0);
    wait_until("the other session to be ended", || {
        sandbox.sessions().is_empty()
    });
}

#[test]
fn an_outage_is_told_and_the_connection_goes_on() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let mut stream = try_echo(only_port(&plugin)).expect("an echo");
    sandbox.stop_gateway();
    plugin.stderr.wait_for("reconnecting");
    sandbox.restart_gateway().expect("its port");
    echo_on(&mut stream).expect("an echo");
    plugin.stderr.wait_for("is back");
}

#[test]
fn an_old_agent_carries_one_connection_at_a_time_as_by_the_contract() {
    let sandbox = fast_sandbox();
    sandbox.set_session_config(SessionConfig {
        agent: version("2.3.1509.0"),
        ..SessionConfig::default()
    });
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let port = plugin.listening_port();
    for _ in 0..2 {
        try_echo(port).expect("an echo");
    }
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
}

#[test]
fn what_a_client_sent_and_ended_before_there_was_a_session_arrives() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let to = format!("0:{}", server.port());
    let plugin = forward(&sandbox, &["--on-demand", &to, "-D", "0"]).spawn();
    let lines = ready(&plugin, 2);
    let mut request = vec![5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1];
    request.extend_from_slice(&server.port().to_be_bytes());
    for line in &lines {
        let is_socks = line.contains("socks5");
        let mut stream = connect(port_of(line));
        if is_socks {
            stream.write_all(&request).expect("to ask");
        }
        stream.write_all(b"all of it").expect("to write");
        half_close(&stream);
        let back = read_all(&stream);
        assert!(back.ends_with(b"all of it"), "{line}: {back:?}");
    }
}
