//! What the websocket and the API calls share: proxies, trusted roots, connecting.

mod authorities;
mod certificate;
mod connect;
mod limit;
mod no_proxy;
mod path_watch;
mod probe;
mod proxy;
mod read_ahead;
mod routes;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod trust;
mod tunnel;

pub use connect::ConnectError;
pub use limit::{Cancel, Limit, Stop};
pub use path_watch::{PathWatch, SocketPath};
pub use probe::Probe;
pub use proxy::{Proxy, ProxySettings};
pub use stream::{NetworkStream, WaitingStream};
pub use trust::Trust;
#[doc(hidden)]
pub use tunnel::judge_answers;

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::host::bare;
use crate::redactor::Redactor;
use crate::settings::Environment;
use proxy::ProxyScheme;

/// How this machine reaches others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    /// Which proxy leads where.
    pub proxies: ProxySettings,
    /// Whose certificates count.
    pub trust: Trust,
    /// Hides secrets in what hosts answer, as some repeat what they were told.
    pub redactor: Redactor,
}

impl Network {
    /// Reads the variables for proxies and roots. `ca_bundle` is the profile's, for where no variable names roots.
    ///
    /// # Errors
    /// A value that cannot be used, by its variable's name.
    pub fn new(environment: &Environment, ca_bundle: Option<&Path>) -> Result<Self, Error> {
        Ok(Self {
            proxies: ProxySettings::from_environment(environment)?,
            trust: Trust::new(environment, ca_bundle)?,
            redactor: Redactor::default(),
        })
    }

    /// The same, whose secrets are known to another part of the program, too.
    #[must_use]
    pub fn hiding(self, redactor: &Redactor) -> Self {
        Self {
            redactor: redactor.clone(),
            ..self
        }
    }

    /// A connection that carries bytes to a host (a name, or an address with or without brackets) and back, through the proxy if
    /// there is one. `secure` says whether TLS will be spoken on it, which some proxies are for; it is not spoken yet.
    ///
    /// # Errors
    /// What did not work, in words for the user.
    pub fn connect(
        &self,
        secure: bool,
        host: &str,
        port: u16,
        limit: &Limit,
    ) -> Result<NetworkStream, ConnectError> {
        let host = bare(host);
        connect::check_name(host)?;
        let Some(proxy) = self.proxies.proxy_for(secure, host, port) else {
            return connect_tcp(host, port, limit);
        };
        log::debug!("to {host} through {proxy}");
        let connect = || connect_tcp(&proxy.host, proxy.port, limit);
        let to_proxy = match proxy.scheme {
            ProxyScheme::Https => self.trust.secure(&proxy.host, connect, limit),
            _ => connect(),
        };
        let mut stream = to_proxy.map_err(|error| match error {
            ConnectError::Cancelled => error,
            error => ConnectError::ProxyUnreachable {
                proxy: proxy.to_string(),
                error: Box::new(error),
            },
        })?;
        let opened = tunnel::open(&mut stream, proxy, host, port, limit);
        opened.map_err(|error| match error {
            ConnectError::Proxy {
                proxy: name,
                reason,
            } => {
                let login = proxy
                    .login
                    .as_ref()
                    .map(|login| [login.basic(), login.password.clone()]);
                let secrets = login.iter().flatten().map(|secret| secret.as_str());
                let reason = self.redactor.with(secrets).clean(&reason).into_owned();
                ConnectError::Proxy {
                    proxy: name,
                    reason,
                }
            }
            error => error,
        })?;
        Ok(stream)
    }

    /// The same, with TLS spoken to the host if `secure`.
    ///
    /// # Errors
    /// What did not work, in words for the user.
    pub fn open(
        &self,
        secure: bool,
        host: &str,
        port: u16,
        limit: &Limit,
    ) -> Result<NetworkStream, ConnectError> {
        let connect = || self.connect(secure, host, port, limit);
        if secure {
            self.trust.secure(bare(host), connect, limit)
        } else {
            connect()
        }
    }
}

fn connect_tcp(host: &str, port: u16, limit: &Limit) -> Result<NetworkStream, ConnectError> {
    connect::connect(host, port, limit).map(|socket| NetworkStream::Tcp(Arc::new(socket)))
}
