//! Targets, and finding them by what people call them.

mod error;
mod nodes;
pub(super) mod reach;
mod resolved;
mod tasks;

pub use error::{NotFound, Sought, TargetError};
pub use resolved::{Target, TaskContainer};

use std::fmt;

use crate::aws::Api;
use crate::network::Limit;
use crate::sanitise;

/// The longest name: EC2's tags have 256 characters.
const MAXIMUM_LENGTH: usize = 1024;

/// What somebody calls a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetName {
    /// What StartSession takes: `i-…`, `mi-…`, `ecs:CLUSTER_TASK_RUNTIME`. Nothing is looked up.
    Id(String),
    /// `ecs:CLUSTER/SERVICE[/CONTAINER]` or `ecs:CLUSTER/TASK[/CONTAINER]`.
    Task {
        /// The cluster.
        cluster: String,
        /// The service's name or the task's id.
        name: String,
        /// The container; may be left out where a task has one.
        container: Option<String>,
    },
    /// `tag:KEY=VALUE`.
    Tag {
        /// The tag's key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A tag `Name`, a private address, a private DNS name, a computer's name or a hybrid node's.
    Name(String),
}

impl TargetName {
    /// Reads a name.
    ///
    /// # Errors
    /// That says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let invalid = |why: &str| {
            let text = sanitise::line_within(text, 100);
            Err(TargetError::Invalid(format!("the target {text:?} {why}")))
        };
        if text.is_empty() || text.len() > MAXIMUM_LENGTH {
            return invalid("is empty or too long");
        }
        if is_id(text) {
            return Ok(Self::Id(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("ecs:") {
            let parts: Vec<&str> = path.split('/').collect();
            let (cluster, name, container) = match parts.as_slice() {
                [cluster, name] => (*cluster, *name, None),
                [cluster, name, container] => (*cluster, *name, Some(*container)),
                _ => {
                    return invalid(
                        "must be ecs:CLUSTER/SERVICE or ecs:CLUSTER/TASK, and /CONTAINER",
                    );
                }
            };
            if parts.iter().any(|part| part.is_empty()) {
                return invalid("has an empty part");
            }
            return Ok(Self::Task {
                cluster: cluster.to_owned(),
                name: name.to_owned(),
                container: container.map(str::to_owned),
            });
        }
        if let Some(tag) = text.strip_prefix("tag:") {
            return match tag.split_once('=') {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(Self::Tag {
                    key: key.to_owned(),
                    value: value.to_owned(),
                }),
                _ => invalid("must be tag:KEY=VALUE"),
            };
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// As it was given.
    pub fn text(&self) -> String {
        match self {
            Self::Id(text) | Self::Name(text) => text.clone(),
            Self::Task {
                cluster,
                name,
                container,
            } => {
                let container = container.iter().map(|container| format!("/{container}"));
                format!("ecs:{cluster}/{name}{}", container.collect::<String>())
            }
            Self::Tag { key, value } => format!("tag:{key}={value}"),
        }
    }

    /// The id, where it is one: nothing needs to be looked up.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Id(id) => Some(id),
            _ => None,
        }
    }

    /// Looks it up, unless it is an id. One or two calls in most cases; all within the limit.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn resolve(&self, api: &Api, limit: &Limit) -> Result<Target, TargetError> {
        match self {
            Self::Id(id) => Ok(Target::of_id(id)),
            Self::Task {
                cluster,
                name,
                container,
            } => tasks::find(api, cluster, name, container.as_deref(), limit),
            Self::Tag { key, value } => nodes::by_tag(api, key, value, limit),
            Self::Name(name) => nodes::by_name(api, name, limit),
        }
    }
}

/// As it may be shown.
impl fmt::Display for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&sanitise::line_within(&self.text(), 100))
    }
}

/// Whether StartSession takes it as it is. The service judges what looks so.
fn is_id(text: &str) -> bool {
    text.starts_with("i-")
        || text.starts_with("mi-")
        || (text.starts_with("ecs:") && text.contains('_') && !text.contains('/'))
        // Nodes of HyperPod.
        || text.starts_with("sagemaker-cluster:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_looked_up() {
        for id in [
            "i-0123456789abcdef0",
            "i-1",
            "mi-0123456789abcdef0",
            "ecs:my_cluster_0123456789abcdef0123456789abcdef_0123-456",
            "sagemaker-cluster:abc_workers-i-0123",
        ] {
            assert_eq!(TargetName::parse(id).unwrap().id(), Some(id));
        }
        for name in ["web-1", "10.0.0.1", "tag:Name=i-1", "ecs:a/b"] {
            assert_eq!(TargetName::parse(name).unwrap().id(), None, "{name}");
        }
    }

    #[test]
    fn names_have_several_forms() {
        let task = |container: Option<&str>| TargetName::Task {
            cluster: "prod".to_owned(),
            name: "web".to_owned(),
            container: container.map(str::to_owned),
        };
        let parse = |text| TargetName::parse(text);
        assert_eq!(parse("ecs:prod/web"), Ok(task(None)));
        assert_eq!(parse("ecs:prod/web/app"), Ok(task(Some("app"))));
        let tag = TargetName::Tag {
            key: "Role".to_owned(),
            value: "a=b".to_owned(),
        };
        assert_eq!(parse("tag:Role=a=b"), Ok(tag));
        for bad in [
            "",
            "ecs:prod",
            "ecs:a/b/c/d",
            "ecs:/b",
            "ecs:a/",
            "tag:x",
            "tag:=x",
            "tag:x=",
        ] {
            assert!(matches!(parse(bad), Err(TargetError::Invalid(_))), "{bad}");
        }
    }
}
