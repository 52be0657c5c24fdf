//! Tasks of ECS, and commands in their containers.

use serde::{Deserialize, Serialize};

use super::sessions::ANSWER_GRACE;
use crate::aws::call::ATTEMPTS;
use crate::aws::service::Service;
use crate::aws::{Api, ApiError, StartedSession};
use crate::network::Limit;
use crate::sanitise;
use crate::secret::Secret;

/// The most tasks that DescribeTasks takes at a time, and ListTasks gives.
const PAGE: u32 = 100;
/// The agent of ECS Exec.
const AGENT: &str = "ExecuteCommandAgent";

/// A task. Every text may be shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// The last part of its ARN.
    pub id: String,
    /// `RUNNING`, `PENDING`, …
    pub status: String,
    /// Whether ECS Exec is enabled.
    pub exec_enabled: bool,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A container of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name in the task's definition.
    pub name: String,
    /// The runtime's name for it; empty before it runs.
    pub runtime_id: String,
    /// Whether the agent of ECS Exec runs in it.
    pub has_agent: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    #[serde(default)]
    tasks: Vec<DescribedTask>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribedTask {
    task_arn: Option<String>,
    last_status: Option<String>,
    #[serde(default)]
    enable_execute_command: bool,
    #[serde(default)]
    containers: Vec<DescribedContainer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribedContainer {
    name: Option<String>,
    runtime_id: Option<String>,
    #[serde(default)]
    managed_agents: Vec<ManagedAgent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedAgent {
    name: Option<String>,
    last_status: Option<String>,
}

impl From<DescribedTask> for Task {
    fn from(task: DescribedTask) -> Self {
        let text = |text: Option<String>| sanitise::line(&text.unwrap_or_default());
        let arn = text(task.task_arn);
        Self {
            id: arn.rsplit('/').next().unwrap_or_default().to_owned(),
            status: text(task.last_status),
            exec_enabled: task.enable_execute_command,
            containers: task
                .containers
                .into_iter()
                .map(|container| Container {
                    name: text(container.name),
                    runtime_id: text(container.runtime_id),
                    has_agent: container.managed_agents.iter().any(|agent| {
                        agent.name.as_deref() == Some(AGENT)
                            && agent.last_status.as_deref() == Some("RUNNING")
                    }),
                })
                .collect(),
        }
    }
}

impl Api {
    /// The running tasks of a service, at most 100 (`ecs:ListTasks`): the last parts of their ARNs.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn ecs_tasks_of(
        &self,
        cluster: &str,
        service: &str,
        limit: &Limit,
    ) -> Result<Vec<String>, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ListTasksRequest<'a> {
            cluster: &'a str,
            service_name: &'a str,
            desired_status: &'static str,
            max_results: u32,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ListTasksAnswer {
            #[serde(default)]
            task_arns: Vec<String>,
        }
        let request = ListTasksRequest {
            cluster,
            service_name: service,
            desired_status: "RUNNING",
            max_results: PAGE,
        };
        let answer: ListTasksAnswer = self.ecs(
            "ListTasks",
            "AmazonEC2ContainerServiceV20141113.ListTasks",
            &request,
            limit,
        )?;
        let id = |arn: &String| sanitise::line(arn.rsplit('/').next().unwrap_or_default());
        Ok(answer.task_arns.iter().map(id).collect())
    }

    /// Tasks by their ids, at most 100 (`ecs:DescribeTasks`). Those that are not there are left out.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn ecs_tasks(
        &self,
        cluster: &str,
        ids: &[String],
        limit: &Limit,
    ) -> Result<Vec<Task>, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct DescribeTasksRequest<'a> {
            cluster: &'a str,
            tasks: &'a [String],
        }
        let request = DescribeTasksRequest {
            cluster,
            tasks: ids,
        };
        let answer: Described = self.ecs(
            "DescribeTasks",
            "AmazonEC2ContainerServiceV20141113.DescribeTasks",
            &request,
            limit,
        )?;
        Ok(answer.tasks.into_iter().map(Task::from).collect())
    }

    /// Runs a command on a pty in a container (`ecs:ExecuteCommand`). The container may be left out where a task has one.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn ecs_execute(
        &self,
        cluster: &str,
        task: &str,
        container: Option<&str>,
        command: &str,
        limit: &Limit,
    ) -> Result<StartedSession, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ExecuteCommandRequest<'a> {
            cluster: &'a str,
            task: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            container: Option<&'a str>,
            command: &'a str,
            interactive: bool,
        }
        #[derive(Deserialize)]
        struct ExecuteCommandAnswer {
            session: ExecuteCommandSession,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ExecuteCommandSession {
            session_id: String,
            stream_url: String,
            token_value: Secret,
        }
        let request = ExecuteCommandRequest {
            cluster,
            task,
            container,
            command,
            interactive: true,
        };
        let answer: ExecuteCommandAnswer = self.ecs(
            "ExecuteCommand",
            "AmazonEC2ContainerServiceV20141113.ExecuteCommand",
            &request,
            &limit.with_answer_grace(ANSWER_GRACE),
        )?;
        let ExecuteCommandSession {
            session_id,
            stream_url,
            token_value,
        } = answer.session;
        self.network().redactor.add(token_value.expose());
        Ok(StartedSession {
            session_id,
            stream_url,
            token: token_value,
        })
    }

    fn ecs<T: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        target: &'static str,
        request: &impl Serialize,
        limit: &Limit,
    ) -> Result<T, ApiError> {
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting(operation, limit);
        let caller = (&*credentials, ATTEMPTS);
        self.json(Service::Ecs, operation, target, request, caller, limit)
    }
}
