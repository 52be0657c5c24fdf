//! Credentials in variables.

use super::search::Found;
use super::{Credentials, CredentialsError};
use crate::aws::time;
use crate::settings::Environment;

/// `AWS_ACCESS_KEY_ID` and what belongs to it.
pub(super) fn find(environment: &Environment) -> Found {
    let get = |name| environment.get(name).map(str::to_owned);
    let key = get("AWS_ACCESS_KEY_ID");
    let secret = get("AWS_SECRET_ACCESS_KEY");
    let (key, secret) = match (key, secret) {
        (None, None) => return Ok(None),
        (Some(key), Some(secret)) => (key, secret),
        (Some(_), None) => return Err(missing("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        (None, Some(_)) => return Err(missing("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
    };
    let token = get("AWS_SESSION_TOKEN").or_else(|| get("AWS_SECURITY_TOKEN"));
    let expires = environment
        .get("AWS_CREDENTIAL_EXPIRATION")
        .and_then(time::parse);
    let unusable = || {
        CredentialsError::Failed(
            "what AWS_ACCESS_KEY_ID and the like hold cannot be credentials".to_owned(),
        )
    };
    Credentials::new(key, secret.into(), token.map(Into::into), expires)
        .map(Some)
        .ok_or_else(unusable)
}

fn missing(what: &str, beside: &str) -> CredentialsError {
    CredentialsError::Failed(format!("{beside} is set, and {what} is not"))
}
