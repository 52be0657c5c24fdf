//! What can go wrong with an API call, and what that means for a session.

use serde_json::Value;

use super::advice;
use super::credentials::CredentialsError;
use super::exchange::{Answer, HttpError};
use crate::error::{Error, Failure, Meaning};
use crate::network::{ConnectError, Stop};
use crate::redactor::Redactor;
use crate::sanitise;

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There are no credentials to sign it with.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The service answered with an error.
    #[error("{operation} failed: {refusal}{}", advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default())]
    Refused {
        /// `ResumeSession` and the like.
        operation: &'static str,
        /// Its words.
        refusal: Refusal,
        /// What to do about it, if that is known.
        advice: Option<String>,
    },
    /// No answer.
    #[error("{operation} failed: {error}")]
    Http {
        /// `ResumeSession` and the like.
        operation: &'static str,
        /// What happened.
        error: HttpError,
    },
    /// An answer without what it should hold.
    #[error("{operation} failed: the service's answer {0}", operation = .1)]
    Malformed(&'static str, &'static str),
    /// The call cannot even be tried: a variable or the region is wrong.
    #[error(transparent)]
    Setup(#[from] Error),
    /// The caller gave up, or the deadline came while waiting for the next try.
    #[error("{0} was given up")]
    GivenUp(&'static str),
}

impl ApiError {
    /// The service's refusal, with what to do about it.
    pub(super) fn refused(service: &str, operation: &'static str, refusal: Refusal) -> Self {
        Self::Refused {
            operation,
            advice: advice::of(service, operation, &refusal),
            refusal,
        }
    }

    /// What it means, and what to tell.
    pub fn failure(&self) -> Failure {
        let (meaning, is_answer) = match self {
            Self::Credentials(error) => return error.failure(),
            Self::Refused { refusal, .. } => (refusal.meaning(), true),
            Self::Http { error, .. } => (error.failure().meaning, false),
            Self::Malformed(..) => (Meaning::Temporary, true),
            // What will never work with the API may still work with the token at hand.
            Self::Setup(_) => (Meaning::Denied, false),
            Self::GivenUp(_) => (Meaning::Temporary, false),
        };
        Failure {
            meaning,
            reason: self.to_string(),
            is_answer,
        }
    }

    /// A signature that cannot be part of headers: without it nothing is sent.
    pub(super) fn unsignable() -> Self {
        Self::Setup(Error::Start(
            "the region or the credentials cannot be part of a signature".to_owned(),
        ))
    }

    /// Whether the caller gave it up, so that nothing is to be tried any more.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(
            self,
            Self::GivenUp(_)
                | Self::Credentials(CredentialsError::Cancelled)
                | Self::Http {
                    error: HttpError::Connect(ConnectError::Cancelled),
                    ..
                }
        )
    }

    pub(super) fn stopped(operation: &'static str, stop: Stop, last: Option<Self>) -> Self {
        match (stop, last) {
            // What kept it from succeeding says more than that time ran out.
            (Stop::TimedOut, Some(error)) => error,
            _ => Self::GivenUp(operation),
        }
    }
}

/// What the bytes of an answer mean for a session that should go on, with their status; nothing for a good answer or for no answer at all.
#[doc(hidden)]
pub fn judge_answer(mut bytes: &[u8]) -> Option<(u16, Failure)> {
    let answer = super::exchange::read_answer(&mut bytes).ok()?;
    let refusal = Refusal::parse(&answer, &Redactor::default());
    let status = refusal.status;
    let operation = "ResumeSession";
    let failure = ApiError::refused("ssm", operation, refusal).failure();
    (!answer.status().is_success()).then_some((status, failure))
}

/// An error as AWS's services write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The name of the error, such as `DoesNotExistException`; empty if there is none.
    pub code: String,
    /// The service's words, without control characters; may be empty.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            code,
            message,
        } = self;
        match (code.is_empty(), message.is_empty()) {
            (false, false) => write!(formatter, "{message} ({code})"),
            (false, true) => write!(formatter, "{code}"),
            (true, false) => write!(formatter, "{message} (HTTP status {status})"),
            (true, true) => write!(formatter, "HTTP status {status}"),
        }
    }
}

impl Refusal {
    /// Reads an error in one of the JSON protocols (SSM, KMS, SSO), or in that of STS (XML).
    /// What of it repeats our secrets is hidden.
    pub(super) fn parse(answer: &Answer, redactor: &Redactor) -> Self {
        let header = answer.headers().get("x-amzn-errortype");
        let header = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| json.get(*name)?.as_str());
            found.map(str::to_owned)
        };
        let body = String::from_utf8_lossy(answer.body());
        let code = text(&["__type", "code", "Code", "error"])
            .or_else(|| super::xml::text(&body, "Code").map(|text| text.into_owned()))
            .unwrap_or_else(|| header.to_owned());
        let message = text(&["message", "Message", "errorMessage", "error_description"])
            .or_else(|| super::xml::text(&body, "Message").map(|text| text.into_owned()))
            .unwrap_or_default();
        // `com.amazonaws.ssm#DoesNotExistException`, `DoesNotExistException:http://…`
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        Self {
            status: answer.status().as_u16(),
            code: sanitise::line(&redactor.clean(code)),
            message: sanitise::line(&redactor.clean(&message)),
        }
    }

    /// Only an answer that blames the request (4xx) and names its error can end a session: anything else may come from a service that
    /// has trouble, or from somebody in between (P68).
    pub(super) fn meaning(&self) -> Meaning {
        let is_temporary = self.is_temporary();
        let is_final = (400..500).contains(&self.status) && !self.code.is_empty() && !is_temporary;
        let is_denied = matches!(self.status, 401 | 403) || self.is_about_credentials();
        // SSM says "terminated" under more than one code.
        let says_terminated = || self.message.to_ascii_lowercase().contains("terminated");
        if is_final && (self.code == "DoesNotExistException" || (!is_denied && says_terminated())) {
            Meaning::Gone
        } else if is_temporary {
            Meaning::Temporary
        } else {
            Meaning::Denied
        }
    }

    /// Whether the same request may succeed a little later (the AWS SDKs' list).
    pub(super) fn is_temporary(&self) -> bool {
        self.status >= 500
            || self.status == 429
            || [
                "Throttling",
                "ThrottlingException",
                "ThrottledException",
                "RequestThrottled",
                "RequestThrottledException",
                "TooManyRequestsException",
                "RequestLimitExceeded",
                "BandwidthLimitExceeded",
                "LimitExceededException",
                "SlowDown",
                "PriorRequestNotComplete",
                "EC2ThrottledException",
                "RequestTimeout",
                "RequestTimeoutException",
                "InternalServerError",
                "InternalFailure",
                "ServiceUnavailable",
                "KMSInternalException",
                "DependencyTimeoutException",
                "KeyUnavailableException",
                "IDPCommunicationError",
            ]
            .contains(&self.code.as_str())
    }

    /// Whether these credentials may not do that.
    pub fn is_denial(&self) -> bool {
        [
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "AuthException",
            "NotAuthorized",
        ]
        .contains(&self.code.as_str())
    }

    /// Whether the target's agent is not there.
    pub fn is_not_connected(&self) -> bool {
        ["TargetNotConnected", "TargetNotConnectedException"].contains(&self.code.as_str())
    }

    /// Whether the credentials were good once.
    pub(super) fn is_expired(&self) -> bool {
        ["ExpiredToken", "ExpiredTokenException"].contains(&self.code.as_str())
    }

    fn is_about_credentials(&self) -> bool {
        [
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
        ]
        .contains(&self.code.as_str())
            || self.is_about_time()
    }

    /// Whether the signature was refused, perhaps because of the time in it.
    pub(super) fn is_about_time(&self) -> bool {
        [
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "RequestTimeTooSkewed",
            "RequestExpired",
            "RequestInTheFuture",
            "AuthFailure",
        ]
        .contains(&self.code.as_str())
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use zeroize::Zeroizing;

    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        let answer = Response::builder().status(status);
        let answer = answer.header("x-amzn-ErrorType", "FromHeader:http://x/");
        Refusal::parse(
            &answer
                .body(Zeroizing::new(body.as_bytes().to_vec()))
                .unwrap(),
            &Redactor::default(),
        )
    }

    #[test]
    fn errors_in_every_form() {
        let json = refusal(
            400,
            r#"{"__type":"com.amazonaws.ssm#DoesNotExistException","message":"gone\u001b[2J"}"#,
        );
        assert_eq!(json.to_string(), "gone[2J (DoesNotExistException)");
        let xml = refusal(
            403,
            "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>it &lt;is&gt;</Message></Error></ErrorResponse>",
        );
        assert_eq!(xml.to_string(), "it <is> (ExpiredToken)");
        let oauth = refusal(400, r#"{"error":"invalid_grant","error_description":"no"}"#);
        assert_eq!(oauth.to_string(), "no (invalid_grant)");
        assert_eq!(refusal(500, "").to_string(), "FromHeader");
        assert_eq!(refusal(500, "<html>").code, "FromHeader");
    }

    #[test]
    fn p20_what_failures_mean() {
        let failure = |status, code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            Refusal {
                status,
                code,
                message,
            }
            .meaning()
        };
        assert_eq!(failure(400, "DoesNotExistException", ""), Meaning::Gone);
        assert_eq!(failure(400, "InternalServerError", ""), Meaning::Temporary);
        assert_eq!(
            failure(400, "InvalidRequest", "Session is already terminated"),
            Meaning::Gone
        );
        assert_eq!(
            failure(400, "ThrottlingException", "Rate exceeded"),
            Meaning::Temporary
        );
        assert_eq!(failure(429, "", ""), Meaning::Temporary);
        assert_eq!(failure(503, "", ""), Meaning::Temporary);
        assert_eq!(failure(403, "", ""), Meaning::Denied);
        assert_eq!(failure(400, "ExpiredTokenException", ""), Meaning::Denied);
        assert_eq!(failure(400, "AccessDeniedException", ""), Meaning::Denied);
        assert_eq!(
            failure(400, "UnrecognizedClientException", ""),
            Meaning::Denied
        );
        assert_eq!(
            failure(400, "InvalidSignatureException", ""),
            Meaning::Denied
        );
        assert_eq!(failure(400, "ValidationException", ""), Meaning::Denied);
    }

    #[test]
    fn p68_only_a_named_4xx_answer_ends_a_session() {
        let meaning = |status, code: &str| {
            let message = "the session was terminated".to_owned();
            let code = code.to_owned();
            Refusal {
                status,
                code,
                message,
            }
            .meaning()
        };
        for (status, code, expected) in [
            (500, "DoesNotExistException", Meaning::Temporary),
            (503, "InternalServerError", Meaning::Temporary),
            (503, "", Meaning::Temporary),
            (302, "Found", Meaning::Denied),
            (400, "ThrottlingException", Meaning::Temporary),
            (404, "", Meaning::Denied),
            (403, "AccessDeniedException", Meaning::Denied),
            (400, "InvalidRequest", Meaning::Gone),
            (400, "DoesNotExistException", Meaning::Gone),
        ] {
            assert_eq!(meaning(status, code), expected, "{status} {code}");
        }
    }
}
