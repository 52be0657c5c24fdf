//! AWS Signature Version 4: proof, in a request's headers, of who sends it.
//!
//! The steps are separate so that a server can check a signature with the same functions: canonical request, string to sign,
//! signature.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use http::header::{self, InvalidHeaderValue};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::time;

/// The only algorithm we know.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is encoded in a query; in a path the slash is not.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub struct SignableRequest<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// The path as it goes over the wire (already encoded once).
    pub path: &'a str,
    /// The query as it goes over the wire, without `?`; may be empty.
    pub query: &'a str,
    /// The headers that are signed, in any order and case.
    pub headers: &'a [(&'a str, &'a str)],
    /// See [`payload_hash`].
    pub payload_hash: &'a str,
}

/// For whom, where and on which day a signature counts: `20150830/us-east-1/ssm/aws4_request`.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Year, month, day: `20150830`.
    pub date: &'a str,
    /// The region, such as `us-east-1`.
    pub region: &'a str,
    /// The service's signing name, such as `ssmmessages`.
    pub service: &'a str,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

impl SignableRequest<'_> {
    /// The request in the one form on which both sides agree. It holds the session token, and is wiped when it goes.
    pub fn canonical(&self) -> Zeroizing<String> {
        let headers = self.canonical_headers();
        let path = canonical_path(self.path);
        let query = canonical_query(self.query);
        let names = self.signed_headers();
        let lines = headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2);
        let rest = [self.method, &path, &query, &names, self.payload_hash];
        let rest = rest.iter().map(|part| part.len() + 1);
        // All at once: a text that grows leaves its beginning behind in memory.
        let mut canonical = Zeroizing::new(String::with_capacity(lines.chain(rest).sum()));
        for part in [self.method, &path, &query] {
            canonical.push_str(part);
            canonical.push('\n');
        }
        for (name, value) in &headers {
            for part in [name, ":", value, "\n"] {
                canonical.push_str(part);
            }
        }
        canonical.push('\n');
        canonical.push_str(&names);
        canonical.push('\n');
        canonical.push_str(self.payload_hash);
        canonical
    }

    /// The names of the signed headers: `host;x-amz-date`.
    pub fn signed_headers(&self) -> String {
        let headers = self.canonical_headers().into_iter();
        let names: Vec<String> = headers.map(|(name, _)| name).collect();
        names.join(";")
    }

    /// Each name once, in order, with its values.
    fn canonical_headers(&self) -> Vec<(String, Zeroizing<String>)> {
        let mut headers = Vec::<(String, Zeroizing<String>)>::new();
        for (name, value) in self.headers {
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            let value = Zeroizing::new(words.join(" "));
            let name = name.to_ascii_lowercase();
            match headers.binary_search_by(|(other, _)| other.cmp(&name)) {
                Ok(at) => {
                    let values = &mut headers[at].1;
                    values.push(',');
                    values.push_str(&value);
                }
                Err(at) => headers.insert(at, (name, value)),
            }
        }
        headers
    }
}

/// Dot segments and doubled slashes resolved; encoded once more than it is on the wire, as all services but S3 want it.
fn canonical_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut result = format!("/{}", segments.join("/"));
    let is_directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if is_directory && !segments.is_empty() {
        result.push('/');
    }
    utf8_percent_encode(&result, PATH).to_string()
}

/// Sorted, every name with a value, encoded exactly once.
fn canonical_query(query: &str) -> String {
    let encode_once = |text: &str| {
        let bytes: Cow<'_, [u8]> = percent_decode_str(text).into();
        percent_encoding::percent_encode(&bytes, QUERY).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode_once(name), encode_once(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// SHA-256 of a body, in hex.
pub fn payload_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// What is signed; `moment` is the value of `X-Amz-Date`, `20150830T123600Z`.
pub fn string_to_sign(moment: &str, scope: &Scope<'_>, canonical_request: &str) -> String {
    let hash = payload_hash(canonical_request.as_bytes());
    format!("{ALGORITHM}\n{moment}\n{scope}\n{hash}")
}

/// The signature, in hex.
pub fn signature(secret_access_key: &str, scope: &Scope<'_>, string_to_sign: &str) -> String {
    const PREFIX: &str = "AWS4";
    let length = PREFIX.len() + secret_access_key.len();
    let mut secret = Zeroizing::new(String::with_capacity(length));
    secret.push_str(PREFIX);
    secret.push_str(secret_access_key);
    let mut key = Zeroizing::new(hmac(secret.as_bytes(), scope.date));
    for step in [scope.region, scope.service, "aws4_request"] {
        *key = hmac(&*key, step);
    }
    hex(&hmac(&*key, string_to_sign))
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs a request, and gives the headers to add to it: `X-Amz-Date`, `X-Amz-Security-Token` for temporary credentials,
/// `Authorization`. `request.headers` must hold `host` and none of these.
///
/// # Errors
/// When a part of the signature cannot be part of a header: nothing goes out half signed.
pub fn sign(
    request: &SignableRequest<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
    let moment = time::compact(now);
    let token = credentials.session_token.as_ref();
    let mut headers = request.headers.to_vec();
    headers.push(("x-amz-date", &moment));
    headers.extend(token.map(|token| ("x-amz-security-token", token.expose())));
    let request = SignableRequest {
        headers: &headers,
        ..*request
    };
    let scope = Scope {
        date: &moment[..8],
        region,
        service,
    };
    let text = string_to_sign(&moment, &scope, &request.canonical());
    let signature = signature(credentials.secret_access_key.expose(), &scope, &text);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        request.signed_headers()
    );
    let new = [
        (HeaderName::from_static("x-amz-date"), Some(moment.as_str())),
        (
            HeaderName::from_static("x-amz-security-token"),
            token.map(|token| token.expose()),
        ),
        (header::AUTHORIZATION, Some(authorization.as_str())),
    ];
    new.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .map(|(name, value)| {
            let mut value = HeaderValue::from_str(value)?;
            value.set_sensitive(name != "x-amz-date");
            Ok((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        request: String,
        access_key_id: String,
        secret_access_key: String,
        session_token: Option<String>,
        sign_session_token: bool,
        region: String,
        service: String,
        time: String,
        sign_body: bool,
        canonical_request: String,
        string_to_sign: String,
        signature: String,
    }

    /// Method, path, query, headers, body of a request as the suite writes it.
    fn parse(text: &str) -> (&str, &str, &str, Vec<(&str, String)>, &str) {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
        let target = rest.strip_suffix(" HTTP/1.1").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(&str, String)> = Vec::new();
        for line in lines {
            match line.split_once(':') {
                Some((name, value)) if !line.starts_with(' ') => {
                    headers.push((name, value.to_owned()))
                }
                _ => {
                    let (_, value) = headers.last_mut().unwrap();
                    value.push(' ');
                    value.push_str(line);
                }
            }
        }
        (method, path, query, headers, body)
    }

    #[test]
    fn aws_published_cases() {
        let cases = include_str!("../../tests/vectors/sigv4/header.json");
        let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
        assert_eq!(cases.len(), 31);
        for case in &cases {
            let (method, path, query, headers, body) = parse(&case.request);
            let time = time::parse(&case.time).unwrap();
            let token = case
                .session_token
                .clone()
                .filter(|_| case.sign_session_token);
            let credentials = Credentials::new(
                case.access_key_id.clone(),
                case.secret_access_key.clone().into(),
                token.map(Into::into),
                None,
            )
            .unwrap();
            let payload_hash = payload_hash(if case.sign_body { body.as_bytes() } else { b"" });
            let mut headers: Vec<(&str, &str)> = headers
                .iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("x-amz-date"))
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            if case.sign_body {
                headers.push(("x-amz-content-sha256", &payload_hash));
            }
            let request = SignableRequest {
                method,
                path,
                query,
                headers: &headers,
                payload_hash: &payload_hash,
            };
            let signed = sign(&request, &credentials, &case.region, &case.service, time).unwrap();
            let text = |name: &str| {
                let value = signed.iter().find(|(found, _)| found == name);
                value.map(|(_, value)| value.to_str().unwrap())
            };
            let moment = text("x-amz-date").unwrap();
            let mut all = headers.clone();
            all.push(("x-amz-date", moment));
            all.extend(text("x-amz-security-token").map(|token| ("x-amz-security-token", token)));
            let request = SignableRequest {
                headers: &all,
                ..request
            };
            let name = &case.name;
            assert_eq!(*request.canonical(), case.canonical_request, "{name}");
            let scope = Scope {
                date: &moment[..8],
                region: &case.region,
                service: &case.service,
            };
            let string = string_to_sign(moment, &scope, &request.canonical());
            assert_eq!(string, case.string_to_sign, "{name}");
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={}",
                case.access_key_id,
                request.signed_headers(),
                case.signature
            );
            assert_eq!(text("authorization"), Some(expected.as_str()), "{name}");
        }
    }

    #[test]
    fn p48_the_headers_do_not_show_their_values() {
        let credentials = Credentials::new(
            "AKID".into(),
            "key".to_owned().into(),
            Some("confidential".to_owned().into()),
            None,
        );
        let request = SignableRequest {
            method: "GET",
            path: "/",
            query: "",
            headers: &[("host", "h")],
            payload_hash: &payload_hash(b""),
        };
        let time = SystemTime::UNIX_EPOCH;
        let credentials = credentials.unwrap();
        let headers = sign(&request, &credentials, "r", "s", time).unwrap();
        assert_eq!(headers.len(), 3);
        let shown = format!("{headers:?}");
        assert!(!shown.contains("confidential"), "{shown}");
        assert!(!shown.contains("Signature"), "{shown}");
        sign(&request, &credentials, "r\r\nX: y", "s", time).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_request_panics(path in "\\PC{0,40}", query in "\\PC{0,40}", value in "\\PC{0,20}") {
            let headers = [("host", value.as_str())];
            let request = SignableRequest { method: "GET", path: &path, query: &query, headers: &headers, payload_hash: "" };
            prop_assert!(request.canonical().starts_with("GET\n/"));
        }

        #[test]
        fn the_order_of_a_query_does_not_matter(mut pairs in prop::collection::vec("[a-c]=[%a-f0-9]{0,4}", 0..6)) {
            let before = canonical_query(&pairs.join("&"));
            pairs.reverse();
            prop_assert_eq!(before, canonical_query(&pairs.join("&")));
        }
    }
}
