//! What people and scripts do with a shell: their keys, their terminals, the end of what they pipe into it.

mod support;

use std::time::Duration;

use sandbox::{Document, SessionConfig};
use support::{Io, Plugin, Running, sandbox};

// Lines on a terminal end with two carriage returns: one is the far terminal's, and one this terminal's, whose output processing
// stays as it is.

const PROMPT: &str = "remote> ";

/// A shell whose prompt is known.
fn shell() -> SessionConfig {
    let mut config = SessionConfig::from(Document::Shell);
    config.agent.environment = vec![("PS1".into(), PROMPT.into())];
    config
}

/// The terminal's settings, comparable.
fn settings(plugin: &Running) -> String {
    format!("{:?}", plugin.settings())
}

#[test]
fn p42_the_terminal_is_as_before_whatever_it_was_like() {
    let sandbox = sandbox();
    for before in ["true", "stty -echo -icrnl ixany intr ^X", "stty raw"] {
        let started = sandbox.start_session(shell());
        let plugin = Plugin::new(&sandbox, &started)
            .terminal()
            .before(&format!("{before}; echo set; head -c 1"))
            .spawn();
        plugin.terminal.wait_for("set");
        let found = settings(&plugin);
        plugin.type_in(b"\n");
        plugin.terminal.wait_for(PROMPT);
        assert_ne!(settings(&plugin), found, "{before}");
        plugin.type_in(b"exit\r");
        assert_eq!(plugin.wait().code(), Some(0));
        assert_eq!(settings(&plugin), found, "{before}");
    }
}

#[test]
fn p42_nothing_else_is_needed_to_set_the_terminal() {
    let sandbox = sandbox();
    let started = sandbox.start_session(shell());
    let plugin = Plugin::new(&sandbox, &started)
        .without("PATH")
        .terminal()
        .spawn();
    let before = settings(&plugin);
    plugin.terminal.wait_for(PROMPT);
    assert_ne!(settings(&plugin), before);
    plugin.type_in(b"exit\r");
    assert_eq!(plugin.wait().code(), Some(0));
    assert_eq!(settings(&plugin), before);
}

#[test]
fn a_resize_reaches_the_far_side_while_a_program_runs() {
    let sandbox = sandbox();
    let started = sandbox.start_session(shell());
    let plugin = Plugin::new(&sandbox, &started)
        .terminal()
        .size(80, 24)
        .spawn();
    plugin.terminal.wait_for(PROMPT);
    plugin.type_in(b"until [ \"$(stty size)\" = '24 80' ]; do sleep 0.02; done; echo sm''all\r");
    plugin.terminal.wait_for("small\r\r\n");
    plugin.type_in(b"until [ \"$(stty size)\" = '43 132' ]; do sleep 0.02; done; echo la''rge\r");
    plugin.resize(132, 43);
    plugin.terminal.wait_for("large\r\r\n");
    plugin.type_in(b"exit\r");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn keys_that_mean_something_here_mean_it_there() {
    let sandbox = sandbox();
    let started = sandbox.start_session(shell());
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for(PROMPT);
    // Ctrl-C
    plugin.type_in(b"sh -c 'echo f''irst; exec sleep 1000'\r");
    plugin.terminal.wait_for("first\r\r\n");
    plugin.type_in(&[3]);
    plugin.terminal.wait_for_count(PROMPT, 2);
    // Ctrl-backslash
    plugin.type_in(b"sh -c 'echo s''econd; exec sleep 1000'\r");
    plugin.terminal.wait_for("second\r\r\n");
    plugin.type_in(&[0x1c]);
    plugin.terminal.wait_for_count(PROMPT, 3);
    // Ctrl-Z
    plugin.type_in(b"sh -c 'echo t''hird; exec sleep 1000'\r");
    plugin.terminal.wait_for("third\r\r\n");
    plugin.type_in(&[0x1a]);
    plugin.terminal.wait_for("Stopped");
    plugin.type_in(b"kill -9 %1; wait; echo g''one\r");
    plugin.terminal.wait_for("gone\r\r\n");
    assert_eq!(plugin.try_wait(), None);
    // The shell may still count the job as stopped, and ask once more.
    plugin.type_in(b"exit\rexit\r");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn the_escape_works_while_nothing_can_be_sent() {
    let sandbox = sandbox();
    let started = sandbox.start_session(shell());
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for(PROMPT);
    started.session.kill_agent();
    // More than the window takes.
    plugin.type_in(&b"# nobody is there to take it\r".repeat(4000));
    // What comes together with the paste is pasted, too: it is typed again until it is not.
    while plugin.wait_within(Duration::from_millis(100)).is_none() {
        plugin.type_in(b"\r~.");
    }
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
}

/// Ansible's `aws_ssm` connection: stdin a pipe, stdout a terminal that it reads, stderr a pipe.
#[test]
fn ansible_sees_its_marks_on_a_terminal_that_is_left_as_it_is() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Shell);
    let plugin = Plugin::new(&sandbox, &started).stdout(Io::Terminal).spawn();
    let before = settings(&plugin);
    plugin.terminal.wait_for("Starting session with SessionId");
    plugin.type_in(b"stty -echo\nPS1=''\necho DIS''ABLED\n");
    plugin.terminal.wait_for("DISABLED");
    plugin.type_in(b"printf '%s\\n' beginMARK; echo content; printf '%s\\n' endMARK\n");
    plugin
        .terminal
        .wait_for("beginMARK\r\r\ncontent\r\r\nendMARK\r\r\n");
    assert_eq!(settings(&plugin), before);
    plugin.type_in(b"\nexit\n");
    plugin.close_stdin();
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(finished.stderr, "");
}

#[test]
fn p40_output_after_the_end_of_stdin_is_complete() {
    let sandbox = sandbox();
    for command in [
        // A reader of lines, an unfinished last line, and one who does not read at all.
        "stty -echo; echo begin; while read -r line; do echo \"<$line>\"; done; echo end",
        "stty -echo; echo begin; cat; echo; echo end",
        "stty -echo; echo begin; sleep 1; echo end",
    ] {
        for input in [&b""[..], b"one\ntwo\n", b"one\ntwo"] {
            let started = sandbox.start_session(Document::Interactive {
                command: command.into(),
            });
            let finished = Plugin::new(&sandbox, &started).run(input);
            assert_eq!(finished.code(), 0, "{command} {finished:?}");
            assert!(
                finished.stdout.contains("end\r\n\n\nExiting session"),
                "{command} {finished:?}"
            );
        }
    }
}

#[test]
fn everything_may_be_closed() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Interactive {
        command: "echo hello".into(),
    });
    let plugin = Plugin::new(&sandbox, &started)
        .stdin(Io::Closed)
        .stdout(Io::Closed)
        .stderr(Io::Closed);
    assert_eq!(plugin.run(b"").code(), 0);
}
