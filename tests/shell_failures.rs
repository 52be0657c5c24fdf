//! What cannot work says so, and ends (section 3 of the contract); what is only silent does not.

mod support;

use std::time::Duration;

use rustix::process::Signal;
use sandbox::faults::Ending;
use sandbox::{Document, Sandbox, SessionConfig, Started, Upgrade};
use session_manager_plugin::internals::message::{Message, MessageType, PayloadType};
use support::{Finished, Plugin, TIMEOUT, exit_code, sandbox};

/// With credentials and without: the first may ask the service for a new token.
fn run_both_ways(sandbox: &Sandbox, start: impl Fn() -> Started) -> Vec<(Started, Finished)> {
    let mut all = Vec::new();
    for with_api in [false, true] {
        let started = start();
        let mut plugin = Plugin::new(sandbox, &started);
        if with_api {
            plugin = plugin.with_api(sandbox);
        }
        let finished = plugin.run(b"");
        all.push((started, finished));
    }
    all
}

/// On stdout as callers expect, on stderr, no secrets, code 1.
fn assert_failed(started: &Started, finished: &Finished) {
    assert_eq!(finished.code(), 1, "{finished:?}");
    let id = started.session.id();
    let banner = format!("\nStarting session with SessionId: {id}\nCannot perform start session: ");
    assert!(finished.stdout.starts_with(&banner), "{finished:?}");
    assert!(finished.stdout.ends_with('\n'), "{finished:?}");
    let mut complaints = finished.stderr.lines();
    assert!(
        complaints.any(|line| line.starts_with("session-manager-plugin: ")),
        "{finished:?}"
    );
    let all = format!("{finished:?}");
    assert!(!all.contains("panicked"), "{finished:?}");
    for token in started.session.tokens() {
        assert!(!all.contains(&token), "{finished:?}");
    }
    assert!(!all.contains("role="), "{finished:?}");
}

#[test]
fn p25_a_token_that_has_expired_is_refused_with_the_reason() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::Shell);
    config.gateway.token_lifetime = Some(Duration::ZERO);
    let started = sandbox.start_session(config);
    let finished = Plugin::new(&sandbox, &started).run(b"");
    assert_failed(&started, &finished);
    assert!(
        finished.stderr.contains("token has expired"),
        "{finished:?}"
    );
}

#[test]
fn p25_a_wrong_token_is_refused_with_the_reason() {
    let sandbox = sandbox();
    let mut started = sandbox.start_session(Document::Shell);
    started.token_value = "not-the-token".into();
    let finished = Plugin::new(&sandbox, &started).run(b"");
    assert_failed(&started, &finished);
    assert!(!finished.stderr.contains("not-the-token"), "{finished:?}");
}

#[test]
fn p25_a_session_that_nobody_knows_is_refused() {
    let sandbox = sandbox();
    let results = run_both_ways(&sandbox, || {
        let mut started = sandbox.start_session(Document::Shell);
        let id = started.session.id().to_owned();
        started.stream_url = started.stream_url.replace(&id, "nobody");
        started
    });
    for (started, finished) in results {
        assert_failed(&started, &finished);
        assert!(finished.stderr.contains("404"), "{finished:?}");
    }
}

#[test]
fn p25_a_gateway_that_never_answers_is_given_up_within_its_time() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Shell);
    started.session.set_upgrades(vec![Upgrade::Hang; 20]);
    let finished = Plugin::new(&sandbox, &started).run(b"");
    assert_failed(&started, &finished);
}

/// An output message with another field in its header.
fn hostile(at: std::ops::Range<usize>, value: u64) -> Vec<u8> {
    let mut frame =
        Message::stream(MessageType::OutputStreamData, PayloadType::Output, b"text").encode();
    let bytes = value.to_be_bytes();
    let length = at.len();
    frame[at].copy_from_slice(&bytes[8 - length..]);
    frame
}

/// Frames that no agent sends.
fn hostile_frames() -> Vec<Vec<u8>> {
    let good = hostile(0..0, 0);
    let mut digest = good.clone();
    digest[80] ^= 1;
    vec![
        Vec::new(),
        vec![0],
        vec![0xff; 119],
        vec![0xff; 70_000],
        good[..119].to_vec(),
        digest,
        // The header's length: 4 GB, nothing, and just beyond the end.
        hostile(0..4, 0xffff_ffff),
        hostile(0..4, 0),
        hostile(0..4, 0x7fff_fff0),
        hostile(0..4, good.len() as u64),
        // The payload's length.
        hostile(116..120, 0xffff_ffff),
        // The number.
        hostile(48..56, u64::MAX),
        hostile(48..56, i64::MAX as u64),
        // The time, and the payload's type.
        hostile(40..48, 0),
        hostile(112..116, 0xffff_ffff),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

#[test]
fn p57_hostile_frames_before_the_first_message_do_no_harm() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::Interactive {
        command: "read -r line; echo \"<$line>\"".into(),
    });
    // Not those that are messages, if strange ones: they would be taken for the beginning of another's stream.
    config.gateway.first_frames = hostile_frames();
    config
        .gateway
        .first_frames
        .retain(|frame| Message::decode(frame).is_err());
    let started = sandbox.start_session(config);
    let finished = Plugin::new(&sandbox, &started).run(b"hello\n");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("<hello>\r\n"), "{finished:?}");
}

#[test]
fn p57_hostile_frames_while_it_runs_do_no_harm() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Interactive {
        command: "echo ready; while read -r line; do echo \"<$line>\"; done".into(),
    });
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready");
    for (number, frame) in hostile_frames().into_iter().enumerate() {
        started.session.inject_frame(&frame);
        plugin.type_in(format!("{number}\n").as_bytes());
        plugin.stdout.wait_for(&format!("<{number}>"));
    }
    for (number, text) in ["", "{}", "not JSON", "\u{1b}[2J"].into_iter().enumerate() {
        started.session.inject_text(text);
        plugin.type_in(format!("text {number}\n").as_bytes());
        plugin.stdout.wait_for(&format!("<text {number}>"));
    }
    plugin.close_stdin();
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn p57_what_is_no_agent_at_all_is_told_in_time() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::Shell);
    config.agent.silent = true;
    config.gateway.first_frames = vec![hostile(0..4, 0xffff_ffff); 5];
    let started = sandbox.start_session(config);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    // It would acknowledge what is sent to it, and that is something.
    support::wait_until("the connection", || started.session.is_connected());
    started.session.kill_agent();
    let finished = plugin.finish();
    assert_failed(&started, &finished);
}

/// Bytes that are no websocket break the connection. What comes after that, a resumed session or the reason, is not silence.
#[test]
fn p57_bytes_that_are_no_websocket_frame_break_the_connection_and_are_survived() {
    let sandbox = sandbox();
    for bytes in [
        // A reserved opcode, a length of 2^63, and text.
        &b"\x83\x00"[..],
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let started = sandbox.start_session(Document::Interactive {
            command: "echo ready; while read -r line; do echo \"<$line>\"; done".into(),
        });
        let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
        plugin.stdout.wait_for("ready");
        started.session.inject_raw(bytes);
        plugin.type_in(b"hello\n");
        plugin.stdout.wait_for("<hello>");
        assert!(started.session.connections() > 1);
        plugin.close_stdin();
        assert_eq!(plugin.wait().code(), Some(0));
    }
}

#[test]
fn a_silent_agent_is_no_error_and_after_15_seconds_told_of() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Shell);
    started.session.set_upgrades([Upgrade::AcceptAndFreeze]);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stderr.wait_for("15 seconds");
    assert_eq!(plugin.stderr.text().lines().count(), 1);
    assert_eq!(plugin.try_wait(), None);
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 130);
}

/// Long paste, nobody reads, nothing comes: all of it is life.
#[test]
fn p63_a_paste_into_a_program_that_does_not_read_is_kept() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pasted");
    let started = sandbox.start_session(Document::Interactive {
        command: format!(
            "stty -echo; echo ready; sleep 8; cat > {}; echo done",
            file.display()
        ),
    });
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready");
    let text: String = (0..20_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    plugin.type_in(text.as_bytes());
    plugin.close_stdin();
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("done\r\n"), "{finished:?}");
    assert!(std::fs::read_to_string(file).expect("the file") == text);
}

#[test]
fn the_last_words_of_the_service_come_after_all_output() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::Interactive {
        command: "seq 1 20000; echo all; sleep 1000".into(),
    });
    config.agent.paced = false;
    let started = sandbox.start_session(config);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    let came = started.session.wait_for_frames(TIMEOUT, |frames| {
        frames.iter().any(|frame| frame.sequence_number > 50)
    });
    assert!(came);
    plugin.stdout.wait_for("all\r\n");
    started.session.terminate("Maintenance\u{1b}[31m.");
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    let id = started.session.id();
    let last = format!("all\r\n\n\nSessionId: {id} : Maintenance[31m.\n\n");
    assert!(finished.stdout.ends_with(&last), "{finished:?}");
}

#[test]
fn p20_a_token_that_is_good_no_longer_ends_a_session_without_credentials() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Interactive {
        command: "echo ready; while read -r line; do echo \"<$line>\"; done".into(),
    });
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready");
    started.session.end_connection(Ending::Reset);
    plugin.type_in(b"hello\n");
    plugin.stdout.wait_for("<hello>");
    // A token that is good no longer ends it.
    started.session.expire_tokens();
    started.session.end_connection(Ending::bye());
    let finished = plugin.finish();
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("token has expired"),
        "{finished:?}"
    );
    // It was told of once at most, and never that the connection were back.
    assert!(!finished.stderr.contains("is back"), "{finished:?}");
}
