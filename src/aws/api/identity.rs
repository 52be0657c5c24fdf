//! Whose credentials are in use, and which hosts are called: what `doctor` reports.

use std::time::SystemTime;

use http::header::DATE;
use http::{Request, Uri};

use crate::aws::clock::Clock;
use crate::aws::credentials::CredentialsError;
use crate::aws::exchange::{HttpError, exchange};
use crate::aws::service::Service;
use crate::aws::{Api, ApiError};
use crate::error::Error;
use crate::network::Limit;
use crate::sanitise;

/// The version of STS's API.
const VERSION: &str = "2011-06-15";

/// What may be shown of credentials that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCredentials {
    /// Where they come from, in words.
    pub source: String,
    /// The access key's id.
    pub access_key_id: String,
    /// When they expire; none if they do not, or if the source does not tell.
    pub expires: Option<SystemTime>,
}

/// Whose credentials they are. Every text may be shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user or role.
    pub arn: String,
    /// The account's number.
    pub account: String,
}

impl Api {
    /// Looks for credentials in all sources; no call is signed with them.
    ///
    /// # Errors
    /// When there are none.
    pub fn find_credentials(&self, limit: &Limit) -> Result<FoundCredentials, CredentialsError> {
        let found = self.credentials(limit)?;
        Ok(FoundCredentials {
            source: self.0.credentials.source(),
            access_key_id: sanitise::line_within(&found.access_key_id, 128),
            expires: found.expires,
        })
    }

    /// Who the credentials are (`sts:GetCallerIdentity`, which cannot be denied).
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn caller_identity(&self, limit: &Limit) -> Result<Identity, ApiError> {
        const OPERATION: &str = "GetCallerIdentity";
        let credentials = self.credentials(limit)?;
        let form = [("Action", OPERATION), ("Version", VERSION)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = self.query(Service::Sts, OPERATION, &form, &credentials, limit)?;
        let result = answer.child("GetCallerIdentityResult");
        let text = |name: &str| {
            let text = result.and_then(|result| result.text(name));
            sanitise::line_within(text.unwrap_or_default(), 255)
        };
        Ok(Identity {
            arn: text("Arn"),
            account: text("Account"),
        })
    }

    /// The endpoint of Systems Manager.
    ///
    /// # Errors
    /// A variable or setting that cannot be used.
    pub fn ssm_url(&self) -> Result<Uri, Error> {
        self.0.endpoints.url(Service::Ssm, &self.0.region)
    }

    /// The host of the region's streams. A session may name another one.
    pub fn standard_stream_host(&self) -> String {
        self.0.endpoints.stream_host(&self.0.region)
    }

    /// The time by Systems Manager's clock; none if it does not tell.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn server_time(&self, url: &Uri, limit: &Limit) -> Result<Option<SystemTime>, HttpError> {
        let request = Request::get(url)
            .body(&[][..])
            .map_err(|error| HttpError::Broken {
                host: url.host().unwrap_or_default().to_owned(),
                reason: error.to_string(),
            })?;
        let answer = exchange(&self.0.network, &request, limit)?;
        let date = answer
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        Ok(date.and_then(Clock::parse_header))
    }
}
