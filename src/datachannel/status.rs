//! What can be told of a connection.

use std::time::{Duration, Instant};

/// How a channel is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelStatus {
    /// None while there is a connection.
    pub outage: Option<OutageStatus>,
    /// The smoothed time from a message to its acknowledgement; none before the first was measured on this connection.
    pub round_trip: Option<Duration>,
    /// Messages that were taken and are not acknowledged, and the bytes of their frames.
    pub unacknowledged: (usize, usize),
    /// Connections after the first.
    pub reconnects: u32,
}

/// The time without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutageStatus {
    /// When the connection broke.
    pub began: Instant,
    /// When the next is tried; none while one is.
    pub next_try: Option<Instant>,
}
