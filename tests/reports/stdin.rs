//! Data on stdin that a command would not get (P118).

use std::fs;

use sandbox::{Document, Event, Sandbox};

use crate::support::{Finished, Io, Plugin, sandbox, wait_until};

const COMMAND: [&str; 6] = ["exec", "--target", "i-0123456789abcdef0", "--", "sh", "-c"];

fn exec(sandbox: &Sandbox, script: &str) -> Plugin {
    let arguments = COMMAND.iter().copied().chain([script]);
    Plugin::bare(arguments).with_api(sandbox)
}

fn sessions(sandbox: &Sandbox) -> usize {
    let events = sandbox.events();
    let is_start = |event: &&Event| matches!(event, Event::SessionStarted { .. });
    events.iter().filter(is_start).count()
}

fn assert_refused(sandbox: &Sandbox, finished: &Finished, what: &str) {
    assert_eq!(finished.code(), 2, "{what}: {finished:?}");
    assert_eq!(finished.stdout, "", "{what}");
    assert_eq!(finished.stderr.lines().count(), 1, "{what}: {finished:?}");
    assert!(finished.stderr.contains("stdin"), "{what}: {finished:?}");
    assert!(
        finished.stderr.contains("</dev/null"),
        "{what}: {finished:?}"
    );
    assert_eq!(sessions(sandbox), 0, "{what}: nothing is started");
}

fn assert_ran(finished: &Finished, what: &str) {
    assert_eq!(finished.code(), 3, "{what}: {finished:?}");
    assert_eq!(finished.stdout, "ran\n", "{what}");
    assert_eq!(finished.stderr, "", "{what}");
}

const RUNS: &str = "echo ran; exit 3";

#[test]
fn p118_exec_refuses_data_on_stdin_before_anything_is_started() {
    let sandbox = sandbox();
    for data in [&b"x"[..], b"a line\n", &[7; 300_000]] {
        assert_refused(&sandbox, &exec(&sandbox, RUNS).run(data), "a pipe");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "first\nsecond\n").expect("a file");
    let finished = exec(&sandbox, RUNS).stdin(Io::File(file.clone())).run(b"");
    assert_refused(&sandbox, &finished, "a file");
    // In a loop over its lines: the rest of them.
    let finished = exec(&sandbox, RUNS)
        .before("read -r line")
        .stdin(Io::File(file))
        .run(b"");
    assert_refused(&sandbox, &finished, "the rest of a file");
    // Written by a program that takes a moment to start.
    let finished = exec(&sandbox, RUNS)
        .before(r#"sh -c 'sleep 0.01; echo data; exec sleep 0.3' | "$0" "$@"; exit"#)
        .run(b"");
    assert_refused(&sandbox, &finished, "another program");
    let socket = r#"exec python3 -c 'import os, socket, sys
near, far = socket.socketpair()
far.send(b"data")
os.dup2(near.fileno(), 0)
os.set_inheritable(far.fileno(), True)
os.execv(sys.argv[1], sys.argv[1:])' "$0" "$@""#;
    let finished = exec(&sandbox, RUNS).before(socket).run(b"");
    assert_refused(&sandbox, &finished, "a socket");
}

#[test]
fn exec_runs_with_a_stdin_that_has_nothing() {
    let sandbox = sandbox();
    for stdin in [Io::Null, Io::Closed] {
        let finished = exec(&sandbox, RUNS).stdin(stdin.clone()).run(b"");
        assert_ran(&finished, &format!("{stdin:?}"));
    }
    assert_ran(&exec(&sandbox, RUNS).run(b""), "a pipe at its end");
    // One that nobody ever writes to.
    let plugin = exec(&sandbox, RUNS).spawn();
    plugin.wait();
    assert_ran(&plugin.finish(), "a quiet pipe");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let finished = exec(&sandbox, RUNS).stdin(Io::File(file.clone())).run(b"");
    assert_ran(&finished, "an empty file");
    fs::write(&file, "read already\n").expect("a file");
    let finished = exec(&sandbox, RUNS)
        .before("cat >/dev/null")
        .stdin(Io::File(file))
        .run(b"");
    assert_ran(&finished, "a file at its end");
    // What is typed ahead is for the local shell.
    let plugin = exec(&sandbox, RUNS).stdin(Io::Terminal).spawn();
    plugin.type_in(b"typed ahead\n");
    plugin.wait();
    assert_ran(&plugin.finish(), "a terminal");
}

#[test]
fn p118_data_that_comes_later_is_told_once() {
    let sandbox = sandbox();
    let folder = tempfile::tempdir().expect("a folder");
    let done = folder.path().join("done");
    let script = format!(
        "echo ran; until [ -e '{}' ]; do sleep 0.02; done; exit 3",
        done.display()
    );
    let plugin = exec(&sandbox, &script).spawn();
    plugin.stdout.wait_for("ran");
    plugin.type_in(b"data\n");
    plugin.stderr.wait_for("data came on stdin");
    plugin.type_in(b"more\n");
    fs::write(&done, "").expect("a file");
    let finished = plugin.finish();
    assert_eq!(finished.code(), 3, "{finished:?}");
    assert_eq!(finished.stdout, "ran\n");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");

    // The end alone is nothing to tell.
    fs::remove_file(&done).expect("to remove it");
    let plugin = exec(&sandbox, &script).spawn();
    plugin.stdout.wait_for("ran");
    plugin.close_stdin();
    fs::write(&done, "").expect("a file");
    assert_ran(&plugin.finish(), "a late end");
}

#[test]
fn p118_start_session_tells_of_data_that_its_command_does_not_get() {
    let sandbox = sandbox();
    let start = |command: &str| {
        let command = format!("command={command}");
        Plugin::bare([
            "start-session",
            "--target",
            "i-1",
            "--document-name",
            "AWS-StartNonInteractiveCommand",
            "--parameters",
            &command,
        ])
        .with_api(&sandbox)
    };
    let finished = start("sleep 0.5").run(b"data\n");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stderr.contains("data on stdin"), "{finished:?}");
    let finished = start("true").run(b"");
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
}

/// Callers by the contract give a pipe and whatever is in it, as ever.
#[test]
fn the_contract_knows_no_refusal() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::separate_command("echo ran"));
    let finished = Plugin::new(&sandbox, &started).run(b"data\n");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("ran\n"), "{finished:?}");
    assert_eq!(finished.stderr, "");
    wait_until("its end", || {
        started.session.is_terminated() || started.session.ended().is_some()
    });
}
