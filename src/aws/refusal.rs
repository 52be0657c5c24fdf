//! The errors with which services answer: their codes, their words, and what those mean.

use std::borrow::Cow;

use super::exchange::Answer;
use crate::error::Meaning;
use crate::json::JsonObject;
use crate::redactor::Redactor;
use crate::sanitise;

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
        let body = String::from_utf8_lossy(answer.body());
        let json = JsonObject::parse(&body).ok().flatten();
        let text = |names: &[&str]| {
            let json = json.as_ref()?;
            let found = names.iter().find_map(|name| json.text(name));
            found.map(Cow::into_owned)
        };
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

    /// What it means when it comes from a source of credentials: only a refusal with a name is one (P67). Others come from somebody in
    /// between, or from a source that is not ready.
    pub(super) fn meaning_of_source(&self) -> Meaning {
        match self.code.is_empty() {
            true => Meaning::Temporary,
            false => self.meaning(),
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

    /// Whether the service took no call because there were too many.
    pub(crate) fn is_throttled(&self) -> bool {
        self.status == 429
            || ["Throttl", "TooManyRequests", "RequestLimitExceeded"]
                .iter()
                .any(|word| self.code.contains(word))
    }

    /// Whether other credentials, or a right clock, may do.
    pub(crate) fn is_about_credentials(&self) -> bool {
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
