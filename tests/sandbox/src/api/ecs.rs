//! As much of ECS as `aws ecs execute-command` calls.

use serde_json::{Value, json};

use super::{Answer, ApiError};
use crate::config::Document;
use crate::sandbox::Shared;

const ACCOUNT: &str = "arn:aws:ecs:eu-central-1:111122223333";
/// The one container that every task has.
const CONTAINER: &str = "web";
const RUNTIME: &str = "0123456789abcdef0123456789abcdef-1234567890";

/// The last part of an ARN, or what is none.
fn name<'a>(input: &'a Value, key: &str, default: &'a str) -> &'a str {
    let text = input.get(key).and_then(Value::as_str).unwrap_or(default);
    text.rsplit('/').next().unwrap_or(text)
}

pub(super) fn execute(input: &Value, shared: &Shared) -> Answer {
    let cluster = name(input, "cluster", "default");
    let task = name(input, "task", "");
    let Some(command) = input.get("command").and_then(Value::as_str) else {
        return Err(ApiError::new(
            "InvalidParameterException",
            "command is missing",
        ));
    };
    let mut config = shared.session_config();
    config.document = Document::Interactive {
        command: command.to_owned(),
    };
    config.agent.instance_id = format!("ecs:{cluster}_{task}_{RUNTIME}");
    let started = shared.start_session(config);
    Ok(json!({
        "clusterArn": format!("{ACCOUNT}:cluster/{cluster}"),
        "containerArn": format!("{ACCOUNT}:container/{cluster}/{task}/{CONTAINER}"),
        "containerName": CONTAINER,
        "interactive": true,
        "session": {
            "sessionId": started.session.id(),
            "streamUrl": started.stream_url,
            "tokenValue": started.token_value,
        },
        "taskArn": format!("{ACCOUNT}:task/{cluster}/{task}"),
    }))
}

pub(super) fn describe(input: &Value) -> Value {
    let cluster = name(input, "cluster", "default");
    let tasks = input.get("tasks").and_then(Value::as_array);
    let tasks: Vec<Value> = tasks
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|task| task.rsplit('/').next().unwrap_or(task))
        .map(|task| {
            json!({
                "taskArn": format!("{ACCOUNT}:task/{cluster}/{task}"),
                "clusterArn": format!("{ACCOUNT}:cluster/{cluster}"),
                "lastStatus": "RUNNING",
                "enableExecuteCommand": true,
                "containers": [{ "name": CONTAINER, "runtimeId": RUNTIME, "lastStatus": "RUNNING" }],
            })
        })
        .collect();
    json!({ "tasks": tasks, "failures": [] })
}
