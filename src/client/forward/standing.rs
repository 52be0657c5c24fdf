//! An established session, and the local connections that it carries.

use std::collections::HashMap;
use std::time::Instant;

use mio::Token;

use crate::datachannel::DataChannel;
use crate::session::port::Multiplexer;
use crate::smux::StreamId;

/// One destination, whose connections may be spread over several sessions.
pub(super) type RouteId = usize;
/// One session, by a number of ours.
pub(super) type SessionNumber = u64;

/// One session of the port thread.
pub(super) struct ForwardSession {
    pub key: SessionNumber,
    pub route: RouteId,
    pub multiplexer: Multiplexer,
    /// Whether it is ended when it is not used: of those, another one is started when somebody connects.
    pub is_expendable: bool,
    /// Since when it has no connection.
    pub idle_since: Option<Instant>,
    connections: HashMap<StreamId, CarriedConnection>,
    /// Of [`Multiplexer::moved`], what was counted already.
    counted: (u64, u64),
}

/// A local connection.
pub(super) struct CarriedConnection {
    pub forward: usize,
    pub peer: String,
    pub token: Token,
}

impl ForwardSession {
    pub(super) fn new(
        key: SessionNumber,
        route: RouteId,
        channel: DataChannel,
        (keepalive, message): (bool, usize),
        is_expendable: bool,
        now: Instant,
    ) -> Self {
        Self {
            key,
            route,
            multiplexer: Multiplexer::new(channel, keepalive, message),
            is_expendable,
            idle_since: Some(now),
            connections: HashMap::new(),
            counted: (0, 0),
        }
    }

    /// Adds a connection.
    pub(super) fn begin(
        &mut self,
        id: StreamId,
        forward: usize,
        peer: String,
        token: Token,
    ) -> SessionNumber {
        self.idle_since = None;
        self.connections.insert(
            id,
            CarriedConnection {
                forward,
                peer,
                token,
            },
        );
        self.key
    }

    /// Removes a connection.
    pub(super) fn end(&mut self, id: StreamId, now: Instant) -> Option<CarriedConnection> {
        let connection = self.connections.remove(&id)?;
        if self.connections.is_empty() {
            self.idle_since = Some(now);
        }
        Some(connection)
    }

    /// Bytes to the remote and from it since the last time.
    pub(super) fn moved(&mut self) -> (u64, u64) {
        let moved = self.multiplexer.moved();
        let since = (moved.0 - self.counted.0, moved.1 - self.counted.1);
        self.counted = moved;
        since
    }
}
