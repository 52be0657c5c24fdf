//! TLS on top of a [`Stream`], with the platform's library.

use rustix::event::PollFlags;
use std::os::fd::AsFd;

use super::connect::ConnectError;
use super::limit::{Limit, Stop};
use super::read_ahead::ReadAhead;
use super::stream::Stream;

#[cfg(target_vendor = "apple")]
pub use native_tls::TlsStream;
/// A TLS connection over another stream.
#[cfg(not(target_vendor = "apple"))]
pub use openssl::ssl::SslStream as TlsStream;

#[cfg(target_vendor = "apple")]
use apple as library;
#[cfg(not(target_vendor = "apple"))]
use open as library;

pub(super) use library::Connector;

/// A step of the handshake.
enum Progress {
    Done(Box<TlsStream<ReadAhead>>),
    /// To be continued when the socket is ready.
    Waits(library::Unfinished, PollFlags),
}

impl Connector {
    /// Speaks TLS with `host`, whose certificate must be valid for that name or address.
    pub(super) fn handshake(
        &self,
        host: &str,
        stream: Stream,
        limit: &Limit,
    ) -> Result<Stream, ConnectError> {
        let failed = |reason: String| {
            let host = host.to_owned();
            ConnectError::Tls { host, reason }
        };
        let stream = ReadAhead::new(stream);
        let mut progress = self.start(host, stream).map_err(failed)?;
        loop {
            let (unfinished, for_what) = match progress {
                Progress::Done(stream) => return Ok(Stream::Tls(stream)),
                Progress::Waits(unfinished, for_what) => (unfinished, for_what),
            };
            let socket = unfinished.get_ref().get_ref().as_fd();
            limit
                .wait(socket, for_what)
                .map_err(|error| match Stop::of(&error) {
                    Some(Stop::Cancelled) => ConnectError::Cancelled,
                    Some(Stop::TimedOut) => ConnectError::TimedOut {
                        to: host.to_owned(),
                        step: "the TLS handshake",
                    },
                    None => failed(error.to_string()),
                })?;
            progress = library::go_on(unfinished).map_err(failed)?;
        }
    }
}

/// OpenSSL, used directly: `native-tls` reads the system's whole bundle of roots twice for each connector, whichever roots are
/// wanted (70 ms and 2.5 MB of memory on Debian); a hashed directory of roots costs a tenth of a millisecond.
#[cfg(not(target_vendor = "apple"))]
mod open {
    use std::net::IpAddr;
    use std::path::Path;

    use openssl::error::ErrorStack;
    use openssl::ssl::{
        ErrorCode, HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder,
        SslMethod, SslMode, SslOptions, SslVerifyMode, SslVersion,
    };
    use openssl::x509::X509VerifyResult;
    use openssl::x509::verify::X509CheckFlags;
    use rustix::event::PollFlags;

    use super::{Progress, ReadAhead};

    pub(in crate::network) struct Connector(SslContext);

    pub(super) type Unfinished = MidHandshakeSslStream<ReadAhead>;

    impl Connector {
        /// A connector that trusts what the files and directories hold, and nothing else.
        pub(in crate::network) fn new<'a>(
            files: impl Iterator<Item = &'a Path>,
            hashed_directories: impl Iterator<Item = &'a Path>,
        ) -> Result<Self, String> {
            let mut context = Self::context().map_err(|error| error.to_string())?;
            for file in files {
                context
                    .load_verify_locations(Some(file), None)
                    .map_err(|_| format!("{} holds no certificate in PEM form", file.display()))?;
            }
            for directory in hashed_directories {
                context
                    .load_verify_locations(None, Some(directory))
                    .map_err(|error| format!("{}: {error}", directory.display()))?;
            }
            Ok(Self(context.build()))
        }

        /// What the `openssl` crate's own connector sets, without its reading of the default roots.
        fn context() -> Result<SslContextBuilder, ErrorStack> {
            let mut context = SslContextBuilder::new(SslMethod::tls_client())?;
            context.set_verify(SslVerifyMode::PEER);
            context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
            context
                .set_cipher_list("DEFAULT:!aNULL:!eNULL:!MD5:!3DES:!RC4:!SEED:!aDSS:!SRP:!PSK")?;
            context.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION);
            // As a socket writes: what fits. Its two buffers are kept: to give them back after each record costs more than they do.
            context.set_mode(
                SslMode::AUTO_RETRY
                    | SslMode::ACCEPT_MOVING_WRITE_BUFFER
                    | SslMode::ENABLE_PARTIAL_WRITE,
            );
            Ok(context)
        }

        pub(super) fn start(&self, host: &str, stream: ReadAhead) -> Result<Progress, String> {
            let ssl = self.session(host).map_err(|error| error.to_string())?;
            advance(ssl.connect(stream))
        }

        fn session(&self, host: &str) -> Result<Ssl, ErrorStack> {
            let mut ssl = Ssl::new(&self.0)?;
            let parameters = ssl.param_mut();
            parameters.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match host.parse::<IpAddr>() {
                Ok(address) => parameters.set_ip(address)?,
                Err(_) => {
                    parameters.set_host(host)?;
                    ssl.set_hostname(host)?;
                }
            }
            Ok(ssl)
        }
    }

    pub(super) fn go_on(unfinished: Unfinished) -> Result<Progress, String> {
        advance(unfinished.handshake())
    }

    fn advance(
        result: Result<openssl::ssl::SslStream<ReadAhead>, HandshakeError<ReadAhead>>,
    ) -> Result<Progress, String> {
        match result {
            Ok(stream) => Ok(Progress::Done(Box::new(stream))),
            Err(HandshakeError::WouldBlock(unfinished)) => {
                let for_what = match unfinished.error().code() {
                    ErrorCode::WANT_WRITE => PollFlags::OUT,
                    _ => PollFlags::IN,
                };
                Ok(Progress::Waits(unfinished, for_what))
            }
            Err(HandshakeError::SetupFailure(error)) => Err(error.to_string()),
            Err(HandshakeError::Failure(unfinished)) => {
                let verdict = unfinished.ssl().verify_result();
                Err(if verdict == X509VerifyResult::OK {
                    reason(&unfinished)
                } else {
                    format!(
                        "its certificate is not accepted: {}",
                        verdict.error_string()
                    )
                })
            }
        }
    }

    fn reason(unfinished: &Unfinished) -> String {
        let error = unfinished.error();
        if let Some(io) = error.io_error() {
            return io.to_string();
        }
        let reasons = error.ssl_error().map(ErrorStack::errors);
        let reasons = reasons.unwrap_or_default().iter();
        let reason = reasons.filter_map(|error| error.reason()).next();
        reason
            .unwrap_or("the connection was closed in the middle of the handshake")
            .to_owned()
    }
}

/// The system's own library, which knows the keychain's roots.
#[cfg(target_vendor = "apple")]
mod apple {
    use std::path::Path;

    use native_tls::{Certificate, HandshakeError, MidHandshakeTlsStream, Protocol, TlsConnector};
    use rustix::event::PollFlags;

    use super::{Progress, ReadAhead};

    pub(in crate::network) struct Connector(TlsConnector);

    pub(super) type Unfinished = MidHandshakeTlsStream<ReadAhead>;

    impl Connector {
        /// A connector that trusts what the files hold; without any, what the system trusts.
        pub(in crate::network) fn new<'a>(
            files: impl Iterator<Item = &'a Path>,
            _hashed_directories: impl Iterator<Item = &'a Path>,
        ) -> Result<Self, String> {
            let mut builder = TlsConnector::builder();
            builder.min_protocol_version(Some(Protocol::Tlsv12));
            for file in files {
                let unusable = || format!("{} holds no certificate in PEM form", file.display());
                let pem =
                    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                let certificates = Certificate::stack_from_pem(&pem).map_err(|_| unusable())?;
                if certificates.is_empty() {
                    return Err(unusable());
                }
                builder.disable_built_in_roots(true);
                for certificate in certificates {
                    builder.add_root_certificate(certificate);
                }
            }
            let connector = builder.build().map_err(|error| error.to_string())?;
            Ok(Self(connector))
        }

        pub(super) fn start(&self, host: &str, stream: ReadAhead) -> Result<Progress, String> {
            advance(self.0.connect(host, stream))
        }
    }

    pub(super) fn go_on(unfinished: Unfinished) -> Result<Progress, String> {
        advance(unfinished.handshake())
    }

    fn advance(
        result: Result<native_tls::TlsStream<ReadAhead>, HandshakeError<ReadAhead>>,
    ) -> Result<Progress, String> {
        match result {
            Ok(stream) => Ok(Progress::Done(Box::new(stream))),
            // The first flight fits into any socket's buffer: what is waited for is an answer.
            Err(HandshakeError::WouldBlock(unfinished)) => {
                Ok(Progress::Waits(unfinished, PollFlags::IN))
            }
            Err(HandshakeError::Failure(error)) => Err(error.to_string()),
        }
    }
}
