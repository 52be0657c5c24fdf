//! What goes through a forward, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What goes through a forward: see [`Forward::statistics`](crate::Forward::statistics).
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let forward = client.forward(&target).remote("localhost", 5432).on_demand().start()?;
/// let now = forward.statistics();
/// assert_eq!((now.sessions, now.connections), (0, 0));
/// println!("{} bytes sent, {} received", now.sent, now.received);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardStatistics {
    /// Established sessions.
    pub sessions: u64,
    /// Local connections that a session carries.
    pub connections: u64,
    /// Bytes to the remote, of all connections so far.
    pub sent: u64,
    /// Bytes from the remote.
    pub received: u64,
}

/// The counters; changed by the port thread alone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub sessions: AtomicU64,
    pub connections: AtomicU64,
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

impl Counters {
    /// As they are now.
    pub(super) fn read(&self) -> ForwardStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ForwardStatistics {
            sessions: read(&self.sessions),
            connections: read(&self.connections),
            sent: read(&self.sent),
            received: read(&self.received),
        }
    }
}
