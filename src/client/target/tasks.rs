//! Containers of ECS by the names of their service or task.

use super::error::TargetError;
use super::resolved::{Target, TaskContainer};
use crate::aws::Api;
use crate::aws::api::{Container, Task};
use crate::network::Limit;
use crate::sanitise;

/// A container in which ECS Exec works.
pub(super) fn find(
    api: &Api,
    cluster: &str,
    name: &str,
    container: Option<&str>,
    limit: &Limit,
) -> Result<Target, TargetError> {
    let shown = sanitise::line_within(&format!("{cluster}/{name}"), 100);
    let is_task = is_task_id(name);
    let ids = if is_task {
        vec![name.to_owned()]
    } else {
        api.ecs_tasks_of(cluster, name, limit)?
    };
    let tasks = if ids.is_empty() {
        Vec::new()
    } else {
        api.ecs_tasks(cluster, &ids, limit)?
    };
    if tasks.is_empty() {
        return Err(if is_task {
            unready(
                format!("there is no task {shown}, or it has stopped long ago"),
                false,
            )
        } else {
            unready(format!("the service {shown} has no task that runs"), true)
        });
    }
    let task = choose_task(&tasks, &shown)?;
    let chosen = choose_container(task, container, &shown)?;
    let label = match container {
        Some(container) => format!("ecs:{shown}/{container}"),
        None => format!("ecs:{shown}"),
    };
    Ok(Target {
        id: format!("ecs:{cluster}_{}_{}", task.id, chosen.runtime_id),
        label: sanitise::line_within(&label, 100),
        node: None,
        container: Some(TaskContainer {
            cluster: cluster.to_owned(),
            task: task.id.clone(),
            name: Some(chosen.name.clone()),
        }),
    })
}

/// 32 hexadecimal digits, or as once with hyphens in between. Everything else is the name of a service.
fn is_task_id(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_hexdigit).count();
    let hyphens = name.bytes().filter(|byte| *byte == b'-').count();
    digits == 32 && digits + hyphens == name.len() && (hyphens == 0 || hyphens == 4)
}

fn unready(reason: String, is_temporary: bool) -> TargetError {
    TargetError::Task {
        reason,
        is_temporary,
    }
}

fn choose_task<'a>(tasks: &'a [Task], shown: &str) -> Result<&'a Task, TargetError> {
    let with_exec = || tasks.iter().filter(|task| task.exec_enabled);
    if let Some(task) = with_exec().find(|task| task.status == "RUNNING") {
        return Ok(task);
    }
    let Some(task) = with_exec().next() else {
        return Err(unready(
            format!(
                "ECS Exec is not enabled for {shown}: tasks have it that were started with --enable-execute-command \
                 (`aws ecs update-service --enable-execute-command --force-new-deployment` for a service)"
            ),
            false,
        ));
    };
    let is_over = matches!(
        &*task.status,
        "STOPPED" | "STOPPING" | "DEPROVISIONING" | "DEACTIVATING"
    );
    Err(unready(
        format!(
            "{shown} does not run: the task {} is {}",
            task.id, task.status
        ),
        !is_over,
    ))
}

fn choose_container<'a>(
    task: &'a Task,
    wanted: Option<&str>,
    shown: &str,
) -> Result<&'a Container, TargetError> {
    let names = || {
        let names: Vec<&str> = task
            .containers
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        names.join(", ")
    };
    let container = match wanted {
        Some(wanted) => {
            let found = task.containers.iter().find(|one| one.name == wanted);
            found.ok_or_else(|| {
                let wanted = sanitise::line_within(wanted, 100);
                let names = names();
                TargetError::Invalid(format!(
                    "{shown} has no container {wanted:?}; it has {names}"
                ))
            })?
        }
        None => {
            // Side-cars often run without the agent.
            let mut ready = task.containers.iter().filter(|one| one.has_agent);
            match (ready.next(), ready.next()) {
                (Some(_), Some(_)) => {
                    return Err(TargetError::Several(format!(
                        "{shown} has several containers, name one of them as ecs:{shown}/CONTAINER: {}",
                        names()
                    )));
                }
                (Some(container), None) => container,
                (None, _) => {
                    return Err(unready(
                        format!("the agent of ECS Exec does not run in {shown} (yet)"),
                        true,
                    ));
                }
            }
        }
    };
    if container.runtime_id.is_empty() || !container.has_agent {
        return Err(unready(
            format!(
                "the agent of ECS Exec does not run in the container {} of {shown} (yet)",
                container.name
            ),
            true,
        ));
    }
    Ok(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, has_agent: bool) -> Container {
        Container {
            name: name.to_owned(),
            runtime_id: format!("{name}-1"),
            has_agent,
        }
    }

    fn task(status: &str, exec_enabled: bool, containers: Vec<Container>) -> Task {
        Task {
            id: "t".to_owned(),
            status: status.to_owned(),
            exec_enabled,
            containers,
        }
    }

    #[test]
    fn tasks_are_told_from_services() {
        assert!(is_task_id("0123456789abcdef0123456789abcdef"));
        assert!(is_task_id("01234567-89ab-cdef-0123-456789abcdef"));
        for service in [
            "web",
            "0123456789abcdef",
            "0123456789abcdef-0123456789abcdef",
            "",
        ] {
            assert!(!is_task_id(service), "{service}");
        }
    }

    #[test]
    fn a_task_must_run_with_ecs_exec() {
        let choose = |tasks: &[Task]| choose_task(tasks, "c/s").map(|task| task.status.clone());
        let (running, pending) = (task("RUNNING", true, vec![]), task("PENDING", true, vec![]));
        assert_eq!(
            choose(&[pending.clone(), running.clone()]).as_deref(),
            Ok("RUNNING")
        );
        let waits = |tasks: &[Task]| choose(tasks).unwrap_err().is_temporary();
        assert!(waits(&[pending]));
        assert!(!waits(&[task("RUNNING", false, vec![])]));
        assert!(!waits(&[task("STOPPED", true, vec![])]));
    }

    #[test]
    fn the_container_is_named_where_there_are_several() {
        let choose = |task: &Task, wanted| {
            choose_container(task, wanted, "c/s").map(|container| container.name.clone())
        };
        let one = task(
            "RUNNING",
            true,
            vec![container("app", true), container("log", false)],
        );
        assert_eq!(choose(&one, None).as_deref(), Ok("app"));
        assert!(choose(&one, Some("log")).unwrap_err().is_temporary());
        assert!(
            matches!(choose(&one, Some("db")), Err(TargetError::Invalid(text)) if text.contains("app, log"))
        );
        let two = task(
            "RUNNING",
            true,
            vec![container("app", true), container("db", true)],
        );
        assert_eq!(choose(&two, Some("db")).as_deref(), Ok("db"));
        assert!(
            matches!(choose(&two, None), Err(TargetError::Several(text)) if text.contains("app, db"))
        );
    }
}
