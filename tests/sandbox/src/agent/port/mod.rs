//! Ports: one connection at a time, or multiplexed.

mod basic;
mod mux;
mod streams;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use serde_json::Value;

use super::handshake::is_newer;
use super::{Agent, Plugin};
use crate::config::Document;

/// The last agent without a multiplexer.
const LAST_BASIC_AGENT: &str = "3.0.196.0";
/// Clients from this one multiplex.
const FIRST_MUX_CLIENT: [u64; 3] = [1, 1, 70];
/// Up to these, the multiplexer sends keepalives.
const LAST_KEEPALIVE_AGENT: &str = "3.1.1511.0";
const LAST_KEEPALIVE_CLIENT: &str = "1.2.331.0";
/// The last agent that does not know the flag TerminateSession.
const LAST_WITHOUT_TERMINATE: &str = "2.3.722.0";

/// Where a session's connections go.
#[derive(Debug, Clone)]
struct Destination {
    host: String,
    port: u16,
    /// See [`AgentConfig::hosts`](crate::AgentConfig::hosts).
    known: Vec<(String, IpAddr)>,
}

impl Destination {
    /// Tries all addresses of the host, one after another; the first error is told.
    fn dial(&self) -> io::Result<TcpStream> {
        let mut first = None;
        let known = self.known.iter().filter(|(name, _)| *name == self.host);
        let known: Vec<_> = known
            .map(|(_, address)| SocketAddr::new(*address, self.port))
            .collect();
        let addresses = if known.is_empty() {
            (self.host.as_str(), self.port).to_socket_addrs()?.collect()
        } else {
            known
        };
        for address in addresses {
            match TcpStream::connect(address) {
                Ok(socket) => {
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| io::Error::other("missing address")))
    }
}

/// Starts the port that the session is about.
pub(super) fn start(agent: &Arc<Agent>) -> Result<Arc<dyn Plugin>, String> {
    let config = &agent.session().config;
    let (mut destination, forwarding) = settings(&config.document)?;
    destination.known.clone_from(&config.agent.hosts);
    let agent_version = &agent.session().config.agent.version;
    let client_version = agent.client_version();
    let multiplexed =
        forwarding && is_newer(agent_version, LAST_BASIC_AGENT) && supports_mux(&client_version);
    if multiplexed {
        let keepalive = !is_newer(agent_version, LAST_KEEPALIVE_AGENT)
            || !is_newer(&client_version, LAST_KEEPALIVE_CLIENT);
        Ok(mux::Mux::start(agent, destination, keepalive)?)
    } else {
        let terminates = is_newer(agent_version, LAST_WITHOUT_TERMINATE);
        Ok(basic::Basic::start(
            agent,
            destination,
            forwarding,
            terminates,
        )?)
    }
}

fn supports_mux(client_version: &str) -> bool {
    let numbers: Vec<u64> = client_version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect();
    numbers.as_slice() >= FIRST_MUX_CLIENT.as_slice()
}

/// The destination, and whether the session is of the type that forwards to many.
fn settings(document: &Document) -> Result<(Destination, bool), String> {
    let local = |port| Destination {
        host: "localhost".into(),
        port,
        known: Vec::new(),
    };
    match document {
        Document::Port { port, host, .. } => {
            let mut destination = local(*port);
            if let Some(host) = host {
                destination.host.clone_from(host);
            }
            Ok((destination, true))
        }
        Document::Ssh { port } => Ok((local(*port), false)),
        Document::Other { properties, .. } => {
            let text = |name: &str| properties.get(name).and_then(Value::as_str);
            let port = text("portNumber")
                .and_then(|port| port.parse().ok())
                .ok_or("Port number is empty in session properties.")?;
            let mut destination = local(port);
            if let Some(host) = text("host") {
                host.clone_into(&mut destination.host);
            }
            Ok((destination, text("type") == Some("LocalPortForwarding")))
        }
        _ => Err("not a port".into()),
    }
}
