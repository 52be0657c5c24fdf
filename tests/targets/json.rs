//! What programs read: output of any bytes, errors by their kind, and the end with the program that started us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::{Event, Failure};
use serde_json::{Value, json};

use super::*;
use crate::support::{Finished, TIMEOUT, exit_code};

fn objects(finished: &Finished) -> Vec<Value> {
    let lines = finished.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{finished:?}")))
        .collect()
}

/// All of one stream.
fn output(objects: &[Value], stream: &str) -> Vec<u8> {
    let pieces = objects
        .iter()
        .filter(|object| object["event"] == "output" && object["stream"] == stream);
    pieces
        .flat_map(|object| {
            let data = object["data"].as_str().expect("text");
            STANDARD.decode(data).expect("base64")
        })
        .collect()
}

#[test]
fn output_comes_as_it_is_and_whole() {
    let sandbox = sandbox(three());
    // More than an object of a target keeps. What is no text at all agents do not pass.
    let command = "head -c 5000000 /dev/zero; printf 'é\\000' >&2; exit 7";
    let arguments = ["exec", "--json", "--stream", "--target", "web-1", "--"];
    let finished = own(
        &sandbox,
        &[&arguments[..], &["sh", "-c", command][..]].concat(),
    )
    .run(b"");
    assert_eq!(exit_code(finished.status), 7);
    let objects = objects(&finished);
    assert_eq!(output(&objects, "stdout"), vec![0; 5_000_000]);
    assert_eq!(output(&objects, "stderr"), "é\0".as_bytes());
    let count = objects.len();
    assert_eq!(
        objects[count - 2..],
        [
            json!({ "event": "result", "target": id(1), "name": "web-1", "status": 7 }),
            json!({ "event": "end", "code": 7, "succeeded": 0, "failed": 1 }),
        ]
    );
}

#[test]
fn stdin_and_objects_go_together() {
    let sandbox = sandbox(three());
    for stream in [false, true] {
        let mut arguments = vec!["exec", "-i", "--json", "--target", "web-1"];
        arguments.extend(stream.then_some("--stream"));
        arguments.extend(["--", "sh", "-c", "wc -c; echo it >&2; exit 3"]);
        let finished = Plugin::bare(&arguments)
            .with_api(&sandbox)
            .run(&[0; 100_000]);
        assert_eq!(exit_code(finished.status), 3, "{finished:?}");
        let objects = objects(&finished);
        let result = &objects[objects.len() - 2];
        assert_eq!(result["status"], 3);
        if stream {
            assert_eq!(output(&objects, "stdout"), b"100000\n");
            assert_eq!(output(&objects, "stderr"), b"it\n");
            assert_eq!(result.get("stdout"), None);
        } else {
            assert_eq!(result["stdout"], "100000\n");
            assert_eq!(result["stderr"], "it\n");
        }
    }
}

#[test]
fn errors_tell_their_kind() {
    let sandbox = sandbox(three());
    let first = |arguments: &[&str]| {
        let finished = own(&sandbox, arguments).run(b"");
        let objects = objects(&finished);
        let last = objects.last().expect("the end");
        assert_eq!(last["event"], "end", "{finished:?}");
        assert_eq!(last["code"], exit_code(finished.status));
        let error = objects
            .into_iter()
            .find(|object| object["kind"].is_string())
            .unwrap_or_else(|| panic!("{finished:?}"));
        (error["kind"].clone(), error["aws_code"].clone())
    };
    for (arguments, kind) in [
        (
            &[
                "exec", "--json", "--stream", "--target", "nowhere", "--", "true",
            ][..],
            "no_target",
        ),
        (
            &["exec", "-i", "--json", "--target", "nowhere", "--", "true"],
            "no_target",
        ),
        (
            &["port-forward", "--json", "--target", "nowhere", "80"],
            "no_target",
        ),
        (&["port-forward", "--json", "--target", "web-1"], "usage"),
        (&["list", "--json", "--filter", "x"], "usage"),
        (&["cp", "--json", "a", "b"], "usage"),
        (&["cp", "--json", "nowhere:/a", "."], "no_target"),
        (
            &["run", "--json", "--target", "nowhere", "--", "true"],
            "no_target",
        ),
    ] {
        let (told, _) = first(arguments);
        assert_eq!(told, kind, "{arguments:?}");
    }
    sandbox.fail_next("StartSession", 2, Failure::access_denied());
    for arguments in [
        &["exec", "--json", "--target", "web-1", "--", "true"][..],
        &["port-forward", "--json", "--target", "web-1", "80"],
    ] {
        let denied = (json!("refused"), json!("AccessDeniedException"));
        assert_eq!(first(arguments), denied, "{arguments:?}");
    }
}

#[test]
fn it_ends_with_the_program_that_started_it() {
    let sandbox = sandbox(three());
    let arguments = ["port-forward", "--json", "--target", "web-1", "80"];
    // This process is there.
    let running = own(&sandbox, &arguments)
        .env("SSM_PLUGIN_PARENT", std::process::id().to_string())
        .spawn();
    running.stdout.wait_for("\"ready\"");
    running.signal(rustix::process::Signal::INT);
    assert_eq!(exit_code(running.finish().status), 0);
    // Whoever started this one is not process 1 any more, or never was.
    let finished = own(&sandbox, &arguments)
        .env("SSM_PLUGIN_PARENT", "1")
        .run(b"");
    assert_eq!(exit_code(finished.status), 129, "{finished:?}");
    let all_ended = sandbox.wait_for_events(TIMEOUT, |events| {
        let count = |is_it: fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
        count(|event| matches!(event, Event::SessionEnded { .. }))
            == count(|event| matches!(event, Event::Api { operation, .. } if operation == "ssm:StartSession"))
    });
    assert!(all_ended, "{:?}", sandbox.events());
}

#[test]
fn the_command_of_a_forward_has_no_parent_by_number() {
    let sandbox = sandbox(three());
    let finished = own(
        &sandbox,
        &[
            "port-forward",
            "--target",
            "web-1",
            "80",
            "--",
            "sh",
            "-c",
            "env",
        ],
    )
    .env("SSM_PLUGIN_PARENT", std::process::id().to_string())
    .run(b"");
    assert_eq!(exit_code(finished.status), 0, "{finished:?}");
    assert!(
        !finished.stdout.contains("SSM_PLUGIN_PARENT"),
        "{finished:?}"
    );
}

#[test]
fn what_cannot_be_written_is_told_and_no_success() {
    let sandbox = sandbox(three());
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["ssh-config"],
        &["exec", "--json", "--target", "web-1", "--", "echo", "hi"],
        &["run", "--target", "web-1", "--", "echo hi"],
        &["run", "--json", "--target", "web-1", "--", "echo hi"],
    ] {
        let full = own(&sandbox, arguments).stdout(Io::File("/dev/full".into()));
        let finished = full.run(b"");
        assert_eq!(finished.code(), 1, "{arguments:?} {finished:?}");
        assert!(
            finished.stderr.contains("No space left"),
            "{arguments:?} {finished:?}"
        );
    }
}

#[test]
fn wrong_use_is_one_line_for_programs() {
    let sandbox = sandbox(three());
    for arguments in [
        &["exec", "--json", "--target", "tag:", "--", "true"][..],
        &["exec", "--json", "-t", "--target", "web-1", "--", "true"],
        &["run", "--json", "--", "true"],
    ] {
        let finished = own(&sandbox, arguments).run(b"");
        assert_eq!(finished.code(), 2, "{arguments:?} {finished:?}");
        let message = objects(&finished)[0]["message"].clone();
        let message = message.as_str().expect("a message");
        assert_eq!(message.lines().count(), 1, "{arguments:?} {message}");
    }
}
