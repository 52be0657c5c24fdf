//! The API: how calls are made, and one file for each service or subject. Every call names its IAM action.

mod ec2;
mod ecs;
mod identity;
mod instance_connect;
mod instances;
mod run_command;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

pub use ec2::{Instance, InstanceFilter};
pub use ecs::{Container, Task};
pub use identity::{FoundCredentials, Identity};
pub use instances::{Node, NodeFilter, Nodes, PingStatus};
pub use run_command::{
    CommandInvocation, CommandInvocations, CommandOutput, CommandSummary, CommandTarget,
    SendCommand,
};

use super::call::{ATTEMPTS, ApiCall, ApiCaller, FORM, form_body, sign_upgrade};
use super::clock::Clock;
use super::configured::Configured;
use super::credentials::{Chain, Credentials, CredentialsError};
use super::endpoint::Endpoints;
use super::error::ApiError;
use super::exchange::Answer;
use super::service::Service;
use super::xml::Element;
use crate::encryption::DATA_KEY_SIZE;
use crate::error::{Error, Meaning};
use crate::network::{Limit, Network};
use crate::remarks::{Remarks, Waiting};
use crate::secret::Secret;
use crate::settings::Environment;

/// The most pages that are read of one answer: 2,000 nodes in pages of 50. The service may not make us ask for ever.
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
    /// The caller's endpoint (argument 6, `--endpoint-url`), whatever it is the endpoint of.
    pub endpoint: Option<String>,
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

/// What StartSession (or ECS's ExecuteCommand) answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartedSession {
    /// Its name.
    pub session_id: String,
    /// Where the data channel is.
    pub stream_url: String,
    /// What opens it.
    #[serde(rename = "TokenValue")]
    pub token: Secret,
}

/// What opens the data channel of a running session again.
#[derive(Debug, Clone, Default)]
pub struct ResumedSession {
    /// None: the session is over.
    pub token: Option<Secret>,
    /// None: as before.
    pub stream_url: Option<String>,
}

/// A key that KMS made.
#[derive(Debug)]
pub struct DataKey {
    /// For the agent, who has it decrypted by KMS: base64, as KMS gives it.
    pub ciphertext: String,
    /// For us.
    pub plaintext: Zeroizing<[u8; DATA_KEY_SIZE]>,
}

/// What StartSession is told.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartRequest {
    /// The node, or for containers `ecs:…`.
    pub target: String,
    /// The document; without it the account's standard shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_name: Option<String>,
    /// The document's parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Vec<String>>,
    /// For the records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
            options.endpoint.as_deref(),
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

    /// How it reaches others.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The region in which we are.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Starts a session.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn start_session(
        &self,
        request: &StartRequest,
        limit: &Limit,
    ) -> Result<StartedSession, ApiError> {
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting("StartSession", limit);
        let started: StartedSession = self.ssm(
            "StartSession",
            "AmazonSSM.StartSession",
            request,
            &credentials,
            limit,
        )?;
        self.0.network.redactor.add(started.token.expose());
        Ok(started)
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

    /// Asks for a token with which a session's data channel can be opened again. Once: the caller tries again, by the clock of the whole
    /// outage.
    ///
    /// # Errors
    /// See [`ApiError`]; [`ApiError::failure`] says what to do.
    pub fn resume_session(
        &self,
        session_id: &str,
        limit: &Limit,
    ) -> Result<ResumedSession, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ResumeSessionAnswer {
            token_value: Option<String>,
            stream_url: Option<String>,
        }
        let credentials = self
            .0
            .credentials
            .get(true, &self.0.region, self.caller(1), limit)?;
        let request = SessionRequest { session_id };
        let answer: ResumeSessionAnswer = self.json(
            Service::Ssm,
            "ResumeSession",
            "AmazonSSM.ResumeSession",
            &request,
            (&credentials, 1),
            limit,
        )?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = &answer.token_value {
            self.0.network.redactor.add(token);
        }
        Ok(ResumedSession {
            token: given(answer.token_value).map(Secret::new),
            stream_url: given(answer.stream_url),
        })
    }

    /// Ends a session over there.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn terminate_session(&self, session_id: &str, limit: &Limit) -> Result<(), ApiError> {
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting("TerminateSession", limit);
        let request = SessionRequest { session_id };
        let _: serde::de::IgnoredAny = self.ssm(
            "TerminateSession",
            "AmazonSSM.TerminateSession",
            &request,
            &credentials,
            limit,
        )?;
        Ok(())
    }

    /// Has KMS make the key of an encrypted session.
    ///
    /// The encryption context must be the one with which the agent will ask for decryption: session, target, and its challenge if it
    /// sent one.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn generate_data_key(
        &self,
        key_id: &str,
        session_id: &str,
        target: &str,
        challenge: Option<&str>,
        limit: &Limit,
    ) -> Result<DataKey, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct GenerateDataKeyRequest<'a> {
            key_id: &'a str,
            #[serde(serialize_with = "key_length")]
            number_of_bytes: (),
            encryption_context: BTreeMap<&'static str, &'a str>,
        }
        fn key_length<S: Serializer>(_: &(), serializer: S) -> Result<S::Ok, S::Error> {
            DATA_KEY_SIZE.serialize(serializer)
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct GenerateDataKeyAnswer {
            ciphertext_blob: String,
            plaintext: Secret,
        }
        const OPERATION: &str = "GenerateDataKey";
        let mut encryption_context = BTreeMap::from([
            ("aws:ssm:SessionId", session_id),
            ("aws:ssm:TargetId", target),
        ]);
        encryption_context
            .extend(challenge.map(|challenge| ("aws:ssm:RandomChallenge", challenge)));
        let request = GenerateDataKeyRequest {
            key_id,
            number_of_bytes: (),
            encryption_context,
        };
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting("KMS", limit);
        let answer: GenerateDataKeyAnswer = self.json(
            Service::Kms,
            OPERATION,
            "TrentService.GenerateDataKey",
            &request,
            (&credentials, ATTEMPTS),
            limit,
        )?;
        let malformed = || ApiError::Malformed("holds no key of 64 bytes", OPERATION);
        let plaintext = STANDARD
            .decode(answer.plaintext.expose())
            .map(Zeroizing::new);
        let plaintext = plaintext.map_err(|_| malformed())?;
        let mut key = Zeroizing::new([0; DATA_KEY_SIZE]);
        if plaintext.len() != DATA_KEY_SIZE || answer.ciphertext_blob.is_empty() {
            return Err(malformed());
        }
        key.copy_from_slice(&plaintext);
        Ok(DataKey {
            ciphertext: answer.ciphertext_blob,
            plaintext: key,
        })
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

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionRequest<'a> {
    session_id: &'a str,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Api({})", self.0.region)
    }
}
