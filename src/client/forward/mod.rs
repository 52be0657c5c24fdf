//! Forwards that outlive their sessions: local ports stay open, and sessions are started for whoever connects.
//!
//! Two threads besides those of each session: one for all local sockets ([`port`]), and a supervisor that starts sessions, learns of their
//! ends and tells what happens. Each start is a thread of its own while it lasts.

mod destination;
mod owner;
mod pace;
mod port;
mod socks;
mod standing;
mod start;
mod supervisor;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

pub use crate::session::port::ListenAddress;
pub use destination::{BadDestination, Destination};
pub use port::Statistics;
#[doc(hidden)]
pub use socks::negotiate;

use crate::client::Client;
use crate::error::Error;
use crate::network::{Cancel, Limit};
use crate::sanitise;
use crate::session::port::{BindError, Bound, Listener};
use crate::waker::mailbox;
use port::PortThread;
use supervisor::Supervisor;

/// What may wait to be told. Connections beyond are not told: who does not read that many would not read more.
const EVENTS: usize = 4096;

/// Finds the id of the target, whenever a session is started: another node may have its name by then.
pub type Resolve = dyn Fn(&Client, &Limit) -> Result<String, Unresolved> + Send + Sync;

/// Why there is no target.
#[derive(Debug, Clone)]
pub struct Unresolved {
    /// In words for the user.
    pub error: Error,
    /// Whether there may be one later.
    pub is_temporary: bool,
}

/// One local address, and where its connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where local programs connect to.
    pub local: ListenAddress,
    /// Nothing: where each says by SOCKS5.
    pub remote: Option<Destination>,
}

/// What is to be forwarded, and how.
#[derive(Clone)]
pub struct ForwardOptions {
    /// The target.
    pub target: Arc<Resolve>,
    /// At least one.
    pub forwards: Vec<Forward>,
    /// Over how many sessions the connections of each destination are spread, at most.
    pub sessions: usize,
    /// The first session, too, is started by the first connection.
    pub on_demand: bool,
    /// The end of the first session is the end of all.
    pub once: bool,
    /// How long the target may take to be there, for the first session.
    pub wait: Option<Duration>,
    /// Why, for the records.
    pub reason: Option<String>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardEvent {
    /// A forward can be used.
    Ready {
        /// Which one.
        forward: usize,
        /// The target's id; nothing where no session has been started yet.
        target: Option<String>,
        /// The session, as it may be shown.
        session: Option<String>,
    },
    /// A session stands.
    SessionStarted {
        /// The session, as it may be shown.
        session: String,
        /// The target's id.
        target: String,
    },
    /// A session is over.
    SessionEnded {
        /// The session, as it may be shown.
        session: String,
        /// The target's id.
        target: String,
        /// In words for the user.
        reason: String,
    },
    /// A local connection goes through a session.
    Opened {
        /// Which forward.
        forward: usize,
        /// The session.
        session: String,
        /// Who connected; empty for sockets in the file system.
        peer: String,
    },
    /// It is over.
    Closed {
        /// Which forward.
        forward: usize,
        /// The session.
        session: String,
        /// Who had connected.
        peer: String,
        /// Bytes to the remote.
        sent: u64,
        /// Bytes from the remote.
        received: u64,
    },
    /// The agent could not reach the destination for a connection, which was reset.
    Refused {
        /// The session.
        session: String,
    },
    /// A session's connection is broken; it is being made anew, and nobody's local connection has failed for it yet.
    Reconnecting {
        /// The session.
        session: String,
        /// In words for the user.
        reason: String,
    },
    /// It is back.
    Reconnected {
        /// The session.
        session: String,
        /// How long it was away, as far as it was told.
        after: Duration,
    },
    /// Something that the user should know.
    Warning(String),
    /// The last one.
    Ended(Result<(), Error>),
}

/// Forwards that are open.
#[derive(Debug)]
pub struct Forwarding {
    events: Receiver<ForwardEvent>,
    control: Sender<()>,
    locals: Vec<Local>,
    statistics: Arc<Statistics>,
}

/// Where a forward listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A port, and the address to be shown with it.
    Port(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Local {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(host, port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Port(host, port) => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => formatter.write_str(&sanitise::line(&path.display().to_string())),
        }
    }
}

impl Local {
    /// The port, where it is one.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Port(_, port) => Some(*port),
            Self::Unix(_) => None,
        }
    }
}

impl Client {
    /// Opens local ports, all of them before any session is started, and keeps them open until it is stopped or something ends it for good.
    ///
    /// # Errors
    /// A port that is taken, by its number and, where the system tells, its owner; no descriptor or thread.
    pub fn forward(&self, options: ForwardOptions) -> Result<Forwarding, Error> {
        let mut bound = Vec::new();
        let mut locals = Vec::new();
        let mut warnings = Vec::new();
        for forward in &options.forwards {
            let listener = Listener::bind(&forward.local).map_err(cannot_bind)?;
            warnings.extend_from_slice(listener.warnings());
            locals.push(local(&forward.local, listener.bound()));
            bound.push((listener, forward.remote.clone()));
        }
        let statistics = Arc::<Statistics>::default();
        let (sender, events) = bounded(EVENTS);
        let (control, orders_to_stop) = bounded(1);
        let run = || {
            let (mailbox, orders) = mailbox()?;
            let (reports, reported) = unbounded();
            let most = if options.once {
                1
            } else {
                options.sessions.max(1)
            };
            let waker = mailbox.waker().clone();
            let thread = PortThread::new(
                bound,
                most,
                (orders, waker),
                reports,
                Arc::clone(&statistics),
            )?;
            let on_demand = options.on_demand;
            let cancel = Cancel::new()?;
            let supervisor = Supervisor::new(
                self.clone(),
                options,
                (mailbox, reported),
                orders_to_stop,
                sender.clone(),
                cancel,
            );
            let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
            for warning in warnings {
                // There is room for these.
                let _ = sender.try_send(ForwardEvent::Warning(warning));
            }
            spawn("forward").spawn(move || supervisor.run())?;
            spawn("port").spawn(move || thread.run(on_demand))?;
            std::io::Result::Ok(())
        };
        run().map_err(|error| crate::session::out_of_resources(&error))?;
        Ok(Forwarding {
            events,
            control,
            locals,
            statistics,
        })
    }
}

impl Forwarding {
    /// What happens. [`ForwardEvent::Ended`] comes last.
    pub fn events(&self) -> &Receiver<ForwardEvent> {
        &self.events
    }

    /// Where each forward listens.
    pub fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// What goes through.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Closes ports and connections, and ends the sessions, within 5 seconds. That it is done is told as [`ForwardEvent::Ended`].
    pub fn stop(&self) {
        // One order is enough.
        let _ = self.control.try_send(());
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.stop();
    }
}

fn local(asked: &ListenAddress, bound: &Bound) -> Local {
    match bound {
        Bound::Unix(file) => Local::Unix(file.path().to_owned()),
        Bound::Port(port) => Local::Port(
            match asked {
                ListenAddress::Port(_, Some(host)) => host.clone(),
                ListenAddress::Port(_, None) | ListenAddress::Unix(_) => "127.0.0.1".to_owned(),
            },
            *port,
        ),
    }
}

/// Why a local address cannot be had, and what to do.
fn cannot_bind(error: BindError) -> Error {
    use std::io::ErrorKind;
    Error::Start(match error {
        BindError::NoHost(host, why) => {
            format!("{host:?} is no address of this machine and no name for one: {why}")
        }
        BindError::Port(address, error) => {
            let (port, host) = (address.port(), address.ip());
            match error.kind() {
                ErrorKind::AddrInUse => {
                    let owner =
                        owner::of_port(address).unwrap_or_else(|| "another program".to_owned());
                    format!(
                        "port {port} on {host} is in use by {owner}: end that, or choose another local port"
                    )
                }
                ErrorKind::PermissionDenied => {
                    format!(
                        "port {port} may not be opened by this user ({error}): choose a local port from 1024 on"
                    )
                }
                _ => format!("cannot listen on {address}: {error}"),
            }
        }
        BindError::Unix(path, error) => {
            let path = sanitise::line(&path.display().to_string());
            match error.kind() {
                ErrorKind::AddrInUse => {
                    format!(
                        "the socket {path} is in use by another program: end that, or choose another path"
                    )
                }
                ErrorKind::AlreadyExists => {
                    format!("{path} is there and is no socket: remove it, or choose another path")
                }
                _ => format!("cannot open the socket {path}: {error}"),
            }
        }
    })
}
