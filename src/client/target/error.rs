//! Why a target was not found, in words that help to find it.

use std::fmt;

use crate::aws::ApiError;
use crate::aws::api::Node;
use crate::client::failure::{ClientError, ErrorKind};
use crate::error::Error;
use crate::sanitise;

/// How many nodes a text names; `list` shows all.
const MOST_NAMED: usize = 10;

/// Why no target was found for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The text is no name of a target.
    #[error("{0}")]
    Invalid(String),
    /// No node that is online has the name.
    #[error("{0}")]
    NotFound(Box<NotFound>),
    /// Several nodes have the name.
    #[error("{0}")]
    Several(String),
    /// The task exists and cannot be reached.
    #[error("{reason}")]
    Task {
        /// The reason, in words.
        reason: String,
        /// Whether that may change by itself.
        is_temporary: bool,
    },
    /// A look-up failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl TargetError {
    /// Whether waiting may help: the node may come online, the task may start.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NotFound(_) => true,
            Self::Task { is_temporary, .. } => *is_temporary,
            Self::Api(ApiError::Refused { refusal, .. }) => refusal.is_not_connected(),
            Self::Invalid(_) | Self::Several(_) | Self::Api(_) => false,
        }
    }

    /// As the error of a command: what its user named wrongly is usage.
    pub fn into_error(self) -> Error {
        let text = self.to_string();
        match self {
            Self::Invalid(_) | Self::Several(_) => Error::Usage(text),
            Self::NotFound(_) => Error::NoTarget(text),
            Self::Task { .. } => Error::Start(text),
            Self::Api(error) => error.into_error(),
        }
    }

    pub(super) fn several(sought: &Sought, nodes: &[Node]) -> Self {
        let lines: String = nodes
            .iter()
            .take(MOST_NAMED)
            .map(|node| format!("\n  {}", Named(node)))
            .collect();
        Self::Several(format!(
            "{} nodes {}, one of them is to be named by its id:{lines}{}",
            nodes.len(),
            sought.verb("are", "have"),
            more(nodes.len(), "\n  ")
        ))
    }
}

impl From<TargetError> for ClientError {
    fn from(error: TargetError) -> Self {
        let text = error.to_string();
        let kind = match error {
            TargetError::Invalid(_) => ErrorKind::InvalidInput,
            TargetError::NotFound(found) if found.offline.is_empty() => ErrorKind::TargetNotFound,
            TargetError::NotFound(_) | TargetError::Task { .. } => ErrorKind::TargetNotConnected,
            TargetError::Several(_) => ErrorKind::TargetAmbiguous,
            TargetError::Api(error) => return error.into(),
        };
        Self::new(kind, text)
    }
}

/// What was looked at, and what is there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// What was looked for.
    pub sought: Sought,
    /// The look-ups, in words.
    pub lookups: Vec<String>,
    /// Nodes that have the name and are not online.
    pub offline: Vec<Node>,
    /// Nodes that are online and have other names, as far as they were seen.
    pub others: Vec<Node>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[Node]| {
            let named = nodes.iter().take(MOST_NAMED);
            let named: Vec<String> = named.map(|node| Named(node).to_string()).collect();
            named.join(", ") + &more(nodes.len(), " ")
        };
        write!(
            formatter,
            "no node that is online {}",
            self.sought.verb("is", "has")
        )?;
        write!(formatter, "; looked at {}", self.lookups.join(", then at "))?;
        if !self.offline.is_empty() {
            write!(
                formatter,
                "; there is one that is not connected: {} (is it running, does its agent run, does it reach ssmmessages? \
                 --wait waits for it)",
                list(&self.offline)
            )?;
        }
        if self.others.is_empty() {
            write!(formatter, "; `list` shows what is there")
        } else {
            write!(formatter, "; online are {}", list(&self.others))
        }
    }
}

/// What is looked for among the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// This name, of any kind.
    Name(String),
    /// This tag, as `KEY=VALUE`.
    Tag(String),
}

impl Sought {
    /// What a node does that was looked for: it is called so, or has the tag.
    fn verb(&self, is: &str, has: &str) -> String {
        match self {
            Self::Name(name) => format!("{is} called {:?}", sanitise::line_within(name, 100)),
            Self::Tag(tag) => format!("{has} the tag {}", sanitise::line_within(tag, 100)),
        }
    }
}

/// As a target's name.
impl fmt::Display for Sought {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Tag(tag) => write!(formatter, "tag:{tag}"),
        }
    }
}

fn more(count: usize, before: &str) -> String {
    match count.checked_sub(MOST_NAMED) {
        None | Some(0) => String::new(),
        Some(rest) => format!("{before}and {rest} more, see `list`"),
    }
}

/// A node as texts name it.
struct Named<'a>(&'a Node);

impl fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node {
            id,
            name,
            computer_name,
            address,
            ..
        } = self.0;
        let state = (!self.0.is_online()).then(|| self.0.state.word());
        let known = [
            name.as_str(),
            computer_name,
            address,
            state.unwrap_or_default(),
        ];
        let known: Vec<&str> = known.into_iter().filter(|text| !text.is_empty()).collect();
        if known.is_empty() {
            return formatter.write_str(id);
        }
        write!(formatter, "{id} ({})", known.join(", "))
    }
}
