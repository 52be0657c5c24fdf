//! `port-forward`: what is forwarded where.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::Args;

use super::connection::TargetOptions;
use super::cp::sessions;
use crate::client::forward::{Destination, LocalForward};
use crate::error::Error;
use crate::host::bare;
use crate::session::port::ListenAddress;

/// What `port-forward` is told.
#[derive(Debug, Args)]
#[command(after_help = "\
FORWARD is REMOTE, :REMOTE (any free local port), LOCAL:REMOTE, LOCAL:HOST:REMOTE, BIND:LOCAL:HOST:REMOTE or /path/of.sock:HOST:REMOTE;
addresses of IPv6 stand in brackets. A forward outlives its session: when that ends, its connections are closed, and the next one
starts another.

Examples:
  session-manager-plugin port-forward --target web-1 8080:80 5432:db.internal:5432 -D 1080
  session-manager-plugin port-forward --target web-1 :db.internal:5432 -- psql -h 127.0.0.1 -p {port}")]
pub struct PortForward {
    /// Where.
    #[command(flatten)]
    pub connection: TargetOptions,
    /// A host that the target reaches, for each FORWARD that names none; the target itself without it
    #[arg(long, value_parser = host)]
    host: Option<String>,
    /// What to forward; any number of them
    #[arg(value_name = "FORWARD", value_parser = spec)]
    forwards: Vec<Spec>,
    /// The same, as ssh has it
    #[arg(short = 'L', value_name = "FORWARD", value_parser = spec)]
    local_forwards: Vec<Spec>,
    // No comment of documentation, in which the brackets would be a link.
    #[arg(
        short = 'D',
        value_name = "[BIND:]PORT",
        value_parser = socks,
        help = "A SOCKS5 proxy, whose connections go wherever the target reaches: [BIND:]PORT"
    )]
    socks: Vec<ListenAddress>,
    /// Spread the connections of each forward over so many sessions; one session downloads 0.7 MB/s at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = sessions)]
    sessions: usize,
    /// End with the first session, as the AWS CLI does
    #[arg(long)]
    once: bool,
    /// Start the first session, too, when somebody connects
    #[arg(long)]
    pub on_demand: bool,
    /// One JSON object a line: ready, session, connection, reconnecting, reconnected, error, end
    #[arg(long)]
    pub json: bool,
    /// Neither notices nor a status line
    #[arg(long, short)]
    pub quiet: bool,
    /// Run this while the forwards are up, with {port}, {host}, {port1}, {port2}… replaced; its exit code is ours
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// One FORWARD.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spec {
    local: ListenAddress,
    host: Option<String>,
    remote: u16,
}

impl PortForward {
    /// What is to be forwarded. `local_host` is where to listen if nothing else is said, instead of loopback.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is nothing, or cannot be.
    pub fn forwards(&self, local_host: Option<&str>) -> Result<Vec<LocalForward>, Error> {
        let elsewhere = |local: &ListenAddress| match local {
            ListenAddress::Port(port, None) => {
                ListenAddress::Port(*port, local_host.map(str::to_owned))
            }
            other => other.clone(),
        };
        let usage = |error: String| Error::Usage(error);
        let mut forwards = Vec::new();
        for spec in self.specs() {
            let host = spec.host.as_deref().or(self.host.as_deref());
            let remote =
                Destination::new(host, spec.remote).map_err(|error| usage(error.to_string()))?;
            forwards.push(LocalForward {
                local: elsewhere(&spec.local),
                remote: Some(remote),
            });
        }
        for local in &self.socks {
            // A proxy for everybody is only for who asks for it.
            forwards.push(LocalForward {
                local: local.clone(),
                remote: None,
            });
        }
        if forwards.is_empty() {
            return Err(usage(
                "nothing to forward: give a FORWARD, or -D".to_owned(),
            ));
        }
        Ok(forwards)
    }

    fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.forwards.iter().chain(&self.local_forwards)
    }

    /// Over how many sessions the connections of each forward are spread.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Whether the first session's end is the end.
    pub const fn is_once(&self) -> bool {
        self.once
    }

    /// The host, the local and the remote port of the only session, where it is just what the AWS CLI would do: its texts and its end are
    /// those of the contract.
    pub(super) fn as_session(&self) -> Option<(Option<&str>, u16, u16)> {
        self.only_forward().filter(|_| self.once)
    }

    /// Whether one session by the contract could take its place: an old agent can do no more.
    pub fn can_be_session(&self) -> bool {
        self.only_forward().is_some()
    }

    /// The same as one session, that ends with it.
    pub(super) fn into_once(self) -> Self {
        Self { once: true, ..self }
    }

    fn only_forward(&self) -> Option<(Option<&str>, u16, u16)> {
        let is_plain = !self.on_demand
            && !self.json
            && !self.quiet
            && self.sessions == 1
            && self.command.is_empty()
            && self.socks.is_empty();
        let mut specs = self.specs();
        let (Some(spec), None) = (specs.next(), specs.next()) else {
            return None;
        };
        let ListenAddress::Port(local, None) = spec.local else {
            return None;
        };
        let host = spec.host.as_deref().or(self.host.as_deref());
        is_plain.then_some((host, local, spec.remote))
    }
}

fn port(digits: &str) -> Result<u16, String> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|_| is_plain);
    port.ok_or_else(|| {
        let is_udp = digits
            .split('/')
            .any(|part| part.eq_ignore_ascii_case("udp"));
        let why = if is_udp {
            ": Session Manager forwards TCP only"
        } else {
            ""
        };
        format!(
            "{:?} is no port{why}",
            crate::sanitise::line_within(digits, 100)
        )
    })
}

/// Any free one where nothing is said.
fn local_port(digits: &str) -> Result<u16, String> {
    if digits.is_empty() {
        Ok(0)
    } else {
        port(digits)
    }
}

pub(super) fn remote_port(digits: &str) -> Result<u16, String> {
    match port(digits)? {
        0 => Err("the remote port cannot be 0".to_owned()),
        port => Ok(port),
    }
}

fn host(text: &str) -> Result<String, String> {
    // The port does not matter for whether it is one.
    Destination::new(Some(text), 1).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// The address to listen on, without brackets; `*` is any.
fn bind_host(text: &str) -> Result<String, String> {
    let bare = bare(text);
    let is_right = bare != text || !bare.contains(':');
    match bare {
        "*" => Ok("0.0.0.0".to_owned()),
        "" => Err("the local address is empty".to_owned()),
        _ if is_right && (bare == text || bare.parse::<Ipv6Addr>().is_ok()) => Ok(bare.to_owned()),
        _ => Err(format!("{text:?} is no address")),
    }
}

/// The parts between colons that stand in no brackets.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut is_inside) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => is_inside = true,
            b']' => is_inside = false,
            b':' if !is_inside => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn spec(text: &str) -> Result<Spec, String> {
    let parts = parts(text);
    if text.starts_with(['/', '.']) {
        return socket(&parts);
    }
    let (local, host_of, remote) = match parts.as_slice() {
        [remote] => (ListenAddress::Port(0, None), None, *remote),
        [local, remote] => (ListenAddress::Port(local_port(local)?, None), None, *remote),
        [local, host, remote] => (
            ListenAddress::Port(local_port(local)?, None),
            Some(*host),
            *remote,
        ),
        [bind, local, host, remote] => (
            ListenAddress::Port(local_port(local)?, Some(bind_host(bind)?)),
            Some(*host),
            *remote,
        ),
        _ => {
            return Err(
                "it must be REMOTE, LOCAL:REMOTE, LOCAL:HOST:REMOTE or BIND:LOCAL:HOST:REMOTE"
                    .to_owned(),
            );
        }
    };
    Ok(Spec {
        local,
        host: host_of.map(host).transpose()?,
        remote: remote_port(remote)?,
    })
}

/// `/path/of.sock:HOST:REMOTE`, or without HOST. A path may have colons itself, where HOST is there.
fn socket(parts: &[&str]) -> Result<Spec, String> {
    let (path, host_of, remote) = match parts {
        [path, remote] => ((*path).to_owned(), None, *remote),
        [path @ .., host, remote] if !path.is_empty() => (path.join(":"), Some(*host), *remote),
        _ => return Err("it must be /path/of.sock:HOST:REMOTE".to_owned()),
    };
    Ok(Spec {
        local: ListenAddress::Unix(PathBuf::from(path)),
        host: host_of.map(host).transpose()?,
        remote: remote_port(remote)?,
    })
}

fn socks(text: &str) -> Result<ListenAddress, String> {
    match parts(text).as_slice() {
        [port] => Ok(ListenAddress::Port(local_port(port)?, None)),
        [bind, port] => Ok(ListenAddress::Port(
            local_port(port)?,
            Some(bind_host(bind)?),
        )),
        _ => Err("it must be PORT or BIND:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16, bind: Option<&str>) -> ListenAddress {
        ListenAddress::Port(port, bind.map(str::to_owned))
    }

    #[test]
    fn forwards_have_many_forms() {
        for (text, local, host, remote) in [
            ("80", at(0, None), None, 80),
            (":80", at(0, None), None, 80),
            ("0:80", at(0, None), None, 80),
            ("8080:80", at(8080, None), None, 80),
            ("5432:db:5433", at(5432, None), Some("db"), 5433),
            (":db:5433", at(0, None), Some("db"), 5433),
            (
                "5432:[fd00::7]:5433",
                at(5432, None),
                Some("[fd00::7]"),
                5433,
            ),
            ("127.0.0.2:1:db:2", at(1, Some("127.0.0.2")), Some("db"), 2),
            (
                "[::1]:1:[fd00::7]:2",
                at(1, Some("::1")),
                Some("[fd00::7]"),
                2,
            ),
            ("*:1:db:2", at(1, Some("0.0.0.0")), Some("db"), 2),
            (
                "/run/a.sock:db:2",
                ListenAddress::Unix("/run/a.sock".into()),
                Some("db"),
                2,
            ),
            (
                "./a.sock:2",
                ListenAddress::Unix("./a.sock".into()),
                None,
                2,
            ),
            (
                "/a:b:db:2",
                ListenAddress::Unix("/a:b".into()),
                Some("db"),
                2,
            ),
        ] {
            let expected = Spec {
                local,
                host: host.map(str::to_owned),
                remote,
            };
            assert_eq!(spec(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            ":",
            "80:",
            "x:80",
            "80:0",
            "0",
            "1:65536",
            "1:a b:2",
            "1:2:3:4:5",
            "::1:80",
            "/a",
            ":1:db:2",
            "[x]:1:db:2",
            "+1",
        ] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn socks_listens_on_loopback_unless_told_otherwise() {
        assert_eq!(socks("1080"), Ok(at(1080, None)));
        assert_eq!(socks("*:1080"), Ok(at(1080, Some("0.0.0.0"))));
        assert_eq!(socks("[::1]:0"), Ok(at(0, Some("::1"))));
        for bad in ["x", "1:2:3", ":1080"] {
            assert!(socks(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[0-9a-z:\\[\\]./*é]{0,24}") {
            let _ = (spec(&text), socks(&text));
        }
    }
}
