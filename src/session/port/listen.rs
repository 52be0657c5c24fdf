//! Where local programs connect to: loopback of both families, another address, or a unix socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use rustix::process::{Resource, getrlimit};

use super::socket::{Peer, Socket};
use crate::error::Error;

/// What may wait to be accepted; the system may allow less.
const BACKLOG: i32 = 1024;
/// Descriptors that are left for the session's own sockets and files, and for a program that gives it credentials; fewer where few are
/// allowed.
const RESERVE: u64 = 8;
/// How often a port is chosen anew because the second address does not have the same one free.
const CHOICES: usize = 10;

/// What to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port, 0 for any, on this host, or on loopback of both families.
    Port(u16, Option<String>),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Why nothing can listen there.
#[derive(Debug)]
pub(crate) enum BindError {
    /// The host is no address of this machine and no name for one.
    NoHost(String, String),
    /// The port is taken, or not for this user, or the address not this machine's.
    Port(SocketAddr, io::Error),
    /// The same for a socket in the file system.
    Unix(PathBuf, io::Error),
}

impl BindError {
    /// In the words of the documents' parameters.
    pub(super) fn in_parameters(&self) -> Error {
        Error::Start(match self {
            Self::NoHost(host, why) => format!(
                "SSM_PLUGIN_LOCAL_HOST is {host:?}, which is no address of this machine and no name for one: {why}"
            ),
            Self::Port(address, error) => {
                let port = address.port();
                match error.kind() {
                    io::ErrorKind::AddrInUse => format!(
                        "port {port} on {} is in use by another program: end that, or choose another localPortNumber",
                        address.ip()
                    ),
                    io::ErrorKind::PermissionDenied => format!(
                        "port {port} may not be opened by this user ({error}): choose a localPortNumber from 1024 on"
                    ),
                    // Only the variable leads elsewhere than to loopback.
                    io::ErrorKind::AddrNotAvailable if !address.ip().is_loopback() => format!(
                        "SSM_PLUGIN_LOCAL_HOST leads to {}, which is no address of this machine",
                        address.ip()
                    ),
                    _ => format!("cannot listen on {address}: {error}"),
                }
            }
            Self::Unix(path, error) => {
                let path = path.display();
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "it is in use by another program: end that, or choose another localUnixSocket".to_owned()
                    }
                    io::ErrorKind::AlreadyExists => {
                        "the file is there and is no socket: remove it, or choose another localUnixSocket".to_owned()
                    }
                    _ => error.to_string(),
                };
                format!("cannot open unix socket {path}: {why}")
            }
        })
    }
}

/// Sockets that wait for local connections.
#[derive(Debug)]
pub(crate) struct Listener {
    sockets: Vec<ListeningSocket>,
    bound: Bound,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

/// What a listener is bound to.
#[derive(Debug)]
pub(crate) enum Bound {
    /// The real port.
    Port(u16),
    /// A file that goes when the session ends.
    Unix(SocketFile),
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// See [`BindError`].
    pub(crate) fn bind(address: &ListenAddress) -> Result<Self, BindError> {
        match address {
            ListenAddress::Port(port, None) => bind_port(
                &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
                *port,
            ),
            ListenAddress::Port(port, Some(host)) => bind_port(&resolve(host)?, *port),
            ListenAddress::Unix(path) => bind_unix(path),
        }
    }

    /// What to tell the user on stderr.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where it listens.
    pub(crate) const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// How many sockets there are: the indexes of [`accept`](Self::accept).
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Registers each socket with the token that belongs to its index.
    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: impl Fn(usize) -> Token,
    ) -> io::Result<()> {
        for (index, socket) in self.sockets.iter_mut().enumerate() {
            match socket {
                ListeningSocket::Tcp(listener) => {
                    listener.register(registry, token(index), Interest::READABLE)?;
                }
                ListeningSocket::Unix(listener) => {
                    listener.register(registry, token(index), Interest::READABLE)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a connection that waits.
    ///
    /// # Errors
    /// Those of accept(2); EMFILE also when all that is left is what the session itself needs.
    pub(crate) fn accept(&self, index: usize) -> io::Result<(Socket, Peer)> {
        match self.sockets.get(index) {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(ListeningSocket::Tcp(listener)) => {
                leave_reserve(listener)?;
                let (stream, address) = listener.accept()?;
                // It is gone already if this fails, which shows when it is read.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Peer::Address(address)))
            }
            Some(ListeningSocket::Unix(listener)) => {
                leave_reserve(listener)?;
                let (stream, _) = listener.accept()?;
                Ok((Socket::Unix(stream), Peer::Nameless))
            }
        }
    }
}

/// Looks whether a local connection may have the next descriptor. The system gives the lowest one that is free, so the highest are never
/// taken by local connections, however many there are: with them the session is resumed when its own connection breaks.
fn leave_reserve(listener: &impl AsFd) -> io::Result<()> {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Ok(());
    };
    let lowest = rustix::io::fcntl_dupfd_cloexec(listener, 0)?;
    let next = u64::try_from(lowest.as_raw_fd()).unwrap_or(u64::MAX);
    if next >= limit - RESERVE.min(limit / 8) {
        return Err(Errno::MFILE.into());
    }
    Ok(())
}

fn resolve(host: &str) -> Result<Vec<IpAddr>, BindError> {
    let failed = |why: String| BindError::NoHost(host.to_owned(), why);
    let mut addresses: Vec<_> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?
        .map(|address| address.ip())
        .collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    Ok(addresses)
}

/// The first address must do; the others are wanted, on the same port.
fn bind_port(addresses: &[IpAddr], port: u16) -> Result<Listener, BindError> {
    let mut choice = 1;
    loop {
        let (bound, sockets, missing) = bind_once(addresses, port)?;
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        if port == 0 && choice < CHOICES && missing.iter().any(|(_, error)| is_taken(error)) {
            choice += 1;
            continue;
        }
        let mut warnings: Vec<_> = missing
            .iter()
            .map(|(address, error)| {
                format!(
                    "not listening on {}: {error}",
                    SocketAddr::new(*address, bound)
                )
            })
            .collect();
        warnings.extend(
            addresses
                .iter()
                .filter(|address| !address.is_loopback())
                .map(|address| {
                    format!("listening on {address}: other machines may be able to connect")
                }),
        );
        return Ok(Listener {
            sockets,
            bound: Bound::Port(bound),
            warnings,
        });
    }
}

type Missing = Vec<(IpAddr, io::Error)>;

fn bind_once(
    addresses: &[IpAddr],
    port: u16,
) -> Result<(u16, Vec<ListeningSocket>, Missing), BindError> {
    let mut bound = port;
    let mut sockets = Vec::new();
    let mut missing = Vec::new();
    for address in addresses {
        match listen_on(SocketAddr::new(*address, bound)) {
            Ok((listener, actual)) => {
                bound = actual;
                sockets.push(ListeningSocket::Tcp(listener));
            }
            Err(error) if sockets.is_empty() => {
                return Err(BindError::Port(SocketAddr::new(*address, port), error));
            }
            Err(error) => missing.push((*address, error)),
        }
    }
    Ok((bound, sockets, missing))
}

fn listen_on(address: SocketAddr) -> io::Result<(mio::net::TcpListener, u16)> {
    // Sets SO_REUSEADDR: old connections that wait to be forgotten do not keep the port.
    let listener = TcpListener::bind(address)?;
    // The standard library's backlog is made for few connections.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((mio::net::TcpListener::from_std(listener), port))
}

fn bind_unix(path: &Path) -> Result<Listener, BindError> {
    remove_stale(path)
        .and_then(|()| SocketFile::bind(path))
        .map(|(listener, file)| Listener {
            sockets: vec![ListeningSocket::Unix(mio::net::UnixListener::from_std(
                listener,
            ))],
            bound: Bound::Unix(file),
            warnings: Vec::new(),
        })
        .map_err(|error| BindError::Unix(path.to_owned(), error))
}

/// One that no child inherits, not even a child of another thread at this moment.
fn unix_socket() -> io::Result<socket2::Socket> {
    socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) => {}
    }
    let probe = unix_socket()?;
    // Without blocking: who listens may be too busy to answer.
    rustix::io::ioctl_fionbio(&probe, true)?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path),
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error.into()),
    }
}

/// A socket's file, removed when dropped if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// As the user named it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        let socket = unix_socket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        let metadata = path.symlink_metadata()?;
        let file = Self {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        };
        // Before it listens nobody can connect: there is no moment at which others could.
        chmod(path, Mode::RUSR | Mode::WUSR)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = UnixListener::from(OwnedFd::from(socket));
        listener.set_nonblocking(true)?;
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours {
            // Nothing to be done if the directory has become read-only.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn port(listener: &Listener) -> u16 {
        match listener.bound() {
            Bound::Port(port) => *port,
            Bound::Unix(file) => panic!("{file:?}"),
        }
    }

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn p53_both_families_have_the_same_port() {
        let listener = Listener::bind(&ListenAddress::Port(0, None)).unwrap();
        let port = port(&listener);
        assert_ne!(port, 0);
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // A machine without IPv6 is told so, and does with one family.
        match TcpStream::connect((Ipv6Addr::LOCALHOST, port)) {
            Ok(_) => assert!(listener.warnings().is_empty()),
            Err(_) => assert_eq!(listener.warnings().len(), 1),
        }
    }

    #[test]
    fn p53_a_port_taken_on_ipv6_alone_is_a_warning() {
        let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return;
        };
        let taken = other.local_addr().unwrap().port();
        let Ok(listener) = Listener::bind(&ListenAddress::Port(taken, None)) else {
            // Somebody has it on IPv4.
            return;
        };
        assert_eq!(port(&listener), taken);
        assert!(listener.warnings()[0].contains(&format!("[::1]:{taken}")));
    }

    #[test]
    fn p43_a_port_in_use_is_an_error_that_says_so() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let error = Listener::bind(&ListenAddress::Port(taken, None)).unwrap_err();
        let error = error.in_parameters();
        assert_eq!(error.exit_code(), 1);
        let text = error.to_string();
        assert!(
            text.contains(&taken.to_string()) && text.contains("in use"),
            "{text}"
        );
    }

    #[test]
    fn another_host_is_warned_of() {
        let everywhere = ListenAddress::Port(0, Some("0.0.0.0".to_owned()));
        let listener = Listener::bind(&everywhere).unwrap();
        assert!(listener.warnings()[0].contains("other machines"));
        let loopback = ListenAddress::Port(0, Some("127.0.0.2".to_owned()));
        assert!(Listener::bind(&loopback).unwrap().warnings().is_empty());
        let nowhere = ListenAddress::Port(0, Some("no.such.host.invalid".to_owned()));
        let error = Listener::bind(&nowhere)
            .unwrap_err()
            .in_parameters()
            .to_string();
        assert!(error.contains("SSM_PLUGIN_LOCAL_HOST"), "{error}");
    }

    #[test]
    fn p59_a_unix_socket_is_private_and_goes_at_the_end() {
        let directory = Directory::new("port-unix");
        let path = directory.0.join("socket");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone())).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_unix_socket_is_replaced_only_if_nobody_answers() {
        let directory = Directory::new("port-stale");
        let path = directory.0.join("socket");
        let place = ListenAddress::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Listener::bind(&place).unwrap();
        let error = Listener::bind(&place)
            .unwrap_err()
            .in_parameters()
            .to_string();
        assert!(error.contains("in use"), "{error}");
        UnixStream::connect(&path).unwrap();
        // One that took our place is not removed with us.
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(other);
        std::fs::remove_file(&path).unwrap();
        // A file that is no socket is somebody's data.
        std::fs::write(&path, "data").unwrap();
        let error = Listener::bind(&place)
            .unwrap_err()
            .in_parameters()
            .to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
        let long = ListenAddress::Unix(directory.0.join("x".repeat(200)));
        assert!(Listener::bind(&long).is_err());
    }
}
