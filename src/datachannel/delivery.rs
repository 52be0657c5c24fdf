//! What the data channel tells its session.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::SessionType;
use crate::error::Error;
use crate::message::PayloadType;

/// What the agent said about the session before it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// What runs at the far end.
    pub session_type: SessionType,
    /// The document's settings: `portNumber`, `localPortNumber`, `type` and the like. Empty for shells.
    pub properties: BTreeMap<String, String>,
    /// Four numbers, or empty where the agent makes no handshake.
    pub agent_version: String,
    /// What the agent wants the user to read; may be empty, and comes from outside: sanitise it.
    pub customer_message: String,
}

impl Started {
    /// A shell whose agent makes no handshake, and so says nothing about it.
    pub fn shell_without_handshake() -> Self {
        Self {
            session_type: SessionType::StandardStream,
            properties: BTreeMap::new(),
            agent_version: String::new(),
            customer_message: String::new(),
        }
    }
}

/// What has come, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The session has begun. Comes first, and once.
    Started(Started),
    /// Output, stderr, an exit code or a flag, decrypted.
    Payload(PayloadType, Bytes),
    /// Nothing more will come. Comes last, and once.
    Ended(End),
}

impl Delivery {
    /// Bytes of its payload.
    pub(super) fn payload_size(&self) -> usize {
        match self {
            Self::Payload(_, payload) => payload.len(),
            Self::Started(_) | Self::Ended(_) => 0,
        }
    }

    /// Gives its payload memory of its own, instead of a slice of the buffer that it came in.
    pub(super) fn detach(&mut self) {
        if let Self::Payload(_, payload) = self {
            *payload = Bytes::copy_from_slice(payload);
        }
    }

    /// What it takes of the queue's bound, in bytes: a small message costs its header as well.
    pub fn cost(&self) -> usize {
        match self {
            Self::Payload(_, payload) => payload.len() + crate::message::HEADER_SIZE,
            Self::Started(_) | Self::Ended(_) => 0,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The service closed the channel, and says why, or nothing. The text comes from outside: sanitise it.
    Closed {
        /// Empty when the session just ended.
        output: String,
    },
    /// The service gives no token for it any more.
    TimedOut,
    /// It could not start, or is lost for good.
    Failed(Error),
}

/// What the user may want to know while the session goes on; not ordered with what is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The agent has not said anything for 15 s, and the session has not begun yet.
    Silent,
    /// The oldest message has waited for its acknowledgement for 60 s.
    Unacknowledged,
    /// The connection has been gone for 3 s. This is said twice at most in one outage.
    Reconnecting {
        /// What broke it.
        reason: String,
    },
    /// The connection is back. Follows a `Reconnecting`, always and only.
    Reconnected,
}
