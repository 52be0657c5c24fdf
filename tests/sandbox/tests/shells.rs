//! Shells and commands through gateway and agent, with a client that knows no more than it must.

mod common;

use std::time::{Duration, Instant};

use common::{Client, dial};
use sandbox::faults::{After, Cut, Ending, Faults};
use sandbox::{
    AgentConfig, Config, Document, GatewayConfig, Sandbox, Sender, SessionConfig, Upgrade,
    WhileAway,
};
use session_manager_plugin::internals::message::{MessageType, PayloadType};

const TIMEOUT: Duration = Duration::from_secs(10);

fn sandbox(tls: bool) -> Sandbox {
    Sandbox::start(Config {
        tls,
        ..Config::default()
    })
    .unwrap()
}

fn unpaced(document: Document) -> SessionConfig {
    SessionConfig {
        document,
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    }
}

#[test]
fn a_shell_over_tls() {
    let sandbox = sandbox(true);
    let started = sandbox.start_session(Document::Shell);
    let mut client = Client::connect(&sandbox, &started);
    client.send(PayloadType::Size, br#"{"cols":123,"rows":45}"#);
    client.type_in("stty size; echo a$((1+1))b\r");
    let text = client.until("a2b");
    assert!(text.contains("45 123"), "{text}");
    client.type_in("exit\r");
    client.output(PayloadType::Output);
    assert_eq!(client.closed.as_deref(), Some(""));
    assert_eq!(started.session.ended().as_deref(), Some(""));
    let frames = started.session.frames();
    let first = frames.iter().find(|frame| frame.is_data(Sender::Agent, 1));
    assert_eq!(first.unwrap().flags.0, 1);
    assert!(
        frames
            .iter()
            .any(|frame| frame.message_type == Some(MessageType::AgentSessionState))
    );
}

#[test]
fn a_command_with_separate_output() {
    let sandbox = sandbox(false);
    let started = sandbox.start_session(Document::separate_command(
        "sh -c 'echo out; echo err >&2; exit 3'",
    ));
    let mut client = Client::connect(&sandbox, &started);
    let request = client.shake_hands();
    assert_eq!(request.agent_version, "3.3.0.0");
    let mut all = Vec::new();
    while let Some(got) = client.receive(TIMEOUT) {
        all.push((got.payload_type, String::from_utf8(got.payload).unwrap()));
    }
    assert!(all.contains(&(1, "out\n".into())), "{all:?}");
    assert!(all.contains(&(11, "err\n".into())), "{all:?}");
    assert_eq!(all.last(), Some(&(12, "EXIT_CODE: 3".into())));
}

#[test]
fn a_command_without_is_sent_when_it_is_done_and_takes_signals() {
    let sandbox = sandbox(false);
    let mark = format!(
        "{}/trap-is-set-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    let started = sandbox.start_session(Document::command(&format!(
        "sh -c 'trap \"echo caught; exit\" INT; echo ready; touch {mark}; while :; do sleep 0.05; done'",
    )));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    let deadline = Instant::now() + TIMEOUT;
    while !std::fs::exists(&mark).unwrap() {
        assert!(Instant::now() < deadline, "the command did not begin");
        assert_eq!(client.receive(Duration::from_millis(20)), None);
    }
    std::fs::remove_file(&mark).unwrap();
    client.type_in("nothing");
    client.type_in("\u{3}");
    assert_eq!(client.output(PayloadType::Output), b"ready\ncaught\n");
}

#[test]
fn much_output_arrives_whole() {
    let sandbox = sandbox(true);
    let started = sandbox.start_session(unpaced(Document::Interactive {
        command: "stty -opost; seq 1 2000000".into(),
    }));
    let mut client = Client::connect(&sandbox, &started);
    let output = client.output(PayloadType::Output);
    let expected: Vec<u8> = (1..=2_000_000)
        .flat_map(|number| format!("{number}\n").into_bytes())
        .collect();
    assert!(
        output == expected,
        "{} of {} bytes",
        output.len(),
        expected.len()
    );
}

#[test]
fn a_wrong_token_an_unknown_session_and_a_refused_upgrade() {
    let sandbox = sandbox(false);
    let started = sandbox.start_session(SessionConfig {
        gateway: GatewayConfig {
            upgrades: [Upgrade::Status(403), Upgrade::Status(404)].into(),
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    for status in ["403", "404"] {
        let error = dial(&sandbox, &started.stream_url).err().unwrap();
        assert!(error.contains(status), "{error}");
    }
    let unknown = started.stream_url.replace(started.session.id(), "nobody");
    assert!(dial(&sandbox, &unknown).err().unwrap().contains("404"));
    let mut client = Client::connect(&sandbox, &started);
    client.websocket = dial(&sandbox, &started.stream_url).unwrap();
    client.open("wrong");
    assert_eq!(client.receive(TIMEOUT), None);
    assert!(
        client
            .closed
            .as_deref()
            .unwrap()
            .contains("token is not valid")
    );
    started.session.expire_tokens();
    client.closed = None;
    client.websocket = dial(&sandbox, &started.stream_url).unwrap();
    client.open(&started.token_value);
    assert_eq!(client.receive(TIMEOUT), None);
    assert!(client.closed.as_deref().unwrap().contains("expired"));
}

#[test]
fn a_session_survives_its_connection() {
    let sandbox = sandbox(true);
    let started = sandbox.start_session(Document::Shell);
    let mut client = Client::connect(&sandbox, &started);
    client.type_in("a=before\r");
    for (connections, ending) in (1..).zip([Ending::bye(), Ending::Reset, Ending::Eof]) {
        assert!(started.session.wait_for_connection(connections, TIMEOUT));
        assert!(started.session.end_connection(ending));
        while client.closed.is_none() {
            client.receive(TIMEOUT);
        }
        client.closed = None;
        client.reconnect(&sandbox, &started);
        client.type_in("echo x$a\r");
        client.until("xbefore");
    }
}

#[test]
fn what_is_lost_in_a_cut_comes_again() {
    let sandbox = sandbox(false);
    let started = sandbox.start_session(SessionConfig {
        to_client: Faults {
            cuts: [Cut {
                after: After::Frames(20),
                lose: 5,
                ending: Ending::Reset,
            }]
            .into(),
            ..Faults::default()
        },
        // Whatever is lost costs the agent 100 ms, and after 4 s it would leave.
        agent: AgentConfig {
            paced: false,
            drain_timeout: TIMEOUT,
            ..AgentConfig::default()
        },
        ..SessionConfig::from(Document::Interactive {
            command: "stty -opost; seq 1 20000".into(),
        })
    });
    let mut client = Client::connect(&sandbox, &started);
    let mut output = client.output(PayloadType::Output);
    assert!(started.session.ended().is_none());
    client.closed = None;
    client.reconnect(&sandbox, &started);
    output.extend(client.output(PayloadType::Output));
    let expected: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(
        output == expected.as_bytes(),
        "{} of {} bytes",
        output.len(),
        expected.len()
    );
    assert!(started.session.statistics().1.lost >= 5);
}

#[test]
fn a_gateway_that_is_away_refuses_and_comes_back() {
    let sandbox = sandbox(false);
    let started = sandbox.start_session(SessionConfig {
        gateway: GatewayConfig {
            while_away: WhileAway::Lose,
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    let mut client = Client::connect(&sandbox, &started);
    client.type_in("a=before\r");
    client.until("before");
    sandbox.stop_gateway();
    assert!(dial(&sandbox, &started.stream_url).is_err());
    sandbox.restart_gateway().unwrap();
    client.closed = None;
    client.reconnect(&sandbox, &started);
    client.type_in("echo x$a\r");
    client.until("xbefore");
}

#[test]
fn a_presigned_url_is_accepted_and_a_changed_one_is_not() {
    let sandbox = Sandbox::start(Config {
        upgrade_signatures: sandbox::Check::Required,
        ..Config::default()
    })
    .unwrap();
    let started = sandbox.start_session(SessionConfig {
        gateway: GatewayConfig {
            presigned: true,
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    let mut client = Client::connect(&sandbox, &started);
    client.type_in("echo f$((1))und\r");
    client.until("f1und");
    let unsigned = started.stream_url.split("&X-Amz").next().unwrap();
    assert!(dial(&sandbox, unsigned).err().unwrap().contains("403"));
    let changed = started
        .stream_url
        .replace("X-Amz-Expires=300", "X-Amz-Expires=301");
    assert!(dial(&sandbox, &changed).err().unwrap().contains("403"));
}

#[test]
fn input_right_after_the_handshake_can_be_acknowledged_and_lost() {
    let sandbox = sandbox(false);
    let started = sandbox.start_session(SessionConfig {
        agent: AgentConfig {
            handshake: Some(true),
            loses_input_after_handshake: Duration::from_millis(300),
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.type_in("echo l$((1))st\r");
    std::thread::sleep(Duration::from_millis(600));
    client.type_in("echo f$((1))und\r");
    assert!(!client.until("f1und").contains("l1st"));
}
