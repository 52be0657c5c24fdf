//! What our own commands asked for, and whether the session that the agent speaks of is that (P85).
//!
//! The agent names the session's type, the local port and the socket. Whoever asked for a command must not give its stdin to a shell, and
//! who asked for one port must not open another.

use std::collections::BTreeMap;

use crate::datachannel::{SessionType, Started};
use crate::error::Error;
use crate::sanitise;

/// The `type` of port sessions that listen; all others carry stdin and stdout.
pub(super) const LOCAL_PORT_FORWARDING: &str = "LocalPortForwarding";

/// What StartSession was called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    kind: DocumentKind,
    /// The document's parameters, the first value of each.
    parameters: BTreeMap<String, String>,
}

/// What the document makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DocumentKind {
    /// A shell or a command on a pty. Agents make no handshake for either, so that they cannot be told apart.
    Pty,
    /// A command without a pty.
    Command,
    /// A port that listens on a local one.
    Port,
    /// A port that listens on a socket in the file system.
    Socket,
    /// A port for stdin and stdout.
    Stdio,
    /// What only its author knows.
    Unknown,
}

impl Asked {
    /// A document, a shell without it, and its parameters.
    pub(crate) fn new(document: Option<&str>, parameters: &BTreeMap<String, Vec<String>>) -> Self {
        let mut first = BTreeMap::new();
        for (name, values) in parameters {
            if let Some(value) = values.first() {
                first.insert(name.clone(), value.clone());
            }
        }
        Self {
            kind: match document.unwrap_or("SSM-SessionManagerRunShell") {
                "SSM-SessionManagerRunShell" | "AWS-StartInteractiveCommand" => DocumentKind::Pty,
                "AWS-StartNonInteractiveCommand" => DocumentKind::Command,
                "AWS-StartPortForwardingSession" | "AWS-StartPortForwardingSessionToRemoteHost" => {
                    DocumentKind::Port
                }
                "AWS-StartPortForwardingSessionToSocket" => DocumentKind::Socket,
                "AWS-StartSSHSession" => DocumentKind::Stdio,
                _ => DocumentKind::Unknown,
            },
            parameters: first,
        }
    }

    /// Whether it is a shell or a command on a pty.
    pub(crate) fn is_pty(&self) -> bool {
        self.kind == DocumentKind::Pty
    }

    /// Compares.
    ///
    /// # Errors
    /// That names what is different.
    pub(crate) fn check(&self, started: &Started) -> Result<(), Error> {
        let is_port = started.session_type == SessionType::Port;
        let is_right = match self.kind {
            DocumentKind::Pty => started.session_type.has_pty(),
            DocumentKind::Command => started.session_type == SessionType::NonInteractiveCommands,
            DocumentKind::Port | DocumentKind::Socket | DocumentKind::Stdio => is_port,
            DocumentKind::Unknown => true,
        };
        if !is_right {
            return Err(different(&format!(
                "its type is {:?}",
                started.session_type
            )));
        }
        if !is_port {
            return Ok(());
        }
        let said = |name| text(&started.properties, name);
        let listens = said("type") == LOCAL_PORT_FORWARDING;
        let is_socket = said("localConnectionType") == "unix";
        let is_known = self.kind != DocumentKind::Unknown;
        self.compare("portNumber", said("portNumber"), false)?;
        self.compare(
            "host",
            said("host"),
            is_known && said("host") != "localhost",
        )?;
        if is_known && listens != (self.kind != DocumentKind::Stdio) {
            return Err(different(if listens {
                "its type is LocalPortForwarding, which listens"
            } else {
                "its type is not LocalPortForwarding, so that it carries stdin and stdout"
            }));
        }
        self.compare("type", said("type"), false)?;
        if !listens {
            return Ok(());
        }
        let wants_socket = match self.kind {
            DocumentKind::Socket => true,
            DocumentKind::Unknown => {
                let wanted = text(&self.parameters, "localConnectionType");
                wanted == "unix" || wanted.is_empty() && !self.names("localPortNumber") && is_socket
            }
            _ => false,
        };
        if is_socket != wants_socket {
            let kind = said("localConnectionType");
            return Err(different(&format!("localConnectionType is {kind:?}")));
        }
        if is_socket {
            self.compare("localUnixSocket", said("localUnixSocket"), is_known)
        } else if is_known || self.names("localPortNumber") {
            let asked = any_port(text(&self.parameters, "localPortNumber"));
            equal("localPortNumber", asked, any_port(said("localPortNumber")))
        } else {
            Ok(())
        }
    }

    fn names(&self, name: &str) -> bool {
        !text(&self.parameters, name).is_empty()
    }

    /// What the agent says, if anything, must be what was asked for; `must_be_asked` also where that was nothing.
    fn compare(&self, name: &str, said: &str, must_be_asked: bool) -> Result<(), Error> {
        if said.is_empty() || !must_be_asked && !self.names(name) {
            return Ok(());
        }
        equal(name, text(&self.parameters, name), said)
    }
}

fn text<'a>(values: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    values.get(name).map_or("", String::as_str)
}

/// Numbers may be written in several ways.
fn equal(name: &str, asked: &str, said: &str) -> Result<(), Error> {
    let number = |text: &str| text.parse::<u16>().ok();
    let is_same = asked == said || number(asked).is_some_and(|asked| number(said) == Some(asked));
    if is_same {
        return Ok(());
    }
    let said = sanitise::line(said);
    Err(different(&format!(
        "{name} is {said:?} instead of {asked:?}"
    )))
}

fn different(what: &str) -> Error {
    Error::Start(format!(
        "the session that was started is not what was asked for: {what}"
    ))
}

/// None is any, and so is 0.
fn any_port(port: &str) -> &str {
    if port.is_empty() { "0" } else { port }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(document: Option<&str>, parameters: &[(&str, &str)]) -> Asked {
        let parameters = parameters.iter();
        let parameters = parameters.map(|(name, value)| ((*name).into(), vec![(*value).into()]));
        Asked::new(document, &parameters.collect())
    }

    fn said(session_type: SessionType, properties: &[(&str, &str)]) -> Started {
        let properties = properties.iter();
        let properties = properties.map(|(name, value)| ((*name).into(), (*value).into()));
        Started {
            session_type,
            properties: properties.collect(),
            ..Started::shell_without_handshake()
        }
    }

    /// A port session that listens, with these properties besides.
    fn port(properties: &[(&str, &str)]) -> Started {
        let all = [&[("type", LOCAL_PORT_FORWARDING)], properties].concat();
        said(SessionType::Port, &all)
    }

    const FORWARD: Option<&str> = Some("AWS-StartPortForwardingSession");
    const SOCKET: Option<&str> = Some("AWS-StartPortForwardingSessionToSocket");
    const SSH: Option<&str> = Some("AWS-StartSSHSession");

    #[test]
    fn p85_what_was_asked_for_is_right_however_it_is_spelled() {
        let shell = || said(SessionType::StandardStream, &[]);
        let unix = [("localConnectionType", "unix"), ("localUnixSocket", "/s")];
        for (asked, said) in [
            (asked(None, &[]), shell()),
            (asked(Some("AWS-StartInteractiveCommand"), &[]), shell()),
            (asked(FORWARD, &[]), port(&[])),
            (asked(FORWARD, &[("localPortNumber", "0")]), port(&[])),
            (
                asked(FORWARD, &[("localPortNumber", "080"), ("portNumber", "22")]),
                port(&[
                    ("localPortNumber", "80"),
                    ("portNumber", "22"),
                    ("host", "localhost"),
                ]),
            ),
            (asked(SOCKET, &[("localUnixSocket", "/s")]), port(&unix)),
            (
                asked(SSH, &[("portNumber", "22")]),
                said(SessionType::Port, &[]),
            ),
            // Whoever wrote the document knows where it listens.
            (asked(Some("Mine"), &[]), port(&[("localPortNumber", "80")])),
            (asked(Some("Mine"), &[]), port(&unix)),
            (asked(Some("Mine"), &[]), shell()),
        ] {
            assert_eq!(asked.check(&said), Ok(()), "{asked:?} {said:?}");
        }
    }

    #[test]
    fn p85_anything_else_is_named() {
        let unix = [("localConnectionType", "unix"), ("localUnixSocket", "/s")];
        let own = Some("Mine");
        for (asked, said, named) in [
            (asked(None, &[]), port(&[]), "type"),
            (asked(SSH, &[]), port(&[]), "type"),
            (asked(FORWARD, &[]), said(SessionType::Port, &[]), "type"),
            (asked(FORWARD, &[]), port(&unix), "localConnectionType"),
            (
                asked(SOCKET, &[("localUnixSocket", "/s")]),
                port(&[]),
                "localConnectionType",
            ),
            (
                asked(SOCKET, &[("localUnixSocket", "/t")]),
                port(&unix),
                "localUnixSocket",
            ),
            (
                asked(FORWARD, &[]),
                port(&[("localPortNumber", "80")]),
                "localPortNumber",
            ),
            (
                asked(FORWARD, &[("localPortNumber", "80")]),
                port(&[]),
                "localPortNumber",
            ),
            (asked(FORWARD, &[]), port(&[("host", "db")]), "host"),
            (
                asked(own, &[("localPortNumber", "80")]),
                port(&[]),
                "localPortNumber",
            ),
            (
                asked(own, &[("localPortNumber", "80")]),
                port(&unix),
                "localConnectionType",
            ),
            (
                asked(own, &[("localUnixSocket", "/t")]),
                port(&unix),
                "localUnixSocket",
            ),
            (asked(own, &[("host", "a")]), port(&[("host", "b")]), "host"),
        ] {
            let error = asked.check(&said).expect_err("a difference").to_string();
            assert!(error.contains(named), "{asked:?} {said:?}: {error}");
        }
    }
}
