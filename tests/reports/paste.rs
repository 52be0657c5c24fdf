//! Escapes in what is pasted (P104).

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sandbox::{Document, Record, Sandbox, SessionConfig, Started};

use crate::support::{Plugin, Running, TIMEOUT, input, input_messages, sandbox, wait_until};

const ESCAPES: [&[u8]; 6] = [b"~.", b"~?", b"~-", b"~~", b"~r", b"~s"];
const BEGINS: &[u8] = b"\x1b[200~";
const ENDS: &[u8] = b"\x1b[201~";

/// A program over there that takes every byte and says nothing.
fn taker(sandbox: &Sandbox) -> Started {
    sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            command: "stty raw -echo; echo go; exec cat > /dev/null".into(),
        },
        record: Record::Payloads,
        ..SessionConfig::default()
    })
}

fn in_terminal(sandbox: &Sandbox, started: &Started) -> Running {
    let plugin = Plugin::new(sandbox, started).terminal().spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    plugin
}

fn wait_for_input(started: &Started, expected: &[u8]) {
    let mut came = 0;
    let is_there = started.session.wait_for_frames(TIMEOUT, |frames| {
        came = input_messages(frames)
            .values()
            .map(|bytes| bytes.len())
            .sum();
        came >= expected.len()
    });
    assert!(is_there, "{came} of {} bytes", expected.len());
    let input = input(started);
    let differs = input
        .iter()
        .zip(expected)
        .position(|(is, wanted)| is != wanted);
    let differs = differs.or((input.len() != expected.len()).then_some(expected.len()));
    assert_eq!(differs, None, "where it differs");
}

/// Lines of many lengths, with every escape at their beginnings, at every distance from the multiples of what a terminal takes at once.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        text.extend_from_slice(ESCAPES[number % ESCAPES.len()]);
        text.resize(text.len() + number % 23, b'x');
        text.push(if number % 5 == 0 { b'\n' } else { b'\r' });
        if text.len() >= length {
            break;
        }
    }
    text
}

/// The user leaves.
fn leave(plugin: &Running) {
    plugin.type_in(b"\r~.");
    assert_eq!(plugin.wait().code(), Some(0));
    plugin.wait_for_raw(false);
}

#[test]
fn p104_a_paste_of_a_megabyte_passes_untouched_and_escapes_work_after_it() {
    let sandbox = sandbox();
    let plain = text(1_000_000);
    for bracketed in [false, true] {
        let started = taker(&sandbox);
        let plugin = in_terminal(&sandbox, &started);
        let pasted = match bracketed {
            false => plain.clone(),
            true => [BEGINS, &plain, ENDS].concat(),
        };
        plugin.type_in(&pasted);
        wait_for_input(&started, &pasted);
        leave(&plugin);
    }
}

#[test]
fn p104_no_cut_of_a_bracketed_paste_makes_an_escape() {
    let sandbox = sandbox();
    let started = taker(&sandbox);
    let plugin = in_terminal(&sandbox, &started);
    let mut expected = Vec::new();
    for escape in ESCAPES {
        let paste = [BEGINS, b"* list\r", escape, b"\r", escape, ENDS].concat();
        for cut in 1..paste.len() {
            // As three reads: the agent has the first and the second before the next is sent.
            for piece in [&paste[..cut], &paste[cut..cut + 1], &paste[cut + 1..]] {
                plugin.type_in(piece);
                expected.extend_from_slice(piece);
                wait_for_input(&started, &expected);
            }
        }
    }
    leave(&plugin);
}

#[test]
fn p104_what_comes_at_once_in_more_than_four_bytes_is_no_escape() {
    let sandbox = sandbox();
    let started = taker(&sandbox);
    let plugin = in_terminal(&sandbox, &started);
    let mut expected = Vec::new();
    for escape in ESCAPES {
        for paste in [
            [b"\r", escape, b" x"].concat(),
            [b"one\r", escape, b"\r"].concat(),
            [b"one\r\n", escape].concat(),
            [escape, escape, escape].concat(),
        ] {
            plugin.type_in(&paste);
            expected.extend_from_slice(&paste);
            wait_for_input(&started, &expected);
        }
        // Its first byte was typed: it goes with the rest.
        plugin.type_in(b"\r~");
        expected.push(b'\r');
        wait_for_input(&started, &expected);
        plugin.type_in(b".....");
        expected.extend_from_slice(b"~.....");
        wait_for_input(&started, &expected);
    }
    leave(&plugin);
}

#[test]
fn escapes_still_work_across_reads_and_within_one() {
    let sandbox = sandbox();
    for reads in [
        &[&b"\r"[..], b"~", b"."][..],
        &[b"\r~", b"."],
        &[b"x", b"\r~."],
        &[b"xx\r", b"~."],
    ] {
        let started = taker(&sandbox);
        let plugin = in_terminal(&sandbox, &started);
        for read in reads {
            plugin.type_in(read);
            match read.iter().rfind(|byte| **byte != b'~') {
                // The end of the escape: nothing after it is sent.
                Some(b'.') => {}
                Some(byte) => wait_until("it", || input(&started).contains(byte)),
                // Held back.
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        assert_eq!(plugin.wait().code(), Some(0));
        assert!(!input(&started).contains(&b'~'));
    }
    // The help, and the character itself.
    let started = taker(&sandbox);
    let plugin = in_terminal(&sandbox, &started);
    plugin.type_in(b"~?");
    plugin.terminal.wait_for("end the session");
    plugin.type_in(b"~~x\r");
    wait_for_input(&started, b"~x\r");
    // More at once would be a paste.
    plugin.type_in(b"~-~.");
    wait_for_input(&started, b"~x\r~.");
    plugin.type_in(b"\r");
    wait_for_input(&started, b"~x\r~.\r");
}

#[test]
fn p104_after_an_escape_nothing_of_the_queue_reaches_the_local_shell() {
    let sandbox = sandbox();
    // Again where the test was too slow, and the terminal is the local shell's already.
    while !pastes_behind_an_escape(&sandbox) {}
}

/// Ends a session by an escape, and pastes before the program has ended; whether there was the time for it.
fn pastes_behind_an_escape(sandbox: &Sandbox) -> bool {
    let started = taker(sandbox);
    // A shell runs it, and reads the same terminal afterwards.
    let plugin = Plugin::new(sandbox, &started)
        .terminal()
        .before(r#"(trap : INT; "$0" "$@"); echo "lo""cal"; while read -r line; do echo "ran: $line"; done; exit"#)
        .spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    let taken = || input(&started).len();
    while !plugin.terminal.text().contains("local") {
        let before = taken();
        plugin.type_in(b"\r~");
        wait_until("a newline to go out", || taken() > before);
        plugin.type_in(b".");
        // It sees the escape, and does not end yet: what is written now is in the queue, and more waits behind it. Where it was too slow to
        // see it, all of this is a paste that goes out.
        std::thread::sleep(Duration::from_millis(15));
        if !plugin.is_raw() {
            return false;
        }
        let before = taken();
        let paste = b"rest of the paste\r".repeat(2000);
        plugin.type_in(&paste);
        wait_until("an end, or a paste", || {
            plugin.terminal.text().contains("local") || taken() >= before + paste.len()
        });
    }
    plugin.type_in(b"typed\n");
    plugin.terminal.wait_for("ran: typed");
    assert!(
        !plugin.terminal.text().contains("ran: rest"),
        "{}",
        plugin.terminal.text()
    );
    plugin.signal(Signal::KILL);
    true
}

/// A real terminal program pastes.
#[test]
fn p104_tmux_pastes_untouched() {
    let has_tmux = Command::new("tmux").arg("-V").output().is_ok();
    if !has_tmux {
        eprintln!("no tmux here: not tried");
        return;
    }
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("tmux");
    let tmux = |arguments: &[&str]| {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(&socket)
            .args(["-f", "/dev/null"])
            .args(arguments);
        command.env_remove("TMUX");
        command
    };
    let pasted = text(1_000_000);
    let file = directory.path().join("text");
    std::fs::write(&file, &pasted).expect("a file");
    for (bracketed, first) in [(false, "go"), (true, "\u{1b}[?2004hgo")] {
        let started = sandbox.start_session(SessionConfig {
            document: Document::Interactive {
                command: format!(
                    "stty raw -echo; printf '{}'; exec cat > /dev/null",
                    first.replace('\u{1b}', "\\033")
                ),
            },
            record: Record::Payloads,
            ..SessionConfig::default()
        });
        let program = env!("CARGO_BIN_EXE_session-manager-plugin");
        let mut new = tmux(&["new-session", "-d", "-s", "s", program]);
        let response = started.response().to_string();
        new.args([response.as_str(), "eu-central-1", "StartSession"]);
        new.env("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.gateway_host())
            .env("AWS_CA_BUNDLE", sandbox.ca_file())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        assert!(new.status().expect("tmux").success());
        wait_until("the session", || {
            let shown = tmux(&["capture-pane", "-p", "-t", "s"])
                .output()
                .expect("tmux");
            String::from_utf8_lossy(&shown.stdout).contains("go")
        });
        // -r: newlines stay. -p: brackets, if the program has asked for them.
        let load = tmux(&["load-buffer", file.to_str().expect("a path")]).status();
        assert!(load.expect("tmux").success());
        let paste = tmux(&["paste-buffer", "-r", "-p", "-t", "s"]).status();
        assert!(paste.expect("tmux").success());
        let expected = match bracketed {
            false => pasted.clone(),
            true => [BEGINS, &pasted, ENDS].concat(),
        };
        wait_for_input(&started, &expected);
        // Keys are no paste.
        for key in ["Enter", "~", "."] {
            let sent = tmux(&["send-keys", "-t", "s", key]).status();
            assert!(sent.expect("tmux").success());
        }
        wait_until("the end", || {
            !tmux(&["has-session", "-t", "s"])
                .output()
                .expect("tmux")
                .status
                .success()
        });
    }
    let _ = tmux(&["kill-server"]).output();
}
