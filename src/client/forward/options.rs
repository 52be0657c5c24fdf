//! What is to be forwarded, and how.

use std::sync::Arc;
use std::time::Duration;

use super::destination::Destination;
use crate::client::Client;
use crate::client::failure::ClientError;
use crate::network::Limit;
use crate::session::port::ListenAddress;

/// Finds the id of the target, whenever a session is started: another node may have its name by then.
pub type Resolve = dyn Fn(&Client, &Limit) -> Result<String, Unresolved> + Send + Sync;

/// Why the target was not found.
#[derive(Debug, Clone)]
pub struct Unresolved {
    /// In words for the user.
    pub error: ClientError,
    /// Whether there may be one later.
    pub is_temporary: bool,
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
#[derive(Clone)]
pub struct ForwardOptions {
    /// The target.
    pub target: Arc<Resolve>,
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
