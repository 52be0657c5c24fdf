//! A TCP connection to a host: names looked up, addresses tried in the manner of RFC 8305, through a proxy where there is one.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use log::debug;
use rustix::event::{PollFd, PollFlags};

use super::limit::{Limit, Stop};
use super::proxy::host_and_port;
use crate::error::Meaning;

/// How long one address may try alone before the next is tried beside it (RFC 8305, section 5: "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// When all addresses are tried and none has answered for so long, they are tried afresh: the system repeats what got no answer ever more
/// rarely, and a path that is there again would not be seen for seconds.
const AFRESH: Duration = Duration::from_secs(1);
/// Attempts at a time; of more the oldest are given up.
const MOST_ATTEMPTS: usize = 8;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error(
        "no address was found for {host}: {reason}; check the name, and the network's name servers"
    )]
    NotFound {
        /// What was looked up.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// Somebody is there, but does not listen.
    #[error("{to} refused the connection")]
    Refused {
        /// Host and port.
        to: String,
    },
    /// No way there.
    #[error("{to} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        to: String,
        /// The system's words.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("{to} did not answer in time ({step})")]
    TimedOut {
        /// Host and port, or the host.
        to: String,
        /// What was under way.
        step: &'static str,
    },
    /// The proxy was reached and did not do as asked.
    #[error("the proxy {proxy} {reason}")]
    Proxy {
        /// Its URL without user and password, and the variable that named it.
        proxy: String,
        /// What it did.
        reason: String,
    },
    /// The proxy itself could not be reached.
    #[error("the proxy {proxy} cannot be used: {error}")]
    ProxyUnreachable {
        /// Its URL without user and password, and the variable that named it.
        proxy: String,
        /// What went wrong on the way to it.
        error: Box<ConnectError>,
    },
    /// No TLS with the host.
    #[error(
        "TLS with {host} failed: {reason}; where a proxy or gateway has a certificate authority of its own, name it in AWS_CA_BUNDLE"
    )]
    Tls {
        /// Whom we spoke to.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// The host's certificate is not accepted.
    #[error(
        "TLS with {host} failed: its certificate is not accepted: {reason}; {}",
        certificate_advice(reason)
    )]
    Certificate {
        /// Whom we spoke to.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The trusted roots cannot be had.
    #[error("{0}")]
    Trust(String),
    /// The caller gave up.
    #[error("the connection was given up")]
    Cancelled,
}

/// What to do about a certificate that is not accepted, by OpenSSL's reason.
fn certificate_advice(reason: &str) -> &'static str {
    if is_about_time(reason) {
        "is this machine's clock right?"
    } else {
        "where a proxy or gateway has a certificate authority of its own, name it in AWS_CA_BUNDLE"
    }
}

fn is_about_time(reason: &str) -> bool {
    reason.contains("expired") || reason.contains("not yet valid")
}

impl ConnectError {
    /// Whether the host's certificate is not accepted because of its time. A clock that is wrong has that effect.
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Certificate { reason, .. } if is_about_time(reason))
    }

    /// What it means for an API call: networks come back, roots that cannot be had do not.
    pub const fn meaning(&self) -> Meaning {
        match self {
            Self::Trust(_) => Meaning::Denied,
            _ => Meaning::Temporary,
        }
    }

    /// Puts a failure of I/O with `to` into words.
    pub(super) fn from_io(to: String, step: &'static str, error: &io::Error) -> Self {
        match Stop::of(error) {
            Some(Stop::Cancelled) => return Self::Cancelled,
            Some(Stop::TimedOut) => return Self::TimedOut { to, step },
            None => {}
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { to },
            io::ErrorKind::TimedOut => Self::TimedOut { to, step },
            _ => Self::Unreachable {
                to,
                reason: plain(error),
            },
        }
    }
}

/// The system's words without Rust's "(os error 101)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Refuses names that no host can have: with an empty part before, between or instead of the others. To OpenSSL a name that begins
/// with a dot stands for every name that ends so (P91). The dot at the end of a full name is not meant.
pub(super) fn check_name(host: &str) -> Result<(), ConnectError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.split('.').any(str::is_empty) {
        return Err(ConnectError::NotFound {
            host: host.to_owned(),
            reason: "no part of a name can be empty".to_owned(),
        });
    }
    Ok(())
}

/// Connects to a host without any proxy.
///
/// The socket is non-blocking, with `TCP_NODELAY`.
pub(super) fn connect(host: &str, port: u16, limit: &Limit) -> Result<TcpStream, ConnectError> {
    check_name(host)?;
    let addresses = resolve(host, port, limit)?;
    let to = host_and_port(host, port);
    let socket = race(&addresses, limit)
        .map_err(|error| ConnectError::from_io(to.clone(), "connecting", &error))?;
    socket
        .set_nodelay(true)
        .map_err(|error| ConnectError::from_io(to, "connecting", &error))?;
    Ok(socket)
}

/// A host's addresses in the order in which to try them.
///
/// The system's look-up can neither be interrupted nor given a deadline, so it runs in a thread; one that is given up ends by
/// itself when the system's own time limit (some seconds for each name server) is over.
pub(super) fn resolve(
    host: &str,
    port: u16,
    limit: &Limit,
) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |error: &io::Error| match Stop::of(error) {
        Some(Stop::Cancelled) => ConnectError::Cancelled,
        Some(Stop::TimedOut) => ConnectError::TimedOut {
            to: host.to_owned(),
            step: "looking up its address",
        },
        None => ConnectError::NotFound {
            host: host.to_owned(),
            reason: plain(error),
        },
    };
    let (sender, answer) = bounded(1);
    // Its end of the pair closes when the thread is done: that is something to poll for, beside the limit.
    let (done, thread_is_done) = UnixStream::pair().map_err(|error| failed(&error))?;
    let name = host.to_owned();
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            let addresses = (name.as_str(), port).to_socket_addrs();
            // Nobody listens any more when the limit came first.
            let _ = sender.send(addresses.map(|addresses| addresses.collect::<Vec<_>>()));
            drop(thread_is_done);
        })
        .map_err(|error| failed(&error))?;
    limit
        .wait(done.as_fd(), PollFlags::IN)
        .map_err(|error| failed(&error))?;
    let addresses = match answer.try_recv() {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => return Err(failed(&io::Error::other("the look-up broke off"))),
    };
    if addresses.is_empty() {
        return Err(failed(&io::Error::other("it has none")));
    }
    Ok(interleave(addresses))
}

/// Families in turn, beginning with the one that the system put first (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut result = Vec::new();
    for address in first {
        result.push(address);
        result.extend(second.next());
    }
    result.extend(second);
    result
}

/// Connects to whichever address answers first; the others are closed.
fn race(addresses: &[SocketAddr], limit: &Limit) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts: Vec<mio::net::TcpStream> = Vec::new();
    let mut failure: Option<io::Error> = None;
    let mut next_attempt = Instant::now();
    let mut all_are_tried = false;
    loop {
        if Instant::now() >= next_attempt || attempts.is_empty() {
            match waiting.next() {
                Some(address) => {
                    debug!("connecting to {address}");
                    if attempts.len() == MOST_ATTEMPTS {
                        attempts.remove(0);
                    }
                    match mio::net::TcpStream::connect(*address) {
                        Ok(socket) => {
                            attempts.push(socket);
                            next_attempt = Instant::now() + ATTEMPT_DELAY;
                        }
                        Err(error) => failure = Some(worse(failure, error)),
                    }
                    continue;
                }
                None if attempts.is_empty() => {
                    let nothing = || io::Error::other("there is no address to try");
                    return Err(failure.unwrap_or_else(nothing));
                }
                None => {
                    all_are_tried = true;
                    waiting = addresses.iter();
                    next_attempt = Instant::now() + AFRESH - ATTEMPT_DELAY;
                }
            }
        }
        let mut descriptors: Vec<PollFd<'_>> = attempts
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::OUT))
            .collect();
        let time = next_attempt.saturating_duration_since(Instant::now());
        limit.poll(&mut descriptors, Some(time))?;
        let ready = descriptors
            .iter()
            .position(|descriptor| !descriptor.revents().is_empty());
        let Some(ready) = ready else { continue };
        let socket = attempts.swap_remove(ready);
        match socket.take_error() {
            Ok(None) if socket.peer_addr().is_ok() => return Ok(socket.into()),
            Ok(None) => attempts.push(socket),
            Ok(Some(error)) | Err(error) => {
                debug!("not connected: {error}");
                if all_are_tried && attempts.is_empty() {
                    return Err(worse(failure, error));
                }
                failure = Some(worse(failure, error));
                // The next address need not wait any longer.
                next_attempt = Instant::now();
            }
        }
    }
}

/// Of two failures the one that tells the user more: that a host refuses says more than that a family has no route.
fn worse(before: Option<io::Error>, now: io::Error) -> io::Error {
    match before {
        Some(before) if before.kind() == io::ErrorKind::ConnectionRefused => before,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn limit() -> Limit {
        Limit::within(Duration::from_secs(20))
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            let parsed = list.iter().map(|one| one.parse().unwrap());
            parsed.collect()
        };
        let sorted = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let expected = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(interleave(sorted), expected);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }

    #[test]
    fn localhost_is_reached_whichever_family_listens() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue; // a machine without IPv6
            };
            let port = listener.local_addr().unwrap().port();
            let addresses: [SocketAddr; 2] = [
                SocketAddr::new("::1".parse().unwrap(), port),
                SocketAddr::new("127.0.0.1".parse().unwrap(), port),
            ];
            let socket = race(&addresses, &limit()).unwrap();
            assert_eq!(socket.peer_addr().unwrap(), listener.local_addr().unwrap());
        }
    }

    #[test]
    fn p25_a_closed_port_is_refused_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = connect("127.0.0.1", port, &limit()).unwrap_err();
        let to = format!("127.0.0.1:{port}");
        assert_eq!(error, ConnectError::Refused { to });
    }

    #[test]
    fn an_unknown_name_is_told() {
        // RFC 6761: never exists, whatever the name server.
        let short = Limit::within(Duration::from_secs(5));
        let error = connect("nowhere.invalid", 1, &short).unwrap_err();
        assert!(error.to_string().contains("nowhere.invalid"), "{error}");
    }

    #[test]
    fn a_deadline_in_the_past_ends_at_once() {
        let limit = Limit::until(Instant::now());
        let error = connect("192.0.2.1", 1, &limit).unwrap_err();
        assert!(
            matches!(
                error,
                ConnectError::TimedOut { .. } | ConnectError::Unreachable { .. }
            ),
            "{error}"
        );
    }
}
