//! A person at a terminal, and programs that have none: raw mode, size, escapes, the end of stdin.

mod support;

use std::time::Duration;

use sandbox::{Document, Sandbox, Sender, Started};
use support::{Io, Plugin, Running, TIMEOUT, input, sandbox, start_with_prompt};

/// The shell that everybody has, with a prompt that is easy to find.
fn shell(sandbox: &Sandbox) -> Started {
    start_with_prompt(sandbox, Document::Shell)
}

/// In a terminal, with the prompt seen.
fn at_the_prompt(sandbox: &Sandbox, started: &Started) -> Running {
    let plugin = Plugin::new(sandbox, started).terminal().spawn();
    plugin.terminal.wait_for("ready> ");
    plugin.wait_for_raw(true);
    plugin
}

fn wait_for_input(started: &Started, bytes: &[u8]) {
    support::wait_until("the agent's input", || {
        input(started)
            .windows(bytes.len())
            .any(|window| window == bytes)
    });
}

#[test]
fn a_person_can_work_in_it_and_the_terminal_is_as_before() {
    let sandbox = sandbox();
    let started = shell(&sandbox);
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    let before = plugin.settings();
    plugin.terminal.wait_for("ready> ");
    plugin.wait_for_raw(true);
    let raw = plugin.settings();
    assert_eq!(raw.output_modes, before.output_modes);
    plugin.type_in(b"echo a$((1 + 1))b\r");
    plugin.terminal.wait_for("a2b");
    plugin.type_in(b"sleep 600\r");
    plugin.terminal.wait_for("sleep 600");
    plugin.type_until(&[0x03], "the prompt", || {
        plugin.terminal.text().matches("ready> ").count() >= 3
    });
    plugin.type_in(&[0x04]);
    assert_eq!(plugin.wait().code(), Some(0));
    plugin.terminal.wait_for("Exiting session with sessionId: ");
    assert_eq!(format!("{:?}", plugin.settings()), format!("{before:?}"));
}

#[test]
fn every_byte_passes() {
    let sandbox = sandbox();
    let started = start_with_prompt(
        &sandbox,
        Document::Interactive {
            command: "stty raw -echo; echo go; cat > /dev/null".into(),
        },
    );
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    // But for the escape character, which is held back until the next byte.
    let all: Vec<u8> = (0..=255).collect();
    plugin.type_in(&all);
    wait_for_input(&started, &all);
}

#[test]
fn the_size_is_told_at_the_start_and_when_it_changes() {
    let sandbox = sandbox();
    let started = shell(&sandbox);
    let plugin = at_the_prompt(&sandbox, &started);
    plugin.type_in(b"stty size\r");
    plugin.terminal.wait_for("24 80");
    plugin.resize(132, 43);
    let resized = started.session.wait_for_frames(TIMEOUT, |frames| {
        frames.iter().any(|frame| {
            frame.is_data(Sender::Client, 3) && frame.payload == br#"{"cols":132,"rows":43}"#
        })
    });
    assert!(resized);
    plugin.type_in(b"stty size\r");
    plugin.terminal.wait_for("43 132");
}

#[test]
fn a_terminal_without_a_size_tells_none() {
    let sandbox = sandbox();
    let started = shell(&sandbox);
    let plugin = Plugin::new(&sandbox, &started)
        .terminal()
        .size(0, 0)
        .spawn();
    plugin.terminal.wait_for("ready> ");
    plugin.wait_for_raw(true);
    plugin.type_in(b"exit\r");
    assert_eq!(plugin.wait().code(), Some(0));
    let frames = started.session.frames();
    assert!(!frames.iter().any(|frame| frame.is_data(Sender::Client, 3)));
}

#[test]
fn without_a_terminal_lines_are_not_cut_at_80_columns() {
    let sandbox = sandbox();
    let started = shell(&sandbox);
    let finished = Plugin::new(&sandbox, &started).run(b"stty size; exit\n");
    assert!(finished.stdout.contains("100 300"), "{finished:?}");

    let started = shell(&sandbox);
    let finished = Plugin::new(&sandbox, &started)
        .env("COLUMNS", "99")
        .env("LINES", "33")
        .run(b"stty size; exit\n");
    assert!(finished.stdout.contains("33 99"), "{finished:?}");
}

#[test]
fn the_escape_ends_the_session_and_the_terminal_is_as_before() {
    let sandbox = sandbox();
    let started = shell(&sandbox);
    let plugin = at_the_prompt(&sandbox, &started);
    plugin.type_in(b"echo one\r");
    plugin.terminal.wait_for_count("one", 2);
    plugin.type_in(b"~");
    plugin.type_in(b".");
    assert_eq!(plugin.wait().code(), Some(0));
    plugin.wait_for_raw(false);
    plugin.terminal.wait_for("Exiting session with sessionId: ");
    assert!(!input(&started).contains(&b'~'));
}

#[test]
fn escapes_can_be_asked_for_turned_off_and_moved() {
    let sandbox = sandbox();
    let started = start_with_prompt(
        &sandbox,
        Document::Interactive {
            command: "echo go; cat".into(),
        },
    );
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.wait_for_raw(true);
    plugin.type_in(b"~?");
    plugin.terminal.wait_for("end the session");
    plugin.type_in(b"~~.\r");
    wait_for_input(&started, b"~.\r");
    // More at once would be a paste.
    plugin.type_in(b"~-~.");
    wait_for_input(&started, b"~.\r~.");
    plugin.type_in(b"\r");
    wait_for_input(&started, b"~.\r~.\r");

    let started = start_with_prompt(
        &sandbox,
        Document::Interactive {
            command: "echo go; cat".into(),
        },
    );
    let plugin = Plugin::new(&sandbox, &started)
        .env("SSM_PLUGIN_ESCAPE", "%")
        .terminal()
        .spawn();
    plugin.wait_for_raw(true);
    plugin.type_in(b"~.\r");
    wait_for_input(&started, b"~.\r");
    plugin.type_in(b"%.");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn p49_escapes_are_not_looked_for_in_piped_stdin() {
    let sandbox = sandbox();
    let started = start_with_prompt(
        &sandbox,
        Document::Interactive {
            command: "echo go; cat; echo over".into(),
        },
    );
    let finished = Plugin::new(&sandbox, &started).run(b"~.\n~?\nlast\n");
    assert!(finished.stdout.contains("last"), "{finished:?}");
    assert!(finished.stdout.contains("over"), "{finished:?}");
    assert!(input(&started).starts_with(b"~.\n~?\nlast\n"));
}

#[test]
fn p40_the_end_of_stdin_is_the_end_of_file_for_the_pty() {
    let sandbox = sandbox();
    for stdin in [Io::Null, Io::Closed] {
        let started = shell(&sandbox);
        let plugin = Plugin::new(&sandbox, &started).stdin(stdin).spawn();
        let finished = plugin.finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert!(finished.stdout.contains("Exiting session"), "{finished:?}");
        assert_eq!(input(&started), [4]);
    }

    let started = shell(&sandbox);
    let finished = Plugin::new(&sandbox, &started).run(b"echo whole\n");
    assert!(finished.stdout.contains("whole\r\n"), "{finished:?}");
    assert_eq!(finished.code(), 0);
    assert_eq!(input(&started), b"echo whole\n\x04");

    // An unfinished line takes one more to end the line.
    let started = shell(&sandbox);
    let finished = Plugin::new(&sandbox, &started).run(b"echo unfinished; exit");
    assert!(finished.stdout.contains("unfinished\r\n"), "{finished:?}");
    assert_eq!(finished.code(), 0);
    assert!(input(&started).starts_with(b"echo unfinished; exit\x04\x04"));
}

#[test]
fn p42_the_terminal_is_as_before_after_every_ending() {
    let sandbox = sandbox();
    type End = fn(&Running, &Started);
    let ends: [(i32, End); 5] = [
        (0, |plugin, _| plugin.type_in(b"exit\r")),
        (0, |_, started| {
            started.session.terminate("an administrator ended it")
        }),
        (0, |plugin, _| plugin.type_in(b"\r~.")),
        (143, |plugin, _| {
            plugin.signal(rustix::process::Signal::TERM)
        }),
        (129, |plugin, _| plugin.signal(rustix::process::Signal::HUP)),
    ];
    for (code, end) in ends {
        let started = shell(&sandbox);
        let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
        let before = format!("{:?}", plugin.settings());
        plugin.terminal.wait_for("ready> ");
        plugin.wait_for_raw(true);
        end(&plugin, &started);
        let status = plugin.wait();
        assert_eq!(support::exit_code(status), code);
        assert_eq!(format!("{:?}", plugin.settings()), before, "{code}");
    }
}

#[test]
fn p51_a_reader_that_goes_ends_the_session() {
    let sandbox = sandbox();
    let quiet = Document::Interactive {
        command: "echo go; sleep 600".into(),
    };
    let loud = Document::Interactive {
        command: "yes".into(),
    };
    for document in [quiet, loud] {
        let started = start_with_prompt(&sandbox, document.clone());
        let plugin = Plugin::new(&sandbox, &started).stdout(Io::HeldPipe).spawn();
        assert!(started.session.wait_for_frames(TIMEOUT, |frames| {
            frames.iter().any(|frame| frame.is_data(Sender::Client, 3))
        }));
        plugin.close_stdout();
        let finished = plugin.finish();
        assert_eq!(finished.code(), 0, "{document:?} {finished:?}");
    }
}

#[test]
fn output_that_nobody_reads_waits_and_a_signal_still_ends_the_session() {
    let sandbox = sandbox();
    let started = start_with_prompt(
        &sandbox,
        Document::Interactive {
            command: "yes".into(),
        },
    );
    let plugin = Plugin::new(&sandbox, &started).stdout(Io::HeldPipe).spawn();
    assert!(
        started
            .session
            .wait_for_frames(TIMEOUT, |frames| frames.len() > 200)
    );
    plugin.signal(rustix::process::Signal::TERM);
    assert_eq!(
        support::exit_code(plugin.wait_within(Duration::from_secs(15)).expect("an end")),
        143
    );
}

#[test]
fn p60_commands_without_a_pty_get_no_stdin() {
    let sandbox = sandbox();
    let started = start_with_prompt(&sandbox, Document::command("sleep 0.2"));
    let finished = Plugin::new(&sandbox, &started).run(b"\x03\x03\x03input\n");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(input(&started), b"");
}

#[test]
fn p64_in_the_background_it_leaves_the_terminal_alone_until_it_comes_to_the_front() {
    let sandbox = sandbox();
    let started = shell(&sandbox);
    let plugin = Plugin::new(&sandbox, &started)
        .terminal()
        .before(r#"exec bash -m -c '"$0" "$@" & read -r line; fg %1' "$0" "$@""#)
        .spawn();
    plugin.terminal.wait_for("ready> ");
    let canonical = rustix::termios::LocalModes::ICANON;
    assert!(plugin.settings().local_modes.contains(canonical));
    // The line is the other program's, and not ours.
    plugin.type_in(b"to the front\n");
    plugin.wait_for_raw(true);
    plugin.type_in(b"echo in-$((40 + 2))-front\r");
    plugin.terminal.wait_for("in-42-front");
    plugin.type_in(b"exit\r");
    assert_eq!(plugin.wait().code(), Some(0));
    assert!(!input(&started).starts_with(b"to the"));
}
