//! Several nodes: looking them up, running on them, and keys for them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sandbox::{
    AuthorizedKeys, Check, Config, Platform, RunBehaviour, Sandbox, Target, TargetState, Task,
};
use serde_json::{Value, json};

fn sandbox(targets: Vec<Target>) -> Sandbox {
    let config = Config {
        api_signatures: Check::Off,
        targets,
        ..Config::default()
    };
    Sandbox::start(config).unwrap()
}

fn ask(sandbox: &Sandbox, head: &str, body: &str) -> (u16, String) {
    let host = sandbox.api_url().replace("http://", "");
    let mut socket = TcpStream::connect(&host).unwrap();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\n{head}\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn call(sandbox: &Sandbox, target: &str, body: Value) -> (u16, Value) {
    let (status, body) = ask(
        sandbox,
        &format!("X-Amz-Target: {target}"),
        &body.to_string(),
    );
    (status, serde_json::from_str(&body).unwrap())
}

fn nodes(count: u16) -> Vec<Target> {
    (1..=count)
        .map(|number| Target::new(number, &format!("node-{number}")))
        .collect()
}

fn ids(answer: &Value) -> Vec<&str> {
    let list = answer["InstanceInformationList"].as_array().unwrap();
    list.iter()
        .map(|node| node["InstanceId"].as_str().unwrap())
        .collect()
}

#[test]
fn nodes_are_listed_in_pages_and_filtered() {
    let mut targets = nodes(120);
    targets[3].state = TargetState::ConnectionLost;
    targets[4].state = TargetState::Unmanaged;
    targets[7].tags.push(("Role".into(), "db".into()));
    let sandbox = sandbox(targets);
    let operation = "AmazonSSM.DescribeInstanceInformation";
    let (mut token, mut seen, mut pages) = (Value::Null, 0, 0);
    loop {
        let (_, answer) = call(&sandbox, operation, json!({ "NextToken": token }));
        seen += ids(&answer).len();
        pages += 1;
        match answer.get("NextToken") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!((seen, pages), (119, 3));
    let filter = json!({ "Filters": [{ "Key": "tag:Role", "Values": ["db", "web"] }] });
    assert_eq!(
        ids(&call(&sandbox, operation, filter).1),
        ["i-00000000000000008"]
    );
    let filter = json!({ "Filters": [{ "Key": "PingStatus", "Values": ["ConnectionLost"] }] });
    assert_eq!(
        ids(&call(&sandbox, operation, filter).1),
        ["i-00000000000000004"]
    );
    let filter = json!({ "Filters": [{ "Key": "Colour", "Values": ["red"] }] });
    assert_eq!(call(&sandbox, operation, filter).0, 400);
}

#[test]
fn ec2_knows_nodes_that_have_no_agent() {
    let mut targets = nodes(3);
    targets[1].state = TargetState::Unmanaged;
    targets[1].tags[0].1 = "a<b".into();
    let sandbox = sandbox(targets);
    let form = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=private-ip-address&Filter.1.Value.1=10.0.0.2&\
                Filter.1.Value.2=10.0.0.9";
    let (status, body) = ask(
        &sandbox,
        "Content-Type: application/x-www-form-urlencoded",
        form,
    );
    assert_eq!(status, 200);
    assert_eq!(body.matches("<instanceId>").count(), 1);
    assert!(
        body.contains("<instanceId>i-00000000000000002</instanceId>"),
        "{body}"
    );
    assert!(body.contains("<value>a&lt;b</value>"), "{body}");
    let form = "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-9";
    let (status, body) = ask(
        &sandbox,
        "Content-Type: application/x-www-form-urlencoded",
        form,
    );
    assert_eq!(status, 400);
    assert!(
        body.contains("<Code>InvalidInstanceID.NotFound</Code>"),
        "{body}"
    );
}

#[test]
fn sessions_start_on_nodes_that_are_there() {
    let mut targets = nodes(3);
    targets[0].agent_version = "2.3.1509.0".into();
    targets[1].state = TargetState::Inactive;
    targets[2].is_denied = true;
    let sandbox = sandbox(targets);
    let start = |id: &str| call(&sandbox, "AmazonSSM.StartSession", json!({ "Target": id })).1;
    let started = start("i-00000000000000001");
    let session = sandbox
        .session(started["SessionId"].as_str().unwrap())
        .unwrap();
    assert_eq!(session.config().agent.version, "2.3.1509.0");
    assert_eq!(start("i-00000000000000002")["__type"], "TargetNotConnected");
    assert_eq!(
        start("i-00000000000000003")["__type"],
        "AccessDeniedException"
    );
    assert_eq!(start("i-00000000000000004")["__type"], "TargetNotConnected");
    sandbox.change_target("i-00000000000000002", |target| {
        target.state = TargetState::Online
    });
    assert!(start("i-00000000000000002").get("TokenValue").is_some());
}

/// All invocations, when the command has come to its end.
fn run(sandbox: &Sandbox, order: Value) -> (String, Vec<Value>) {
    let (status, sent) = call(sandbox, "AmazonSSM.SendCommand", order);
    assert_eq!(status, 200, "{sent}");
    let id = sent["Command"]["CommandId"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, answer) = call(
            sandbox,
            "AmazonSSM.ListCommands",
            json!({ "CommandId": id }),
        );
        let command = &answer["Commands"][0];
        if !["Pending", "InProgress"].contains(&command["Status"].as_str().unwrap()) {
            break;
        }
        assert!(Instant::now() < deadline, "{command}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (_, answer) = call(
        sandbox,
        "AmazonSSM.ListCommandInvocations",
        json!({ "CommandId": id, "Details": true }),
    );
    (id, answer["CommandInvocations"].as_array().unwrap().clone())
}

#[test]
fn commands_are_really_run_and_their_output_is_cut() {
    let mut targets = nodes(4);
    targets[1].run = RunBehaviour::Fail(7);
    targets[2].platform = Platform::Windows;
    let sandbox = sandbox(targets);
    let (id, invocations) = run(
        &sandbox,
        json!({
            "DocumentName": "AWS-RunShellScript",
            "Targets": [{ "Key": "tag:Name", "Values": ["node-1", "node-2", "node-3"] }],
            "MaxErrors": "10",
            "Parameters": { "commands": ["echo \"$SSM_INSTANCE_ID\"; echo oops >&2", "head -c 30000 /dev/zero | tr '\\0' x; exit 3"] },
        }),
    );
    let statuses: Vec<_> = invocations
        .iter()
        .map(|one| one["CommandPlugins"][0]["ResponseCode"].clone())
        .collect();
    assert_eq!(statuses, [json!(3), json!(7)]);
    let (_, one) = call(
        &sandbox,
        "AmazonSSM.GetCommandInvocation",
        json!({ "CommandId": id, "InstanceId": "i-00000000000000001" }),
    );
    let output = one["StandardOutputContent"].as_str().unwrap();
    assert!(output.starts_with("i-00000000000000001\nxxx"));
    assert_eq!(output.chars().count(), 24_000);
    assert_eq!(one["StandardErrorContent"], "oops\n");
}

#[test]
fn errors_beyond_the_limit_end_a_command_and_hanging_nodes_can_be_cancelled() {
    let mut targets = nodes(6);
    for target in &mut targets[..3] {
        target.run = RunBehaviour::Fail(1);
    }
    let sandbox = sandbox(targets);
    let order = |more: Value| {
        let mut order = json!({
            "DocumentName": "AWS-RunShellScript",
            "Targets": [{ "Key": "tag:Name", "Values": ["*"] }],
            "Parameters": { "commands": ["true"] },
        });
        order
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        order
    };
    let (_, invocations) = run(
        &sandbox,
        order(json!({ "MaxConcurrency": "1", "MaxErrors": "1" })),
    );
    let details: Vec<_> = invocations
        .iter()
        .map(|one| one["StatusDetails"].as_str().unwrap())
        .collect();
    assert_eq!(
        details,
        [
            "Failed",
            "Failed",
            "Terminated",
            "Terminated",
            "Terminated",
            "Terminated"
        ]
    );

    sandbox.change_target("i-00000000000000005", |target| {
        target.run = RunBehaviour::Hang
    });
    let (_, sent) = call(
        &sandbox,
        "AmazonSSM.SendCommand",
        order(json!({ "MaxErrors": "100%" })),
    );
    let id = sent["Command"]["CommandId"].clone();
    let (status, _) = call(
        &sandbox,
        "AmazonSSM.CancelCommand",
        json!({ "CommandId": id }),
    );
    assert_eq!(status, 200);
    let (_, answer) = call(
        &sandbox,
        "AmazonSSM.ListCommands",
        json!({ "CommandId": id }),
    );
    assert_eq!(answer["Commands"][0]["Status"], "Cancelled");
}

#[test]
fn tasks_are_listed_by_service_and_described() {
    let config = Config {
        api_signatures: Check::Off,
        tasks: vec![Task {
            cluster: "prod".into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            service: Some("web".into()),
            containers: vec!["app".into(), "proxy".into()],
            status: "RUNNING".into(),
            exec_enabled: true,
        }],
        ..Config::default()
    };
    let sandbox = Sandbox::start(config).unwrap();
    let ecs = |operation: &str, input| {
        call(
            &sandbox,
            &format!("AmazonEC2ContainerServiceV20141113.{operation}"),
            input,
        )
    };
    let (_, listed) = ecs(
        "ListTasks",
        json!({ "cluster": "prod", "serviceName": "web" }),
    );
    let arn = listed["taskArns"][0].as_str().unwrap();
    let (_, described) = ecs(
        "DescribeTasks",
        json!({ "cluster": "prod", "tasks": [arn] }),
    );
    assert_eq!(described["tasks"][0]["containers"][1]["name"], "proxy");
    assert_eq!(
        ecs(
            "ListTasks",
            json!({ "cluster": "prod", "serviceName": "db" })
        )
        .0,
        400
    );
    let (status, _) = ecs(
        "ExecuteCommand",
        json!({ "cluster": "prod", "task": arn, "command": "sh" }),
    );
    assert_eq!(status, 400, "which container?");
    let exec = json!({ "cluster": "prod", "task": arn, "command": "sh", "container": "proxy" });
    assert_eq!(ecs("ExecuteCommand", exec).1["containerName"], "proxy");
}

#[test]
fn pushed_keys_go_after_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authorized_keys");
    let config = Config {
        api_signatures: Check::Off,
        authorized_keys: Some(AuthorizedKeys {
            path: path.clone(),
            lifetime: Duration::from_millis(300),
        }),
        ..Config::default()
    };
    let sandbox = Sandbox::start(config).unwrap();
    let push = |key: &str| {
        call(
            &sandbox,
            "AWSEC2InstanceConnectService.SendSSHPublicKey",
            json!({ "InstanceId": "i-1", "InstanceOSUser": "root", "SSHPublicKey": key }),
        )
    };
    assert_eq!(push("nonsense").0, 400);
    assert_eq!(push("ssh-ed25519 AAAA me\n").1["Success"], true);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "ssh-ed25519 AAAA me\n"
    );
    assert_eq!(sandbox.pushed_keys()[0].user, "root");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !std::fs::read_to_string(&path).unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}
