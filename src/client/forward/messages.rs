//! Messages to the port thread and from it.

use std::io;

use super::destination::Destination;
use super::standing::{RouteId, SessionNumber};
use crate::datachannel::{DataChannel, End};

/// A message to the port thread.
#[derive(Debug)]
pub(super) enum ForwardOrder {
    /// A session that was asked for is established.
    Begin {
        route: RouteId,
        key: SessionNumber,
        channel: DataChannel,
        keepalive: bool,
        /// The payload of a message, bytes.
        message: usize,
    },
    /// A session that was asked for could not be started.
    Failed { route: RouteId },
    /// A session's data channel has lost its connection, or has another one.
    SetConnected {
        key: SessionNumber,
        is_connected: bool,
    },
    /// End.
    Stop,
}

/// A message from the port thread.
#[derive(Debug)]
pub(super) enum ForwardReport {
    /// A session is wanted. Answered by `Begin` or `Failed`.
    Start {
        route: RouteId,
        destination: Destination,
    },
    /// A connection goes through a session.
    Opened {
        key: SessionNumber,
        forward: usize,
        peer: String,
    },
    /// It is over.
    Closed {
        key: SessionNumber,
        forward: usize,
        peer: String,
        sent: u64,
        received: u64,
    },
    /// The agent could not reach the destination.
    Refused { key: SessionNumber },
    /// A session is not needed any more and is to be ended.
    Released { key: SessionNumber },
    /// A session has ended, and its connections were reset.
    Ended {
        key: SessionNumber,
        end: End,
        /// Whether anything came through it.
        was_of_use: bool,
    },
    /// A line for the user.
    Complaint(String),
    /// The thread cannot go on.
    Broken(io::Error),
}
