//! One request and one answer over HTTP/1.1.
//!
//! Small enough to be written here: connections, proxies, TLS, deadlines and cancellation come from [`crate::network`], heads are
//! parsed by `httparse`, and libraries that do the rest write every byte, keys and tokens too, to the log at level trace.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use httparse::Status;
use zeroize::Zeroizing;

use crate::error::{Failure, Meaning};
use crate::host::split_authority;
use crate::network::{ConnectError, Limit, Network, Stop};

/// The longest answer that is read, in bytes: heads, framing and body together, or many small parts would make up a long one. Real answers
/// have a few kilobytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// The longest head of an answer, and the longest line of a chunk's size, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 128;

const USER_AGENT: &str = concat!("session-manager-plugin/", env!("CARGO_PKG_VERSION"));

/// The answer; its body may hold secrets.
pub(super) type Answer = Response<Zeroizing<Vec<u8>>>;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke or said something that is not HTTP.
    #[error("{host} did not answer properly: {reason}")]
    Broken {
        /// Whom we asked.
        host: String,
        /// What happened.
        reason: String,
    },
}

impl HttpError {
    /// What it means, and what to tell.
    pub(super) fn failure(&self) -> Failure {
        Failure {
            meaning: match self {
                Self::Connect(error) => error.meaning(),
                Self::Broken { .. } => Meaning::Temporary,
            },
            reason: self.to_string(),
            is_answer: false,
        }
    }
}

/// Sends a request to its URL's host and reads the answer, whatever its status.
///
/// `Host`, `Content-Length` and the like are added; the caller gives the others. The URL must have been checked by [`parse_url`].
pub(super) fn exchange(
    network: &Network,
    request: &Request<&[u8]>,
    limit: &Limit,
) -> Result<Answer, HttpError> {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default();
    let secure = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    log::debug!(
        "{} {}://{host}:{port}{}",
        request.method(),
        if secure { "https" } else { "http" },
        uri.path()
    );
    let mut stream = network.open(secure, host, port, limit)?;
    let result = (|| {
        stream.waiting(limit).write_all(&head(request))?;
        // The service may have all of the request before this thread learns of it.
        let limit = limit.for_answer();
        let mut stream = stream.waiting(&limit);
        stream.write_all(request.body())?;
        stream.flush()?;
        read_answer(&mut stream)
    })();
    result.map_err(|error: io::Error| match Stop::of(&error) {
        Some(Stop::Cancelled) => ConnectError::Cancelled.into(),
        Some(Stop::TimedOut) => {
            let to = host.to_owned();
            let step = "waiting for its answer";
            ConnectError::TimedOut { to, step }.into()
        }
        None => HttpError::Broken {
            host: host.to_owned(),
            reason: match error.kind() {
                io::ErrorKind::UnexpectedEof => "it closed the connection too early".to_owned(),
                _ => error.to_string(),
            },
        },
    })
}

/// Reads the URL of a service.
///
/// # Errors
/// What is wrong with it, as a predicate.
pub(super) fn parse_url(url: &str) -> Result<Uri, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("does not begin with http:// or https://");
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("names no host");
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("names a user");
    }
    // `Uri` is silent about ports that are none, and would have the standard one called.
    if split_authority(authority).is_none() {
        return Err(
            "has a port that is no number from 1 to 65535, or brackets that hold no IPv6 address",
        );
    }
    Ok(uri)
}

/// What is in `Host`, and what is signed as such.
pub(super) fn host_header(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let default = if uri.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    match uri.port_u16() {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host.to_owned(),
    }
}

fn head(request: &Request<&[u8]>) -> Zeroizing<Vec<u8>> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = Zeroizing::new(String::with_capacity(4096));
    // Writing to a string cannot fail.
    let _ = write!(
        head,
        "{} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n",
        request.method(),
        host_header(uri),
    );
    if !request.body().is_empty() || request.method() != http::Method::GET {
        let _ = write!(head, "Content-Length: {}\r\n", request.body().len());
    }
    let mut head = Zeroizing::new(std::mem::take(&mut *head).into_bytes());
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(super) fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut input = Input {
        stream,
        // Few answers are longer; one that grows leaves its beginning behind in memory.
        bytes: Zeroizing::new(Vec::with_capacity(16 * 1024)),
        start: 0,
    };
    loop {
        let (status, headers) = input.head()?;
        if status.is_informational() {
            continue;
        }
        let body = input.body(status, &headers)?;
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        return Ok(answer);
    }
}

/// An answer as it comes.
struct Input<'a, R> {
    stream: &'a mut R,
    /// All that came, [`MAX_ANSWER`] at most.
    bytes: Zeroizing<Vec<u8>>,
    /// How much of it was used.
    start: usize,
}

impl<R: Read> Input<'_, R> {
    fn unused(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Reads some more; false at the end of the stream. Every byte of an answer comes through here and is counted.
    fn more(&mut self) -> io::Result<bool> {
        let mut piece = Zeroizing::new([0; 4096]);
        let count = self.stream.read(&mut *piece)?;
        if count > MAX_ANSWER - self.bytes.len() {
            return Err(too_long());
        }
        self.bytes.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    fn need_more(&mut self) -> io::Result<()> {
        match self.more()? {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn head(&mut self) -> io::Result<(StatusCode, HeaderMap)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(self.unused()) {
                Ok(Status::Complete(length)) => {
                    let status = StatusCode::from_u16(response.code.unwrap_or_default());
                    let status = status.map_err(|_| malformed("its status is none"))?;
                    let mut map = HeaderMap::new();
                    for header in response.headers.iter() {
                        let name = HeaderName::from_bytes(header.name.as_bytes());
                        let value = HeaderValue::from_bytes(header.value);
                        if let (Ok(name), Ok(value)) = (name, value) {
                            map.append(name, value);
                        }
                    }
                    self.start += length;
                    return Ok((status, map));
                }
                Ok(Status::Partial) if self.unused().len() > MAX_HEAD => {
                    return Err(malformed("its answer has too long a head"));
                }
                Ok(Status::Partial) => {}
                Err(_) => return Err(malformed("its answer is not HTTP")),
            }
            self.need_more()?;
        }
    }

    fn body(&mut self, status: StatusCode, headers: &HeaderMap) -> io::Result<Zeroizing<Vec<u8>>> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(Zeroizing::default());
        }
        if let Some(encoding) = text(header::TRANSFER_ENCODING) {
            if !encoding.trim().eq_ignore_ascii_case("chunked") {
                return Err(malformed("its answer is encoded in an unknown way"));
            }
            return self.chunks();
        }
        if let Some(length) = text(header::CONTENT_LENGTH) {
            let length: usize = length
                .trim()
                .parse()
                .map_err(|_| malformed("its answer's length is none"))?;
            return self.exactly(length);
        }
        while self.more()? {}
        Ok(Zeroizing::new(self.unused().to_vec()))
    }

    fn exactly(&mut self, length: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        if length > MAX_ANSWER {
            return Err(too_long());
        }
        while self.unused().len() < length {
            self.need_more()?;
        }
        let bytes = Zeroizing::new(self.unused()[..length].to_vec());
        self.start += length;
        Ok(bytes)
    }

    /// Chunk by chunk; extensions are passed over.
    fn chunks(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut body = Zeroizing::new(Vec::new());
        loop {
            let size = match httparse::parse_chunk_size(self.unused()) {
                Ok(Status::Complete((length, size))) => {
                    self.start += length;
                    usize::try_from(size).unwrap_or(usize::MAX)
                }
                Ok(Status::Partial) if self.unused().len() < MAX_HEAD => {
                    self.need_more()?;
                    continue;
                }
                _ => return Err(malformed("its answer's chunks cannot be read")),
            };
            // Trailers are of no interest, and the connection is not used again.
            if size == 0 {
                return Ok(body);
            }
            if size >= MAX_ANSWER {
                return Err(too_long());
            }
            let chunk = self.exactly(size + 2)?;
            let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
                return Err(malformed("its answer's chunks cannot be read"));
            };
            body.extend_from_slice(chunk);
        }
    }
}

fn too_long() -> io::Error {
    malformed("its answer is too long")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time, as a network may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read(answer: &[u8], step: usize) -> io::Result<(u16, Vec<u8>)> {
        let answer = read_answer(&mut Trickle(answer, step))?;
        Ok((answer.status().as_u16(), answer.into_body().to_vec()))
    }

    #[test]
    fn bodies_of_every_framing() {
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\nhello",
            b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello",
        ];
        for answer in answers {
            for step in [1, 2, 7, 1000] {
                assert_eq!(read(answer, step).unwrap(), (200, b"hello".to_vec()));
            }
        }
        assert_eq!(
            read(b"HTTP/1.1 204 No Content\r\n\r\n", 9).unwrap(),
            (204, vec![])
        );
    }

    #[test]
    fn broken_answers_are_errors() {
        for answer in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
        ] {
            read(answer, 1000).unwrap_err();
        }
        let long = [
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            vec![b'x'; MAX_ANSWER + 1],
        ]
        .concat();
        read(&long, 1000).unwrap_err();
    }

    /// The same bytes for ever, one head before them.
    struct Flood {
        head: &'static [u8],
        again: Vec<u8>,
        given: usize,
    }

    impl Read for Flood {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = if self.head.is_empty() {
                &self.again[..]
            } else {
                self.head
            };
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            match self.head.split_at_checked(count) {
                Some((_, rest)) if !self.head.is_empty() => self.head = rest,
                _ => self.again.rotate_left(count),
            }
            self.given += count;
            Ok(count)
        }
    }

    #[test]
    fn p78_an_endless_answer_is_bounded_in_all() {
        const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let long = "e".repeat(2000);
        for (head, again) in [
            (&b""[..], "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
            (
                b"",
                format!("HTTP/1.1 103 Early Hints\r\nLink: {long}\r\n\r\n"),
            ),
            (b"HTTP/1.1 200 OK\r\n", "A: b\r\n".to_owned()),
            (b"HTTP/1.1 200 OK\r\nA: ", long.clone()),
            (CHUNKED, format!("1;{long}\r\nx\r\n")),
            (CHUNKED, "1\r\nx\r\n".to_owned()),
            (CHUNKED, long.clone()),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
                long.clone(),
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", long.clone()),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", long),
        ] {
            let shown: String = again.chars().take(30).collect();
            let mut flood = Flood {
                head,
                again: again.into_bytes(),
                given: 0,
            };
            read_answer(&mut flood).expect_err(&shown);
            assert!(flood.given <= MAX_ANSWER + 4096, "{shown}: {}", flood.given);
        }
        // What follows the last chunk is not even read.
        let mut flood = Flood {
            head: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            again: b"A: b\r\n".to_vec(),
            given: 0,
        };
        read_answer(&mut flood).unwrap();
    }

    #[test]
    fn urls() {
        assert!(parse_url("http://[::1]:80/x").is_ok());
        for wrong in [
            "",
            "x",
            "wss://x/",
            "https://",
            "https://me@x/",
            "/x",
            "https://x:0",
            "https://x:99999/",
            "https://x:/",
            "https://[x]/",
        ] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
        let host = |url| host_header(&parse_url(url).unwrap());
        assert_eq!(host("https://a:443/"), "a");
        assert_eq!(host("http://a:443/"), "a:443");
        assert_eq!(host("http://[::1]:8000"), "[::1]:8000");
    }

    proptest! {
        #[test]
        fn no_answer_panics(head in "[ -~\\r\\n]{0,80}", body: Vec<u8>, step in 1usize..50) {
            let answer = [format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(), &body].concat();
            let _ = read(&answer, step);
            let _ = read(&body, step);
        }
    }
}
