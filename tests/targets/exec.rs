//! `exec` on terminals, in containers, and on several targets.

use std::time::Duration;

use rustix::process::Signal;
use sandbox::{Failure, Target};
use serde_json::Value;

use super::*;
use crate::support::{exit_code, requests};

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// A command on `web-1` and `web-2`.
fn exec_on_both(sandbox: &Sandbox, command: &[&str]) -> Plugin {
    let options = ["exec", "--target", "web-1", "--target", "web-2", "--"];
    own(sandbox, &[&options, command].concat())
}

#[test]
fn a_command_on_a_pty() {
    let sandbox = sandbox(three());
    let running = Plugin::bare([
        "exec",
        "-t",
        "--target",
        "web-1",
        "--",
        "sh",
        "-c",
        "test -t 0 && echo on a tty; read x; echo got $x",
    ])
    .with_api(&sandbox)
    .terminal()
    .spawn();
    running.terminal.wait_for("on a tty");
    running.type_in(b"it\r");
    running.terminal.wait_for("got it");
    // The agent tells no exit code of a pty's command, and that is said.
    running.terminal.wait_for("without the command's exit code");
    assert_eq!(running.wait().code(), Some(255));
}

#[test]
fn a_command_on_a_pty_that_prints_nothing_has_run() {
    let sandbox = sandbox(three());
    sandbox.change_tasks(|tasks| tasks.push(task('a', "web", &["app"])));
    for target in ["web-1", "ecs:prod/web"] {
        let finished = own(&sandbox, &["exec", "-t", "--target", target, "--", "true"]).run(b"");
        assert_eq!(
            (finished.stderr.as_str(), finished.code()),
            (
                "session-manager-plugin: the session ended without the command's exit code\n",
                255
            ),
            "{target}: {finished:?}"
        );
    }
}

#[test]
fn an_option_that_there_is_not_is_no_command() {
    let sandbox = sandbox(three());
    for arguments in [
        &[
            "exec",
            "--target",
            "web-1",
            "--paralel",
            "3",
            "--",
            "uptime",
        ][..],
        &["exec", "--target", "web-1", "-x", "uptime"],
        &["run", "--target", "web-1", "--tiemout", "3", "--", "uptime"],
    ] {
        let finished = own(&sandbox, arguments).run(b"");
        let option = arguments[3];
        let expected = format!("session-manager-plugin: unexpected argument '{option}' found");
        assert!(finished.stderr.starts_with(&expected), "{finished:?}");
        assert_eq!(finished.code(), 2, "{finished:?}");
    }
    assert_eq!(operations(&sandbox), Vec::<String>::new());
    // What follows the first word is the command's, whatever it looks like.
    for separator in [&["--"][..], &[]] {
        let command = ["printf", "%s|", "-x", "--target", "--"];
        let finished = own(
            &sandbox,
            &[&["exec", "--target", "web-1"], separator, &command].concat(),
        )
        .run(b"");
        assert_eq!(finished.stdout, "-x|--target|--|", "{finished:?}");
    }
}

#[test]
fn a_command_on_the_pty_of_a_container() {
    let sandbox = sandbox(vec![]);
    sandbox.change_tasks(|tasks| tasks.push(task('a', "web", &["app", "log"])));
    let running = Plugin::bare([
        "exec",
        "-t",
        "--target",
        "ecs:prod/web/log",
        "--",
        "sh",
        "-c",
        "test -t 0 && echo on a tty",
    ])
    .with_api(&sandbox)
    .terminal()
    .spawn();
    running.terminal.wait_for("on a tty");
    running.wait();
    assert_eq!(
        operations(&sandbox)[..3],
        ["ecs:ListTasks", "ecs:DescribeTasks", "ecs:ExecuteCommand"]
    );
    let request = &requests(&sandbox, "ecs:ExecuteCommand")[0];
    assert_eq!(request["container"], "log");
    assert_eq!(request["interactive"], true);
}

#[test]
fn several_targets_each_line_with_its_target() {
    let sandbox = sandbox(three());
    let finished = exec_on_both(
        &sandbox,
        &[
            "sh",
            "-c",
            "echo one; echo two; echo three >&2; printf last",
        ],
    )
    .run(b"");
    assert_eq!(
        lines(&finished.stdout),
        [
            "web-1: last",
            "web-1: one",
            "web-1: two",
            "web-2: last",
            "web-2: one",
            "web-2: two"
        ],
        "{finished:?}"
    );
    assert_eq!(
        lines(&finished.stderr),
        [
            "session-manager-plugin: 2 of 2 targets succeeded",
            "web-1: three",
            "web-2: three"
        ]
    );
    assert_eq!(finished.code(), 0);
}

#[test]
fn one_that_is_not_reached_does_not_stop_the_others() {
    let sandbox = sandbox(three());
    let finished = own(
        &sandbox,
        &[
            "exec", "--target", "web-1", "--target", "db", "--target", "web-2", "--target",
            "web-9", "--", "echo", "x",
        ],
    )
    .run(b"");
    assert_eq!(
        lines(&finished.stdout),
        ["web-1: x", "web-2: x"],
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("db: no node that is online"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("web-9: no node that is online"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("2 of 4 targets succeeded"),
        "{finished:?}"
    );
    assert_eq!(finished.code(), 255);
}

#[test]
fn the_exit_code_is_the_highest() {
    let sandbox = sandbox(three());
    sandbox.fail_next("ssm:StartSession", 1, Failure::throttled());
    let finished = exec_on_both(&sandbox, &["sh", "-c", "exit 7"]).run(b"");
    assert_eq!(finished.code(), 7, "{finished:?}");
    assert!(
        finished.stderr.contains("web-1: exit code 7"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("0 of 2 targets succeeded"),
        "{finished:?}"
    );
}

#[test]
fn objects_for_programs() {
    let sandbox = sandbox(three());
    let finished = own(
        &sandbox,
        &[
            "exec",
            "--json",
            "--target",
            "web-1",
            "--target",
            "db",
            "--",
            "sh",
            "-c",
            "echo out; echo err >&2; exit 3",
        ],
    )
    .run(b"");
    let has_event_first = |line: &str| line.starts_with("{\"event\":");
    assert!(finished.stdout.lines().all(has_event_first), "{finished:?}");
    let objects: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let of = |name: &str| {
        objects
            .iter()
            .find(|object| object["name"] == name)
            .expect("a result")
    };
    assert_eq!(of("web-1")["event"], "result");
    assert_eq!(of("web-1")["target"], id(1).as_str());
    assert_eq!(of("web-1")["status"], 3);
    assert_eq!(of("web-1")["stdout"], "out\n");
    assert_eq!(of("web-1")["stderr"], "err\n");
    assert!(
        of("db")["error"]
            .as_str()
            .is_some_and(|why| why.contains("not connected"))
    );
    let end = objects.last().expect("an end");
    assert_eq!(
        (
            &end["event"],
            &end["code"],
            &end["succeeded"],
            &end["failed"]
        ),
        (&"end".into(), &255.into(), &0.into(), &2.into())
    );
    assert_eq!(finished.code(), 255);
}

#[test]
fn no_more_at_a_time_than_asked_for() {
    let targets: Vec<Target> = (1..=6)
        .map(|number| Target::new(number, &format!("n{number}")))
        .collect();
    let sandbox = sandbox(targets);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    // Each counts how many are there with it.
    let script = format!("mkdir {path}/$$; ls {path} | wc -l; sleep 0.2; rmdir {path}/$$");
    let names: Vec<String> = (1..=6)
        .map(|number| format!("--target=n{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let finished = own(
        &sandbox,
        &[
            &["exec", "--parallel", "2"],
            &*names,
            &["--", "sh", "-c", &script],
        ]
        .concat(),
    )
    .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    let most = finished
        .stdout
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
        .max();
    assert!(most.is_some_and(|most| most <= 2), "{finished:?}");
}

#[test]
fn more_than_fifty_are_for_run() {
    let sandbox = sandbox(three());
    let names: Vec<String> = (1..=51)
        .map(|number| format!("--target=n{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let finished = own(&sandbox, &[&["exec"], &*names, &["true"]].concat()).run(b"");
    assert_eq!(finished.code(), 2);
    assert!(
        finished.stderr.contains("session-manager-plugin run"),
        "{finished:?}"
    );
    assert!(operations(&sandbox).is_empty());
}

#[test]
fn signals_end_all_sessions() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let sandbox = sandbox(three());
        let running = exec_on_both(
            &sandbox,
            &[
                "sh",
                "-c",
                "trap '' INT; echo go; while :; do sleep 1; done",
            ],
        )
        .spawn();
        running.stdout.wait_for("web-1: go");
        running.stdout.wait_for("web-2: go");
        running.signal(signal);
        if signal == Signal::INT {
            // The first goes over there.
            assert!(running.wait_within(Duration::from_millis(500)).is_none());
            running.signal(signal);
        }
        let finished = running.finish();
        assert_eq!(finished.code(), code, "{finished:?}");
        let ended = operations(&sandbox)
            .iter()
            .filter(|name| *name == "ssm:TerminateSession")
            .count();
        assert_eq!(ended, 2);
    }
}

#[test]
fn a_reader_that_goes_ends_all_and_one_that_is_slow_keeps_no_signal_waiting() {
    for (signal, code) in [(None, 0), (Some(Signal::TERM), 143)] {
        let sandbox = sandbox(three());
        let running = exec_on_both(&sandbox, &["yes"])
            .stdout(Io::HeldPipe)
            .spawn();
        // Nearly as much as a pipe takes in pieces of any size.
        running.wait_for_held(30_000);
        match signal {
            Some(signal) => running.signal(signal),
            None => running.close_stdout(),
        }
        assert_eq!(exit_code(running.wait()), code);
        assert!(
            operations(&sandbox)
                .iter()
                .any(|name| name == "ssm:TerminateSession")
        );
    }
}
