//! What the sources that answer with JSON over HTTP share.

use http::Request;
use serde::Deserialize;

use super::chain::Search;
use super::{Credentials, CredentialsError};
use crate::aws::error::Refusal;
use crate::aws::exchange::{Answer, HttpError, exchange};
use crate::aws::time;
use crate::network::{ConnectError, Limit};
use crate::secret::Secret;

/// Credentials as containers, instances and processes write them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Document {
    access_key_id: String,
    secret_access_key: Secret,
    #[serde(alias = "SessionToken")]
    token: Option<Secret>,
    expiration: Option<String>,
}

impl Document {
    pub(super) fn credentials(self) -> Option<Credentials> {
        let expires = self.expiration.as_deref().and_then(time::parse);
        let token = self.token.map(|token| token.expose().to_owned());
        Credentials::new(
            self.access_key_id,
            self.secret_access_key.expose().to_owned(),
            token,
            expires,
        )
    }
}

/// Why there is no good answer.
pub(super) enum Failure {
    Cancelled,
    /// In words.
    Http(String),
    /// The status, and in words.
    Refused(u16, String),
}

impl Failure {
    /// As an error of a source that somebody configured.
    pub(super) fn of(self, what: &str) -> CredentialsError {
        match self {
            Self::Cancelled => CredentialsError::Cancelled,
            Self::Http(reason) | Self::Refused(_, reason) => {
                CredentialsError::Failed(format!("{what}: {reason}"))
            }
        }
    }
}

/// One request; an answer with status 200.
pub(super) fn fetch(
    search: &Search<'_>,
    request: &Request<&[u8]>,
    limit: &Limit,
) -> Result<Answer, Failure> {
    match exchange(search.caller.network, request, limit) {
        Ok(answer) if answer.status().is_success() => Ok(answer),
        Ok(answer) => {
            let refusal = Refusal::parse(&answer);
            Err(Failure::Refused(refusal.status, refusal.to_string()))
        }
        Err(HttpError::Connect(ConnectError::Cancelled)) => Err(Failure::Cancelled),
        Err(error) => Err(Failure::Http(error.to_string())),
    }
}
