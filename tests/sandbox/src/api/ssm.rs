//! StartSession, ResumeSession, TerminateSession, DescribeSessions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::documents::document;
use super::{Answer, ApiError};
use crate::sandbox::Shared;
use crate::session::Session;
use crate::target::{Target, TargetState};
use crate::threads::lock;

/// A target that is never connected.
const NOT_CONNECTED: &str = "i-00000000000000bad";

pub(super) fn start(input: &Value, no_token: bool, shared: &Shared) -> Answer {
    let target = input
        .get("Target")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if target.is_empty() {
        return Err(ApiError::new(
            "ValidationException",
            "Target must not be empty",
        ));
    }
    if target == NOT_CONNECTED {
        return Err(ApiError::new(
            "TargetNotConnected",
            format!("{target} is not connected."),
        ));
    }
    let name = input.get("DocumentName").and_then(Value::as_str);
    let name = name.unwrap_or("SSM-SessionManagerRunShell");
    if shared.is_denied_document(name) {
        let document = format!("arn:aws:ssm:eu-central-1::document/{name}");
        return Err(denied(&document));
    }
    let mut config = shared.session_config();
    config.document = document(input)?;
    target.clone_into(&mut config.agent.instance_id);
    if let Some(node) = node(target, shared)? {
        config.agent.version = node.agent_version;
        let names = [
            ("SSM_INSTANCE_ID", node.id),
            ("SSM_COMPUTER_NAME", node.computer_name),
        ];
        let names = names.map(|(name, value)| (name.to_owned(), value));
        config.agent.environment.extend(names);
    }
    // AWS documents neither the code nor the words.
    let started = shared.start_session_within_quota(config).ok_or_else(|| {
        ApiError::new(
            "ServiceQuotaExceededException",
            "The account has reached its maximum number of active sessions.",
        )
    })?;
    Ok(without_token(started.response(), no_token))
}

/// The node of this id, where the sandbox has nodes at all.
fn node(id: &str, shared: &Shared) -> Result<Option<Target>, ApiError> {
    let targets = lock(&shared.targets);
    if targets.is_empty() || id.starts_with("ecs:") {
        return Ok(None);
    }
    let node = targets.iter().find(|target| target.id == id);
    if node.is_some_and(|node| node.is_denied) {
        let instance = format!("arn:aws:ec2:eu-central-1:111122223333:instance/{id}");
        return Err(denied(&instance));
    }
    let node = node
        .filter(|node| node.state == TargetState::Online)
        .cloned();
    node.map(Some)
        .ok_or_else(|| ApiError::new("TargetNotConnected", format!("{id} is not connected.")))
}

fn denied(resource: &str) -> ApiError {
    ApiError::new(
        "AccessDeniedException",
        format!(
            "User: arn:aws:iam::111122223333:user/sandbox is not authorized to perform: ssm:StartSession on resource: {resource} \
             because no identity-based policy allows the ssm:StartSession action"
        ),
    )
}

fn without_token(mut response: Value, no_token: bool) -> Value {
    if no_token && let Some(fields) = response.as_object_mut() {
        fields.remove("TokenValue");
    }
    response
}

fn session(input: &Value, shared: &Shared) -> Result<Arc<Session>, ApiError> {
    let id = input
        .get("SessionId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    shared.session(id).ok_or_else(|| {
        ApiError::new(
            "DoesNotExistException",
            format!("Session {id} does not exist"),
        )
    })
}

/// A session that is over can still be resumed as long as nobody terminated it: the client learns of its end that way.
pub(super) fn resume(input: &Value, no_token: bool, shared: &Shared) -> Answer {
    let session = session(input, shared)?;
    if session.is_terminated() {
        return Err(ApiError::new(
            "DoesNotExistException",
            format!("Session {} is already terminated", session.id()),
        ));
    }
    let gateway = &session.config().gateway;
    let response = json!({
        "SessionId": session.id(),
        "TokenValue": session.new_token(gateway.token_lifetime),
        "StreamUrl": shared.stream_url(session.id(), gateway.resume_host.as_deref()),
    });
    Ok(without_token(response, no_token))
}

pub(super) fn terminate(input: &Value, shared: &Shared) -> Answer {
    let session = session(input, shared)?;
    session.terminate("");
    Ok(json!({ "SessionId": session.id() }))
}

/// The sessions of a state (`Active` or `History`) that all filters let through; those of `SessionId` and `Target` are known.
pub(super) fn describe(input: &Value, shared: &Shared) -> Answer {
    let wants_active = match input.get("State").and_then(Value::as_str) {
        Some("Active") => true,
        Some("History") => false,
        _ => {
            return Err(ApiError::new(
                "ValidationException",
                "State must be Active or History",
            ));
        }
    };
    let mut filters = Vec::new();
    for filter in input
        .get("Filters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |name: &str| filter.get(name).and_then(Value::as_str);
        match (text("key"), text("value")) {
            (Some(key @ ("SessionId" | "Target")), Some(value)) => filters.push((key, value)),
            _ => {
                return Err(ApiError::new(
                    "InvalidFilterKey",
                    "The specified filter key is not valid",
                ));
            }
        }
    }
    let sessions: Vec<Value> = shared
        .sessions()
        .into_iter()
        .filter(|session| session.ended().is_none() == wants_active)
        .map(|session| {
            json!({
                "SessionId": session.id(),
                "Target": session.config().agent.instance_id,
                "Status": if wants_active { "Connected" } else { "Terminated" },
                "Owner": "arn:aws:iam::111122223333:user/sandbox",
            })
        })
        .filter(|session| filters.iter().all(|(key, value)| session[*key] == *value))
        .collect();
    Ok(json!({ "Sessions": sessions }))
}
