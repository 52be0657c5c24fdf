//! What can go wrong with an API call, and what that means for a session.

use super::advice;
use super::credentials::CredentialsError;
use super::exchange::HttpError;
use super::refusal::Refusal;
use crate::error::{Error, Failure, Meaning};
use crate::network::{ConnectError, Stop};
use crate::redactor::Redactor;

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

    /// As the error of a command: it keeps what a program wants to know.
    pub fn into_error(self) -> Error {
        let text = self.to_string();
        match self {
            Self::Setup(error) => error,
            Self::Credentials(_) => Error::Credentials(text),
            Self::Refused { refusal, .. } => Error::Refused {
                code: refusal.code,
                text,
            },
            Self::Http { .. } => Error::Unreachable(text),
            Self::Malformed(..) | Self::GivenUp(_) => Error::Start(text),
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
