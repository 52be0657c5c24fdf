//! What happens to a session that is a stream.

use super::failure::ClientError;

/// What happens to a [`Session`](crate::Session) besides what is read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The connection broke, and is being made anew.
    Reconnecting {
        /// In words.
        reason: String,
    },
    /// It is back; nothing was lost.
    Reconnected,
    /// The agent is silent, or does not acknowledge what was sent; in words.
    Warning(String),
    /// It is over. Comes last.
    Ended(SessionEnd),
}

/// How a [`Session`](crate::Session) ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// Over there: the shell or the command ended, somebody terminated it, or its time was up.
    Closed {
        /// The command's exit code, where the agent tells one.
        status: Option<i32>,
        /// The service's words; empty for an ordinary end.
        message: String,
    },
    /// The service gives no token for it any more: it was idle for too long, or away.
    TimedOut,
    /// Here: it was dropped or [ended](crate::Session::end).
    Left,
    /// It is lost.
    Failed(ClientError),
}
