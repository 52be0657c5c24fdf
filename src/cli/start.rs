//! What the commands that are a session have in common: a call of StartSession.

use super::connection::Starting;
use super::parameters::Parameters;
use crate::client::target::TargetName;

/// What StartSession is called with.
#[derive(Debug, Clone)]
pub struct Start {
    /// The target.
    pub target: TargetName,
    /// How its session is started.
    pub starting: Starting,
    /// The session document; a shell without it.
    pub document_name: Option<String>,
    /// The document's parameters.
    pub parameters: Parameters,
    /// What runs on the pty of a container instead, by ECS's own call.
    pub ecs_command: Option<String>,
}

/// Parameters with one value each.
pub(super) fn parameters_of<const N: usize>(parameters: [(&str, String); N]) -> Parameters {
    let mut named = Parameters::new();
    for (name, value) in parameters {
        named.insert(name.to_owned(), vec![value]);
    }
    named
}
