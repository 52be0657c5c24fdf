//! Connections that break, and sessions that go on.

mod port_support;
mod support;

use std::collections::VecDeque;
use std::time::Duration;

use port_support::{Server, assert_same, connect, exchange, fast, pattern};
use sandbox::faults::{After, Cut, Ending, Faults};
use sandbox::{
    AgentConfig, Document, Failure, GatewayConfig, Sandbox, SessionConfig, Started, Upgrade,
};
use support::{Io, Plugin, Running, TIMEOUT};

/// A caller with credentials that work, so that the session can be resumed.
fn plugin(sandbox: &Sandbox, started: &Started) -> Plugin {
    Plugin::new(sandbox, started).with_api(sandbox)
}

fn unpaced(document: Document) -> SessionConfig {
    SessionConfig {
        document,
        agent: fast(),
        ..SessionConfig::default()
    }
}

/// Cuts after every so many bytes, with frames in flight lost.
fn cuts(count: usize, bytes: u64, lose: u32, ending: &Ending) -> Faults {
    let cut = Cut {
        after: After::Bytes(bytes),
        lose,
        ending: ending.clone(),
    };
    Faults {
        cuts: VecDeque::from(vec![cut; count]),
        ..Faults::default()
    }
}

fn interactive(sandbox: &Sandbox, started: &Started) -> Running {
    let running = plugin(sandbox, started).terminal().spawn();
    running.terminal.wait_for("$ ");
    running
}

fn shell() -> SessionConfig {
    let agent = AgentConfig {
        environment: vec![("PS1".to_owned(), "$ ".to_owned())],
        ..fast()
    };
    SessionConfig {
        agent,
        ..SessionConfig::default()
    }
}

#[test]
fn p20_every_bye_of_the_service_is_resumed() {
    let sandbox = support::sandbox();
    // Paced as the real one: an agent that has sent everything at once resends it at ten messages a second.
    let mut config = SessionConfig::from(Document::command("seq 1 60000"));
    config.to_client = cuts(5, 50_000, 0, &Ending::bye());
    // The agent resends ten messages a second, and hangs up when that takes longer than this.
    config.agent.drain_timeout = TIMEOUT;
    let started = sandbox.start_session(config);
    let finished = plugin(&sandbox, &started).stdin(Io::Null).run(b"");
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let expected: String = (1..=60_000).map(|number| format!("{number}\n")).collect();
    assert!(
        finished.stdout.contains(&expected),
        "{} bytes of {}",
        finished.stdout.len(),
        expected.len()
    );
    let connections = started.session.connections();
    assert!(connections > 4, "{connections} connections");
    let tokens = started.session.tokens().len();
    assert!(
        tokens as u64 >= connections,
        "a fresh token for every connection"
    );
}

/// Sends data through an SSH session and back, while the connection breaks in the middle in both directions.
fn transfer_over_breaks(ending: &Ending) {
    let sandbox = support::sandbox();
    let server = Server::echo();
    let config = SessionConfig {
        to_agent: cuts(2, 60_000, 20, ending),
        to_client: cuts(2, 70_000, 20, ending),
        ..unpaced(Document::Ssh {
            port: server.port(),
        })
    };
    let started = sandbox.start_session(config);
    let data = pattern(1, 300_000);
    let running = plugin(&sandbox, &started).spawn();
    let banner = format!(
        "\nStarting session with SessionId: {}\n",
        started.session.id()
    );
    let length = banner.len() + data.len();
    running.type_in(&data);
    running
        .stdout
        .wait_until("all came back", |bytes| bytes.len() >= length);
    assert_same(&running.stdout.bytes()[banner.len()..], &data);
    assert!(
        started.session.connections() > 2,
        "the connection did break"
    );
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(support::exit_code(running.wait()), 143);
}

#[test]
fn p21_a_transfer_survives_closes_with_frames_in_flight_lost() {
    transfer_over_breaks(&Ending::bye());
}

#[test]
fn p21_a_transfer_survives_resets_with_frames_in_flight_lost() {
    transfer_over_breaks(&Ending::Reset);
}

#[test]
fn p21_a_transfer_survives_ends_of_file_with_frames_in_flight_lost() {
    transfer_over_breaks(&Ending::Eof);
}

#[test]
fn p21_multiplexed_connections_live_on() {
    let sandbox = support::sandbox();
    let server = Server::echo();
    let config = SessionConfig {
        to_agent: cuts(2, 100_000, 20, &Ending::Reset),
        to_client: cuts(2, 90_000, 20, &Ending::bye()),
        ..unpaced(Document::port(server.port()))
    };
    let started = sandbox.start_session(config);
    let running = plugin(&sandbox, &started).stdin(Io::Null).spawn();
    let port = running.listening_port();
    std::thread::scope(|scope| {
        for client in 0..10 {
            scope.spawn(move || {
                let data = pattern(client, 100_000);
                assert_same(&exchange(&connect(port), &data, data.len()), &data);
            });
        }
    });
    // Cuts of the two ways may meet in one break.
    assert!(started.session.connections() > 2);
    running.signal(rustix::process::Signal::INT);
    assert_eq!(support::exit_code(running.wait()), 0);
}

#[test]
fn p22_a_new_stream_url_and_token_are_used_and_signed_again() {
    let sandbox = support::sandbox();
    let config = SessionConfig {
        gateway: GatewayConfig {
            resume_host: Some(sandbox.gateway_host().replace("127.0.0.1", "localhost")),
            ..GatewayConfig::default()
        },
        ..shell()
    };
    let started = sandbox.start_session(config);
    let hosts = format!("{},localhost", sandbox.gateway_host());
    let running = plugin(&sandbox, &started)
        .env("SSM_PLUGIN_ALLOW_STREAM_HOST", hosts)
        .terminal()
        .spawn();
    running.terminal.wait_for("$ ");
    assert!(started.session.end_connection(Ending::bye()));
    assert!(started.session.wait_for_connection(2, TIMEOUT));
    running.type_in(b"echo go''ing on\r");
    running.terminal.wait_for("going on");
    let upgrades: Vec<_> = sandbox
        .events()
        .iter()
        .filter_map(|event| match event {
            sandbox::Event::Upgrade {
                headers, signed_by, ..
            } => {
                let host = headers
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("host"));
                Some((
                    host.map_or_else(String::new, |(_, host)| host.clone()),
                    signed_by.is_some(),
                ))
            }
            _ => None,
        })
        .collect();
    assert_eq!(upgrades.len(), 2);
    assert!(upgrades.iter().all(|(_, signed)| *signed), "{upgrades:?}");
    assert!(upgrades[1].0.starts_with("localhost"), "{upgrades:?}");
    running.type_in(b"exit\r");
    assert_eq!(support::exit_code(running.wait()), 0);
}

#[test]
fn p20_no_token_means_timed_out() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = interactive(&sandbox, &started);
    sandbox.fail_next("ResumeSession", 1, Failure::NoToken);
    started.session.end_connection(Ending::bye());
    assert_eq!(support::exit_code(running.wait()), 0);
    running
        .terminal
        .wait_for(&format!("Session: {} timed out.", started.session.id()));
}

#[test]
fn p20_a_session_that_is_gone_is_told_in_the_services_words() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = interactive(&sandbox, &started);
    let gone = Failure::error(400, "DoesNotExistException", "Session is over and out");
    sandbox.fail_next("ResumeSession", 100, gone);
    started.session.end_connection(Ending::Reset);
    assert_eq!(support::exit_code(running.wait()), 1);
    running.terminal.wait_for("Session is over and out");
}

#[test]
fn p20_a_refused_resume_leaves_the_token_at_hand() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = interactive(&sandbox, &started);
    sandbox.fail_next(
        "ResumeSession",
        100,
        Failure::error(403, "AccessDeniedException", "not you"),
    );
    started.session.end_connection(Ending::bye());
    assert!(started.session.wait_for_connection(2, TIMEOUT));
    running.type_in(b"echo still'' here\r");
    running.terminal.wait_for("still here");
}

#[test]
fn p20_two_refusals_of_the_dial_are_an_answer() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = interactive(&sandbox, &started);
    started.session.set_upgrades(vec![Upgrade::Status(403); 20]);
    started.session.end_connection(Ending::bye());
    assert_eq!(support::exit_code(running.wait()), 1);
    running.terminal.wait_for("403");
}

#[test]
fn p20_trouble_of_the_service_is_waited_out() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = interactive(&sandbox, &started);
    // As many as are tried in the first ten seconds.
    sandbox.fail_next("ResumeSession", 1, Failure::throttled());
    sandbox.fail_next("ResumeSession", 1, Failure::internal());
    started
        .session
        .set_upgrades([Upgrade::Status(503), Upgrade::Reset, Upgrade::Accept]);
    started.session.end_connection(Ending::Eof);
    assert!(started.session.wait_for_connection(2, TIMEOUT));
    running.type_in(b"echo still'' here\r");
    running.terminal.wait_for("still here");
}

#[test]
fn p07_what_is_typed_during_an_outage_is_kept_and_the_outage_is_told() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = interactive(&sandbox, &started);
    sandbox.stop_gateway();
    assert!(started.session.wait_for_disconnection(TIMEOUT));
    running.type_in(b"echo typed'' meanwhile\r");
    running.terminal.wait_for("reconnecting");
    sandbox.restart_gateway().expect("the same port");
    running.terminal.wait_for("the connection is back");
    running.terminal.wait_for("typed meanwhile");
    running.type_in(b"exit\r");
    assert_eq!(support::exit_code(running.wait()), 0);
}

#[test]
fn a_session_can_be_left_during_an_outage() {
    for (keys, signal, code) in [
        ("\r~.", None, 0),
        ("", Some(rustix::process::Signal::TERM), 143),
    ] {
        let sandbox = support::sandbox();
        let started = sandbox.start_session(shell());
        let running = interactive(&sandbox, &started);
        running.wait_for_raw(true);
        sandbox.stop_gateway();
        assert!(started.session.wait_for_disconnection(TIMEOUT));
        running.type_in(keys.as_bytes());
        if let Some(signal) = signal {
            running.signal(signal);
        }
        let status = running
            .wait_within(Duration::from_secs(20))
            .expect("the program leaves");
        assert_eq!(support::exit_code(status), code);
        running.wait_for_raw(false);
        assert!(
            started.session.is_terminated(),
            "the remote session is ended over the API"
        );
    }
}

#[test]
fn without_credentials_a_break_is_survived_as_long_as_the_token_is_good() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = Plugin::new(&sandbox, &started)
        .env("AWS_ENDPOINT_URL", sandbox.api_url())
        .terminal()
        .spawn();
    running.terminal.wait_for("$ ");
    started.session.end_connection(Ending::bye());
    assert!(started.session.wait_for_connection(2, TIMEOUT));
    running.type_in(b"echo still'' here\r");
    running.terminal.wait_for("still here");
}

#[test]
fn a_session_without_client_configuration_ends_at_the_break_and_says_why() {
    let sandbox = support::sandbox();
    let started = sandbox.start_session(shell());
    let running = plugin(&sandbox, &started)
        .env("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true")
        .terminal()
        .spawn();
    running.terminal.wait_for("$ ");
    started.session.end_connection(Ending::bye());
    assert_eq!(support::exit_code(running.wait()), 1);
    running.terminal.wait_for("1000 Bye");
}
