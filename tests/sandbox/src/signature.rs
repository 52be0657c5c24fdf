//! Signature Version 4, from the side that checks it.

use std::time::{Duration, Instant, SystemTime};

use session_manager_plugin::internals::aws::{sigv4, time};

use crate::credentials::Credentials;
use crate::http::Request;
use crate::sandbox::Shared;
use crate::threads::lock;

/// How far the signer's clock may be off.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// Why a signature is refused, as AWS words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

fn denied<T>(code: &'static str, message: impl Into<String>) -> Result<T, Denied> {
    Err(Denied {
        code,
        message: message.into(),
    })
}

/// What is known of a request's signature, wherever it is.
struct Claim {
    credential: String,
    signed_headers: String,
    signature: String,
    moment: String,
    token: Option<String>,
    /// The query without the signature.
    query: String,
}

/// Whose signature an upgrade carries, in its headers or its query; nothing when there is none.
pub(crate) fn verify_upgrade(request: &Request, shared: &Shared) -> Result<Option<String>, Denied> {
    verify(request, "ssmmessages", shared)
}

/// Whose signature a request carries; nothing when there is none.
pub(crate) fn verify(
    request: &Request,
    service: &str,
    shared: &Shared,
) -> Result<Option<String>, Denied> {
    let Some(claim) = claim(request)? else {
        return Ok(None);
    };
    let parts: Vec<&str> = claim.credential.split('/').collect();
    let [key, date, region, signed_service, "aws4_request"] = parts[..] else {
        return denied(
            "IncompleteSignatureException",
            "Credential must have exactly 5 slash-delimited elements",
        );
    };
    check_time(&claim.moment, shared.now())?;
    if region != shared.config.region {
        return denied(
            "InvalidSignatureException",
            "Credential should be scoped to a valid region.",
        );
    }
    if signed_service != service {
        return denied(
            "InvalidSignatureException",
            format!("Credential should be scoped to correct service: '{service}'."),
        );
    }
    let credentials = known(key, claim.token.as_deref(), shared)?;
    let headers: Vec<(&str, &str)> = claim
        .signed_headers
        .split(';')
        .flat_map(|name| {
            let values = request.headers.iter();
            values
                .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
                .map(move |(_, value)| (name, value.as_str()))
        })
        .collect();
    if !headers.iter().any(|(name, _)| *name == "host") {
        return denied(
            "InvalidSignatureException",
            "'Host' must be a 'SignedHeader'.",
        );
    }
    let canonical = sigv4::SignableRequest {
        method: &request.method,
        path: request.path(),
        query: &claim.query,
        headers: &headers,
        payload_hash: &sigv4::payload_hash(&request.body),
    }
    .canonical();
    let scope = sigv4::Scope {
        date,
        region,
        service,
    };
    let text = sigv4::string_to_sign(&claim.moment, &scope, &canonical);
    if sigv4::signature(&credentials.secret_access_key, &scope, &text) != claim.signature {
        return denied(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
             method. Consult the service documentation for details.",
        );
    }
    Ok(Some(key.to_owned()))
}

fn claim(request: &Request) -> Result<Option<Claim>, Denied> {
    let raw_query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    if let Some(header) = request.header("authorization") {
        let Some(fields) = header.strip_prefix(sigv4::ALGORITHM) else {
            return Ok(None);
        };
        let field = |name: &str| {
            fields
                .split(',')
                .filter_map(|field| field.trim().split_once('='))
                .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
        };
        let (Some(credential), Some(signed_headers), Some(signature), Some(moment)) = (
            field("Credential"),
            field("SignedHeaders"),
            field("Signature"),
            request.header("x-amz-date"),
        ) else {
            return denied(
                "IncompleteSignatureException",
                "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters, and existence of either a \
                 'X-Amz-Date' or a 'Date' header.",
            );
        };
        return Ok(Some(Claim {
            credential,
            signed_headers,
            signature,
            moment: moment.to_owned(),
            token: request.header("x-amz-security-token").map(str::to_owned),
            query: raw_query.to_owned(),
        }));
    }
    let value = |name: &str| request.query_value(name);
    let (Some(credential), Some(signed_headers), Some(signature), Some(moment)) = (
        value("X-Amz-Credential"),
        value("X-Amz-SignedHeaders"),
        value("X-Amz-Signature"),
        value("X-Amz-Date"),
    ) else {
        return Ok(None);
    };
    let others: Vec<&str> = raw_query
        .split('&')
        .filter(|pair| !pair.starts_with("X-Amz-Signature="))
        .collect();
    Ok(Some(Claim {
        credential,
        signed_headers,
        signature,
        moment,
        token: value("X-Amz-Security-Token"),
        query: others.join("&"),
    }))
}

/// A stream URL that carries its signature in its query.
pub(crate) fn presign(url: &str, shared: &Shared) -> String {
    let Some(credentials) = shared.config.credentials.first() else {
        return url.to_owned();
    };
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (host, path) = address
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .unwrap_or_default();
    let moment = time::compact(shared.now());
    let scope = sigv4::Scope {
        date: &moment[..8],
        region: &shared.config.region,
        service: "ssmmessages",
    };
    let credential = format!("{}/{scope}", credentials.access_key_id).replace('/', "%2F");
    let query = format!(
        "{query}&X-Amz-Algorithm={}&X-Amz-Credential={credential}&X-Amz-Date={moment}&X-Amz-Expires=300&X-Amz-SignedHeaders=host",
        sigv4::ALGORITHM
    );
    let canonical = sigv4::SignableRequest {
        method: "GET",
        path: &format!("/{path}"),
        query: &query,
        headers: &[("host", host)],
        payload_hash: &sigv4::payload_hash(b""),
    }
    .canonical();
    let text = sigv4::string_to_sign(&moment, &scope, &canonical);
    let signature = sigv4::signature(&credentials.secret_access_key, &scope, &text);
    format!("{address}?{query}&X-Amz-Signature={signature}")
}

fn check_time(moment: &str, now: SystemTime) -> Result<(), Denied> {
    let Some(signed) = time::parse_compact(moment) else {
        return denied(
            "IncompleteSignatureException",
            "Date must be in ISO-8601 'basic format'.",
        );
    };
    let server = time::compact(now);
    if signed + MAX_SKEW < now {
        let limit = time::compact(now - MAX_SKEW);
        return denied(
            "InvalidSignatureException",
            format!("Signature expired: {moment} is now earlier than {limit} ({server} - 5 min.)"),
        );
    }
    if signed > now + MAX_SKEW {
        let limit = time::compact(now + MAX_SKEW);
        return denied(
            "InvalidSignatureException",
            format!(
                "Signature not yet current: {moment} is still later than {limit} ({server} + 5 min.)"
            ),
        );
    }
    Ok(())
}

/// The secret that belongs to a key, if the session token is right and still good.
fn known(key: &str, token: Option<&str>, shared: &Shared) -> Result<Credentials, Denied> {
    let issued = lock(&shared.issued);
    let temporary = issued
        .iter()
        .find(|issued| issued.credentials.access_key_id == key);
    if temporary.is_some_and(|issued| issued.expires <= Instant::now()) {
        return denied(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        );
    }
    let fixed = shared.config.credentials.iter();
    let credentials = fixed
        .chain(temporary.map(|issued| &issued.credentials))
        .find(|credentials| credentials.access_key_id == key);
    match credentials {
        Some(credentials) if credentials.session_token.as_deref() == token => {
            Ok(credentials.clone())
        }
        _ => denied(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
    }
}
