//! One destination, as the supervisor knows it.

use super::destination::Destination;
use super::options::LocalForward;
use super::pace::StartPace;
use crate::session::port::ListenAddress;

/// One destination.
pub(super) struct ForwardRoute {
    pub(super) destination: Destination,
    /// The pace of starts while there is no session.
    pub(super) pace: StartPace,
    /// The pace of starts beside established sessions.
    pub(super) beside: StartPace,
    /// The forwards that become ready when the first session is established.
    pub(super) unready: Vec<usize>,
    /// Whether no connection has been carried yet, by a session that was started before anybody connected.
    pub(super) is_unproven: bool,
    /// What was asked for: 0 for any.
    pub(super) local_port: u16,
}

impl ForwardRoute {
    /// Nothing for SOCKS, whose destinations are told by its clients.
    pub(super) fn of_forward(
        index: usize,
        forward: &LocalForward,
        on_demand: bool,
    ) -> Option<Self> {
        Some(Self {
            unready: vec![index],
            is_unproven: !on_demand,
            local_port: match forward.local {
                ListenAddress::Port(port, _) => port,
                ListenAddress::Unix(_) => 0,
            },
            ..Self::new(forward.remote.clone()?)
        })
    }

    /// Nothing waits for it to be ready.
    pub(super) fn new(destination: Destination) -> Self {
        Self {
            destination,
            pace: StartPace::default(),
            beside: StartPace::default(),
            unready: Vec::new(),
            is_unproven: false,
            local_port: 0,
        }
    }
}
