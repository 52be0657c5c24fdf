//! What is to be forwarded, and how.

use std::time::Duration;

use super::destination::Destination;
use crate::client::Client;
use crate::client::failure::ClientError;
use crate::client::target::{TargetError, TargetName};
use crate::error::Meaning;
use crate::network::Limit;
use crate::session::port::ListenAddress;

/// Where sessions are started.
#[derive(Debug, Clone)]
pub enum ForwardTarget {
    /// Always there.
    Id(String),
    /// On what has this name when a session is started: another node may have it by then.
    Named(TargetName),
}

/// Why the target was not found.
#[derive(Debug, Clone)]
pub(super) struct Unresolved {
    /// In words for the user.
    pub error: ClientError,
    /// Whether there may be one later.
    pub is_temporary: bool,
}

impl ForwardTarget {
    /// Its id now.
    pub(super) fn resolve(&self, client: &Client, limit: &Limit) -> Result<String, Unresolved> {
        let name = match self {
            Self::Id(id) => return Ok(id.clone()),
            Self::Named(name) => name,
        };
        match name.resolve(client.api(), limit) {
            Ok(target) => Ok(target.id().to_owned()),
            Err(error) => Err(Unresolved {
                is_temporary: match &error {
                    TargetError::Api(error) => error.failure().meaning == Meaning::Temporary,
                    error => error.is_temporary(),
                },
                error: error.into(),
            }),
        }
    }
}

/// One local address, and where its connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalForward {
    /// Where local programs connect to.
    pub local: ListenAddress,
    /// None: each connection names its destination by SOCKS5.
    pub remote: Option<Destination>,
}

/// What is to be forwarded, and how.
#[derive(Debug, Clone)]
pub struct ForwardOptions {
    /// The target.
    pub target: ForwardTarget,
    /// At least one.
    pub forwards: Vec<LocalForward>,
    /// Over how many sessions the connections of each destination are spread, at most.
    pub sessions: usize,
    /// The first session, too, is started by the first connection.
    pub on_demand: bool,
    /// The end of the first session is the end of all.
    pub once: bool,
    /// How long the target may take to be there, for the first session.
    pub wait: Option<Duration>,
    /// The reason that is recorded with each session.
    pub reason: Option<String>,
}
