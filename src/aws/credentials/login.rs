//! What `aws login` left: credentials of the console's session.
//!
//! They last for 15 minutes. The AWS CLI renews them with a key of its own that signs each request (DPoP, RFC 9449). Here they are used
//! while they last, and the AWS CLI renews them, as who logged in this way has it. A signature of that kind would be twelve more crates
//! and 52 KB, and each renewal replaces the token in the AWS CLI's own file.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::config::{Section, aws_directory};
use super::search::{CredentialSearch, Found};
use super::{Credentials, CredentialsError, process};
use crate::aws::{sigv4, time};
use crate::files;
use crate::secret::Secret;

/// Those that last no longer are renewed, where that is possible (as in botocore).
const REFRESH_WINDOW: Duration = Duration::from_secs(5 * 60);

/// What the AWS CLI keeps of a session; its keys and tokens are its own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginCache {
    access_token: LoginKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginKeys {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Secret,
    expires_at: String,
}

/// Those of the `login_session` that the profile names.
pub(super) fn find(search: &CredentialSearch<'_>, name: &str, profile: &Section) -> Found {
    let Some(session) = profile.get("login_session") else {
        return Ok(None);
    };
    let file = cache_file(search, session);
    let kept: Option<LoginCache> = match files::read(&file) {
        Ok(json) => serde_json::from_slice(&json).ok(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            None
        }
        Err(error) => {
            return Err(CredentialsError::Failed(format!(
                "{} cannot be read: {error}",
                file.display()
            )));
        }
    };
    let kept = kept.and_then(|kept| credentials(&kept.access_token));
    let now = SystemTime::now();
    let lasts = |time: Duration| {
        let expires = kept.as_ref().and_then(|kept| kept.expires);
        expires.is_some_and(|expires| expires > now + time)
    };
    if lasts(REFRESH_WINDOW) {
        return Ok(kept);
    }
    let why = match process::aws_cli(search, name) {
        Ok(Some(renewed)) => return Ok(Some(renewed)),
        Ok(None) => None,
        Err(CredentialsError::Cancelled) => return Err(CredentialsError::Cancelled),
        Err(error) => {
            log::info!("{error}");
            Some(error)
        }
    };
    if lasts(Duration::ZERO) {
        return Ok(kept);
    }
    let over = format!("the session of `aws login` of profile {name} is missing or has expired");
    let login = format!("run `aws login --profile {name}`");
    Err(match why {
        // The network may be away for it as for us.
        Some(CredentialsError::Temporary {
            reason,
            is_answer,
            may_ask,
        }) => CredentialsError::Temporary {
            reason: format!("{over}, and {reason}; {login}"),
            is_answer,
            may_ask,
        },
        Some(CredentialsError::Failed(reason)) => {
            CredentialsError::Failed(format!("{over}, and {reason}; {login}"))
        }
        _ => CredentialsError::Failed(format!(
            "{over}: {login} (its credentials last for 15 minutes; `aws configure export-credentials --profile {name}` renews them, and is \
             run here where the AWS CLI is on the PATH)"
        )),
    })
}

fn credentials(keys: &LoginKeys) -> Option<Credentials> {
    Credentials::new(
        keys.access_key_id.clone(),
        keys.secret_access_key.clone(),
        Some(keys.session_token.clone()),
        Some(time::parse(&keys.expires_at)?),
    )
}

/// Where the AWS CLI keeps it, by SHA-256 of the session's name.
fn cache_file(search: &CredentialSearch<'_>, session: &str) -> PathBuf {
    let directory = search
        .environment
        .path("AWS_LOGIN_CACHE_DIRECTORY")
        .unwrap_or_else(|| aws_directory(search.environment).join("login/cache"));
    directory.join(format!("{}.json", sigv4::payload_hash(session.as_bytes())))
}
