//! What is said to a proxy before it passes bytes on: CONNECT (RFC 9110) or SOCKS 5 (RFC 1928, 1929).

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use super::connect::{ConnectError, resolve};
use super::limit::Limit;
use super::proxy::{Proxy, ProxyLogin, ProxyScheme, host_and_port};
use super::stream::NetworkStream;

/// A proxy that needs more than this to say yes is none.
const MAX_ANSWER: usize = 16 * 1024;

/// Why the proxy does not pass us on.
enum TunnelFailure {
    /// What it did, as a predicate: "the proxy … {this}".
    Said(String),
    Io(io::Error),
    /// Our own preparation (a name to be looked up) failed.
    Before(ConnectError),
}

impl From<io::Error> for TunnelFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks the proxy at the other end of `stream` for a connection to a host.
pub(super) fn open(
    stream: &mut NetworkStream,
    proxy: &Proxy,
    host: &str,
    port: u16,
    limit: &Limit,
) -> Result<(), ConnectError> {
    let login = proxy.login.as_ref();
    let stream = &mut stream.waiting(limit);
    let result = match proxy.scheme {
        ProxyScheme::Http | ProxyScheme::Https => http_connect(stream, login, host, port),
        ProxyScheme::Socks5 => match resolve(host, port, limit) {
            // Many proxies have IPv4 only, and none tells beforehand.
            Ok(addresses) => {
                let v4 = addresses.iter().find(|address| address.is_ipv4());
                let target = v4.or(addresses.first()).map(SocketAddr::ip);
                let target = target.map_or(TunnelTarget::Name(host), TunnelTarget::Address);
                socks5(stream, login, target, port)
            }
            Err(error) => Err(TunnelFailure::Before(error)),
        },
        ProxyScheme::Socks5h => {
            let target = host
                .parse()
                .map_or(TunnelTarget::Name(host), TunnelTarget::Address);
            socks5(stream, login, target, port)
        }
    };
    let name = proxy.to_string();
    let told = |reason: String| ConnectError::Proxy {
        proxy: proxy.to_string(),
        reason,
    };
    result.map_err(|failure| match failure {
        TunnelFailure::Said(reason) => told(reason),
        TunnelFailure::Before(error) => error,
        TunnelFailure::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            told("closed the connection without an answer".to_owned())
        }
        TunnelFailure::Io(error) => {
            let step = "asking it for a connection";
            match ConnectError::from_io(format!("the proxy {name}"), step, &error) {
                ConnectError::Unreachable { reason, .. } => told(format!("broke off: {reason}")),
                other => other,
            }
        }
    })
}

fn http_connect(
    stream: &mut (impl Read + Write),
    login: Option<&ProxyLogin>,
    host: &str,
    port: u16,
) -> Result<(), TunnelFailure> {
    let target = host_and_port(host, port);
    let mut request = Zeroizing::new(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: session-manager-plugin\r\n"
    ));
    if let Some(login) = login {
        request.push_str("Proxy-Authorization: ");
        request.push_str(&login.basic());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;

    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => answer.extend_from_slice(&piece[..count]),
        }
        if let Some(verdict) = judge(&answer, login.is_some()) {
            return verdict.map_err(TunnelFailure::Said);
        }
    }
}

/// What an answer to CONNECT means; nothing yet if it is not complete.
fn judge(answer: &[u8], has_login: bool) -> Option<Result<(), String>> {
    let not_http = || "answered with something that is not HTTP; is it a proxy?".to_owned();
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(answer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if answer.len() < MAX_ANSWER => return None,
        Ok(httparse::Status::Partial) | Err(_) => return Some(Err(not_http())),
    };
    let reason: String = response
        .reason
        .unwrap_or_default()
        .chars()
        .take(100)
        .collect();
    Some(match response.code.unwrap_or_default() {
        // Whoever we want to speak to speaks after us.
        200..=299 if length < answer.len() => Err(not_http()),
        200..=299 => Ok(()),
        407 if has_login => Err("did not accept the user and password in its URL (status 407)".to_owned()),
        407 => Err(
            "wants a user and a password (status 407): put them into its URL, http://user:password@host:port"
                .to_owned(),
        ),
        code => Err(format!("refused to connect us (status {code} {reason})")),
    })
}

#[derive(Clone, Copy)]
enum TunnelTarget<'a> {
    Name(&'a str),
    Address(IpAddr),
}

fn socks5(
    stream: &mut (impl Read + Write),
    login: Option<&ProxyLogin>,
    target: TunnelTarget<'_>,
    port: u16,
) -> Result<(), TunnelFailure> {
    const NO_LOGIN: u8 = 0;
    const USER_AND_PASSWORD: u8 = 2;
    let said = |text: &str| TunnelFailure::Said(text.to_owned());

    let methods: &[u8] = match login {
        Some(_) => &[5, 2, NO_LOGIN, USER_AND_PASSWORD],
        None => &[5, 1, NO_LOGIN],
    };
    stream.write_all(methods)?;
    stream.flush()?;
    let [version, method] = read(stream)?;
    if version != 5 {
        return Err(said("does not speak SOCKS 5"));
    }
    match (method, login) {
        (NO_LOGIN, _) => {}
        (USER_AND_PASSWORD, Some(login)) => {
            let mut request = Zeroizing::new(vec![1]);
            for (text, what) in [(&login.user, "user"), (&login.password, "password")] {
                let length = u8::try_from(text.len());
                let too_long = format!("takes a {what} of at most 255 bytes");
                request.push(length.map_err(|_| TunnelFailure::Said(too_long))?);
                request.extend_from_slice(text.as_bytes());
            }
            stream.write_all(&request)?;
            stream.flush()?;
            let [_, status] = read(stream)?;
            if status != 0 {
                return Err(said("did not accept the user and password in its URL"));
            }
        }
        (_, Some(_)) => return Err(said("accepts no login by user and password")),
        (_, None) => {
            return Err(said(
                "wants a login: put user and password into its URL, socks5://user:password@host:port",
            ));
        }
    }

    let mut request = vec![5, 1, 0];
    match target {
        TunnelTarget::Address(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        TunnelTarget::Address(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        TunnelTarget::Name(name) => {
            let length = u8::try_from(name.len());
            request.extend([
                3,
                length.map_err(|_| said("takes names of at most 255 bytes"))?,
            ]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request)?;
    stream.flush()?;

    let [version, status, _, kind] = read(stream)?;
    if version != 5 {
        return Err(said("answered with something that is not SOCKS 5"));
    }
    if status != 0 {
        let why = match status {
            1 => "general failure",
            2 => "its rules do not allow it",
            3 => "network unreachable",
            4 => "host unreachable",
            5 => "connection refused",
            6 => "timed out",
            7 => "it cannot open connections",
            8 => "it does not take this kind of address",
            _ => "for a reason of its own",
        };
        return Err(TunnelFailure::Said(format!("did not connect us: {why}")));
    }
    // The address that it uses is of no interest, but must be read.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(read::<1>(stream)?[0]),
        _ => return Err(said("answered with something that is not SOCKS 5")),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest)?;
    Ok(())
}

fn read<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What these bytes mean as the answers of a proxy, CONNECT's or SOCKS': for tests that answer with anything. No I/O.
///
/// # Errors
/// What the user reads.
#[doc(hidden)]
pub fn judge_answers(is_socks: bool, answers: &[u8]) -> Result<(), String> {
    struct Script<'a>(&'a [u8]);
    impl Read for Script<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Script<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut script = Script(answers);
    let result = if is_socks {
        socks5(&mut script, None, TunnelTarget::Name("host"), 443)
    } else {
        http_connect(&mut script, None, "host", 443)
    };
    result.map_err(|failure| match failure {
        TunnelFailure::Said(reason) => reason,
        TunnelFailure::Io(error) => error.to_string(),
        TunnelFailure::Before(error) => error.to_string(),
    })
}
