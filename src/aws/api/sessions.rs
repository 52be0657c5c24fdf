//! Sessions: how they begin, go on after a break, and end, and what the service knows of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Api;
use crate::aws::ApiError;
use crate::aws::service::Service;
use crate::network::Limit;
use crate::secret::Secret;

/// How often the service is asked for a session that has just been started: it may not know it yet.
const ATTEMPTS: u32 = 3;
/// The longest token that is taken, in bytes. Real ones have about one thousand.
const LONGEST_TOKEN: usize = 16 * 1024;
/// How long after a cancellation the service may answer that a session was started. Without the answer nobody can end that session.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(3);
/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(500);

/// What StartSession (or ECS's ExecuteCommand) answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartedSession {
    /// The session's id.
    pub session_id: String,
    /// The URL of the data channel.
    pub stream_url: String,
    /// The token that opens the data channel.
    #[serde(rename = "TokenValue")]
    pub token: Secret,
}

/// What opens the data channel of a running session again.
#[derive(Debug, Clone, Default)]
pub struct ResumedSession {
    /// A new token; none if the session has ended.
    pub token: Option<Secret>,
    /// A new URL of the data channel; none if it has not changed.
    pub stream_url: Option<String>,
}

/// The request of StartSession.
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
    /// The reason that is recorded with the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionRequest<'a> {
    session_id: &'a str,
}

impl Api {
    /// Starts a session (`ssm:StartSession`). Where the limit is cancelled after the request was sent, the answer is waited for 3 s more:
    /// there may be a session that is to be ended.
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
            &limit.with_answer_grace(ANSWER_GRACE),
        )?;
        self.0.network.redactor.add(started.token.expose());
        Ok(started)
    }

    /// Asks for a token with which a session's data channel can be opened again (`ssm:ResumeSession`). Tried once: the caller tries again,
    /// by the clock of the whole outage.
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
        let token = answer.token_value.as_ref();
        if token.is_some_and(|token| token.len() > LONGEST_TOKEN) {
            let what = "holds a token that is far too long";
            return Err(ApiError::Malformed(what, "ResumeSession"));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = &answer.token_value {
            self.0.network.redactor.add(token);
        }
        Ok(ResumedSession {
            token: given(answer.token_value).map(Secret::new),
            stream_url: given(answer.stream_url),
        })
    }

    /// Ends a session (`ssm:TerminateSession`).
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

    /// The node or task of a session: as its caller said it, or else as the service knows it (`ssm:DescribeSessions`). None if the service
    /// does not know the session.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn session_target(
        &self,
        session_id: &str,
        limit: &Limit,
    ) -> Result<Option<String>, ApiError> {
        if let Some(target) = self.target() {
            return Ok(Some(target.to_owned()));
        }
        let _waiting = self.waiting("DescribeSessions", limit);
        for attempt in 1.. {
            let target = self.described_target(session_id, limit)?;
            if target.is_some() || attempt == ATTEMPTS || limit.pause(PAUSE).is_err() {
                return Ok(target);
            }
        }
        Ok(None)
    }

    fn described_target(
        &self,
        session_id: &str,
        limit: &Limit,
    ) -> Result<Option<String>, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct DescribeSessionsRequest<'a> {
            state: &'static str,
            filters: [SessionFilter<'a>; 1],
        }
        // In small letters, unlike everything else of this service.
        #[derive(Serialize)]
        struct SessionFilter<'a> {
            key: &'static str,
            value: &'a str,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct DescribeSessionsAnswer {
            #[serde(default)]
            sessions: Vec<DescribedSession>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct DescribedSession {
            session_id: Option<String>,
            target: Option<String>,
        }
        let request = DescribeSessionsRequest {
            state: "Active",
            filters: [SessionFilter {
                key: "SessionId",
                value: session_id,
            }],
        };
        let credentials = self.credentials(limit)?;
        let answer: DescribeSessionsAnswer = self.ssm(
            "DescribeSessions",
            "AmazonSSM.DescribeSessions",
            &request,
            &credentials,
            limit,
        )?;
        let is_it = |session: &DescribedSession| session.session_id.as_deref() == Some(session_id);
        let session = answer.sessions.into_iter().find(is_it);
        let target = session.and_then(|session| session.target);
        Ok(target.filter(|target| !target.is_empty()))
    }
}
