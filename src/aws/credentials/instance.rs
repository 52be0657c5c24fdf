//! Credentials of an EC2 instance, by its metadata service (version 2 only: its token keeps other programs' tricks out).

use std::time::Duration;

use http::{Method, Request};

use super::CredentialsError;
use super::chain::{Found, Search};
use super::metadata::{Document, Failure, fetch};
use crate::aws::exchange::parse_url;

/// For a service that may not exist, in all (P26).
const UNSURE_TIME: Duration = Duration::from_secs(2);
/// For connecting and the first answer.
const FIRST_TIME: Duration = Duration::from_secs(1);
/// How long the token lasts, in seconds; it is used at once.
const TOKEN_TIME: &str = "300";

const ROLES: &str = "latest/meta-data/iam/security-credentials/";

/// The instance's role's. `sure` is whether somebody said that this is an instance: without that, no answer is no error.
pub(super) fn find(search: &Search<'_>, sure: bool) -> Found {
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
    match ask(search, endpoint.trim_end_matches('/'), sure) {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Cancelled) => Err(CredentialsError::Cancelled),
        // It exists, and the instance has no role.
        Err(Failure::Refused(404, _)) if !sure => Ok(None),
        Err(Failure::Refused(_, why) | Failure::Http(why)) if !sure => {
            log::info!("no credentials from instance metadata: {why}");
            Ok(None)
        }
        Err(failure) => Err(failure.of("the instance's credentials")),
    }
}

fn ask(search: &Search<'_>, endpoint: &str, sure: bool) -> Result<super::Credentials, Failure> {
    let limit = if sure {
        search.network_limit()
    } else {
        search.limit.at_most(UNSURE_TIME)
    };
    let get = |method: Method, path: &str, header: (&str, &str)| {
        let uri = parse_url(&format!("{endpoint}/{path}"));
        let uri = uri.map_err(|why| Failure::Http(format!("the metadata endpoint {why}")))?;
        let request = Request::builder()
            .method(&method)
            .uri(uri)
            .header(header.0, header.1);
        let request = request.body(&b""[..]);
        let request = request.map_err(|_| Failure::Http("its token is none".to_owned()))?;
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
        return Err(Failure::Refused(404, "the instance has no role".to_owned()));
    }
    let answer = get(Method::GET, &format!("{ROLES}{role}"), header)?;
    let document: Option<Document> = serde_json::from_slice(answer.body()).ok();
    let found = document.and_then(Document::credentials);
    found.ok_or_else(|| Failure::Http("the answer holds none".to_owned()))
}
