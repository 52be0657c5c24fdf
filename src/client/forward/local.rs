//! Where a forward listens.

use std::fmt;
use std::path::PathBuf;

use crate::sanitise;

/// Where a forward listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A port, and the address to be shown with it.
    Port(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(host, port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Port(host, port) => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => formatter.write_str(&sanitise::line(&path.display().to_string())),
        }
    }
}

impl LocalAddress {
    /// The port, where it is one.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Port(_, port) => Some(*port),
            Self::Unix(_) => None,
        }
    }
}
