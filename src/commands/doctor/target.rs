//! The node: whether it is connected, what its agent can do, and whether sessions with it may be started.

use std::time::Duration;

use super::check::Check;
use crate::client::api::{Node, NodeFilter};
use crate::client::target::{TargetError, TargetName};
use crate::client::{Api, ApiError, StartRequest};
use crate::client::{Cancel, Limit};
use crate::commands::Surroundings;

/// How long all look-ups may take.
const LOOKUP_TIME: Duration = Duration::from_secs(20);
/// StartSession, and then TerminateSession, with their retries.
const SESSION_TIME: Duration = Duration::from_secs(15);

/// What agents can do from a version on: the agent's release notes, and AWS's documentation of ports of other hosts.
const ABILITIES: [([u32; 4], &str); 7] = [
    ([2, 3, 68, 0], "sessions"),
    ([2, 3, 539, 0], "encryption with KMS"),
    ([2, 3, 668, 0], "commands with a terminal"),
    ([2, 3, 672, 0], "SSH and ports"),
    ([3, 0, 222, 0], "several connections through one forward"),
    ([3, 0, 1124, 0], "commands without a terminal (exec)"),
    ([3, 1, 1374, 0], "ports of other hosts"),
];
/// Below this there is no session at all.
const FIRST: [u32; 4] = ABILITIES[0].0;

/// Checks the node.
pub(super) fn examine(api: &Api, name: &str, around: &Surroundings) -> Vec<Check> {
    let target =
        TargetName::parse(name).and_then(|name| name.resolve(api, &Limit::within(LOOKUP_TIME)));
    let target = match target {
        Ok(target) => target,
        Err(error) => return vec![unresolved(&error)],
    };
    let mut checks = Vec::new();
    if target.container().is_some() {
        checks.push(Check::fine("target", target.id()));
    } else {
        let node = match target.node() {
            Some(node) => Ok(Some(node.clone())),
            None => {
                let filter = NodeFilter::new("InstanceIds", target.id());
                let limit = Limit::within(LOOKUP_TIME);
                let nodes = api.nodes_page(&[filter], None, &limit);
                nodes.map(|nodes| nodes.nodes.into_iter().next())
            }
        };
        match node {
            Ok(Some(node)) => checks.extend([state(&node), agent(&node)]),
            Ok(None) => checks.push(Check::problem(
                "target",
                format!("{} is no managed node of this account and region", target.id()),
                "check the id, the account and the region; an instance also needs the agent, and a role with AmazonSSMManagedInstanceCore",
            )),
            Err(error) => checks.push(unknown(&error)),
        }
    }
    // It ends its session itself.
    let checked = around.interruptible(|cancel| session(api, target.id(), cancel), drop);
    checks.extend(checked.ok());
    checks
}

fn unresolved(error: &TargetError) -> Check {
    let next = match error {
        TargetError::Api(error) => after(error, "give its id, or have the look-up allowed"),
        TargetError::NotFound(_) => {
            "`list` shows what is there; start the node or its agent if it is off"
        }
        TargetError::Several(_) => "give its id",
        TargetError::Invalid(_) | TargetError::Task { .. } => "correct what it says",
    };
    Check::problem("target", error.to_string(), next)
}

/// Sessions can be started without that.
fn unknown(error: &ApiError) -> Check {
    Check::warning(
        "target",
        error.to_string(),
        after(
            error,
            "have ssm:DescribeInstanceInformation allowed to see the node's state",
        ),
    )
}

/// The next step after a call that failed; `denied` is the one where it was not allowed.
fn after(error: &ApiError, denied: &'static str) -> &'static str {
    match error {
        ApiError::Refused { refusal, .. } if refusal.is_denial() => denied,
        ApiError::Refused { .. } => "see what the service says",
        _ => "see whether ssm is reached",
    }
}

fn state(node: &Node) -> Check {
    let texts = [
        &node.id,
        &node.name,
        &node.computer_name,
        &node.platform,
        &node.address,
    ];
    let known: Vec<&str> = texts
        .into_iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    let detail = format!("{}: {}", known.join(", "), node.state.word());
    if node.is_online() {
        return Check::fine("target", detail);
    }
    Check::problem(
        "target",
        detail,
        "start the node and its agent (`systemctl status amazon-ssm-agent`), and see that it reaches ssm, ssmmessages and ec2messages",
    )
}

fn agent(node: &Node) -> Check {
    let name = "agent";
    let version = &node.agent_version;
    let next = "update it: `run --target … -- …`, or Systems Manager's AWS-UpdateSSMAgent";
    let Some(parts) = parse(version) else {
        return Check::warning(name, format!("version {version:?} cannot be read"), next);
    };
    let lacking: Vec<&str> = ABILITIES
        .iter()
        .filter(|(since, _)| parts < *since)
        .map(|(_, what)| *what)
        .collect();
    let detail = format!("version {version}, too old for {}", lacking.join("; "));
    if lacking.is_empty() {
        Check::fine(name, format!("version {version}"))
    } else if parts < FIRST {
        Check::problem(name, detail, next)
    } else {
        Check::warning(name, detail, next)
    }
}

fn parse(version: &str) -> Option<[u32; 4]> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// Only a session shows whether sessions are allowed: one is started, and ended without being used.
fn session(api: &Api, target: &str, cancel: &Cancel) -> Check {
    let name = "session";
    let request = StartRequest {
        target: target.to_owned(),
        reason: Some("session-manager-plugin doctor".to_owned()),
        ..StartRequest::default()
    };
    let limit = Limit::within(SESSION_TIME).or_cancelled(cancel);
    let started = match api.start_session(&request, &limit) {
        Ok(started) => started,
        Err(error) => return refused(&error),
    };
    match api.terminate_session(&started.session_id, &Limit::within(SESSION_TIME)) {
        Ok(()) => Check::fine(name, "one was started and ended again"),
        Err(error) => Check::warning(
            name,
            format!("one was started, but not ended: {error}"),
            "have ssm:TerminateSession and ssm:ResumeSession allowed for your own sessions",
        ),
    }
}

fn refused(error: &ApiError) -> Check {
    let next = match error {
        ApiError::Refused { refusal, .. } if refusal.code == "TargetNotConnected" => {
            "start the node and its agent, and see that it reaches ssmmessages"
        }
        error => after(
            error,
            "have ssm:StartSession allowed on the node and on the document SSM-SessionManagerRunShell",
        ),
    };
    Check::problem("session", error.to_string(), next)
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn what_an_agent_is_too_old_for() {
        let check = |version: &str| {
            agent(&Node {
                agent_version: version.to_owned(),
                ..Node::default()
            })
        };
        assert_eq!(check("3.3.0.0").outcome, CheckOutcome::Fine);
        assert_eq!(check("2.0.0.0").outcome, CheckOutcome::Problem);
        assert_eq!(check("x").outcome, CheckOutcome::Warning);
        let old = check("3.0.500.0");
        assert_eq!(old.outcome, CheckOutcome::Warning);
        assert!(old.detail.contains("ports of other hosts"), "{old:?}");
        assert!(!old.detail.contains("one forward"), "{old:?}");
    }
}
