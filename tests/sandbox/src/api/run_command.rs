//! Run Command's API: SendCommand, ListCommands, ListCommandInvocations, GetCommandInvocation, CancelCommand.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use super::nodes::page;
use super::{Answer, ApiError};
use crate::run_command::{Invocation, Order, SentCommand, State};
use crate::sandbox::Shared;
use crate::target::{Platform, Target, TargetState};
use crate::threads::lock;

/// Characters of stdout and stderr that GetCommandInvocation gives, and of both that a plugin in ListCommandInvocations gives.
const OUTPUT: usize = 24_000;
const ERRORS: usize = 8_000;
const PLUGIN_OUTPUT: usize = 2_500;

pub(super) fn send(input: &Value, shared: &Shared) -> Answer {
    let document = input
        .get("DocumentName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let platform = match document {
        "AWS-RunShellScript" => Platform::Linux,
        "AWS-RunPowerShellScript" => Platform::Windows,
        _ => {
            return Err(ApiError::new(
                "InvalidDocument",
                format!("Document with name {document} does not exist."),
            ));
        }
    };
    let targets = targets(input, shared)?;
    if let Some(other) = targets
        .iter()
        .find(|target| target.platform != platform && input.get("InstanceIds").is_some())
    {
        return Err(ApiError::new(
            "UnsupportedPlatformType",
            format!("{} does not run the platform of {document}", other.id),
        ));
    }
    let targets: Vec<Target> = targets
        .into_iter()
        .filter(|target| target.platform == platform)
        .collect();
    let parameters = input.get("Parameters").cloned().unwrap_or_default();
    let parameter = |name: &str| {
        parameters
            .get(name)
            .and_then(|values| values.get(0))
            .and_then(Value::as_str)
    };
    let lines: Vec<&str> = parameters
        .get("commands")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if lines.is_empty() {
        return Err(ApiError::new(
            "InvalidParameters",
            "Parameter \"commands\" requires a value.",
        ));
    }
    let number = |text: Option<&str>, default: u64| {
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let timeout = input
        .get("TimeoutSeconds")
        .and_then(Value::as_u64)
        .unwrap_or(3600);
    if timeout < 30 {
        return Err(ApiError::new(
            "ValidationException",
            "Value at 'timeoutSeconds' failed to satisfy constraint: at least 30",
        ));
    }
    let order = Order {
        script: lines.join("\n"),
        working_directory: parameter("workingDirectory")
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        execution_timeout: Duration::from_secs(number(parameter("executionTimeout"), 3600)),
        delivery_timeout: shared
            .config
            .delivery_timeout
            .unwrap_or(Duration::from_secs(timeout)),
        concurrency: share(input.get("MaxConcurrency"), targets.len(), "50")?.max(1),
        max_errors: share(input.get("MaxErrors"), targets.len(), "0")?,
    };
    let comment = input
        .get("Comment")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let id = Uuid::new_v4().to_string();
    let command = SentCommand::send(
        id.clone(),
        document.to_owned(),
        comment.to_owned(),
        order,
        targets,
        &shared.threads,
    );
    let answer = describe(&command);
    lock(&shared.commands).insert(id, command);
    Ok(json!({ "Command": answer }))
}

/// `50` or `10%` of so many.
fn share(value: Option<&Value>, of: usize, default: &str) -> Result<usize, ApiError> {
    let text = value.and_then(Value::as_str).unwrap_or(default);
    let invalid = || {
        ApiError::new(
            "ValidationException",
            format!("'{text}' is neither a number nor a percentage"),
        )
    };
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: usize = percent.parse().map_err(|_| invalid())?;
            if percent > 100 {
                return Err(invalid());
            }
            Ok((of * percent).div_ceil(100))
        }
        None => text.parse().map_err(|_| invalid()),
    }
}

fn targets(input: &Value, shared: &Shared) -> Result<Vec<Target>, ApiError> {
    let known = lock(&shared.targets);
    if let Some(ids) = input
        .get("InstanceIds")
        .and_then(Value::as_array)
        .filter(|ids| !ids.is_empty())
    {
        if ids.len() > 50 {
            return Err(ApiError::new(
                "ValidationException",
                "Value at 'instanceIds' failed to satisfy constraint: at most 50",
            ));
        }
        let find = |id: &Value| {
            let id = id.as_str().unwrap_or_default();
            let node = known.iter().find(|target| target.id == id);
            node.filter(|target| target.state == TargetState::Online)
                .cloned()
                .ok_or_else(|| {
                    ApiError::new(
                        "InvalidInstanceId",
                        format!("Instances [[{id}]] not in a valid state for account 111122223333"),
                    )
                })
        };
        return ids.iter().map(find).collect();
    }
    let wanted = input
        .get("Targets")
        .and_then(Value::as_array)
        .filter(|wanted| !wanted.is_empty());
    let wanted = wanted
        .ok_or_else(|| ApiError::new("ValidationException", "Neither InstanceIds nor Targets"))?;
    let matches = |target: &Target, one: &Value| {
        let key = one.get("Key").and_then(Value::as_str).unwrap_or_default();
        let values = one.get("Values").and_then(Value::as_array);
        let is = |text: &str| {
            values
                .into_iter()
                .flatten()
                .any(|value| value.as_str() == Some(text) || value.as_str() == Some("*"))
        };
        match key {
            "InstanceIds" | "instanceids" => is(&target.id),
            "tag-key" => target.tags.iter().any(|(key, _)| is(key)),
            other => other
                .strip_prefix("tag:")
                .and_then(|key| target.tag(key))
                .is_some_and(is),
        }
    };
    let managed = known
        .iter()
        .filter(|target| target.state.ping_status().is_some());
    Ok(managed
        .filter(|target| wanted.iter().all(|one| matches(target, one)))
        .cloned()
        .collect())
}

fn command(input: &Value, shared: &Shared) -> Result<Arc<SentCommand>, ApiError> {
    let id = input
        .get("CommandId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let command = lock(&shared.commands).get(id).cloned();
    let command = command.ok_or_else(|| {
        ApiError::new("InvalidCommandId", "The specified command ID isn't valid.")
    })?;
    command.expire();
    Ok(command)
}

fn describe(command: &SentCommand) -> Value {
    let states: Vec<State> = command
        .invocations
        .iter()
        .map(|one| lock(one).state)
        .collect();
    let count = |test: fn(&State) -> bool| states.iter().filter(|state| test(state)).count();
    let errors = count(|state| {
        matches!(state, State::Ended(code) if *code != 0)
            || matches!(state, State::ExecutionTimedOut)
    });
    let undelivered = count(|state| *state == State::DeliveryTimedOut);
    let completed = count(|state| state.is_final());
    let (status, details) = if command.is_cancelled() {
        ("Cancelled", "Cancelled")
    } else if completed < states.len() {
        if count(|state| *state == State::Pending) == states.len() {
            ("Pending", "Pending")
        } else {
            ("InProgress", "InProgress")
        }
    } else if states.is_empty() {
        ("Failed", "NoInstancesInTag")
    } else if errors + undelivered == 0 {
        ("Success", "Success")
    } else if undelivered > 0 && errors == 0 {
        ("TimedOut", "DeliveryTimedOut")
    } else {
        ("Failed", "Failed")
    };
    json!({
        "CommandId": command.id,
        "DocumentName": command.document,
        "Comment": command.comment,
        "RequestedDateTime": seconds(command.requested),
        "ExpiresAfter": seconds(command.requested + command.order.delivery_timeout),
        "Status": status,
        "StatusDetails": details,
        "MaxConcurrency": command.order.concurrency.to_string(),
        "MaxErrors": command.order.max_errors.to_string(),
        "TargetCount": states.len(),
        "CompletedCount": completed,
        "ErrorCount": errors,
        "DeliveryTimedOutCount": undelivered,
    })
}

pub(super) fn list(input: &Value, shared: &Shared) -> Answer {
    let commands: Vec<Value> = if input.get("CommandId").is_some() {
        vec![describe(&*command(input, shared)?)]
    } else {
        let all: Vec<_> = lock(&shared.commands).values().cloned().collect();
        all.iter().map(|command| describe(command)).collect()
    };
    Ok(json!({ "Commands": commands }))
}

pub(super) fn list_invocations(input: &Value, shared: &Shared) -> Answer {
    let command = command(input, shared)?;
    let size = input
        .get("MaxResults")
        .and_then(Value::as_u64)
        .unwrap_or(50);
    if !(1..=50).contains(&size) {
        return Err(ApiError::new(
            "ValidationException",
            "Value at 'maxResults' failed to satisfy constraint: between 1 and 50",
        ));
    }
    let node = input.get("InstanceId").and_then(Value::as_str);
    let status = input
        .get("Filters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find_map(|filter| {
            let is_status = filter.get("key").and_then(Value::as_str) == Some("Status");
            is_status
                .then(|| filter.get("value").and_then(Value::as_str))
                .flatten()
        });
    let with_details = input
        .get("Details")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let all: Vec<Value> = command
        .invocations
        .iter()
        .map(|one| lock(one).clone())
        .filter(|one| node.is_none_or(|node| one.target.id == node))
        .filter(|one| status.is_none_or(|status| one.state.words().0 == status))
        .map(|one| invocation(&command, &one, with_details))
        .collect();
    let token = input.get("NextToken").and_then(Value::as_str);
    let (invocations, next) = page(all, token, usize::try_from(size).unwrap_or(50))?;
    let mut answer = json!({ "CommandInvocations": invocations });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

fn invocation(command: &SentCommand, one: &Invocation, with_details: bool) -> Value {
    let (status, details) = one.state.words();
    let plugins = with_details.then(|| {
        let mut output = one.stdout.clone();
        if !one.stderr.is_empty() {
            output.extend_from_slice(b"\n----------ERROR-------\n");
            output.extend_from_slice(&one.stderr);
        }
        json!([{
            "Name": plugin(command),
            "Status": status,
            "StatusDetails": details,
            "ResponseCode": one.state.response_code(),
            "Output": cut(&output, PLUGIN_OUTPUT),
        }])
    });
    json!({
        "CommandId": command.id,
        "InstanceId": one.target.id,
        "InstanceName": one.target.computer_name,
        "Comment": command.comment,
        "DocumentName": command.document,
        "RequestedDateTime": seconds(command.requested),
        "Status": status,
        "StatusDetails": details,
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": plugins.unwrap_or_else(|| json!([])),
    })
}

pub(super) fn get_invocation(input: &Value, shared: &Shared) -> Answer {
    let command = command(input, shared)?;
    let node = input
        .get("InstanceId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let one = command
        .invocations
        .iter()
        .map(|one| lock(one).clone())
        .find(|one| one.target.id == node);
    let one = one.ok_or_else(|| {
        ApiError::new(
            "InvocationDoesNotExist",
            "The command ID and managed node ID you specified didn't match any invocations.",
        )
    })?;
    let (status, details) = one.state.words();
    Ok(json!({
        "CommandId": command.id,
        "InstanceId": node,
        "Comment": command.comment,
        "DocumentName": command.document,
        "PluginName": plugin(&command),
        "ResponseCode": one.state.response_code(),
        "Status": status,
        "StatusDetails": details,
        "StandardOutputContent": cut(&one.stdout, OUTPUT),
        "StandardOutputUrl": "",
        "StandardErrorContent": cut(&one.stderr, ERRORS),
        "StandardErrorUrl": "",
    }))
}

pub(super) fn cancel(input: &Value, shared: &Shared) -> Answer {
    let command = command(input, shared)?;
    let nodes = input.get("InstanceIds").and_then(Value::as_array);
    let nodes: Vec<&str> = nodes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    command.cancel(&nodes);
    Ok(json!({}))
}

fn plugin(command: &SentCommand) -> &'static str {
    match command.document.as_str() {
        "AWS-RunPowerShellScript" => "aws:runPowerShellScript",
        _ => "aws:runShellScript",
    }
}

/// The first characters, with the mark that the agent puts where it cuts.
fn cut(output: &[u8], characters: usize) -> String {
    const MARK: &str = "\n--output truncated--";
    let text = String::from_utf8_lossy(output);
    if text.chars().count() <= characters {
        return text.into_owned();
    }
    let kept: String = text.chars().take(characters - MARK.len()).collect();
    format!("{kept}{MARK}")
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}
