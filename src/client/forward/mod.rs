//! Forwards that outlive their sessions: local ports stay open, and sessions are started for whoever connects.
//!
//! Two threads besides those of each session: one for all local sockets (`port`), and a supervisor that starts sessions, learns of their
//! ends and tells what happens. Each start is a thread of its own while it lasts.

mod destination;
mod event;
mod local;
mod messages;
mod options;
mod owner;
mod pace;
mod port;
mod route;
mod socks;
mod standing;
mod start;
mod statistics;
mod supervisor;

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

pub use crate::session::port::ListenAddress;
pub use destination::{BadDestination, Destination};
pub use event::ForwardEvent;
pub use local::LocalAddress;
pub use options::{ForwardOptions, ForwardTarget, LocalForward};
#[doc(hidden)]
pub use socks::negotiate;
pub(in crate::client) use start::start_for;
pub use statistics::ForwardStatistics;

use crate::client::Client;
use crate::error::Error;
use crate::network::Cancel;
use crate::sanitise;
use crate::session::port::{BindError, Bound, Listener};
use crate::waker::mailbox;
use port::PortThread;
use statistics::Counters;
use supervisor::Supervisor;

/// Forwards that are open.
#[derive(Debug)]
pub struct Forwarding {
    events: Receiver<ForwardEvent>,
    control: Sender<()>,
    locals: Vec<LocalAddress>,
    counters: Arc<Counters>,
}

impl Client {
    /// Opens local ports, all of them before any session is started, and keeps them open until it is stopped or something ends it for good.
    ///
    /// # Errors
    /// A port that is taken, by its number and, where the system tells, its owner; no descriptor or thread.
    pub(crate) fn open_forwards(&self, options: ForwardOptions) -> Result<Forwarding, Error> {
        let mut bound = Vec::new();
        let mut locals = Vec::new();
        let mut warnings = Vec::new();
        for forward in &options.forwards {
            let listener = Listener::bind(&forward.local).map_err(cannot_bind)?;
            warnings.extend_from_slice(listener.warnings());
            locals.push(local(&forward.local, listener.bound()));
            bound.push((listener, forward.remote.clone()));
        }
        let counters = Arc::<Counters>::default();
        let (sender, events) = unbounded();
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
            let thread =
                PortThread::new(bound, most, (orders, waker), reports, Arc::clone(&counters))?;
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
                // The receiver is here.
                let _ = sender.send(ForwardEvent::Warning(warning));
            }
            let going_on = self.going().begin();
            spawn("forward").spawn(move || {
                supervisor.run();
                drop(going_on);
            })?;
            spawn("port").spawn(move || thread.run(on_demand))?;
            std::io::Result::Ok(())
        };
        run().map_err(|error| crate::session::out_of_resources(&error))?;
        Ok(Forwarding {
            events,
            control,
            locals,
            counters,
        })
    }
}

impl Forwarding {
    /// What happens. [`ForwardEvent::Ended`] comes last.
    pub fn events(&self) -> &Receiver<ForwardEvent> {
        &self.events
    }

    /// Where each forward listens.
    pub fn locals(&self) -> &[LocalAddress] {
        &self.locals
    }

    /// What goes through.
    pub fn statistics(&self) -> ForwardStatistics {
        self.counters.read()
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

fn local(asked: &ListenAddress, bound: &Bound) -> LocalAddress {
    match bound {
        Bound::Unix(file) => LocalAddress::Unix(file.path().to_owned()),
        Bound::Port(port) => LocalAddress::Port(
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
                ErrorKind::AddrInUse => match owner::of_port(address) {
                    Some(owner::PortOwner::Us) => format!(
                        "port {port} on {host} is in use by this program already, for another forward: choose another local port"
                    ),
                    Some(owner::PortOwner::Other(owner)) => format!(
                        "port {port} on {host} is in use by {owner}: end that, or choose another local port"
                    ),
                    None => format!(
                        "port {port} on {host} is in use by another program: end that, or choose another local port"
                    ),
                },
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
