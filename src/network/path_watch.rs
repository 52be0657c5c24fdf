//! Whether the path to the service may be another one than a moment ago, while something waits for it.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::routes::RouteWatch;

use crate::mutex::lock;

/// What is under way when the path changes has this much time until something comes: a name server's answer, a connection that is being
/// made, an answer of an API. After that it counts as lost with the old path. To begin afresh is quicker than to wait for the system's
/// repetitions.
const GRACE: Duration = Duration::from_secs(1);

/// Follows changes of the system's routes and addresses. Clones share what they have seen.
#[derive(Debug, Clone)]
pub struct PathWatch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    routes: RouteWatch,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Whether there was a change that was not [taken](PathWatch::take_change) yet.
    has_changed: bool,
    /// The first change since something came.
    unproven_since: Option<Instant>,
}

/// How the system would make an open connection now, if it were a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketPath {
    /// As it is, or that is unknown.
    Same,
    /// It would begin at another of this machine's addresses.
    Elsewhere,
    /// The address where it begins is no longer one of this machine's: nothing will ever come on it.
    Gone,
}

impl PathWatch {
    /// None where the system does not tell.
    pub fn open() -> Option<Self> {
        let watched = Watched {
            routes: RouteWatch::open()?,
            seen: Mutex::default(),
        };
        Some(Self(Arc::new(watched)))
    }

    /// Whether there was a change since the last call. What is under way counts as begun after it.
    pub fn take_change(&self) -> bool {
        self.look();
        std::mem::take(&mut *self.seen()).has_changed
    }

    /// Takes in what the system has told.
    pub(super) fn look(&self) {
        if self.0.routes.take_change() {
            let mut seen = self.seen();
            seen.has_changed = true;
            seen.unproven_since.get_or_insert_with(Instant::now);
        }
    }

    /// Something came: whatever has changed, there is a path.
    pub(super) fn carries(&self) {
        self.seen().unproven_since = None;
    }

    /// When what is under way is given up, if nothing comes before.
    pub(super) fn gone_at(&self) -> Option<Instant> {
        self.seen().unproven_since.map(|since| since + GRACE)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.0.seen)
    }
}

/// Readable when [`take_change`](PathWatch::take_change) may say so.
impl AsFd for PathWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.routes.as_fd()
    }
}

impl SocketPath {
    /// Asks the system; nothing is sent.
    pub fn of(socket: &TcpStream) -> Self {
        let (Ok(local), Ok(peer)) = (socket.local_addr(), socket.peer_addr()) else {
            return Self::Same;
        };
        let mut begin = local;
        begin.set_port(0);
        match UdpSocket::bind(begin) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => Self::Gone,
            _ if begins_at(peer).is_some_and(|address| address.ip() != local.ip()) => {
                Self::Elsewhere
            }
            _ => Self::Same,
        }
    }
}

/// Where a new connection to there would begin; none where there is no way.
fn begins_at(peer: SocketAddr) -> Option<SocketAddr> {
    let any = if peer.is_ipv6() {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn p72_what_is_under_way_has_a_moment_after_a_change() {
        let Some(path) = PathWatch::open() else {
            return;
        };
        path.seen().unproven_since = Some(Instant::now());
        path.seen().has_changed = true;
        assert!(path.gone_at().is_some_and(|at| at > Instant::now()));
        path.carries();
        assert_eq!(path.gone_at(), None);
        assert!(path.take_change(), "it has changed all the same");
    }

    #[test]
    fn p72_a_connection_on_this_machine_is_where_it_was() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(SocketPath::of(&socket), SocketPath::Same);
    }
}
