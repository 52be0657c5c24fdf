//! The real AWS CLI beside our commands, on the same calls: the same nodes, the same output, the same words of the service.

use sandbox::Failure;
use serde_json::{Value, json};
use support::Finished;

use super::*;
use crate::support::aws_cli::{self, service_error};

/// What the AWS CLI says to a command of `aws ssm`.
fn aws(sandbox: &Sandbox, arguments: &str) -> Finished {
    Plugin::bare([""; 0])
        .with_api(sandbox)
        .without("AWS_ENDPOINT_URL")
        // One try, as the sandbox fails as often as it is told to.
        .env("AWS_MAX_ATTEMPTS", "1")
        .before(&format!(
            "exec '{}' ssm {arguments} --output json --endpoint-url '{}'",
            aws_cli::aws().display(),
            sandbox.api_url()
        ))
        .stdin(Io::Null)
        .run(b"")
}

fn answer(finished: &Finished) -> Value {
    assert_eq!(finished.code(), 0, "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("JSON")
}

#[test]
fn the_nodes_are_those_of_describe_instance_information() {
    let mut targets: Vec<Target> = (1..=60)
        .map(|number| Target::new(number, &format!("node-{number}")))
        .collect();
    targets[2].state = TargetState::ConnectionLost;
    let sandbox = sandbox(targets);
    let theirs = answer(&aws(&sandbox, "describe-instance-information"));
    let mut theirs: Vec<Value> = theirs["InstanceInformationList"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|node| {
            json!([
                node["InstanceId"],
                node["PingStatus"],
                node["AgentVersion"],
                node["IPAddress"],
                node["ComputerName"],
            ])
        })
        .collect();
    let finished = own(&sandbox, &["list", "--json"]).run(b"");
    let mut ours: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| {
            let node: Value = serde_json::from_str(line).expect("an object");
            json!([
                node["id"],
                node["state"],
                node["agent_version"],
                node["address"],
                node["computer_name"],
            ])
        })
        .collect();
    assert_eq!(ours.len(), 60);
    theirs.sort_by_key(ToString::to_string);
    ours.sort_by_key(ToString::to_string);
    assert_eq!(ours, theirs);
}

#[test]
fn a_command_is_the_same_whoever_sends_it_and_asks() {
    let sandbox = sandbox(three());
    let line = "echo out; echo err >&2; exit 3";
    // Theirs, and attached to by ours.
    let sent = answer(&aws(
        &sandbox,
        &format!(
            "send-command --document-name AWS-RunShellScript --instance-ids {} --parameters 'commands=[\"{line}\"]'",
            id(1)
        ),
    ));
    let command = sent["Command"]["CommandId"].as_str().expect("an id");
    let ours = own(&sandbox, &["run", "--attach", command, "--json"]).run(b"");
    assert_eq!(ours.code(), 1, "{ours:?}");
    assert_same(&line_of(&ours, "result"), &invocation(&sandbox, command));
    // Ours, and asked for by theirs.
    let ours = own(
        &sandbox,
        &["run", "--target", "web-1", "--json", "--", line],
    )
    .run(b"");
    assert_eq!(ours.code(), 1, "{ours:?}");
    let sent = line_of(&ours, "command");
    let command = sent["command_id"].as_str().expect("an id");
    assert_same(&line_of(&ours, "result"), &invocation(&sandbox, command));
}

fn assert_same(ours: &Value, theirs: &Value) {
    assert_eq!(theirs["ResponseCode"], 3);
    assert_eq!(ours["status"], theirs["ResponseCode"]);
    assert_eq!(ours["state"], theirs["Status"]);
    assert_eq!(ours["stdout"], theirs["StandardOutputContent"]);
    assert_eq!(ours["stderr"], theirs["StandardErrorContent"]);
}

/// The only line of a kind that `run --json` prints.
fn line_of(finished: &Finished, kind: &str) -> Value {
    let mut lines = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let line = lines.find(|event| event["event"] == kind);
    line.unwrap_or_else(|| panic!("no {kind}: {finished:?}"))
}

fn invocation(sandbox: &Sandbox, command: &str) -> Value {
    answer(&aws(
        sandbox,
        &format!(
            "get-command-invocation --command-id {command} --instance-id {}",
            id(1)
        ),
    ))
}

#[test]
fn errors_are_told_in_the_same_words() {
    let document =
        "send-command --document-name AWS-RunShellScript --parameters commands=true --instance-ids";
    let unknown = "01234567-89ab-cdef-0123-456789abcdef";
    let failures = || {
        [
            Failure::access_denied(),
            Failure::error(400, "InternalServerError", "An internal error occurred."),
        ]
    };
    let calls: [(&str, String, Vec<&str>); 3] = [
        (
            "ssm:StartSession",
            format!("start-session --target {}", id(1)),
            vec!["start-session", "--target"],
        ),
        (
            "ssm:SendCommand",
            format!("{document} {}", id(1)),
            vec!["run", "--target"],
        ),
        (
            "ssm:DescribeInstanceInformation",
            "describe-instance-information".to_owned(),
            vec!["list"],
        ),
    ];
    for (operation, theirs, ours) in calls {
        for failure in failures() {
            let sandbox = sandbox(three());
            sandbox.fail_next(operation, 1, failure.clone());
            let theirs = aws(&sandbox, &theirs);
            let (code, words) = service_error(&theirs);
            let target = id(1);
            let mut arguments = ours.clone();
            if arguments.contains(&"--target") {
                arguments.push(&target);
            }
            if arguments[0] == "run" {
                arguments.extend(["--", "true"]);
            }
            sandbox.fail_next(operation, 20, failure);
            let ours = own(&sandbox, &arguments).run(b"");
            assert_ne!(ours.code(), 0, "{ours:?}");
            for part in [code, words] {
                assert!(ours.stderr.contains(part), "{part:?} in {ours:?}");
            }
        }
    }
    // What the sandbox itself refuses.
    let sandbox = sandbox(three());
    let theirs = aws(
        &sandbox,
        &format!(
            "get-command-invocation --command-id {unknown} --instance-id {}",
            id(1)
        ),
    );
    let ours = own(&sandbox, &["run", "--attach", unknown]).run(b"");
    assert!(
        ours.stderr.contains(service_error(&theirs).0),
        "{ours:?} {theirs:?}"
    );
    let theirs = aws(&sandbox, &format!("start-session --target {}", id(3)));
    let ours = own(&sandbox, &["start-session", "--target", &id(3)]).run(b"");
    let (code, words) = service_error(&theirs);
    for part in [code, words] {
        assert!(ours.stdout.contains(part), "{part:?} in {ours:?}");
    }
}
