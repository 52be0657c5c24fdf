//! What happens to forwards.

use std::time::Duration;

use super::destination::Destination;
use crate::client::failure::ClientError;

/// Something that happened to a forward or a session.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::ForwardEvent;
///
/// let forward = client.forward(&target).remote("localhost", 5432).start()?;
/// for event in forward.events() {
///     match event {
///         ForwardEvent::SessionStarted { session, .. } => println!("{session}"),
///         ForwardEvent::Ready { .. } => break,
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardEvent {
    /// A forward can be used.
    Ready {
        /// Which one.
        forward: usize,
        /// The target's id; nothing where no session has been started yet.
        target: Option<String>,
        /// The session, as it may be shown.
        session: Option<String>,
    },
    /// A session is established.
    SessionStarted {
        /// The session, as it may be shown.
        session: String,
        /// The target's id.
        target: String,
    },
    /// A session has ended.
    SessionEnded {
        /// The session, as it may be shown.
        session: String,
        /// The target's id.
        target: String,
        /// In words for the user.
        reason: String,
    },
    /// A local connection goes through a session.
    Opened {
        /// Which forward.
        forward: usize,
        /// The session.
        session: String,
        /// Who connected; empty for sockets in the file system.
        peer: String,
    },
    /// It is closed.
    Closed {
        /// Which forward.
        forward: usize,
        /// The session.
        session: String,
        /// Who had connected.
        peer: String,
        /// Bytes to the remote.
        sent: u64,
        /// Bytes from the remote.
        received: u64,
    },
    /// The agent could not reach the destination for a connection, which was reset.
    Refused {
        /// The session.
        session: String,
        /// Where it was to go.
        destination: Destination,
    },
    /// A session's connection is broken; it is being made anew, and nobody's local connection has failed for it yet.
    Reconnecting {
        /// The session.
        session: String,
        /// In words for the user.
        reason: String,
    },
    /// The session's connection is back.
    Reconnected {
        /// The session.
        session: String,
        /// How long the connection was broken since that was reported.
        after: Duration,
    },
    /// Something that the user should know.
    Warning(String),
    /// The last one.
    Ended(Result<(), ClientError>),
}
