//! Destinations: a port of the target, or of a host that the target reaches.

use std::fmt;
use std::net::IpAddr;

use crate::host::bare;

/// The longest host: DNS allows no more, bytes.
const LONGEST_HOST: usize = 253;

/// A port of the target, or of a host that it reaches.
///
/// ```
/// use session_manager_plugin::ForwardEvent;
///
/// fn tell(event: &ForwardEvent) {
///     if let ForwardEvent::Refused { destination, .. } = event {
///         eprintln!("nobody listens on port {} of {destination}", destination.port());
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    host: Option<String>,
    port: u16,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDestination {
    /// No name and no address.
    #[error("{0:?} is no host name and no address")]
    Host(String),
    /// The port is 0.
    #[error("the remote port cannot be 0")]
    Port,
}

impl Destination {
    /// A host as a name or an address, in brackets or not; without one, or with one that is the target itself, the target.
    ///
    /// # Errors
    /// See [`BadDestination`].
    pub(crate) fn new(host: Option<&str>, port: u16) -> Result<Self, BadDestination> {
        if port == 0 {
            return Err(BadDestination::Port);
        }
        let host = host.map(parse_host).transpose()?.flatten();
        Ok(Self { host, port })
    }

    /// The host; nothing where it is the target itself.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// Nothing for the target itself: its own document can be allowed where that for other hosts is not.
fn parse_host(text: &str) -> Result<Option<String>, BadDestination> {
    let bare = bare(text);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let address = bare.parse::<IpAddr>().ok();
    let is_host = address.is_some()
        || text == bare
            && !bare.is_empty()
            && bare.len() <= LONGEST_HOST
            && bare.bytes().all(is_name);
    if !is_host {
        return Err(BadDestination::Host(crate::sanitise::line_within(
            text, 100,
        )));
    }
    // The agent resolves `localhost`, which need not be ::1 over there.
    let is_target = bare.eq_ignore_ascii_case("localhost") || bare == "127.0.0.1";
    Ok((!is_target).then(|| bare.to_owned()))
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            None => write!(formatter, "localhost:{port}"),
            Some(host) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Some(host) => write!(formatter, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        let shown = |host: Option<&str>| Destination::new(host, 80).map(|it| it.to_string());
        for (host, expected) in [
            (None, "localhost:80"),
            (Some("localhost"), "localhost:80"),
            (Some("[::1]"), "[::1]:80"),
            (Some("127.0.0.1"), "localhost:80"),
            (Some("db.internal"), "db.internal:80"),
            (Some("10.0.0.7"), "10.0.0.7:80"),
            (Some("fd00::7"), "[fd00::7]:80"),
            (Some("[fd00::7]"), "[fd00::7]:80"),
        ] {
            assert_eq!(shown(host).as_deref(), Ok(expected));
        }
        for bad in [
            "",
            "a b",
            "a;b",
            "[db]",
            "a:b",
            "x\u{1b}",
            "[::1",
            &"a".repeat(254),
        ] {
            assert!(shown(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(Destination::new(None, 0), Err(BadDestination::Port));
    }
}
