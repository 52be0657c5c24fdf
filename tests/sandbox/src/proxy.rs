//! Proxies: CONNECT and SOCKS5, with and without a password, and some that do not work.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::{Response, read_request};
use crate::record::Event;
use crate::sandbox::Shared;
use crate::threads::Threads;

/// What a proxy is like.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Which protocol it speaks.
    pub kind: ProxyKind,
    /// User and password that it wants.
    pub login: Option<(String, String)>,
    /// How it behaves.
    pub behaviour: ProxyBehaviour,
    /// Names that it resolves to other addresses than the system does, with their ports: `("ssmmessages.….amazonaws.com", address)`.
    pub names: Vec<(String, SocketAddr)>,
}

impl ProxyConfig {
    /// One that works.
    pub fn new(kind: ProxyKind) -> Self {
        Self {
            kind,
            login: None,
            behaviour: ProxyBehaviour::Work,
            names: Vec::new(),
        }
    }
}

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT.
    Connect,
    /// HTTP CONNECT, the connection to the proxy being TLS with a certificate of the sandbox's authority.
    ConnectOverTls,
    /// SOCKS, version 5.
    Socks5,
}

/// How a proxy behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyBehaviour {
    /// As it should.
    Work,
    /// Says no: 403, or SOCKS reply 2.
    Refuse,
    /// Reads, and never answers.
    Hang,
    /// Answers with bytes that are of no protocol.
    NotHttp,
    /// Ends the connection instead of answering.
    Close,
}

/// Starts a proxy.
pub(crate) fn start(config: ProxyConfig, shared: &Arc<Shared>) -> io::Result<SocketAddr> {
    let weak = Arc::downgrade(shared);
    shared.threads.listen("proxy", move |socket| {
        if let Some(shared) = weak.upgrade() {
            let _ = serve(socket, &config, &shared);
        }
    })
}

/// A client's connection, in the clear or not.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn serve(socket: TcpStream, config: &ProxyConfig, shared: &Shared) -> io::Result<()> {
    let _watch = shared.threads.watch(&socket)?;
    let mut stream: Box<dyn Stream> = match config.kind {
        ProxyKind::ConnectOverTls => {
            let accepted = shared.certificates.acceptor().accept(socket.try_clone()?);
            Box::new(accepted.map_err(|error| io::Error::other(error.to_string()))?)
        }
        ProxyKind::Connect | ProxyKind::Socks5 => Box::new(socket.try_clone()?),
    };
    let asked = match config.kind {
        ProxyKind::Socks5 => socks_request(&mut stream, config)?,
        _ => connect_request(&mut stream, config)?,
    };
    let mut outcome = asked.refused.clone();
    let mut target = None;
    if outcome.is_none() {
        match config.behaviour {
            ProxyBehaviour::Work => match dial(&asked.destination, config) {
                Ok(connection) => target = Some(connection),
                Err(error) => outcome = Some(error.to_string()),
            },
            other => outcome = Some(format!("{other:?}")),
        }
    }
    shared.journal.note(Event::Proxy {
        kind: match config.kind {
            ProxyKind::Socks5 => "socks5",
            _ => "connect",
        },
        destination: asked.destination.clone(),
        user: asked.user.clone(),
        outcome: outcome.unwrap_or_else(|| "connected".into()),
    });
    match config.behaviour {
        ProxyBehaviour::Hang => wait_for_the_end(&shared.threads),
        ProxyBehaviour::NotHttp => stream.write_all(b"\x16\x00 what is this?\r\n\r\n")?,
        ProxyBehaviour::Close => {}
        ProxyBehaviour::Work | ProxyBehaviour::Refuse => {
            answer(&mut stream, config, &asked, target.is_some())?;
            if let Some(target) = target {
                relay(stream, &socket, target, config, shared)?;
            }
        }
    }
    Ok(())
}

fn wait_for_the_end(threads: &Threads) {
    let (sender, receiver) = mpsc::channel();
    let _hook = threads.on_stop(move || {
        let _ = sender.send(());
    });
    let _ = receiver.recv();
}

/// What a client wants.
struct Asked {
    destination: String,
    user: Option<String>,
    /// Why it cannot have it.
    refused: Option<String>,
}

fn connect_request(stream: &mut impl Read, config: &ProxyConfig) -> io::Result<Asked> {
    let (request, _) = read_request(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let login = request
        .header("proxy-authorization")
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|value| STANDARD.decode(value).ok())
        .and_then(|value| String::from_utf8(value).ok());
    let login = login
        .as_deref()
        .and_then(|login| login.split_once(':'))
        .map(|(user, password)| (user.to_owned(), password.to_owned()));
    let user = login.as_ref().map(|(user, _)| user.clone());
    let refused = if request.method != "CONNECT" {
        Some(format!("method {}", request.method))
    } else if config.login.is_some() && config.login != login {
        Some("password".into())
    } else {
        None
    };
    Ok(Asked {
        destination: request.target,
        user,
        refused,
    })
}

fn read<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_text(stream: &mut impl Read) -> io::Result<String> {
    let [length] = read(stream)?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// RFC 1928 and 1929.
fn socks_request(stream: &mut (impl Read + Write), config: &ProxyConfig) -> io::Result<Asked> {
    const NONE: u8 = 0;
    const PASSWORD: u8 = 2;
    const NOTHING: u8 = 0xff;
    let refused = |why: &str| Asked {
        destination: String::new(),
        user: None,
        refused: Some(why.into()),
    };
    let [version, count] = read(stream)?;
    let mut methods = vec![0; count.into()];
    stream.read_exact(&mut methods)?;
    if version != 5 {
        return Ok(refused("not SOCKS 5"));
    }
    if matches!(
        config.behaviour,
        ProxyBehaviour::Hang | ProxyBehaviour::NotHttp | ProxyBehaviour::Close
    ) {
        return Ok(refused("as the test wants it"));
    }
    let method = if config.login.is_some() {
        PASSWORD
    } else {
        NONE
    };
    if !methods.contains(&method) {
        stream.write_all(&[5, NOTHING])?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.write_all(&[5, method])?;
    let mut user = None;
    if method == PASSWORD {
        let [_] = read(stream)?;
        let login = (read_text(stream)?, read_text(stream)?);
        user = Some(login.0.clone());
        let right = config.login == Some(login);
        stream.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    let [_, command, _, kind] = read(stream)?;
    let host = match kind {
        1 => Ipv4Addr::from(read::<4>(stream)?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(read::<16>(stream)?)),
        _ => read_text(stream)?,
    };
    let port = u16::from_be_bytes(read(stream)?);
    Ok(Asked {
        destination: format!("{host}:{port}"),
        user,
        refused: (command != 1).then(|| "not CONNECT".into()),
    })
}

fn dial(destination: &str, config: &ProxyConfig) -> io::Result<TcpStream> {
    let host = destination.rsplit_once(':').map_or(destination, |it| it.0);
    if let Some((_, address)) = config.names.iter().find(|(name, _)| name == host) {
        return TcpStream::connect(address);
    }
    let addresses: Vec<SocketAddr> = destination.to_socket_addrs()?.collect();
    // The sandbox never leaves this machine.
    if addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(io::Error::other("not on this machine"));
    }
    TcpStream::connect(&addresses[..])
}

fn answer(
    stream: &mut impl Write,
    config: &ProxyConfig,
    asked: &Asked,
    connected: bool,
) -> io::Result<()> {
    if config.kind == ProxyKind::Socks5 {
        let reply = match (connected, config.behaviour) {
            (true, _) => 0,
            (false, ProxyBehaviour::Refuse) => 2,
            (false, _) => 5,
        };
        return stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    if connected {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        return stream.flush();
    }
    let status = match (asked.refused.as_deref(), config.behaviour) {
        (Some("password"), _) => 407,
        (Some(_), _) => 405,
        (None, ProxyBehaviour::Refuse) => 403,
        (None, _) => 502,
    };
    let mut response = Response::new(status, "text/plain", "no");
    if status == 407 {
        let challenge = "Basic realm=\"sandbox\"".to_owned();
        response
            .headers
            .push(("Proxy-Authenticate".into(), challenge));
    }
    response.write(stream)
}

/// Copies in both directions until either ends.
fn relay(
    stream: Box<dyn Stream>,
    socket: &TcpStream,
    target: TcpStream,
    config: &ProxyConfig,
    shared: &Shared,
) -> io::Result<()> {
    let _ = target.set_nodelay(true);
    let _ = socket.set_nodelay(true);
    let _watch = shared.threads.watch(&target)?;
    if config.kind == ProxyKind::ConnectOverTls {
        return relay_in_turns(stream, socket, target);
    }
    let (mut up, mut down) = (socket.try_clone()?, socket.try_clone()?);
    let (mut target_in, mut target_out) = (target.try_clone()?, target);
    shared.threads.spawn("proxy", move || {
        let _ = io::copy(&mut up, &mut target_out);
        let _ = target_out.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut target_in, &mut down);
    let _ = down.shutdown(Shutdown::Both);
    Ok(())
}

/// A TLS connection cannot be used from two threads: whoever has something is served.
fn relay_in_turns(
    mut stream: Box<dyn Stream>,
    socket: &TcpStream,
    mut target: TcpStream,
) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut buffer = vec![0; 16 << 10];
    loop {
        let mut descriptors = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&target, PollFlags::IN),
        ];
        poll(&mut descriptors, None)?;
        let ready = [0, 1].map(|index| !descriptors[index].revents().is_empty());
        if ready[0] {
            // One record at a time fits into the buffer, so nothing is left inside TLS.
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            target.write_all(&buffer[..count])?;
        }
        if ready[1] {
            let count = target.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count])?;
            stream.flush()?;
        }
    }
}
