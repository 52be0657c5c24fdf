//! A target that was found.

use crate::aws::api::Node;
use crate::sanitise;

/// A target that StartSession takes.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// assert_eq!((target.id(), target.label()), ("i-0123456789abcdef0", "i-0123456789abcdef0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) node: Option<Node>,
    pub(super) container: Option<TaskContainer>,
}

/// A container of a task of ECS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskContainer {
    /// The cluster.
    pub cluster: String,
    /// The task's id.
    pub task: String,
    /// The container's name; nothing where only its runtime's id is known.
    pub name: Option<String>,
}

impl Target {
    /// A target that is known by its id alone.
    pub(super) fn of_id(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: sanitise::line_within(id, 100),
            node: None,
            container: TaskContainer::of_id(id),
        }
    }

    /// A node that was found by `label`, its name.
    pub(super) fn of_node(node: Node, label: &str) -> Self {
        Self {
            id: node.id.clone(),
            label: sanitise::line_within(label, 100),
            node: Some(node),
            container: None,
        }
    }

    /// What StartSession takes: `i-…`, `mi-…` or `ecs:…`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it was called, as it may be shown.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What is known of the node, if it was looked up.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The container, where it is one.
    pub(crate) fn container(&self) -> Option<&TaskContainer> {
        self.container.as_ref()
    }
}

impl TaskContainer {
    /// From `ecs:CLUSTER_TASK_RUNTIME`. The cluster's name may hold underscores, the others hold none.
    fn of_id(id: &str) -> Option<Self> {
        let mut parts = id.strip_prefix("ecs:")?.rsplitn(3, '_');
        let (_runtime, task, cluster) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            cluster: cluster.to_owned(),
            task: task.to_owned(),
            name: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_id_is_taken_apart_from_its_end() {
        let container = TaskContainer::of_id("ecs:my_cluster_abc_def-1").unwrap();
        assert_eq!(
            (&*container.cluster, &*container.task),
            ("my_cluster", "abc")
        );
        assert_eq!(TaskContainer::of_id("i-1"), None);
    }
}
