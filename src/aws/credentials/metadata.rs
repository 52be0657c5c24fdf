//! What the sources that answer with JSON over HTTP share.

use http::Request;
use serde::Deserialize;

use super::search::CredentialSearch;
use super::{Credentials, CredentialsError};
use crate::aws::exchange::{Answer, HttpError, exchange};
use crate::aws::refusal::Refusal;
use crate::aws::time;
use crate::error::{Failure, Meaning};
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
        Credentials::new(
            self.access_key_id,
            self.secret_access_key,
            self.token,
            expires,
        )
    }
}

/// Why there is no good answer.
pub(super) enum FetchError {
    Cancelled,
    /// No answer, or one that cannot be used, in words.
    Http(Failure),
    /// An answer that is an error.
    Refused(Refusal),
}

impl FetchError {
    /// Somebody answered, with something that is not what was asked for.
    pub(super) fn unusable(reason: impl Into<String>) -> Self {
        Self::Http(Failure {
            meaning: Meaning::Temporary,
            reason: reason.into(),
            is_answer: true,
        })
    }

    /// As an error of a source that somebody configured.
    pub(super) fn of(self, what: &str) -> CredentialsError {
        match self.failure() {
            Some(failure) => CredentialsError::of(failure, what),
            None => CredentialsError::Cancelled,
        }
    }

    /// What it means; nothing where the caller gave up.
    pub(super) fn failure(self) -> Option<Failure> {
        match self {
            Self::Cancelled => None,
            Self::Http(failure) => Some(failure),
            Self::Refused(refusal) => Some(Failure {
                meaning: refusal.meaning_of_source(),
                reason: refusal.to_string(),
                is_answer: true,
            }),
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Cancelled => false,
            Self::Http(failure) => failure.meaning == Meaning::Temporary,
            Self::Refused(refusal) => refusal.meaning_of_source() == Meaning::Temporary,
        }
    }
}

/// [`fetch`], and once more where that may help and there is time for it.
pub(super) fn fetch_twice(
    search: &CredentialSearch<'_>,
    request: &Request<&[u8]>,
    limit: &Limit,
) -> Result<Answer, FetchError> {
    match fetch(search, request, limit) {
        Err(error) if error.is_temporary() && limit.remaining().is_ok() => {
            match fetch(search, request, limit) {
                // A try that the deadline cuts off says less than the one before it (P119).
                Err(FetchError::Http(_)) if limit.remaining().is_err() => Err(error),
                other => other,
            }
        }
        other => other,
    }
}

/// One request; an answer with status 200.
pub(super) fn fetch(
    search: &CredentialSearch<'_>,
    request: &Request<&[u8]>,
    limit: &Limit,
) -> Result<Answer, FetchError> {
    let network = search.caller.network;
    for name in [
        "authorization",
        "x-aws-ec2-metadata-token",
        "x-amz-sso_bearer_token",
    ] {
        let value = request.headers().get(name);
        if let Some(secret) = value.and_then(|value| value.to_str().ok()) {
            network.redactor.add(secret);
        }
    }
    match exchange(network, request, limit) {
        Ok(answer) if answer.status().is_success() => Ok(answer),
        Ok(answer) => Err(FetchError::Refused(Refusal::parse(
            &answer,
            &network.redactor,
        ))),
        Err(HttpError::Connect(ConnectError::Cancelled)) => Err(FetchError::Cancelled),
        Err(error) => Err(FetchError::Http(error.failure())),
    }
}
