//! The API: how calls are made, and one file for each service or subject. Every call names its IAM action.

mod ec2;
mod ecs;
mod identity;
mod instance_connect;
mod instances;
mod kms;
mod run_command;
mod sessions;

use std::sync::Arc;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

pub use ec2::{Instance, InstanceFilter};
pub use ecs::{Container, Task};
pub use identity::{FoundCredentials, Identity};
pub use instances::{Node, NodeFilter, Nodes, PingStatus};
pub use kms::DataKey;
pub use run_command::{
    CommandInvocation, CommandInvocations, CommandOutput, CommandSummary, CommandTarget,
    SendCommand,
};
pub use sessions::{ResumedSession, StartRequest, StartedSession};

use super::call::{ATTEMPTS, ApiCall, ApiCaller, FORM, form_body, sign_upgrade};
use super::clock::Clock;
use super::configured::Configured;
use super::credentials::{Chain, Credentials, CredentialsError};
use super::endpoint::{CallerEndpoint, Endpoints};
use super::error::ApiError;
use super::exchange::Answer;
use super::service::Service;
use super::xml::Element;
use crate::error::{Error, Meaning};
use crate::network::{Limit, Network};
use crate::remarks::{Remarks, Waiting};
use crate::settings::Environment;

/// The most pages that are read of one answer: 2,000 nodes in pages of 50. The service must not keep the program asking for ever.
pub(crate) const MAXIMUM_PAGES: usize = 40;
/// What the SSM and KMS services take and give.
const AMZ_JSON: &str = "application/x-amz-json-1.1";

/// What is known of the session and its caller.
#[derive(Debug, Clone, Default)]
pub struct ApiOptions {
    /// The region; without it that of the environment or the profile.
    pub region: Option<String>,
    /// The profile that the caller named: no other's credentials are used then.
    pub profile: Option<String>,
    /// The endpoint that the caller names.
    pub endpoint: Option<CallerEndpoint>,
    /// The node or task.
    pub target: Option<String>,
    /// The host that the service named for the stream (never one that the user put in its place).
    pub stream_host: Option<String>,
    /// Where the user is told what takes its time.
    pub remarks: Remarks,
}

/// Calls AWS's API. Cheap to clone, and for use from any thread.
#[derive(Clone)]
pub struct Api(Arc<ApiState>);

struct ApiState {
    network: Network,
    endpoints: Endpoints,
    region: String,
    target: Option<String>,
    remarks: Remarks,
    credentials: Arc<Chain>,
    clock: Arc<Clock>,
}

impl Api {
    /// Prepares calls; nothing is sent, and no credentials are looked for yet. `configured` is what the profile of `options` says.
    ///
    /// # Errors
    /// [`Error::NoRegion`]; a region that is none, or an endpoint that is no URL.
    pub fn new(
        options: ApiOptions,
        environment: &Environment,
        configured: &Configured,
        network: Network,
    ) -> Result<Self, Error> {
        let endpoints = Endpoints::new(
            environment,
            configured,
            options.endpoint.as_ref(),
            options.target.as_deref(),
            options.stream_host.as_deref(),
        );
        let credentials = Chain::new(
            environment,
            options.profile,
            endpoints.clone(),
            options.remarks.clone(),
        );
        let region = options
            .region
            .filter(|region| !region.is_empty())
            .or_else(|| credentials.region())
            .or_else(|| endpoints.region_of_stream())
            .unwrap_or_default();
        // Refuses what is no region or no URL before anything is sent.
        endpoints.url(Service::Ssm, &region)?;
        let in_the_clear = endpoints.clear_text_hosts();
        if !in_the_clear.is_empty() {
            options.remarks.unencrypted(&in_the_clear.join(" and "));
        }
        Ok(Self(Arc::new(ApiState {
            network,
            endpoints,
            region,
            target: options.target,
            remarks: options.remarks,
            credentials: Arc::new(credentials),
            clock: Arc::default(),
        })))
    }

    /// The same for a session with this target, if that is known, whose stream is at this host: with the credentials that were found
    /// (P108).
    #[must_use]
    pub fn for_session(&self, target: Option<&str>, stream_host: &str) -> Self {
        let mut endpoints = self.0.endpoints.clone();
        endpoints.follow(stream_host);
        Self(Arc::new(ApiState {
            network: self.0.network.clone(),
            endpoints,
            region: self.0.region.clone(),
            target: target.map(str::to_owned).or_else(|| self.0.target.clone()),
            remarks: self.0.remarks.clone(),
            credentials: Arc::clone(&self.0.credentials),
            clock: Arc::clone(&self.0.clock),
        }))
    }

    /// The network through which calls are made.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The region of the calls.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Finds the credentials for [`resume_session`](Self::resume_session): those at hand while they are good, so that the call itself can
    /// have a shorter limit than a source that asks its user. The network's sources are asked once, as the caller tries again.
    ///
    /// # Errors
    /// When there are none.
    pub fn prepare_resume(&self, limit: &Limit) -> Result<(), CredentialsError> {
        self.0
            .credentials
            .get(true, &self.0.region, self.caller(1), limit)
            .map(drop)
    }

    /// The service refused something that was signed with the credentials at hand: the next call looks for others.
    pub fn credentials_denied(&self) {
        self.0.credentials.denied();
    }

    /// The headers that sign a websocket upgrade; every dial needs new ones.
    ///
    /// # Errors
    /// When there are no credentials: the dial then goes on without a signature.
    pub fn sign_upgrade(
        &self,
        uri: &Uri,
        limit: &Limit,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ApiError> {
        let credentials = self.credentials(limit)?;
        credentials.hide_in(&self.0.network.redactor);
        sign_upgrade(uri, &credentials, &self.0.region, &self.0.clock)
            .map_err(|_| ApiError::unsignable())
    }

    /// Takes the `Date` of an answer with which a signed upgrade was refused; true if our clock was off, and it is worth while to sign
    /// and dial once more.
    pub fn correct_clock(&self, date: &str) -> bool {
        Clock::parse_header(date).is_some_and(|time| self.0.clock.correct(time))
    }

    /// The node or task, if the caller named it.
    pub(super) fn target(&self) -> Option<&str> {
        self.0.target.as_deref().filter(|target| !target.is_empty())
    }

    /// Tells the user what is waited for, if it takes its time.
    pub(super) fn waiting(&self, what: &str, limit: &Limit) -> Waiting {
        let longest = limit.remaining().unwrap_or_default();
        self.0.remarks.waiting(what, longest)
    }

    pub(super) fn credentials(&self, limit: &Limit) -> Result<Arc<Credentials>, CredentialsError> {
        self.0
            .credentials
            .get(false, &self.0.region, self.caller(ATTEMPTS), limit)
    }

    fn caller(&self, attempts: u32) -> ApiCaller<'_> {
        ApiCaller {
            network: &self.0.network,
            clock: &self.0.clock,
            attempts,
        }
    }

    pub(super) fn ssm<T: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        target: &'static str,
        request: &impl Serialize,
        credentials: &Credentials,
        limit: &Limit,
    ) -> Result<T, ApiError> {
        let caller = (credentials, ATTEMPTS);
        self.json(Service::Ssm, operation, target, request, caller, limit)
    }

    pub(super) fn json<T: for<'de> Deserialize<'de>>(
        &self,
        service: Service,
        operation: &'static str,
        target: &'static str,
        request: &impl Serialize,
        (credentials, attempts): (&Credentials, u32),
        limit: &Limit,
    ) -> Result<T, ApiError> {
        let malformed = |_| ApiError::Malformed("is not as expected", operation);
        let body = serde_json::to_vec(request).map_err(malformed)?;
        let url = self.0.endpoints.url(service, &self.0.region)?;
        let call = ApiCall {
            operation,
            url: &url,
            region: &self.0.region,
            service: service.signing_name(),
            target: Some(target),
            content_type: AMZ_JSON,
            body: &body,
        };
        let answer = self.call(&call, (credentials, attempts), limit)?;
        serde_json::from_slice(answer.body()).map_err(malformed)
    }

    /// A call of the query protocol: a form, and XML back.
    pub(super) fn query(
        &self,
        service: Service,
        operation: &'static str,
        form: &[(String, String)],
        credentials: &Credentials,
        limit: &Limit,
    ) -> Result<Element, ApiError> {
        let url = self.0.endpoints.url(service, &self.0.region)?;
        let body = form_body(
            form.iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let call = ApiCall {
            operation,
            url: &url,
            region: &self.0.region,
            service: service.signing_name(),
            target: None,
            content_type: FORM,
            body: body.as_bytes(),
        };
        let answer = self.call(&call, (credentials, ATTEMPTS), limit)?;
        let document = String::from_utf8_lossy(answer.body());
        Element::parse(&document).ok_or(ApiError::Malformed("is not as expected", operation))
    }

    fn call(
        &self,
        call: &ApiCall<'_>,
        (credentials, attempts): (&Credentials, u32),
        limit: &Limit,
    ) -> Result<Answer, ApiError> {
        let answer = self
            .caller(attempts)
            .call(call, Some(credentials), limit)
            .map_err(|mut error| {
                if error.failure().meaning == Meaning::Denied {
                    self.credentials_denied();
                }
                if let ApiError::Refused {
                    refusal, advice, ..
                } = &mut error
                    && refusal.is_expired()
                {
                    *advice = Some(self.0.credentials.how_to_renew());
                }
                error
            })?;
        self.0.credentials.accepted();
        Ok(answer)
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Api({})", self.0.region)
    }
}
