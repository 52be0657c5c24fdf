//! TLS on top of a [`NetworkStream`], by `native-tls`: OpenSSL, or on Apple's systems their own library.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};

use super::certificate;
use super::connect::ConnectError;
use super::limit::{Limit, Stop};
use super::read_ahead::ReadAhead;
use super::stream::NetworkStream;

/// What all connections have in common: the versions of TLS, and the roots.
pub(super) struct Connector(TlsConnector);

/// What a connector trusts besides the certificates that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BuiltIn {
    /// What the library finds by itself. On Apple's systems that is the keychain; with OpenSSL it is the system's directories of
    /// authorities, in which a certificate is looked up by the hash of its name when it is needed. `main` takes care that OpenSSL
    /// does not read the system's whole bundle.
    Trusted,
    /// Nothing.
    Ignored,
}

impl Connector {
    /// A connector for TLS 1.2 and later.
    ///
    /// # Errors
    /// The library's words.
    pub(super) fn new(built_in: BuiltIn, roots: Vec<Certificate>) -> Result<Self, String> {
        let mut builder = TlsConnector::builder();
        builder
            .min_protocol_version(Some(Protocol::Tlsv12))
            .disable_built_in_roots(built_in == BuiltIn::Ignored);
        for root in roots {
            builder.add_root_certificate(root);
        }
        let connector = builder.build();
        Ok(Self(connector.map_err(|error| plain(&error.to_string()))?))
    }

    /// Speaks TLS with `host`, whose certificate must be valid for that name or address.
    ///
    /// # Errors
    /// [`ConnectError::Certificate`] where the certificate is the reason, else what went wrong on the way.
    pub(super) fn handshake(
        &self,
        host: &str,
        stream: NetworkStream,
        limit: &Limit,
    ) -> Result<NetworkStream, ConnectError> {
        let mut result = self.0.connect(host, ReadAhead::new(stream));
        loop {
            let unfinished = match result {
                Ok(stream) => {
                    check_names(host, &stream)?;
                    return Ok(NetworkStream::Tls(Box::new(stream)));
                }
                Err(HandshakeError::Failure(error)) => return Err(failure(host, &error)),
                Err(HandshakeError::WouldBlock(unfinished)) => unfinished,
            };
            let stream = unfinished.get_ref();
            limit
                .wait(stream.get_ref().as_fd(), stream.waits_for())
                .map_err(|error| match Stop::of(&error) {
                    Some(Stop::Cancelled) => ConnectError::Cancelled,
                    Some(Stop::TimedOut) => ConnectError::TimedOut {
                        to: host.to_owned(),
                        step: "the TLS handshake",
                    },
                    None => ConnectError::Tls {
                        host: host.to_owned(),
                        reason: error.to_string(),
                    },
                })?;
            result = unfinished.handshake();
        }
    }
}

/// Refuses a certificate that names no host where a host is asked for (P91): OpenSSL would take the subject's common name for one.
///
/// The certificate has been verified, and nothing was sent yet but the handshake.
fn check_names(
    host: &str,
    stream: &TlsStream<ReadAhead<NetworkStream>>,
) -> Result<(), ConnectError> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let certificate = stream.peer_certificate().ok().flatten();
    let der = certificate.and_then(|certificate| certificate.to_der().ok());
    if der.is_some_and(|der| certificate::names_a_host(&der)) {
        return Ok(());
    }
    Err(ConnectError::Certificate {
        host: host.to_owned(),
        reason: "it names no host (a common name alone does not count)".to_owned(),
    })
}

/// Why a handshake failed. `native-tls` gives OpenSSL's reasons as text only: `error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:DATA`, one
/// or several with commas between them, and in parentheses why the certificate is not accepted.
fn failure(host: &str, error: &native_tls::Error) -> ConnectError {
    let host = host.to_owned();
    let below = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(error) = below {
        let reason = error.to_string();
        return ConnectError::Tls { host, reason };
    }
    let text = error.to_string();
    let verdict = text
        .starts_with("error:")
        .then(|| text.strip_suffix(')')?.rsplit_once(" ("))
        .flatten();
    match verdict {
        Some((_, verdict)) => ConnectError::Certificate {
            host,
            reason: verdict.to_owned(),
        },
        None => ConnectError::Tls {
            host,
            reason: plain(&text),
        },
    }
}

/// The first of OpenSSL's reasons, without its numbers and places; other texts as they are.
pub(super) fn plain(text: &str) -> String {
    let mut parts = text.split(':');
    let reason = match parts.next() {
        Some("error") => parts.nth(3).unwrap_or(text),
        _ => text,
    };
    match reason {
        "unexpected EOF" | "unexpected eof while reading" => {
            "the connection was closed in the middle of the handshake".to_owned()
        }
        reason => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_s_errors_become_words() {
        let text = "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:ssl/statem/x.c:2123:";
        assert_eq!(plain(text), "certificate verify failed");
        let alert = "error:0A000410:SSL routines:ssl3_read_bytes:ssl/tls alert handshake failure:s3.c:912:SSL alert number 40";
        assert_eq!(plain(alert), "ssl/tls alert handshake failure");
        let end = "error:0A000126:SSL routines::unexpected eof while reading:a.c:1:, error:1:2:3:4";
        assert!(
            plain(end).contains("closed in the middle"),
            "{}",
            plain(end)
        );
        for other in [
            "",
            "error:",
            "error:1:2",
            "The certificate was not trusted.",
        ] {
            assert_eq!(plain(other), other);
        }
    }
}
