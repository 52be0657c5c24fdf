//! Credentials of an EC2 instance, by its metadata service (version 2 only: its token keeps other programs' tricks out).

use std::time::Duration;

use http::{Method, Request};

use super::CredentialsError;
use super::metadata::{Document, FetchError, fetch};
use super::search::{CredentialSearch, Found};
use crate::aws::exchange::parse_url;
use crate::host::{bare, is_local};

/// For a service that may not exist, in all (P26).
const UNSURE_TIME: Duration = Duration::from_secs(2);
/// For connecting and the first answer.
const FIRST_TIME: Duration = Duration::from_secs(1);
/// How long the token lasts, in seconds; it is used at once.
const TOKEN_TIME: &str = "300";

const ROLES: &str = "latest/meta-data/iam/security-credentials/";

/// The credentials of the instance's role. `sure` says whether the configuration names this source: if not, it is no error when nothing
/// answers.
pub(super) fn find(search: &CredentialSearch<'_>, sure: bool) -> Found {
    let get = |name| search.environment.get(name);
    if get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let is_v6 = get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let standard = if is_v6 {
        "http://[fd00:ec2::254]"
    } else {
        "http://169.254.169.254"
    };
    let endpoint = get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(standard);
    tell_of_clear_text(search, endpoint);
    let _waiting = search.waiting_for_network("the instance's credentials");
    match ask(search, endpoint.trim_end_matches('/'), sure) {
        Ok(found) => Ok(Some(found)),
        Err(FetchError::Cancelled) => Err(CredentialsError::Cancelled),
        // It exists, and has trouble of its own.
        Err(FetchError::Refused(refusal)) if refusal.is_temporary() => {
            Err(FetchError::Refused(refusal).of("the instance's credentials"))
        }
        Err(error) if !sure => {
            let reason = error.failure().map(|failure| failure.reason);
            log::info!(
                "no credentials from instance metadata: {}",
                reason.unwrap_or_default()
            );
            Ok(None)
        }
        Err(error) => Err(error.of("the instance's credentials")),
    }
}

/// Calls of the real service are in the clear and never leave the machine. Those of an endpoint that a variable names may (P94).
fn tell_of_clear_text(search: &CredentialSearch<'_>, endpoint: &str) {
    let url = parse_url(endpoint).ok();
    let url = url.filter(|url| url.scheme_str() == Some("http"));
    let host = url.as_ref().and_then(|url| url.host());
    if let Some(host) = host.filter(|host| !is_local(bare(host))) {
        search.remarks.unencrypted(host);
    }
}

fn ask(
    search: &CredentialSearch<'_>,
    endpoint: &str,
    sure: bool,
) -> Result<super::Credentials, FetchError> {
    let limit = if sure {
        search.network_limit()
    } else {
        search.limit.at_most(UNSURE_TIME)
    };
    let get = |method: Method, path: &str, header: (&str, &str)| {
        let uri = parse_url(&format!("{endpoint}/{path}"));
        let uri =
            uri.map_err(|why| FetchError::unusable(format!("the metadata endpoint {why}")))?;
        let request = Request::builder()
            .method(&method)
            .uri(uri)
            .header(header.0, header.1);
        let request = request.body(&b""[..]);
        let request = request.map_err(|_| FetchError::unusable("its token is none"))?;
        let limit = if method == Method::PUT {
            limit.at_most(FIRST_TIME)
        } else {
            limit.clone()
        };
        fetch(search, &request, &limit)
    };
    let token = get(
        Method::PUT,
        "latest/api/token",
        ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TIME),
    )?;
    let token = String::from_utf8_lossy(token.body());
    let header = ("x-aws-ec2-metadata-token", token.trim());
    let roles = get(Method::GET, ROLES, header)?;
    let roles = String::from_utf8_lossy(roles.body());
    let role = roles.lines().next().unwrap_or_default().trim();
    if role.is_empty() {
        return Err(FetchError::unusable("the instance has no role"));
    }
    let answer = get(Method::GET, &format!("{ROLES}{role}"), header)?;
    let document: Option<Document> = serde_json::from_slice(answer.body()).ok();
    let found = document.and_then(Document::credentials);
    found.ok_or_else(|| FetchError::unusable("the answer holds none"))
}
