//! As much of ECS as ECS Exec needs: ListTasks, DescribeTasks, ExecuteCommand.

use serde_json::{Value, json};

use super::nodes::page;
use super::{Answer, ApiError};
use crate::config::Document;
use crate::sandbox::Shared;
use crate::target::Task;
use crate::threads::lock;

const ACCOUNT: &str = "arn:aws:ecs:eu-central-1:111122223333";
/// The one container of a task that nobody has set up.
const CONTAINER: &str = "web";
/// The first container's runtime id; the following ones differ in the last digit.
const RUNTIME: &str = "0123456789abcdef0123456789abcdef-123456789";

/// The last part of an ARN, or what is none.
fn name<'a>(input: &'a Value, key: &str, default: &'a str) -> &'a str {
    last(input.get(key).and_then(Value::as_str).unwrap_or(default))
}

fn last(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

/// A task: one that was set up, or any where none was.
fn task(cluster: &str, id: &str, shared: &Shared) -> Option<Task> {
    let tasks = lock(&shared.tasks);
    if tasks.is_empty() {
        return Some(Task {
            cluster: cluster.to_owned(),
            id: id.to_owned(),
            service: None,
            containers: vec![CONTAINER.to_owned()],
            status: "RUNNING".into(),
            exec_enabled: true,
        });
    }
    tasks
        .iter()
        .find(|task| task.cluster == cluster && task.id == id)
        .cloned()
}

fn runtime(index: usize) -> String {
    format!("{RUNTIME}{index}")
}

pub(super) fn execute(input: &Value, shared: &Shared) -> Answer {
    let invalid = |message: &str| ApiError::new("InvalidParameterException", message);
    let cluster = name(input, "cluster", "default");
    let id = name(input, "task", "");
    let command = input
        .get("command")
        .and_then(Value::as_str)
        .ok_or_else(|| invalid("command is missing"))?;
    let task =
        task(cluster, id, shared).ok_or_else(|| invalid("The referenced task was not found."))?;
    if !task.exec_enabled || task.status != "RUNNING" {
        return Err(invalid(
            "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn't \
             running.",
        ));
    }
    let wanted = input.get("container").and_then(Value::as_str);
    // A task that nobody has set up has one container, which answers to every name.
    let is_set_up = !lock(&shared.tasks).is_empty();
    let index = match wanted.filter(|_| is_set_up) {
        Some(wanted) => task
            .containers
            .iter()
            .position(|container| container == wanted),
        None => (task.containers.len() == 1).then_some(0),
    };
    let index = index
        .ok_or_else(|| invalid("Unable to find container name, or more than one is there."))?;
    let mut config = shared.session_config();
    config.document = Document::Interactive {
        command: command.to_owned(),
    };
    config.agent.instance_id = format!("ecs:{cluster}_{id}_{}", runtime(index));
    let started = shared.start_session(config);
    let container = &task.containers[index];
    Ok(json!({
        "clusterArn": format!("{ACCOUNT}:cluster/{cluster}"),
        "containerArn": format!("{ACCOUNT}:container/{cluster}/{id}/{container}"),
        "containerName": container,
        "interactive": true,
        "session": {
            "sessionId": started.session.id(),
            "streamUrl": started.stream_url,
            "tokenValue": started.token_value,
        },
        "taskArn": format!("{ACCOUNT}:task/{cluster}/{id}"),
    }))
}

pub(super) fn list(input: &Value, shared: &Shared) -> Answer {
    let cluster = name(input, "cluster", "default");
    let service = input.get("serviceName").and_then(Value::as_str).map(last);
    let status = input
        .get("desiredStatus")
        .and_then(Value::as_str)
        .unwrap_or("RUNNING");
    let tasks = lock(&shared.tasks);
    if !tasks.iter().any(|task| task.cluster == cluster) {
        return Err(ApiError::new(
            "ClusterNotFoundException",
            "Cluster not found.",
        ));
    }
    let of_service =
        |task: &&Task| service.is_none_or(|service| task.service.as_deref() == Some(service));
    if service.is_some()
        && !tasks
            .iter()
            .any(|task| task.cluster == cluster && of_service(&task))
    {
        return Err(ApiError::new(
            "ServiceNotFoundException",
            "Service not found.",
        ));
    }
    let is_stopped = |task: &&Task| (task.status == "STOPPED") == (status == "STOPPED");
    let all: Vec<String> = tasks
        .iter()
        .filter(|task| task.cluster == cluster)
        .filter(of_service)
        .filter(is_stopped)
        .map(|task| format!("{ACCOUNT}:task/{cluster}/{}", task.id))
        .collect();
    let size = input
        .get("maxResults")
        .and_then(Value::as_u64)
        .unwrap_or(100);
    let token = input.get("nextToken").and_then(Value::as_str);
    let (tasks, next) = page(all, token, usize::try_from(size).unwrap_or(100))?;
    let mut answer = json!({ "taskArns": tasks });
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

pub(super) fn describe(input: &Value, shared: &Shared) -> Value {
    let cluster = name(input, "cluster", "default");
    let ids = input.get("tasks").and_then(Value::as_array);
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for id in ids
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(last)
    {
        let arn = format!("{ACCOUNT}:task/{cluster}/{id}");
        let Some(task) = task(cluster, id, shared) else {
            failures.push(json!({ "arn": arn, "reason": "MISSING" }));
            continue;
        };
        let containers = task.containers.iter().enumerate().map(|(index, container)| {
            json!({
                "name": container,
                "runtimeId": runtime(index),
                "lastStatus": task.status,
                "managedAgents": [{ "name": "ExecuteCommandAgent", "lastStatus": if task.exec_enabled { "RUNNING" } else { "STOPPED" } }],
            })
        });
        tasks.push(json!({
            "taskArn": arn,
            "clusterArn": format!("{ACCOUNT}:cluster/{cluster}"),
            "lastStatus": task.status,
            "desiredStatus": "RUNNING",
            "group": task.service.as_ref().map(|service| format!("service:{service}")),
            "enableExecuteCommand": task.exec_enabled,
            "containers": containers.collect::<Vec<_>>(),
        }));
    }
    json!({ "tasks": tasks, "failures": failures })
}
