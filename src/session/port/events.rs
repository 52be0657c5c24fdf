//! What the thread of local connections tells the session, and is told.

use crate::datachannel::End;

/// What the thread that moves the bytes tells.
#[derive(Debug)]
pub(super) enum PortEvent {
    /// Somebody connected, for the first time.
    Accepted,
    /// The agent could not reach the destination.
    Refused,
    /// A line for stderr.
    Complaint(String),
    /// The last event.
    Ended {
        /// How the session ended; nothing when the thread was stopped.
        end: Option<End>,
        /// Whether anything ever came from the remote.
        has_spoken: bool,
    },
}

/// What the thread that moves the bytes is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortOrder {
    /// End.
    Stop,
    /// The data channel has lost its connection, for long enough to be noticed.
    Disconnected,
    /// It has another one.
    Connected,
}
