//! A connection that is made to see whether it can be, step by step.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::connect::{self, ConnectError};
use super::limit::Limit;
use super::{Network, NetworkStream};
use crate::host::bare;

/// What was reached, and how long each step took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// The proxy that leads there, without user and password.
    pub proxy: Option<String>,
    /// The look-up of the name; none where a proxy makes it, or where it is an address.
    pub name: Option<Duration>,
    /// The TCP connection; with a proxy, all up to the one behind it.
    pub connection: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
}

impl Network {
    /// Connects to a host, with TLS if `secure`, and lets go of it: the steps that were taken, and what did not work after them.
    pub fn probe(
        &self,
        secure: bool,
        host: &str,
        port: u16,
        limit: &Limit,
    ) -> (Probe, Result<(), ConnectError>) {
        let mut probe = Probe::default();
        let result = self.probe_steps(&mut probe, secure, bare(host), port, limit);
        (probe, result)
    }

    fn probe_steps(
        &self,
        probe: &mut Probe,
        secure: bool,
        host: &str,
        port: u16,
        limit: &Limit,
    ) -> Result<(), ConnectError> {
        connect::check_name(host)?;
        let proxy = self.proxies.proxy_for(secure, host, port);
        probe.proxy = proxy.map(ToString::to_string);
        let is_name = host.parse::<std::net::IpAddr>().is_err();
        if proxy.is_none() && is_name {
            let start = Instant::now();
            connect::resolve(host, port, limit)?;
            probe.name = Some(start.elapsed());
        }
        let start = Instant::now();
        let stream = self.connect(secure, host, port, limit)?;
        probe.connection = Some(start.elapsed());
        if secure {
            let first: Cell<Option<NetworkStream>> = Cell::new(Some(stream));
            let connect = || match first.take() {
                Some(stream) => Ok(stream),
                // Where the first one's certificate may be good after all.
                None => self.connect(secure, host, port, limit),
            };
            let start = Instant::now();
            self.trust.secure(host, connect, limit)?;
            probe.tls = Some(start.elapsed());
        }
        Ok(())
    }
}
