//! Where a forward listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::vec::IntoIter;

use crate::sanitise;

/// Where a forward listens: what [`Forward::local_addr`](crate::Forward::local_addr) and [`locals`](crate::Forward::locals) give.
///
/// It is shown as `HOST:PORT` or as a path, and is an address to connect to where it is a port.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::LocalAddress;
/// use std::net::TcpStream;
///
/// let forward = client.forward(&target).remote("localhost", 5432).start()?;
/// let connection = TcpStream::connect(forward.local_addr())?;
/// match forward.local_addr() {
///     LocalAddress::Port(host, port) => println!("psql -h {host} -p {port}"),
///     LocalAddress::Unix(path) => println!("psql -h {}", path.display()),
///     _ => {}
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalAddress {
    /// A port, and the address or name to be shown with it.
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

/// For [`TcpStream::connect`](std::net::TcpStream::connect). A socket in the file system gives
/// [`InvalidInput`](io::ErrorKind::InvalidInput).
impl ToSocketAddrs for LocalAddress {
    type Iter = IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self {
            Self::Port(host, port) => (host.as_str(), *port).to_socket_addrs(),
            Self::Unix(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{self} is a socket in the file system, and no port"),
            )),
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
