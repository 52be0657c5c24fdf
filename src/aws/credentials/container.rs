//! Credentials of a container: of ECS, of EKS, and of others that set the same variables.

use http::{Request, Uri};

use super::CredentialsError;
use super::metadata::{Document, FetchError, fetch_twice};
use super::search::{CredentialSearch, Found};
use crate::aws::exchange::parse_url;
use crate::files;
use crate::host::{bare, is_loopback};
use crate::secret::Secret;
use crate::settings::Environment;

/// Where ECS answers relative URIs.
const ECS: &str = "http://169.254.170.2";
/// Who may be asked in the clear besides loopback: ECS, EKS. Anybody else would hear the token.
const CLEAR_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// What `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI` leads to.
pub(super) fn find(search: &CredentialSearch<'_>) -> Found {
    let failed = |why: String| CredentialsError::Failed(why);
    let Some(uri) = address(search.environment).map_err(failed)? else {
        return Ok(None);
    };
    let mut request = Request::get(&uri).header("accept", "application/json");
    if let Some(token) = token(search.environment).map_err(failed)? {
        request = request.header("authorization", token.expose());
    }
    let what = "the container's credentials";
    // Not the error's own words: it may name the header's value.
    let request = request.body(&b""[..]).map_err(|_| {
        failed(format!(
            "{what}: the authorization token cannot be part of a header"
        ))
    })?;
    let _waiting = search.waiting_for_network(what);
    // Such agents are busy for a moment when many containers start.
    let answer = fetch_twice(search, &request, &search.network_limit());
    let answer = answer.map_err(|error| error.of(what))?;
    let document: Option<Document> = serde_json::from_slice(answer.body()).ok();
    let found = document.and_then(Document::credentials);
    found
        .map(Some)
        .ok_or_else(|| FetchError::unusable("the answer holds none").of(what))
}

fn address(environment: &Environment) -> Result<Option<Uri>, String> {
    const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    if let Some(relative) = environment.get(RELATIVE) {
        if !relative.starts_with('/') {
            return Err(format!("{RELATIVE} does not begin with /"));
        }
        let uri = parse_url(&format!("{ECS}{relative}"));
        return uri
            .map(Some)
            .map_err(|why| format!("the URL from {RELATIVE} {why}"));
    }
    let Some(full) = environment.get(FULL) else {
        return Ok(None);
    };
    let uri = parse_url(full).map_err(|why| format!("the URL in {FULL} {why}"))?;
    let host = bare(uri.host().unwrap_or_default());
    if uri.scheme_str() == Some("http") && !is_loopback(host) && !CLEAR_HOSTS.contains(&host) {
        return Err(format!(
            "the URL in {FULL} is not encrypted and leads to {host}, which is neither this machine nor ECS nor EKS"
        ));
    }
    Ok(Some(uri))
}

fn token(environment: &Environment) -> Result<Option<Secret>, String> {
    const FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    match environment.path(FILE) {
        Some(file) => {
            let token = files::read_text(&file).map_err(|error| {
                format!(
                    "{}, which {FILE} names, cannot be read: {error}",
                    file.display()
                )
            })?;
            Ok(Some(Secret::new(token.trim().to_owned())))
        }
        None => Ok(environment
            .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(|token| Secret::new(token.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Result<String, String> {
        let uri = address(&Environment::from([(name, value)]))?;
        Ok(uri.unwrap().to_string())
    }

    #[test]
    fn whom_to_ask() {
        let relative = |value| of("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", value);
        assert_eq!(
            relative("/v2/x?id=1").unwrap(),
            "http://169.254.170.2/v2/x?id=1"
        );
        assert!(relative("@evil.example/").is_err());
        let full = |value| of("AWS_CONTAINER_CREDENTIALS_FULL_URI", value);
        for good in [
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://127.0.0.1:9/x",
            "http://[::1]:9/x",
            "https://anywhere.example/x",
        ] {
            assert_eq!(full(good).unwrap(), good);
        }
        for wrong in [
            "http://anywhere.example/x",
            "http://10.0.0.1/",
            "ftp://localhost/",
            "x",
        ] {
            assert!(full(wrong).is_err(), "{wrong}");
        }
        assert_eq!(address(&Environment::default()), Ok(None));
    }
}
