//! What the service knows of sessions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Api;
use crate::aws::ApiError;
use crate::network::Limit;

/// How often the service is asked for a session that has just been started: it may not know it yet.
const ATTEMPTS: u32 = 3;
/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(500);

impl Api {
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
