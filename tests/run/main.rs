//! `run`: commands on fleets of the sandbox, by the built program.

#[path = "../support/mod.rs"]
mod support;
mod usage;

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandbox::{Config, Failure, Platform, RunBehaviour, Sandbox, Target, TargetState};
use serde_json::Value;
use support::{Finished, Io, Plugin, wait_until};

fn node(number: u16) -> Target {
    let mut target = Target::new(number, &format!("node-{number}"));
    target.tags.push(("Fleet".into(), "a".into()));
    target
}

fn sandbox(targets: Vec<Target>) -> Sandbox {
    Sandbox::start(Config {
        targets,
        delivery_timeout: Some(Duration::from_millis(300)),
        ..Config::default()
    })
    .expect("a sandbox")
}

fn plugin(sandbox: &Sandbox, arguments: &[&str]) -> Plugin {
    Plugin::bare([&["run"], arguments].concat())
        .with_api(sandbox)
        .stdin(Io::Null)
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    plugin(sandbox, arguments).spawn().finish()
}

fn events(finished: &Finished) -> Vec<Value> {
    let lines = finished.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == kind)
        .collect()
}

/// How often an operation was called.
fn calls(sandbox: &Sandbox, operation: &str) -> usize {
    support::requests(sandbox, &format!("ssm:{operation}")).len()
}

#[test]
fn output_exit_codes_and_a_table() {
    let sandbox = sandbox(vec![node(1), node(2)]);
    let script =
        "echo out of $SSM_INSTANCE_ID; echo err >&2; case $SSM_INSTANCE_ID in *2) exit 3;; esac";
    let finished = run(
        &sandbox,
        &[
            "--target",
            "node-1",
            "--target",
            "node-2",
            "--max-errors",
            "2",
            "--",
            script,
        ],
    );
    assert_eq!(finished.code(), 1, "{finished:?}");
    for line in [
        "== i-00000000000000001 (host-1.example.internal): exit code 0\nout of i-00000000000000001\n",
        "== i-00000000000000002 (host-2.example.internal): exit code 3\nout of i-00000000000000002\n",
    ] {
        assert!(finished.stdout.contains(line), "{}", finished.stdout);
    }
    for line in [
        "(AWS-RunShellScript)",
        "\nerr\n",
        "i-00000000000000001  host-1.example.internal  Success  0\n",
        "i-00000000000000002  host-2.example.internal  Failed   3\n",
        "1 succeeded, 1 failed\n",
    ] {
        assert!(finished.stderr.contains(line), "{}", finished.stderr);
    }
}

#[test]
fn words_reach_the_program_as_they_are_and_json_has_all() {
    let sandbox = sandbox(vec![node(1)]);
    let finished = run(
        &sandbox,
        &[
            "--target", "node-1", "--json", "--", "printf", "%s|", "a b", "$HOME", "it's", "",
        ],
    );
    assert_eq!(finished.code(), 0, "{finished:?}");
    let events = events(&finished);
    assert_eq!(events[0]["event"], "command");
    assert_eq!(events[0]["command_id"].as_str().unwrap().len(), 36);
    let result = of_kind(&events, "result")[0];
    assert_eq!(result["target"], "i-00000000000000001");
    assert_eq!(result["status"], 0);
    assert_eq!(result["stdout"], "a b|$HOME|it's||");
    let end = events.last().unwrap();
    let expected = serde_json::json!({ "event": "end", "code": 0, "succeeded": 1, "failed": 0 });
    assert_eq!(*end, expected);
    let lines = finished.stdout.lines();
    assert!(lines.clone().all(|line| line.starts_with("{\"event\":")));
}

#[test]
fn a_thousand_nodes_with_failures_are_told_once_each() {
    let fleet = (1..=1000).map(|number| {
        let mut node = node(number);
        node.run = match number % 20 {
            0 => RunBehaviour::Fail(7),
            // A process each would be the sandbox's time, not ours.
            _ => RunBehaviour::Fail(0),
        };
        node
    });
    let sandbox = sandbox(fleet.collect());
    let plugin = plugin(
        &sandbox,
        &[
            "--targets",
            "tag:Fleet=a",
            "--max-concurrency",
            "100%",
            "--max-errors",
            "100%",
            "--json",
            "--",
            "true",
        ],
    );
    let running = plugin.spawn();
    running.stdout.wait_for("\"result\"");
    let peak = running.usage().peak;
    assert!(peak < 32 << 20, "{peak} bytes");
    running.stdout.wait_for("\"end\"");
    let finished = running.finish();
    assert_eq!(finished.code(), 1);
    let events = events(&finished);
    let mut ids: Vec<&str> = of_kind(&events, "result")
        .iter()
        .map(|event| event["target"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
    assert_eq!(events.last().unwrap()["failed"], 50);
    // 20 pages, and perhaps some of them more than once.
    let pages = calls(&sandbox, "ListCommandInvocations");
    assert!((20..=60).contains(&pages), "{pages} pages");
    assert_eq!(calls(&sandbox, "GetCommandInvocation"), 0);
}

#[test]
fn nodes_that_are_away_or_hang_end_by_their_time_out() {
    let mut targets = vec![node(1), node(2), node(3)];
    targets[1].state = TargetState::ConnectionLost;
    targets[2].run = RunBehaviour::Hang;
    let sandbox = sandbox(targets);
    let arguments = [
        "--targets",
        "tag:Fleet=a",
        "--timeout",
        "1",
        "--max-errors",
        "100%",
        "--json",
        "--",
        "echo here",
    ];
    let finished = run(&sandbox, &arguments);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let events = events(&finished);
    let states: Vec<String> = (1..=3)
        .map(|number| {
            let id = format!("i-0000000000000000{number}");
            let results = of_kind(&events, "result");
            let result = results.iter().find(|event| event["target"] == id.as_str());
            result.unwrap_or_else(|| panic!("{id}: {finished:?}"))["state"].to_string()
        })
        .collect();
    assert_eq!(
        states,
        [
            "\"Success\"",
            "\"DeliveryTimedOut\"",
            "\"ExecutionTimedOut\""
        ]
    );
    // By name it is known at once that a node is away, and the others are not kept from it.
    let finished = run(
        &sandbox,
        &[
            "--target",
            "i-00000000000000001",
            "--target",
            "i-00000000000000002",
            "--target",
            "i-0abc",
            "--",
            "echo here",
        ],
    );
    assert_eq!(finished.code(), 1);
    assert!(finished.stdout.contains("here"), "{finished:?}");
    for line in [
        "i-00000000000000002 is not connected (ConnectionLost)",
        "i-0abc is no managed node",
        "1 succeeded, 2 failed",
    ] {
        assert!(finished.stderr.contains(line), "{}", finished.stderr);
    }
}

#[test]
fn each_platform_gets_its_document() {
    let mut targets = vec![node(1), node(2)];
    targets[1].platform = Platform::Windows;
    let sandbox = sandbox(targets);
    for fleet in [
        &["--targets", "tag:Fleet=a"][..],
        &["--targets", "tag:Fleet=*"],
        &["--target", "node-1", "--target", "node-2"],
    ] {
        let finished = run(
            &sandbox,
            &[fleet, &["--json", "--", "echo $SSM_INSTANCE_ID"]].concat(),
        );
        assert_eq!(finished.code(), 0, "{finished:?}");
        let events = events(&finished);
        let documents: Vec<_> = of_kind(&events, "command")
            .iter()
            .map(|event| event["document"].as_str().unwrap())
            .collect();
        assert_eq!(documents, ["AWS-RunShellScript", "AWS-RunPowerShellScript"]);
        assert_eq!(events.last().unwrap()["succeeded"], 2);
    }
}

#[test]
fn output_is_whole_up_to_the_service_s_limit_and_what_was_cut_is_said() {
    let sandbox = sandbox(vec![node(1)]);
    let whole = run(&sandbox, &["--target", "node-1", "--", "seq 1 4000"]);
    let expected: String = (1..=4000).map(|number| format!("{number}\n")).collect();
    assert!(
        whole.stdout.ends_with(&expected),
        "{} bytes",
        whole.stdout.len()
    );
    assert!(!whole.stderr.contains("beginning"), "{}", whole.stderr);
    let cut = run(&sandbox, &["--target", "node-1", "--", "seq 1 40000"]);
    assert_eq!(cut.code(), 0);
    assert!(cut.stdout.len() > 23_900, "{} bytes", cut.stdout.len());
    assert!(
        cut.stderr
            .contains("the service keeps only the beginning of stdout"),
        "{}",
        cut.stderr
    );
}

#[test]
fn it_is_left_running_without_a_terminal_and_attached_again() {
    let sandbox = sandbox(vec![node(1)]);
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("go");
    let script = format!(
        "while ! test -e {}; do sleep 0.05; done; echo finished",
        mark.display()
    );
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let running = plugin(&sandbox, &["--target", "node-1", "--", &script]).spawn();
        running.stderr.wait_for("(AWS-RunShellScript)");
        running.signal(signal);
        let left = running.finish();
        assert_eq!(left.code(), code, "{left:?}");
        let (_, rest) = left
            .stderr
            .split_once("run --attach ")
            .expect("the way back");
        let id = &rest[..36];
        let attached = plugin(&sandbox, &["--attach", id]).spawn();
        attached.stderr.wait_for(id);
        std::fs::write(&mark, "").unwrap();
        let finished = attached.finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert!(finished.stdout.contains("finished\n"), "{finished:?}");
        std::fs::remove_file(&mark).unwrap();
        // What is over can be looked at again, and counts once.
        let again = run(&sandbox, &["--attach", id, "--attach", id]);
        assert!(again.stdout.contains("finished\n"), "{again:?}");
        assert!(again.stderr.contains("1 succeeded, 0 failed"), "{again:?}");
    }
    let unknown = run(
        &sandbox,
        &["--attach", "01234567-89ab-cdef-0123-456789abcdef"],
    );
    assert_eq!(unknown.code(), 1);
    assert!(unknown.stderr.contains("InvalidCommandId"), "{unknown:?}");
}

#[test]
fn it_is_left_running_when_nobody_reads_what_it_tells() {
    let sandbox = sandbox((1..=20).map(node).collect());
    let arguments = ["--targets", "tag:Fleet=a", "--", "seq 1 4000"];
    // The pipe is full long before the end.
    for signal in [None, Some(Signal::INT)] {
        let running = plugin(&sandbox, &arguments).stdout(Io::HeldPipe).spawn();
        running.wait_for_held(4096);
        match signal {
            None => running.close_stdout(),
            Some(signal) => running.signal(signal),
        }
        let status = running.wait();
        assert_eq!(status.code(), Some(if signal.is_some() { 130 } else { 1 }));
        running.stderr.wait_for("run --attach");
    }
}

#[test]
fn ctrl_c_asks_once_whether_to_cancel() {
    let mut target = node(1);
    target.run = RunBehaviour::Hang;
    for (answer, code, text) in [("y\r", 1, "Cancelled"), ("\r", 130, "run --attach")] {
        let sandbox = sandbox(vec![target.clone()]);
        let running = plugin(&sandbox, &["--target", "node-1", "--", "sleep 1000"])
            .terminal()
            .env("TERM", "xterm")
            .spawn();
        running.terminal.wait_for("1 to go");
        running.type_in(&[3]);
        running.terminal.wait_for("[y/N");
        running.type_in(answer.as_bytes());
        running.terminal.wait_for(text);
        assert_eq!(running.finish().code(), code);
        assert_eq!(calls(&sandbox, "CancelCommand"), usize::from(code == 1));
    }
    let sandbox = sandbox(vec![target]);
    let running = plugin(&sandbox, &["--target", "node-1", "--", "sleep 1000"])
        .terminal()
        .env("TERM", "xterm")
        .spawn();
    running.terminal.wait_for("1 to go");
    running.type_in(&[3]);
    running.terminal.wait_for("[y/N");
    running.type_in(&[3]);
    assert_eq!(running.finish().code(), 130);
}

#[test]
fn a_stderr_that_cannot_be_written_is_no_success() {
    let sandbox = sandbox(vec![node(1)]);
    let finished = plugin(&sandbox, &["--target", "node-1", "--", "echo problem >&2"])
        .stdin(Io::Null)
        .stderr(Io::File("/dev/full".into()))
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
}

#[test]
fn in_the_background_it_neither_draws_nor_asks() {
    let mut target = node(1);
    target.run = RunBehaviour::Hang;
    let sandbox = sandbox(vec![target]);
    let running = plugin(&sandbox, &["--target", "node-1", "--", "sleep 1000"])
        .terminal()
        .env("TERM", "xterm")
        .before("set -m; \"$0\" \"$@\" & echo \"job $!.\"; wait $!; exit $?")
        .spawn();
    running.terminal.wait_for(".");
    let text = running.terminal.text();
    let job = text.split(['b', '.']).nth(1).expect("a job");
    let job = job.trim().parse().ok().and_then(Pid::from_raw);
    wait_until("the command to be followed", || {
        calls(&sandbox, "ListCommands") > 1
    });
    kill_process(job.expect("a process"), Signal::INT).expect("it runs");
    running.terminal.wait_for("run --attach");
    let finished = running.finish();
    assert_eq!(finished.code(), 130, "{finished:?}");
    for not_there in ["to go", "[y/N", "\u{1b}"] {
        assert!(!finished.terminal.contains(not_there), "{finished:?}");
    }
}

#[test]
fn throttling_is_waited_out_and_denials_name_their_action() {
    let sandbox = sandbox(vec![node(1)]);
    for operation in [
        "SendCommand",
        "ListCommands",
        "ListCommandInvocations",
        "GetCommandInvocation",
    ] {
        sandbox.fail_next(operation, 2, Failure::throttled());
    }
    let arguments = ["--target", "node-1", "--", "echo out; echo err >&2"];
    let finished = run(&sandbox, &arguments);
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.ends_with("\nout\n"), "{finished:?}");
    for (operation, code) in [
        ("SendCommand", 1),
        ("ListCommands", 1),
        ("ListCommandInvocations", 1),
        ("GetCommandInvocation", 0),
    ] {
        sandbox.fail_next(operation, 1, Failure::access_denied());
        let finished = run(&sandbox, &arguments);
        assert_eq!(finished.code(), code, "{finished:?}");
        assert!(
            finished.stderr.contains(&format!("ssm:{operation}")),
            "{finished:?}"
        );
        let was_sent = operation != "SendCommand";
        assert_eq!(finished.stderr.contains("AWS-RunShellScript"), was_sent);
        assert_eq!(finished.stderr.contains("succeeded"), code == 0);
        let can_come_back = operation.starts_with("List");
        assert_eq!(
            finished.stderr.contains("--attach"),
            can_come_back,
            "{finished:?}"
        );
    }
    // Without permission to look up platforms a command can be sent all the same.
    sandbox.fail_next("DescribeInstanceInformation", 1, Failure::access_denied());
    let finished = run(
        &sandbox,
        &["--target", "i-00000000000000001", "--", "echo out"],
    );
    assert_eq!(finished.code(), 0, "{finished:?}");
}

#[test]
fn the_first_failure_ends_it_and_nodes_that_did_not_get_it_are_failures() {
    let fleet = (1..=5).map(|number| {
        let mut node = node(number);
        node.run = RunBehaviour::Fail(1);
        node
    });
    let sandbox = sandbox(fleet.collect());
    let finished = run(
        &sandbox,
        &[
            "--targets",
            "tag:Fleet=a",
            "--max-concurrency",
            "1",
            "--json",
            "--",
            "x",
        ],
    );
    assert_eq!(finished.code(), 1);
    let events = events(&finished);
    let states: Vec<_> = of_kind(&events, "result")
        .iter()
        .map(|event| event["state"].clone())
        .collect();
    assert_eq!(
        states.iter().filter(|state| **state == "Failed").count(),
        1,
        "{states:?}"
    );
    assert_eq!(
        states
            .iter()
            .filter(|state| **state == "Terminated")
            .count(),
        4,
        "{states:?}"
    );
    let nobody = run(&sandbox, &["--targets", "tag:Fleet=b", "--", "x"]);
    assert_eq!(nobody.code(), 1);
    assert!(nobody.stderr.contains("no node is meant"), "{nobody:?}");
}
