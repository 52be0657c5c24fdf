//! What a forward is to be, before it is opened.

use std::path::PathBuf;
use std::time::Duration;

use super::Client;
use super::failure::{ClientError, ErrorKind};
use super::forward::{Destination, ForwardOptions, ForwardTarget, ListenAddress, LocalForward};
use super::forwarding::Forward;
use super::watch::bounded;
use crate::host::bare;
use crate::sanitise;

/// As many sessions as `port-forward --sessions` takes.
const MOST_SESSIONS: usize = 16;

/// A forward that is to be opened: see [`Client::forward`].
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let forward = client
///     .forward(&target)
///     .local("127.0.0.1:0")
///     .remote("db.internal", 5432)
///     .sessions(4)
///     .start()?;
/// println!("postgresql://user@{}/", forward.local_addr());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `start`"]
pub struct ForwardBuilder {
    client: Client,
    target: ForwardTarget,
    /// Those before an [`and`](Self::and).
    earlier: Vec<Pair>,
    current: Pair,
    sessions: usize,
    on_demand: bool,
    once: bool,
    wait: Option<Duration>,
    reason: Option<String>,
}

/// One local address, and where its connections go.
#[derive(Debug, Clone)]
struct Pair {
    local: Local,
    remote: Remote,
}

#[derive(Debug, Clone)]
enum Local {
    /// `HOST:PORT`.
    Text(String),
    /// On loopback of both families.
    Port(u16),
    Socket(PathBuf),
}

#[derive(Debug, Clone)]
enum Remote {
    /// Nothing was said.
    Unknown,
    Port(String, u16),
    /// Each connection names it.
    Socks,
}

impl ForwardBuilder {
    pub(super) fn new(client: &Client, target: ForwardTarget) -> Self {
        Self {
            client: client.clone(),
            target,
            earlier: Vec::new(),
            current: Pair::new(),
            sessions: 1,
            on_demand: false,
            once: false,
            wait: None,
            reason: None,
        }
    }

    /// Where to listen: an address or a name of this machine, and a port, which may be 0 for any. `127.0.0.1:0` unless it is said here.
    /// Whoever reaches the address reaches the destination.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "texts and addresses, as they come"
    )]
    pub fn local(mut self, address: impl ToString) -> Self {
        self.current.local = Local::Text(address.to_string());
        self
    }

    /// To listen on this port, 0 for any, of loopback: of IPv4, and of IPv6 where there is one.
    pub fn local_port(mut self, port: u16) -> Self {
        self.current.local = Local::Port(port);
        self
    }

    /// To listen on a socket in the file system, which only this user may use. It is removed at the end.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let port = service.local_addr()?.port();
    /// # std::thread::spawn(move || service.accept().unwrap().0.write_all(b"hello"));
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("database.sock");
    /// use std::os::unix::net::UnixStream;
    ///
    /// let forward = client.forward(&target).local_socket(&path).remote("localhost", port).start()?;
    /// let mut connection = UnixStream::connect(&path)?;
    /// let mut word = [0; 5];
    /// connection.read_exact(&mut word)?;
    /// assert_eq!(&word, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn local_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.current.local = Local::Socket(path.into());
        self
    }

    /// Where connections go: a name or an address as the target sees it, `localhost` for the target itself.
    pub fn remote(mut self, host: impl Into<String>, port: u16) -> Self {
        self.current.remote = Remote::Port(host.into(), port);
        self
    }

    /// Each connection names its destination by SOCKS5, without a password: an address, or a name that the target resolves. Sessions are
    /// started when they are needed.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// let forward = client.forward(&target).socks().start()?;
    /// println!("curl --proxy socks5h://{} http://intranet/", forward.local_addr());
    /// # let mut connection = std::net::TcpStream::connect(forward.local_addr())?;
    /// # connection.write_all(&[5, 1, 0])?;
    /// # let mut answer = [0; 2];
    /// # connection.read_exact(&mut answer)?;
    /// # assert_eq!(answer, [5, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn socks(mut self) -> Self {
        self.current.remote = Remote::Socks;
        self
    }

    /// What is said of local and remote from here on is of one more local address. See [`Forward::locals`] for an example.
    pub fn and(mut self) -> Self {
        let finished = std::mem::replace(&mut self.current, Pair::new());
        self.earlier.push(finished);
        self
    }

    /// Over how many sessions the connections to each destination are spread, 1 to 16: an agent sends 0.7 MB/s in each.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions.clamp(1, MOST_SESSIONS);
        self
    }

    /// The first session, too, is started by the first connection: [`start`](Self::start) makes no call.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let port = service.local_addr()?.port();
    /// # std::thread::spawn(move || service.accept().unwrap().0.write_all(b"hello"));
    /// let forward = client.forward(&target).remote("localhost", port).on_demand().start()?;
    /// assert_eq!(forward.statistics().sessions, 0);
    /// let mut connection = std::net::TcpStream::connect(forward.local_addr())?;
    /// # let mut word = [0; 5];
    /// connection.read_exact(&mut word)?;
    /// assert_eq!(forward.statistics().sessions, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn on_demand(mut self) -> Self {
        self.on_demand = true;
        self
    }

    /// One session, whose end is the end of the forward.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::ForwardEvent;
    ///
    /// let forward = client.forward(&target).remote("localhost", 5432).once().start()?;
    /// # sandbox.sessions().pop().unwrap().terminate("");
    /// // An administrator ends the session.
    /// let last = forward.events().last();
    /// assert!(matches!(last, Some(ForwardEvent::Ended(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// How long a target is waited for, at the beginning, that is not there or not connected. Without it that is an error at once.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = Some(bounded(time));
        self
    }

    /// Why, for the records of Session Manager.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Opens the local addresses, and waits until the first session of each destination is established.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for addresses; [`ErrorKind::Local`] for a port that is taken, with who has it; what can go wrong with
    /// StartSession; [`ErrorKind::AgentTooOld`] for agents up to 3.0.196.
    pub fn start(self) -> Result<Forward, ClientError> {
        let limit = self.client.limit_with(self.wait.unwrap_or_default());
        let forward = self.open()?;
        forward.wait_ready(&limit)?;
        Ok(forward)
    }

    /// Opens the local addresses, and waits for nothing: [`Ready`](crate::ForwardEvent::Ready) tells which can be used, and
    /// [`Ended`](crate::ForwardEvent::Ended) why they cannot. Who connects meanwhile waits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for addresses; [`ErrorKind::Local`] for a port that is taken, with who has it.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::ForwardEvent;
    ///
    /// let forward = client.forward(&target).remote("localhost", 5432).open()?;
    /// let is_ready = |event: &ForwardEvent| matches!(event, ForwardEvent::Ready { .. });
    /// assert!(forward.events().any(|event| is_ready(&event)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self) -> Result<Forward, ClientError> {
        let pairs = self.earlier.into_iter().chain([self.current]);
        let forwards: Vec<_> = pairs.map(Pair::read).collect::<Result<_, _>>()?;
        let forwarding = self
            .client
            .open_forwards(ForwardOptions {
                target: self.target,
                forwards,
                sessions: self.sessions,
                on_demand: self.on_demand,
                once: self.once,
                wait: self.wait,
                reason: self.reason,
            })
            .map_err(|error| ClientError::of(ErrorKind::Local, &error))?;
        match forwarding.locals() {
            [first, ..] => Ok(Forward::new(first.clone(), forwarding)),
            [] => Err(invalid("there is nothing to forward".to_owned())),
        }
    }
}

impl Pair {
    fn new() -> Self {
        Self {
            local: Local::Text("127.0.0.1:0".to_owned()),
            remote: Remote::Unknown,
        }
    }

    fn read(self) -> Result<LocalForward, ClientError> {
        Ok(LocalForward {
            local: match self.local {
                Local::Text(text) => listen_address(&text)?,
                Local::Port(port) => ListenAddress::Port(port, None),
                Local::Socket(path) => ListenAddress::Unix(path),
            },
            remote: match self.remote {
                Remote::Unknown => {
                    return Err(invalid("a forward needs a remote host and port".to_owned()));
                }
                Remote::Port(host, port) => {
                    let destination = Destination::new(Some(&host), port);
                    Some(destination.map_err(|error| invalid(error.to_string()))?)
                }
                Remote::Socks => None,
            },
        })
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn listen_address(text: &str) -> Result<ListenAddress, ClientError> {
    let parse = || {
        let (host, port) = text.rsplit_once(':')?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_port)?;
        let is_bare = bare(host) == host;
        let is_host = !host.is_empty() && (!is_bare || !host.contains(':'));
        is_host.then(|| ListenAddress::Port(port, Some(bare(host).to_owned())))
    };
    parse().ok_or_else(|| {
        let shown = sanitise::line_within(text, 100);
        invalid(format!("{shown:?} is no address with a port"))
    })
}

fn invalid(text: String) -> ClientError {
    ClientError::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_have_a_host_and_a_port() {
        let at = |port, host: &str| Some(ListenAddress::Port(port, Some(host.to_owned())));
        for (text, expected) in [
            ("127.0.0.1:0", at(0, "127.0.0.1")),
            ("[::1]:80", at(80, "::1")),
            ("localhost:8080", at(8080, "localhost")),
            ("::1:80", None),
            (":80", None),
            ("80", None),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:+1", None),
            ("localhost:65536", None),
        ] {
            assert_eq!(listen_address(text).ok(), expected, "{text}");
        }
    }
}
