//! Defects of other clients in the stream, as they show from outside: each test is named after its pitfall.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;
use sandbox::faults::{Ending, Faults};
use sandbox::{AgentConfig, Document, Frame, Record, Sender, Session, SessionConfig};
use session_manager_plugin::internals::message::{MessageType, PayloadType};
use support::{Io, Plugin, TIMEOUT, sandbox};

/// A command on a pty.
fn interactive(command: &str) -> SessionConfig {
    Document::Interactive {
        command: command.into(),
    }
    .into()
}

/// The client's messages of the stream: their ids, by number.
fn sent_by_client(frames: &[Frame]) -> BTreeMap<i64, BTreeSet<String>> {
    let mut ids: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let data = frames
        .iter()
        .filter(|frame| frame.message_type == Some(MessageType::InputStreamData));
    for frame in data {
        ids.entry(frame.sequence_number)
            .or_default()
            .insert(frame.message_id.to_string());
    }
    ids
}

/// How often each number was sent, and how often it was acknowledged by the other side.
fn copies_and_acknowledgements(frames: &[Frame], sender: Sender) -> BTreeMap<i64, (usize, usize)> {
    let mut counts: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    for frame in frames {
        let is_data = matches!(
            frame.message_type,
            Some(MessageType::InputStreamData | MessageType::OutputStreamData)
        );
        if is_data && frame.sender == sender {
            counts.entry(frame.sequence_number).or_default().0 += 1;
        } else if frame.sender != sender
            && let Some(number) = frame.acknowledges()
        {
            counts.entry(number).or_default().1 += 1;
        }
    }
    counts
}

fn wait_for(session: &Session, what: &str, pleases: impl FnMut(&[Frame]) -> bool) {
    assert!(session.wait_for_frames(TIMEOUT, pleases), "{what}");
}

#[test]
fn p01_many_senders_share_no_number_and_leave_none_out() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("typed");
    let command = format!(
        "stty -echo -isig; echo ready; cat > {}; echo done",
        file.display()
    );
    let started = sandbox.start_session(interactive(&command));
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("ready");
    let text: String = (0..2000).map(|number| format!("line {number}\n")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in text.split_inclusive('\n') {
                plugin.type_in(line.as_bytes());
            }
        });
        scope.spawn(|| {
            for columns in 40..340 {
                plugin.resize(columns, 50);
            }
        });
        scope.spawn(|| {
            for _ in 0..300 {
                plugin.signal(Signal::INT);
                std::thread::yield_now();
            }
        });
    });
    plugin.type_in(&[4, 4]);
    plugin.terminal.wait_for("done");
    assert_eq!(plugin.wait().code(), Some(0));
    // What the signals became is anywhere between.
    let typed = std::fs::read_to_string(file).expect("the file");
    assert!(typed.replace('\u{3}', "") == text);
    let sent = sent_by_client(&started.session.frames());
    assert!(sent.keys().copied().eq(0..sent.len() as i64));
    assert!(sent.values().all(|ids| ids.len() == 1), "{sent:?}");
}

#[test]
fn p02_what_is_not_acknowledged_is_resent_ever_more_slowly() {
    let sandbox = sandbox();
    let mut config = interactive("echo ready; read -r line");
    config.agent.handshake = Some(true);
    config.agent.not_ready = Duration::from_secs(4);
    let started = sandbox.start_session(config);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready");
    plugin.type_in(b"\n");
    assert_eq!(plugin.wait().code(), Some(0));
    let frames = started.session.frames();
    let sizes = frames
        .iter()
        .filter(|frame| frame.is_data(Sender::Client, 3))
        .count();
    // Ten a second are forty; doubling from 200 ms makes five.
    assert!((2..12).contains(&sizes), "{sizes} copies");
}

#[test]
fn p03_an_acknowledgement_that_comes_at_once_is_counted() {
    let sandbox = sandbox();
    let started = sandbox.start_session(interactive(
        "stty -echo; echo ready; while read -r line; do echo \"<$line>\"; done; sleep 2",
    ));
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready");
    for number in 0..100 {
        plugin.type_in(format!("{number}\n").as_bytes());
        plugin.stdout.wait_for(&format!("<{number}>"));
    }
    // Two quiet seconds follow, in which what was not counted would be sent again and again.
    plugin.close_stdin();
    assert_eq!(plugin.wait().code(), Some(0));
    let counts = copies_and_acknowledgements(&started.session.frames(), Sender::Client);
    // The last may find that the command has gone, and is not acknowledged then.
    let last = counts.keys().copied().max().unwrap_or(0);
    let often = counts
        .iter()
        .find(|(number, (copies, _))| **number != last && *copies > 5);
    assert_eq!(often, None);
}

#[test]
fn p05_duplicates_are_acknowledged_and_delivered_once() {
    let sandbox = sandbox();
    let mut config = interactive("stty -echo; seq 1 5000; read -r line");
    config.to_client = Faults {
        duplicate: 1.0,
        ..Faults::default()
    };
    let started = sandbox.start_session(config);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("\n5000\r\n");
    wait_for(&started.session, "every copy is acknowledged", |frames| {
        let counts = copies_and_acknowledgements(frames, Sender::Agent);
        counts
            .values()
            .all(|(copies, acknowledged)| *acknowledged >= 2 * *copies)
    });
    plugin.type_in(b"\n");
    let finished = plugin.finish();
    let all: String = (1..=5000).map(|number| format!("{number}\r\n")).collect();
    assert!(finished.stdout.contains(&format!("\n{all}")));
    assert_eq!(finished.stdout.matches("\n5000\r\n").count(), 1);
}

#[test]
fn p08_the_first_output_is_acknowledged_when_it_first_comes() {
    let sandbox = sandbox();
    for document in [
        Document::command("echo first"),
        Document::separate_command("echo first"),
        Document::Interactive {
            command: "echo first; read -r line".into(),
        },
    ] {
        let started = sandbox.start_session(document);
        let plugin = Plugin::new(&sandbox, &started).spawn();
        plugin.stdout.wait_for("first");
        wait_for(&started.session, "every copy is acknowledged", |frames| {
            let counts = copies_and_acknowledgements(frames, Sender::Agent);
            let is_output = |frame: &Frame| frame.is_data(Sender::Agent, 1);
            frames.iter().any(is_output)
                && counts
                    .values()
                    .all(|(copies, acknowledged)| acknowledged >= copies)
        });
        plugin.type_in(b"\n");
        assert_eq!(plugin.wait().code(), Some(0));
    }
}

#[test]
fn p10_a_pause_holds_nothing_for_ever_and_acknowledgements_never() {
    let sandbox = sandbox();
    let started = sandbox.start_session(interactive(
        "stty -echo; echo ready; while read -r line; do echo \"<$line>\"; done",
    ));
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready");
    // The acknowledgement of a probe ends it; nobody sends start_publication.
    for number in 0..3 {
        started.session.pause_client();
        let typed = format!("one {number}\ntwo {number}\n");
        plugin.type_in(typed.as_bytes());
        started
            .session
            .send_from_agent(PayloadType::Output, b"meanwhile");
        plugin.stdout.wait_for_count("meanwhile", number + 1);
        plugin.stdout.wait_for(&format!("<two {number}>"));
    }
    wait_for(&started.session, "all is acknowledged", |frames| {
        copies_and_acknowledgements(frames, Sender::Agent)
            .values()
            .all(|(_, acknowledged)| *acknowledged > 0)
    });
    plugin.close_stdin();
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn p11_a_handshake_response_that_is_lost_is_sent_again() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::command("echo hello"));
    config.to_agent.lose = 1.0;
    let started = sandbox.start_session(config);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    // The acknowledgement of the request and the response to it, both with a copy.
    support::wait_until("frames to be lost", || {
        started.session.statistics().0.lost >= 4
    });
    started
        .session
        .set_faults(Faults::default(), Faults::default());
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("hello\n"), "{finished:?}");
}

#[test]
fn p13_what_is_accepted_is_acknowledged_although_nobody_reads_it() {
    let sandbox = sandbox();
    let started = sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            command: "stty -echo; seq 1 100000; read -r line".into(),
        },
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        to_client: Faults {
            reorder: 0.2,
            ..Faults::default()
        },
        ..SessionConfig::default()
    });
    let plugin = Plugin::new(&sandbox, &started).stdout(Io::HeldPipe).spawn();
    wait_for(&started.session, "all is acknowledged", |frames| {
        let counts = copies_and_acknowledgements(frames, Sender::Agent);
        counts.len() > 600 && counts.values().all(|(_, acknowledged)| *acknowledged > 0)
    });
    plugin.read_stdout();
    plugin.stdout.wait_for("\n100000\r\n");
    plugin.type_in(b"\n");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn p14_what_is_typed_before_the_handshake_is_complete_arrives() {
    let sandbox = sandbox();
    let mut config = interactive("read -r line; echo \"<$line>\"");
    config.agent.handshake = Some(true);
    // It acknowledges and throws away what comes too soon.
    config.agent.loses_input_after_handshake = Duration::from_millis(5);
    config.to_agent.delay = Duration::from_millis(200);
    config.to_client.delay = Duration::from_millis(200);
    config.record = Record::Payloads;
    let started = sandbox.start_session(config);
    let finished = Plugin::new(&sandbox, &started).run(b"hello\n");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("<hello>\r\n"), "{finished:?}");
    let frames = started.session.frames();
    let first = |sender, payload_type| {
        let mut frames = frames.iter();
        frames.position(|frame| frame.is_data(sender, payload_type))
    };
    assert!(first(Sender::Agent, 7) < first(Sender::Client, 1));
}

#[test]
fn p14_a_command_without_handshake_that_waits_for_input_gets_it() {
    let sandbox = sandbox();
    let started = sandbox.start_session(interactive("stty -echo; read -r line; echo \"<$line>\""));
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.type_in(b"hello\n");
    plugin.stdout.wait_for("<hello>\r\n");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn p16_a_handshake_out_of_order_is_handled() {
    let sandbox = sandbox();
    let mut reordered = 0;
    // Chance decides what overtakes the end of the handshake.
    for _ in 0..20 {
        let mut config = SessionConfig::from(Document::separate_command("echo hello"));
        config.to_client.reorder = 0.5;
        config.to_agent.reorder = 0.5;
        let started = sandbox.start_session(config);
        let finished = Plugin::new(&sandbox, &started).stdin(Io::Null).run(b"");
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert!(finished.stdout.contains("hello\n"), "{finished:?}");
        reordered += started.session.statistics().1.reordered;
    }
    assert!(reordered > 0);
}

#[test]
fn p48_no_token_is_shown_or_logged_whatever_goes_wrong() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    for (number, lifetime) in [None, Some(Duration::ZERO)].into_iter().enumerate() {
        let mut config = interactive("echo ready; sleep 1");
        config.gateway.token_lifetime = lifetime;
        let started = sandbox.start_session(config);
        let log = directory.path().join(number.to_string());
        let plugin = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .env("SSM_PLUGIN_LOG", "trace")
            .env("SSM_PLUGIN_LOG_FILE", &log)
            .spawn();
        if lifetime.is_none() {
            plugin.stdout.wait_for("ready");
            started.session.end_connection(Ending::bye());
        }
        let finished = plugin.finish();
        let log = std::fs::read_to_string(log).expect("a log");
        assert!(!log.is_empty());
        let all = format!("{finished:?}{log}");
        let tokens = started.session.tokens();
        assert!(tokens.len() > 1, "it was resumed: {log}");
        for token in tokens {
            assert!(!all.contains(&token), "{all}");
        }
        for secret in ["sandbox/secret/key", "role=publish", "Signature="] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    }
}
