//! Run Command: a command on many nodes, carried out by the service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::service::Service;
use crate::aws::{Api, ApiError};
use crate::network::Limit;
use crate::sanitise;

/// The most invocations that a page may hold (botocore's `CommandMaxResults`).
const PAGE: u32 = 50;
/// One try: the caller paces its calls itself, and must learn that they are throttled.
const ONCE: u32 = 1;

/// A criterion of SendCommand: a node is meant that has one of the values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CommandTarget {
    /// `tag:NAME`, `tag-key`, `InstanceIds`, `resource-groups:Name`, …
    pub key: String,
    /// At most 50.
    pub values: Vec<String>,
}

/// The request of SendCommand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendCommand {
    /// `AWS-RunShellScript` or `AWS-RunPowerShellScript`.
    pub document_name: &'static str,
    /// At most 5; a node must match all.
    pub targets: Vec<CommandTarget>,
    /// How long a node may take to fetch it: 30 to 2,592,000 s.
    pub timeout_seconds: u32,
    /// `commands` and `executionTimeout`.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// `50` or `10%`; the service's default is 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<String>,
    /// `0` or `10%`; the service's default is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<String>,
}

/// A command as a whole, as ListCommands tells of it. Numbers are the service's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandSummary {
    /// `Pending`, `InProgress`, `Success`, `Failed`, … as it may be shown.
    pub status: String,
    /// `NoInstancesInTag`, … as it may be shown.
    pub details: String,
    /// On how many nodes it runs; 0 until the service has found the nodes.
    pub targets: u64,
    /// On how many it has ended in any way.
    pub completed: u64,
    /// On how many it failed or took too long.
    pub errors: u64,
}

/// A command on one node, as ListCommandInvocations tells of it. Short texts may be shown as they are; output is as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandInvocation {
    /// The node.
    pub node: String,
    /// The computer's own name; may be empty.
    pub name: String,
    /// `Pending`, `InProgress`, `Delayed`, `Cancelling`; or how it ended: `Success`, `Failed`, `TimedOut`, `Cancelled`.
    pub status: String,
    /// `DeliveryTimedOut`, `ExecutionTimedOut`, `Terminated`, …
    pub details: String,
    /// The exit code; -1 where there is none.
    pub code: Option<i32>,
    /// The first 2,500 characters, stderr behind stdout.
    pub output: String,
}

/// One page of invocations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandInvocations {
    /// In the service's order.
    pub invocations: Vec<CommandInvocation>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// What a command wrote on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// The first 24,000 characters, as they came.
    pub stdout: String,
    /// The first 8,000 characters, as they came.
    pub stderr: String,
    /// Where all of it is, if anywhere, as it may be shown: URLs of S3, a log group of CloudWatch.
    pub places: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Which<'a> {
    command_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

impl<'a> Which<'a> {
    fn command(command_id: &'a str) -> Self {
        Self {
            command_id,
            instance_id: None,
            details: None,
            max_results: None,
            next_token: None,
        }
    }
}

fn line(text: Option<String>) -> String {
    sanitise::line_within(&text.unwrap_or_default(), 255)
}

impl Api {
    /// Sends a command (`ssm:SendCommand` on the document and the nodes), and gives its id. Not tried again after a call whose answer did
    /// not come: it may have been sent.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn send_command(&self, request: &SendCommand, limit: &Limit) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SendCommandAnswer {
            command: SentCommand,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SentCommand {
            command_id: String,
        }
        let _waiting = self.waiting("SendCommand", limit);
        let answer: SendCommandAnswer =
            self.run_command("SendCommand", "AmazonSSM.SendCommand", request, limit)?;
        Ok(sanitise::line(&answer.command.command_id))
    }

    /// A command as a whole (`ssm:ListCommands`). None if the service does not list it. Tried once.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn command_summary(
        &self,
        command_id: &str,
        limit: &Limit,
    ) -> Result<Option<CommandSummary>, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ListCommandsAnswer {
            #[serde(default)]
            commands: Vec<ListedCommand>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ListedCommand {
            status: Option<String>,
            status_details: Option<String>,
            target_count: Option<u64>,
            completed_count: Option<u64>,
            error_count: Option<u64>,
            delivery_timed_out_count: Option<u64>,
        }
        let request = Which::command(command_id);
        let answer: ListCommandsAnswer =
            self.run_command("ListCommands", "AmazonSSM.ListCommands", &request, limit)?;
        let command = answer.commands.into_iter().next();
        Ok(command.map(|command| CommandSummary {
            status: line(command.status),
            details: line(command.status_details),
            targets: command.target_count.unwrap_or(0),
            completed: command.completed_count.unwrap_or(0),
            errors: command
                .error_count
                .unwrap_or(0)
                .saturating_add(command.delivery_timed_out_count.unwrap_or(0)),
        }))
    }

    /// One page of a command's invocations with the beginning of their output (`ssm:ListCommandInvocations`), at most 50. Tried once.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn command_invocations(
        &self,
        command_id: &str,
        next: Option<&str>,
        limit: &Limit,
    ) -> Result<CommandInvocations, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ListCommandInvocationsAnswer {
            #[serde(default)]
            command_invocations: Vec<ListedInvocation>,
            next_token: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ListedInvocation {
            instance_id: Option<String>,
            instance_name: Option<String>,
            status: Option<String>,
            status_details: Option<String>,
            #[serde(default)]
            command_plugins: Vec<Plugin>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Plugin {
            response_code: Option<i32>,
            output: Option<String>,
        }
        let request = Which {
            details: Some(true),
            max_results: Some(PAGE),
            next_token: next,
            ..Which::command(command_id)
        };
        let answer: ListCommandInvocationsAnswer = self.run_command(
            "ListCommandInvocations",
            "AmazonSSM.ListCommandInvocations",
            &request,
            limit,
        )?;
        let invocations = answer.command_invocations.into_iter().map(|one| {
            // The documents that are sent have one plugin each; others' documents may have several.
            let plugins = one.command_plugins;
            let code = plugins
                .iter()
                .filter_map(|plugin| plugin.response_code)
                .max();
            let outputs: Vec<String> = plugins
                .into_iter()
                .filter_map(|plugin| plugin.output)
                .collect();
            CommandInvocation {
                node: line(one.instance_id),
                name: line(one.instance_name),
                status: line(one.status),
                details: line(one.status_details),
                code,
                output: outputs.join("\n"),
            }
        });
        Ok(CommandInvocations {
            invocations: invocations.filter(|one| !one.node.is_empty()).collect(),
            next: answer.next_token.filter(|token| !token.is_empty()),
        })
    }

    /// What a command wrote on a node (`ssm:GetCommandInvocation`). Tried once.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn command_output(
        &self,
        command_id: &str,
        node: &str,
        limit: &Limit,
    ) -> Result<CommandOutput, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct GetCommandInvocationAnswer {
            #[serde(default)]
            standard_output_content: String,
            #[serde(default)]
            standard_error_content: String,
            standard_output_url: Option<String>,
            standard_error_url: Option<String>,
            cloud_watch_output_config: Option<CloudWatch>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct CloudWatch {
            cloud_watch_log_group_name: Option<String>,
            cloud_watch_output_enabled: Option<bool>,
        }
        let request = Which {
            instance_id: Some(node),
            ..Which::command(command_id)
        };
        let answer: GetCommandInvocationAnswer = self.run_command(
            "GetCommandInvocation",
            "AmazonSSM.GetCommandInvocation",
            &request,
            limit,
        )?;
        let cloud_watch = answer
            .cloud_watch_output_config
            .filter(|config| config.cloud_watch_output_enabled == Some(true))
            .and_then(|config| config.cloud_watch_log_group_name)
            .map(|group| format!("the log group {group}"));
        let urls = [answer.standard_output_url, answer.standard_error_url];
        let places = urls.into_iter().chain([cloud_watch]).flatten();
        Ok(CommandOutput {
            stdout: answer.standard_output_content,
            stderr: answer.standard_error_content,
            places: places
                .filter(|place| !place.is_empty())
                .map(|place| sanitise::line(&place))
                .collect(),
        })
    }

    /// Cancels a command (`ssm:CancelCommand`): nodes that have not begun do not begin, and agents end what runs if they can.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn cancel_command(&self, command_id: &str, limit: &Limit) -> Result<(), ApiError> {
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting("CancelCommand", limit);
        let request = Which::command(command_id);
        let _: serde::de::IgnoredAny = self.ssm(
            "CancelCommand",
            "AmazonSSM.CancelCommand",
            &request,
            &credentials,
            limit,
        )?;
        Ok(())
    }

    fn run_command<T: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        target: &'static str,
        request: &impl Serialize,
        limit: &Limit,
    ) -> Result<T, ApiError> {
        let credentials = self.credentials(limit)?;
        let caller = (&*credentials, ONCE);
        self.json(Service::Ssm, operation, target, request, caller, limit)
    }
}
