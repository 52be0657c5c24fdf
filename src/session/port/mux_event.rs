//! What happens to the connections of a multiplexer.

use crate::smux::StreamId;

/// What happened to connections.
#[derive(Debug)]
pub(crate) enum MuxEvent {
    /// The agent could not reach the destination for this one, or for another that is gone already.
    Refused,
    /// A line for the user.
    Complaint(String),
    /// A connection is over. Comes once for each that was [connected](super::Multiplexer::connect).
    Closed {
        /// Its stream.
        id: StreamId,
        /// Bytes to the remote.
        sent: u64,
        /// Bytes from the remote that the local side has taken.
        received: u64,
    },
}
