//! Much input, much output, and readers that stop: what a terminal session does when something does not flow.

mod support;

use std::time::Duration;

use sandbox::{AgentConfig, Document, Record, Sandbox, Sender, SessionConfig, Started};
use support::{Io, Plugin, Running, TIMEOUT, exit_code, sandbox};

fn start(sandbox: &Sandbox, document: Document, agent: AgentConfig) -> Started {
    sandbox.start_session(SessionConfig {
        document,
        agent: AgentConfig {
            environment: vec![("PS1".into(), "ready> ".into())],
            paced: false,
            ..agent
        },
        record: Record::Payloads,
        ..SessionConfig::default()
    })
}

#[test]
fn what_is_typed_before_the_session_stands_is_kept() {
    let sandbox = sandbox();
    // Slow to begin: the shell runs after a second.
    let slow = AgentConfig {
        not_ready: Duration::from_secs(1),
        ..AgentConfig::default()
    };
    let started = start(&sandbox, Document::Shell, slow);
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("Starting session");
    plugin.type_in(b"echo early-$((40 + 2))\r");
    plugin.type_in(b"exi");
    plugin.terminal.wait_for("early-42");
    plugin.type_in(b"t\r");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn a_megabyte_pasted_into_cat_arrives_whole() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pasted");
    let command = format!("stty -echo; echo go; cat > {}; echo over", path.display());
    let started = start(
        &sandbox,
        Document::Interactive { command },
        AgentConfig::default(),
    );
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= 1 << 20 {
            break;
        }
        text.push_str(&format!("{number} {}\n", "x".repeat(number % 3000)));
    }
    plugin.type_in(text.as_bytes());
    plugin.type_in(&[0x04]);
    plugin.terminal.wait_for("over");
    let pasted = std::fs::read_to_string(&path).expect("the file");
    assert!(pasted == text, "{} of {} bytes", pasted.len(), text.len());
}

#[test]
fn a_megabyte_piped_into_cat_arrives_whole() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("piped");
    let command = format!("stty -echo; cat > {}; echo over", path.display());
    let started = start(
        &sandbox,
        Document::Interactive { command },
        AgentConfig::default(),
    );
    let text: String = (0..20_000)
        .map(|number| format!("{number} {}\n", "y".repeat(45)))
        .collect();
    let finished = Plugin::new(&sandbox, &started).run(text.as_bytes());
    assert!(finished.stdout.contains("over"), "{finished:?}");
    assert!(std::fs::read_to_string(&path).expect("the file") == text);
}

/// A shell that says yes for ever to somebody who does not read.
fn stuck_in_yes(sandbox: &Sandbox) -> (Started, Running) {
    let started = start(sandbox, Document::Shell, AgentConfig::default());
    let plugin = Plugin::new(sandbox, &started)
        .stdin(Io::Terminal)
        .stdout(Io::HeldPipe)
        .spawn();
    plugin.wait_for_raw(true);
    plugin.type_in(b"yes\r");
    // As much as everybody on the way keeps; then the agent is stuck, and so is yes.
    assert!(
        started
            .session
            .wait_for_frames(TIMEOUT, |frames| frames.len() > 1000)
    );
    (started, plugin)
}

#[test]
fn a_frozen_reader_stops_the_output_and_an_interrupt_still_leaves_the_command() {
    let sandbox = sandbox();
    let (started, plugin) = stuck_in_yes(&sandbox);
    plugin.type_in(&[0x03]);
    let came = started.session.wait_for_frames(TIMEOUT, |frames| {
        let mut data = frames
            .iter()
            .filter(|frame| frame.is_data(Sender::Client, 1));
        data.any(|frame| frame.payload.contains(&0x03))
    });
    assert!(came);
    plugin.read_stdout();
    plugin.type_in(b"\recho free-$((40 + 2))\r");
    plugin.stdout.wait_for("free-42");
}

#[test]
fn the_escape_leaves_while_output_is_stuck() {
    let sandbox = sandbox();
    let (_started, plugin) = stuck_in_yes(&sandbox);
    plugin.type_in(b"~.");
    assert_eq!(exit_code(plugin.wait()), 0);
    plugin.wait_for_raw(false);
}

#[test]
fn all_output_is_written_however_slow_its_reader() {
    let sandbox = sandbox();
    let started = start(
        &sandbox,
        Document::Interactive {
            command: "seq 1 200000".into(),
        },
        AgentConfig::default(),
    );
    let plugin = Plugin::new(&sandbox, &started).stdout(Io::HeldPipe).spawn();
    assert!(
        started
            .session
            .wait_for_frames(TIMEOUT, |frames| frames.len() > 1000)
    );
    plugin.read_stdout();
    let finished = plugin.finish();
    let text = finished.stdout.replace("\r\n", "\n");
    let numbers: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(text.contains(&numbers), "{} bytes", text.len());
    assert!(text.ends_with(&format!(
        "Exiting session with sessionId: {}.\n\n",
        started.session.id()
    )));
    assert_eq!(finished.code(), 0);
}

#[test]
fn the_remote_end_gives_the_terminal_back_while_output_is_still_written() {
    let sandbox = sandbox();
    let started = start(
        &sandbox,
        Document::Interactive {
            command: "seq 1 100000".into(),
        },
        AgentConfig::default(),
    );
    let plugin = Plugin::new(&sandbox, &started)
        .stdin(Io::Terminal)
        .stdout(Io::HeldPipe)
        .spawn();
    plugin.wait_for_raw(true);
    // All has come, and the pipe takes only a part of it.
    plugin.wait_for_raw(false);
    assert!(plugin.try_wait().is_none());
    plugin.read_stdout();
    let finished = plugin.finish();
    assert!(finished.stdout.contains("\n100000\r\n"));
    assert_eq!(finished.code(), 0);
}
