//! A local port whose connections go to a port that the target reaches.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Client;
use super::failure::{ClientError, ErrorKind};
use super::forward::{
    Destination, ForwardEvent, ForwardOptions, Forwarding, ListenAddress, LocalAddress,
    LocalForward,
};
use super::target::Target;
use super::watch::bounded;
use crate::network::{Limit, Stop};

/// As many sessions as `port-forward --sessions` takes.
const MOST_SESSIONS: usize = 16;
/// How often a wait looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// A forward that is to be opened: see [`Client::forward`].
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let forward = client
///     .forward(&target)
///     .local("127.0.0.1:0")
///     .remote("db.internal", 5432)
///     .sessions(4)
///     .start()?;
/// println!("postgresql://user@{}/", forward.local_addr());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `start`"]
pub struct ForwardBuilder {
    client: Client,
    target: Target,
    local: String,
    remote: Option<(String, u16)>,
    sessions: usize,
    on_demand: bool,
    reason: Option<String>,
}

impl ForwardBuilder {
    pub(super) fn new(client: &Client, target: &Target) -> Self {
        Self {
            client: client.clone(),
            target: target.clone(),
            local: "127.0.0.1:0".to_owned(),
            remote: None,
            sessions: 1,
            on_demand: false,
            reason: None,
        }
    }

    /// Where to listen: an address and a port, which may be 0 for any. `127.0.0.1:0` unless it is said here. Whoever reaches the address
    /// reaches the destination.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "texts and addresses, as they come"
    )]
    pub fn local(mut self, address: impl ToString) -> Self {
        self.local = address.to_string();
        self
    }

    /// Where connections go: a name or an address as the target sees it, `localhost` for the target itself.
    pub fn remote(mut self, host: impl Into<String>, port: u16) -> Self {
        self.remote = Some((host.into(), port));
        self
    }

    /// Over how many sessions connections are spread, 1 to 16: an agent sends 0.7 MB/s in each.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions.clamp(1, MOST_SESSIONS);
        self
    }

    /// The first session, too, is started by the first connection: [`start`](Self::start) makes no call.
    pub const fn on_demand(mut self) -> Self {
        self.on_demand = true;
        self
    }

    /// Why, for the records of Session Manager.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Opens the port, and waits until its first session is established.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for addresses; [`ErrorKind::Local`] for a port that is taken, with who has it; what can go wrong with
    /// StartSession; [`ErrorKind::AgentTooOld`] for agents up to 3.0.196.
    pub fn start(self) -> Result<Forward, ClientError> {
        let invalid = |text: String| ClientError::new(ErrorKind::InvalidInput, text);
        let (host, port) = self
            .remote
            .ok_or_else(|| invalid("a forward needs a remote host and port".to_owned()))?;
        let remote =
            Destination::new(Some(&host), port).map_err(|error| invalid(error.to_string()))?;
        let local: SocketAddr = self.local.parse().map_err(|_| {
            let shown = crate::sanitise::line_within(&self.local, 100);
            invalid(format!("{shown:?} is no address with a port"))
        })?;
        let limit = self.client.limit();
        let id = self.target.id().to_owned();
        let forwarding = self
            .client
            .open_forwards(ForwardOptions {
                target: Arc::new(move |_, _| Ok(id.clone())),
                forwards: vec![LocalForward {
                    local: ListenAddress::Port(local.port(), Some(local.ip().to_string())),
                    remote: Some(remote),
                }],
                sessions: self.sessions,
                on_demand: self.on_demand,
                once: false,
                wait: None,
                reason: self.reason,
            })
            .map_err(|error| ClientError::of(ErrorKind::Local, &error))?;
        let bound = forwarding.locals().first().and_then(LocalAddress::port);
        let forward = Forward {
            local: SocketAddr::new(local.ip(), bound.unwrap_or_default()),
            earlier: Arc::default(),
            forwarding,
        };
        forward.wait_ready(&limit)?;
        Ok(forward)
    }
}

/// A forward that is open. When it is dropped, the port is closed, and its sessions are ended in the background.
///
/// It outlives its sessions: when one ends, its local connections are closed, and the next connection starts another.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::ForwardEvent;
/// use std::time::Duration;
///
/// let forward = client.forward(&target).remote("localhost", 5432).start()?;
/// let event = forward.events().next_within(Duration::from_secs(10));
/// assert!(matches!(event, Some(ForwardEvent::SessionStarted { .. })));
/// forward.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Forward {
    local: SocketAddr,
    /// Told before the first session was established.
    earlier: Arc<Mutex<VecDeque<ForwardEvent>>>,
    forwarding: Forwarding,
}

impl Forward {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What happens. Several may ask: each event is told to one of them. 4,096 events are kept for who does not ask, and later ones are
    /// not.
    pub fn events(&self) -> ForwardEvents {
        ForwardEvents {
            earlier: Arc::clone(&self.earlier),
            events: self.forwarding.events().clone(),
        }
    }

    /// Closes the port and its connections, ends the sessions, and waits until that is done: within 5 seconds.
    ///
    /// # Errors
    /// What had ended the forward before it was stopped.
    pub fn stop(self) -> Result<(), ClientError> {
        self.forwarding.stop();
        for event in self.forwarding.events() {
            if let ForwardEvent::Ended(result) = event {
                return result;
            }
        }
        Ok(())
    }

    /// Waits for the first session. What is told meanwhile is kept for who asks later.
    fn wait_ready(&self, limit: &Limit) -> Result<(), ClientError> {
        loop {
            let stop = match limit.remaining() {
                Ok(left) => match self.forwarding.events().recv_timeout(left.min(LOOK)) {
                    Ok(ForwardEvent::Ended(Err(error))) => return Err(error),
                    Ok(ForwardEvent::Ended(Ok(()))) | Err(RecvTimeoutError::Disconnected) => {
                        Stop::Cancelled
                    }
                    Ok(event) => {
                        let is_ready = matches!(event, ForwardEvent::Ready { .. });
                        lock(&self.earlier).push_back(event);
                        if is_ready {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) => continue,
                },
                Err(stop) => stop,
            };
            return Err(ClientError::stopped(stop, "the first session"));
        }
    }
}

/// The events of a [`Forward`], from its beginning. As an iterator it waits for each, and ends after [`ForwardEvent::Ended`].
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let forward = client.forward(&target).remote("localhost", 5432).start()?;
/// let events = forward.events();
/// drop(forward);
/// for event in events {
///     println!("{event:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ForwardEvents {
    earlier: Arc<Mutex<VecDeque<ForwardEvent>>>,
    events: Receiver<ForwardEvent>,
}

impl ForwardEvents {
    /// The next one; nothing after that time, or when there will be none.
    pub fn next_within(&self, timeout: Duration) -> Option<ForwardEvent> {
        let earlier = lock(&self.earlier).pop_front();
        earlier.or_else(|| self.events.recv_timeout(bounded(timeout)).ok())
    }
}

impl Iterator for ForwardEvents {
    type Item = ForwardEvent;

    fn next(&mut self) -> Option<ForwardEvent> {
        let earlier = lock(&self.earlier).pop_front();
        earlier.or_else(|| self.events.recv().ok())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
