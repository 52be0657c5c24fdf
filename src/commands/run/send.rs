//! Which commands are sent, so that every node gets the one for its platform.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::run::{Criterion, Fleet, Send};
use crate::client::Api;
use crate::client::ApiError;
use crate::client::Limit;
use crate::client::api::{CommandTarget, Node, NodeFilter, SendCommand};
use crate::client::target::TargetName;
use crate::error::Error;

/// How long a node may take to fetch a command: the service allows no less.
const SHORTEST_DELIVERY: u32 = 30;
/// Nodes that one command can name.
const MOST_NAMED: usize = 50;
/// How often a call is made that the service throttles.
const SEND_ATTEMPTS: u32 = 6;
/// Before the second of them; then twice as long each time.
const SEND_PAUSE: Duration = Duration::from_millis(500);

/// A shell of a node, and the document that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScriptShell {
    Posix,
    PowerShell,
}

/// A node that gets no command, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) node: String,
    pub(super) name: String,
    pub(super) why: String,
}

/// What is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CommandPlan {
    pub(super) commands: Vec<SendCommand>,
    /// Nodes that cannot get any.
    pub(super) left: Vec<Left>,
    /// Whether a node can be one of another command's, though this one lists it as of the wrong platform.
    pub(super) is_mixed: bool,
}

impl ScriptShell {
    fn of(platform_type: &str) -> Self {
        if platform_type == "Windows" {
            Self::PowerShell
        } else {
            Self::Posix
        }
    }

    fn document(self) -> &'static str {
        match self {
            Self::Posix => "AWS-RunShellScript",
            Self::PowerShell => "AWS-RunPowerShellScript",
        }
    }

    /// The script that runs these words as they are; one word alone is a script already.
    fn script(self, words: &[String]) -> String {
        match (self, words) {
            (_, [script]) => script.clone(),
            (Self::Posix, words) => {
                let quoted: Vec<String> = words.iter().map(|word| posix(word)).collect();
                quoted.join(" ")
            }
            (Self::PowerShell, words) => {
                let quote = |word: &String| format!("'{}'", word.replace('\'', "''"));
                let quoted: Vec<String> = words.iter().map(quote).collect();
                // The exit code of a program is not that of the script that ran it.
                format!("& {}\nexit $LASTEXITCODE", quoted.join(" "))
            }
        }
    }
}

fn posix(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%^".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Looks up the nodes and their platforms.
pub(super) fn plan(api: &Api, send: &Send, limit: &Limit) -> Result<CommandPlan, Error> {
    match &send.fleet {
        Fleet::Named(names) => {
            let ids = resolve(api, names, limit)?;
            let filter = NodeFilter {
                key: "InstanceIds".to_owned(),
                values: ids.iter().map(|(id, _)| id.clone()).collect(),
            };
            let nodes = api.nodes(&[filter], limit);
            Ok(of_nodes(send, ids, known(nodes)?))
        }
        Fleet::Matching(criteria) => {
            let filters: Option<Vec<Vec<NodeFilter>>> = criteria.iter().map(filters).collect();
            let Some(filters) = filters.map(|filters| filters.concat()) else {
                // Only the service knows what is in a resource group.
                return Ok(of_criteria(send, criteria, true, &[]));
            };
            let of = |platform: &str| {
                [
                    filters.clone(),
                    vec![NodeFilter::new("PlatformTypes", platform)],
                ]
                .concat()
            };
            let Some(windows) = known(api.nodes(&of("Windows"), limit))? else {
                return Ok(of_criteria(send, criteria, true, &[]));
            };
            let has_others = windows.is_empty() || {
                let one = |platform| api.nodes_page(&of(platform), None, limit);
                let is_there = |platform| {
                    let page = one(platform).map_err(ApiError::into_error)?;
                    Ok::<bool, Error>(!page.nodes.is_empty())
                };
                is_there("Linux")? || is_there("MacOS")?
            };
            if has_others && windows.len() > MOST_NAMED {
                return Err(Error::Usage(format!(
                    "{} nodes run Windows and others do not: give --targets that leave one kind out, \
                     as more than {MOST_NAMED} cannot be named in one command",
                    windows.len()
                )));
            }
            Ok(of_criteria(send, criteria, has_others, &windows))
        }
    }
}

/// The nodes that were found; none if the credentials must not look, and then a POSIX shell is assumed.
fn known(nodes: Result<crate::client::api::Nodes, ApiError>) -> Result<Option<Vec<Node>>, Error> {
    match nodes {
        Ok(nodes) => Ok(Some(nodes.nodes)),
        Err(ApiError::Refused {
            operation, refusal, ..
        }) if refusal.is_denial() => {
            log::info!("{operation} is not allowed: nodes are taken for Linux");
            Ok(None)
        }
        Err(error) => Err(error.into_error()),
    }
}

/// The filters of DescribeInstanceInformation that find what a criterion of SendCommand does, if there are any.
fn filters(criterion: &Criterion) -> Option<Vec<NodeFilter>> {
    let is_any = criterion.values.iter().any(|value| value == "*");
    let with = |key: &str| NodeFilter {
        key: key.to_owned(),
        values: criterion.values.clone(),
    };
    let key = criterion.key.as_str();
    match key.strip_prefix("tag:") {
        Some(tag) if is_any => Some(vec![NodeFilter::new("tag-key", tag)]),
        Some(_) => Some(vec![with(key)]),
        None if key.eq_ignore_ascii_case("InstanceIds") && is_any => Some(Vec::new()),
        None if key.eq_ignore_ascii_case("InstanceIds") => Some(vec![with("InstanceIds")]),
        None if key == "tag-key" && !is_any => Some(vec![with(key)]),
        None => None,
    }
}

/// Ids with what they were called, each once.
fn resolve(api: &Api, names: &[String], limit: &Limit) -> Result<Vec<(String, String)>, Error> {
    let mut ids: Vec<(String, String)> = Vec::new();
    for name in names {
        let target = TargetName::parse(name)
            .and_then(|name| name.resolve(api, limit))
            .map_err(crate::client::target::TargetError::into_error)?;
        if target.container().is_some() {
            return Err(Error::Usage(format!(
                "{} is a container: Run Command works with nodes only, use exec",
                target.label()
            )));
        }
        if !ids.iter().any(|(id, _)| id == target.id()) {
            ids.push((target.id().to_owned(), target.label().to_owned()));
        }
    }
    Ok(ids)
}

/// One command for each shell. Without knowledge of nodes all are taken for Linux.
fn of_nodes(send: &Send, ids: Vec<(String, String)>, nodes: Option<Vec<Node>>) -> CommandPlan {
    let mut plan = CommandPlan::default();
    let mut by_shell: [(ScriptShell, Vec<String>); 2] = [
        (ScriptShell::Posix, Vec::new()),
        (ScriptShell::PowerShell, Vec::new()),
    ];
    for (id, name) in ids {
        let node = nodes
            .as_ref()
            .map(|nodes| nodes.iter().find(|node| node.id == id));
        let why = match node {
            Some(None) => "is no managed node of this account and region".to_owned(),
            Some(Some(node)) if !node.is_online() => {
                format!("is not connected ({})", node.state.word())
            }
            _ => {
                let shell = ScriptShell::of(node.flatten().map_or("", |node| &node.platform_type));
                let group = by_shell.iter_mut().find(|(other, _)| *other == shell);
                group.into_iter().for_each(|(_, ids)| ids.push(id.clone()));
                continue;
            }
        };
        plan.left.push(Left {
            node: id,
            name,
            why,
        });
    }
    for (shell, ids) in by_shell {
        if !ids.is_empty() {
            let named = vec![CommandTarget {
                key: "InstanceIds".to_owned(),
                values: ids,
            }];
            plan.commands.push(command(send, shell, named));
        }
    }
    plan
}

/// Nodes with Windows beside others are named in their command: its document would run on the others, too.
fn of_criteria(
    send: &Send,
    criteria: &[Criterion],
    has_others: bool,
    windows: &[Node],
) -> CommandPlan {
    let target = |criterion: &Criterion| CommandTarget {
        key: criterion.key.clone(),
        values: criterion.values.clone(),
    };
    let all: Vec<CommandTarget> = criteria.iter().map(target).collect();
    let mut plan = CommandPlan {
        is_mixed: has_others && !windows.is_empty(),
        ..CommandPlan::default()
    };
    if has_others {
        plan.commands
            .push(command(send, ScriptShell::Posix, all.clone()));
    }
    if plan.is_mixed {
        let named = CommandTarget {
            key: "InstanceIds".to_owned(),
            values: windows.iter().map(|node| node.id.clone()).collect(),
        };
        plan.commands
            .push(command(send, ScriptShell::PowerShell, vec![named]));
    } else if !windows.is_empty() {
        plan.commands
            .push(command(send, ScriptShell::PowerShell, all));
    }
    plan
}

fn command(send: &Send, shell: ScriptShell, targets: Vec<CommandTarget>) -> SendCommand {
    let mut parameters = BTreeMap::new();
    parameters.insert("commands".to_owned(), vec![shell.script(&send.command)]);
    parameters.insert(
        "executionTimeout".to_owned(),
        vec![send.timeout.to_string()],
    );
    SendCommand {
        document_name: shell.document(),
        targets,
        timeout_seconds: send.timeout.max(SHORTEST_DELIVERY),
        parameters,
        max_concurrency: send.max_concurrency.clone(),
        max_errors: send.max_errors.clone(),
    }
}

/// Sends one, again where the service says that it did not take it. A call without an answer is not made again: the command may be on its
/// way.
pub(super) fn send(api: &Api, command: &SendCommand, limit: &Limit) -> Result<String, Error> {
    let mut pause = SEND_PAUSE;
    for attempt in 1.. {
        match api.send_command(command, limit) {
            Ok(id) => return Ok(id),
            Err(ApiError::Refused { refusal, .. })
                if refusal.is_throttled()
                    && attempt < SEND_ATTEMPTS
                    && limit.pause(pause).is_ok() =>
            {
                pause *= 2;
            }
            Err(error) => return Err(error.into_error()),
        }
    }
    Err(Error::Start("SendCommand was given up".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api::PingStatus;

    fn order(command: &[&str]) -> Send {
        Send {
            fleet: Fleet::Named(Vec::new()),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            max_concurrency: None,
            max_errors: Some("5%".to_owned()),
            timeout: 10,
        }
    }

    fn node(id: &str, platform: &str, state: PingStatus) -> Node {
        Node {
            id: id.to_owned(),
            platform_type: platform.to_owned(),
            state,
            ..Node::default()
        }
    }

    fn documents(plan: &CommandPlan) -> Vec<(&str, Vec<String>)> {
        let commands = plan.commands.iter();
        let values = |one: &SendCommand| {
            one.targets
                .iter()
                .flat_map(|target| target.values.clone())
                .collect()
        };
        commands
            .map(|one| (one.document_name, values(one)))
            .collect()
    }

    fn ids(ids: &[&str]) -> Vec<(String, String)> {
        ids.iter()
            .map(|id| ((*id).to_owned(), (*id).to_owned()))
            .collect()
    }

    #[test]
    fn every_node_gets_the_command_of_its_platform_or_a_reason() {
        let nodes = vec![
            node("i-1", "Linux", PingStatus::Online),
            node("i-2", "Windows", PingStatus::Online),
            node("i-3", "MacOS", PingStatus::Online),
            node("i-4", "Linux", PingStatus::ConnectionLost),
        ];
        let plan = of_nodes(
            &order(&["x"]),
            ids(&["i-1", "i-2", "i-3", "i-4", "i-5"]),
            Some(nodes),
        );
        assert_eq!(
            documents(&plan),
            [
                (
                    "AWS-RunShellScript",
                    vec!["i-1".to_owned(), "i-3".to_owned()]
                ),
                ("AWS-RunPowerShellScript", vec!["i-2".to_owned()]),
            ]
        );
        let left: Vec<&str> = plan.left.iter().map(|left| left.node.as_str()).collect();
        assert_eq!(left, ["i-4", "i-5"]);
        assert!(plan.left[0].why.contains("ConnectionLost"));
        // Who may not look sends all the same.
        let plan = of_nodes(&order(&["x"]), ids(&["i-5"]), None);
        assert_eq!(
            documents(&plan),
            [("AWS-RunShellScript", vec!["i-5".to_owned()])]
        );
        let one = &plan.commands[0];
        assert_eq!(one.timeout_seconds, 30);
        assert_eq!(one.parameters["executionTimeout"], ["10"]);
        assert_eq!(one.max_errors.as_deref(), Some("5%"));
    }

    #[test]
    fn a_mixed_fleet_gets_two_commands_and_windows_is_named() {
        let criterion = Criterion {
            key: "tag:Role".to_owned(),
            values: vec!["web".to_owned()],
        };
        let criteria = [criterion];
        let windows = [node("i-2", "Windows", PingStatus::Online)];
        let order = order(&["x"]);
        let posix = ("AWS-RunShellScript", vec!["web".to_owned()]);
        let mixed = of_criteria(&order, &criteria, true, &windows);
        assert!(mixed.is_mixed);
        assert_eq!(
            documents(&mixed),
            [
                posix.clone(),
                ("AWS-RunPowerShellScript", vec!["i-2".to_owned()])
            ]
        );
        assert_eq!(
            documents(&of_criteria(&order, &criteria, true, &[])),
            [posix]
        );
        let only = of_criteria(&order, &criteria, false, &windows);
        assert_eq!(
            documents(&only),
            [("AWS-RunPowerShellScript", vec!["web".to_owned()])]
        );
    }

    #[test]
    fn words_arrive_as_they_are() {
        let words = |words: &[&str]| order(words).command;
        let line = words(&["df -h | tail -1"]);
        assert_eq!(ScriptShell::Posix.script(&line), "df -h | tail -1");
        assert_eq!(ScriptShell::PowerShell.script(&line), "df -h | tail -1");
        let several = words(&["echo", "it's", "$HOME", "", "~", "a=b"]);
        assert_eq!(
            ScriptShell::Posix.script(&several),
            r"echo 'it'\''s' '$HOME' '' '~' 'a=b'"
        );
        assert_eq!(
            ScriptShell::PowerShell.script(&several),
            "& 'echo' 'it''s' '$HOME' '' '~' 'a=b'\nexit $LASTEXITCODE"
        );
    }
}
