//! From a stream URL to an open websocket.

use std::io;
use std::os::fd::AsFd;

use http::header::{
    CONNECTION, DATE, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, UPGRADE, USER_AGENT,
};
use http::{Request, StatusCode};
use rustix::event::PollFlags;
use tungstenite::error::{Error as WebSocketError, ProtocolError};
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::{ClientHandshake, generate_key};

use super::metered::Metered;
use super::{Connection, LONGEST_REASON, StreamUrl};
use crate::error::{Failure, Meaning};
use crate::network::{ConnectError, Limit, Network, NetworkStream, Stop};
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::sanitise;

/// How much data may wait in the socket unsent, in bytes: more urgent data never waits behind more than this.
#[cfg(target_os = "linux")]
const UNSENT_LIMIT: u32 = 128 * 1024;

/// Opens websockets.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// Proxies and roots.
    pub network: Network,
    /// Where the user is told that it takes its time.
    pub remarks: Remarks,
}

/// Why no websocket is open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The host was not reached, or not in the way it must be.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The host answered, and refused.
    #[error("{host} refused the connection with HTTP status {status}{text}")]
    Refused {
        /// Whom we asked.
        host: String,
        /// Its answer.
        status: StatusCode,
        /// Its words, if it said any, with what separates them from the status.
        text: String,
        /// Its clock, as the Date header has it: a signature may have been refused for ours.
        date: Option<String>,
    },
    /// The host answered with something else than a websocket.
    #[error("{host} does not speak websocket: {reason}")]
    NoWebSocket {
        /// Whom we asked.
        host: String,
        /// What was wrong.
        reason: String,
    },
}

impl DialError {
    /// What it means for a session that should go on: a status says no or later, and networks come back.
    pub fn failure(&self) -> Failure {
        let meaning = match self {
            Self::Connect(ConnectError::Trust(_)) => Meaning::Gone,
            Self::Refused { status, .. } if says_no(*status) => Meaning::Denied,
            _ => Meaning::Temporary,
        };
        Failure {
            meaning,
            reason: self.to_string(),
            is_answer: !matches!(self, Self::Connect(_)),
        }
    }
}

/// Whether a status says no, in contrast to one that says later.
fn says_no(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

impl Dialer {
    /// Connects, with extra headers for the upgrade (a signature).
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn dial(
        &self,
        url: &StreamUrl,
        headers: &[(HeaderName, HeaderValue)],
        limit: &Limit,
    ) -> Result<Connection, DialError> {
        let _waiting = self
            .remarks
            .waiting(url.host(), limit.remaining().unwrap_or_default());
        let stream = self
            .network
            .open(url.is_secure(), url.host(), url.port(), limit)?;
        // Names mean what the system's files say: even `localhost` may be another machine.
        let peer = stream
            .tcp()
            .peer_addr()
            .map(|peer| peer.ip().to_canonical());
        if !url.is_secure() && !peer.is_ok_and(|peer| peer.is_loopback()) {
            return Err(DialError::NoWebSocket {
                host: url.host().to_owned(),
                reason: "it is another machine, and the URL is not encrypted (ws://)".to_owned(),
            });
        }
        limit_unsent(&stream);
        let of_headers = headers.iter().filter(|(_, value)| value.is_sensitive());
        let of_headers = of_headers.filter_map(|(_, value)| {
            // Of a signature only what proves something: the rest is in the words of many refusals.
            value.to_str().ok()?.rsplit("Signature=").next()
        });
        for secret in url.secrets() {
            self.network.redactor.add(secret);
        }
        let redactor = &self.network.redactor.with(of_headers);
        upgrade(stream, url, headers, redactor, limit)
    }
}

#[cfg(target_os = "linux")]
fn limit_unsent(stream: &NetworkStream) {
    // Without this everything works as well, and is only slower.
    let _ = socket2::SockRef::from(&**stream.tcp()).set_tcp_notsent_lowat(UNSENT_LIMIT);
}

/// socket2 has the option for Linux alone.
#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &NetworkStream) {}

fn upgrade(
    stream: NetworkStream,
    url: &StreamUrl,
    headers: &[(HeaderName, HeaderValue)],
    redactor: &Redactor,
    limit: &Limit,
) -> Result<Connection, DialError> {
    let no_websocket = |reason: String| DialError::NoWebSocket {
        host: url.host().to_owned(),
        reason: redactor.clean(&reason).into_owned(),
    };
    let authority = url
        .uri()
        .authority()
        .map_or_else(String::new, ToString::to_string);
    let mut request = Request::get(url.uri())
        .header(HOST, authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header(
            USER_AGENT,
            concat!("session-manager-plugin/", env!("CARGO_PKG_VERSION")),
        );
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(())
        .map_err(|error| no_websocket(error.to_string()))?;
    let attempt = ClientHandshake::start(Metered::new(stream), request, Some(Connection::config()));
    let mut attempt = attempt.map_err(|error| no_websocket(error.to_string()))?;
    loop {
        match attempt.handshake() {
            Ok((websocket, response)) => {
                // RFC 6455, 4.1: an extension that was not offered fails the connection; tungstenite leaves that to its caller.
                let extensions = response.headers().get_all(SEC_WEBSOCKET_EXTENSIONS);
                let is_one = |value: &&HeaderValue| !value.as_bytes().trim_ascii().is_empty();
                if let Some(extension) = extensions.iter().find(is_one) {
                    let name = String::from_utf8_lossy(extension.as_bytes());
                    let name = redactor.clean(&name);
                    return Err(no_websocket(format!(
                        "it uses an extension that was not offered ({})",
                        sanitise::line_within(&name, LONGEST_REASON)
                    )));
                }
                return Ok(Connection::new(websocket, redactor.clone()));
            }
            Err(HandshakeError::Interrupted(later)) => {
                limit
                    .wait(later.get_ref().get_ref().get_ref().as_fd(), PollFlags::IN)
                    .map_err(|error| stopped(&error, url.host()))?;
                attempt = later;
            }
            Err(HandshakeError::Failure(WebSocketError::Http(response))) => {
                let text = response
                    .body()
                    .as_deref()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default();
                let text = redactor.clean(text.trim());
                let text = sanitise::line_within(&text, LONGEST_REASON);
                let date = response
                    .headers()
                    .get(DATE)
                    .and_then(|date| Some(date.to_str().ok()?.to_owned()));
                return Err(DialError::Refused {
                    host: url.host().to_owned(),
                    status: response.status(),
                    text: if text.is_empty() {
                        text
                    } else {
                        format!(": {text}")
                    },
                    date,
                });
            }
            Err(HandshakeError::Failure(WebSocketError::Protocol(
                ProtocolError::HandshakeIncomplete,
            ))) => {
                let reason = "it closed the connection before its answer was whole";
                return Err(no_websocket(reason.to_owned()));
            }
            Err(HandshakeError::Failure(error)) => return Err(no_websocket(error.to_string())),
        }
    }
}

fn stopped(error: &io::Error, host: &str) -> DialError {
    DialError::Connect(match Stop::of(error) {
        Some(Stop::Cancelled) => ConnectError::Cancelled,
        _ => ConnectError::TimedOut {
            to: host.to_owned(),
            step: "opening the websocket",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_what_a_refused_dial_means() {
        for (status, meaning) in [
            (403, Meaning::Denied),
            (404, Meaning::Denied),
            (408, Meaning::Temporary),
            (429, Meaning::Temporary),
            (302, Meaning::Temporary),
            (500, Meaning::Temporary),
            (503, Meaning::Temporary),
        ] {
            let refused = DialError::Refused {
                host: "gateway".to_owned(),
                status: StatusCode::from_u16(status).unwrap(),
                text: String::new(),
                date: None,
            };
            assert_eq!(refused.failure().meaning, meaning, "{status}");
        }
        let to = "gateway:443".to_owned();
        let failure = DialError::Connect(ConnectError::Refused { to }).failure();
        assert_eq!(failure.meaning, Meaning::Temporary);
    }
}
