//! Port sessions: bytes between local programs and a port over there.
//!
//! | properties | agent | mode |
//! |---|---|---|
//! | `type` is `LocalPortForwarding` | above 3.0.196.0 | [`mux`]: many local connections at a time |
//! | `type` is `LocalPortForwarding` | any other | [`basic`]: one local connection after the other |
//! | anything else: SSH | any | [`stdio`]: stdin and stdout carry the bytes |

mod accept;
mod basic;
mod connection;
mod ended_early;
mod events;
mod listen;
mod listening;
mod multiplexer;
mod mux;
mod mux_event;
mod outgoing;
mod port_poll;
mod reactor;
mod socket;
mod stdio;
mod version;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::asked::LOCAL_PORT_FORWARDING;
use super::{Ending, Leaving, RemoteEnd, SessionContext, SessionOutcome, Stage};
use crate::datachannel::Started;
use crate::error::Error;
use listening::ListenMode;
pub(crate) use listening::raise_open_files;

pub(crate) use accept::Acceptor;
pub(crate) use ended_early::EndedEarly;
#[allow(unreachable_pub, reason = "the library shows it")]
pub use listen::ListenAddress;
pub(crate) use listen::{BindError, Bound, Listener};
pub(crate) use multiplexer::Multiplexer;
pub(crate) use mux_event::MuxEvent;
pub(crate) use port_poll::{PortPoll, WAKER};
pub(crate) use socket::{Peer, Socket, Unread};
pub(crate) use version::{can_multiplex, wants_keepalive};

/// Whether stdout carries the session's bytes, so that nothing of ours may go there.
pub(crate) fn uses_stdout(started: &Started) -> bool {
    property(&started.properties, "type") != LOCAL_PORT_FORWARDING
}

/// Runs the session until it ends, here or over there.
///
/// # Errors
/// When threads or descriptors are not to be had.
pub(crate) fn run(context: &SessionContext, started: &Started) -> Result<SessionOutcome, Error> {
    let agent = &started.agent_version;
    let remote_end = if version::knows_terminate_flag(agent) {
        RemoteEnd::Flag
    } else {
        RemoteEnd::Api
    };
    if uses_stdout(started) {
        return stdio::run(context, remote_end);
    }
    let listening = if version::can_multiplex(agent) {
        ListenMode::Many {
            keepalive: version::wants_keepalive(agent),
        }
    } else {
        ListenMode::One
    };
    match place(&started.properties, context.settings.local_host.clone()) {
        Ok(place) => listening::run(context, &place, listening, remote_end),
        Err(error) => {
            let ending = Ending::Left(Leaving::Failed(error), remote_end);
            Ok(SessionOutcome::new(ending, Stage::Silent))
        }
    }
}

fn property<'a>(properties: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    properties.get(name).map_or("", String::as_str)
}

/// Where to listen.
fn place(
    properties: &BTreeMap<String, String>,
    local_host: Option<String>,
) -> Result<ListenAddress, Error> {
    if property(properties, "localConnectionType") == "unix" {
        return match property(properties, "localUnixSocket") {
            "" => Err(Error::Start(
                "localConnectionType is unix, but localUnixSocket is empty: name the socket there"
                    .to_owned(),
            )),
            path => Ok(ListenAddress::Unix(PathBuf::from(path))),
        };
    }
    let port = match property(properties, "localPortNumber") {
        "" => 0,
        text => text.parse().map_err(|_| {
            Error::Start(format!(
                "localPortNumber is {text:?}, which is no port: it must be a number up to 65535, 0 or nothing for any"
            ))
        })?,
    };
    Ok(ListenAddress::Port(port, local_host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<const N: usize>(properties: [(&str, &str); N]) -> Result<ListenAddress, Error> {
        let properties = properties
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        place(&properties, None)
    }

    #[test]
    fn the_properties_say_where_to_listen() {
        assert_eq!(of([]), Ok(ListenAddress::Port(0, None)));
        assert_eq!(
            of([("localPortNumber", "")]),
            Ok(ListenAddress::Port(0, None))
        );
        assert_eq!(
            of([("localPortNumber", "0")]),
            Ok(ListenAddress::Port(0, None))
        );
        assert_eq!(
            of([("localPortNumber", "65535"), ("localUnixSocket", "/x")]),
            Ok(ListenAddress::Port(65535, None))
        );
        assert_eq!(
            of([("localConnectionType", "unix"), ("localUnixSocket", "a b")]),
            Ok(ListenAddress::Unix("a b".into()))
        );
    }

    #[test]
    fn unusable_properties_are_named() {
        for (properties, name) in [
            (("localPortNumber", "65536"), "localPortNumber"),
            (("localPortNumber", "http"), "localPortNumber"),
            (("localConnectionType", "unix"), "localUnixSocket"),
        ] {
            let error = of([properties]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
