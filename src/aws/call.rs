//! A signed call: tried again where that helps, with the clock put right.

use std::time::Duration;

use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{Request, Uri};

use super::clock::Clock;
use super::credentials::Credentials;
use super::error::ApiError;
use super::exchange::{Answer, exchange, host_header};
use super::refusal::Refusal;
use super::sigv4;
use crate::error::Meaning;
use crate::network::{Limit, Network};
use crate::random;

/// What the query protocol takes.
pub(super) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// How often a call is tried where nobody above tries again (the AWS SDKs' number).
pub(super) const ATTEMPTS: u32 = 3;
/// How long one try may take where the caller allows more: a lost packet must not use up all its time.
const ATTEMPT_TIME: Duration = Duration::from_secs(15);
/// The longest back-off before the second try; each later one may be twice as long.
const BACK_OFF: Duration = Duration::from_millis(500);

/// What a call needs besides what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApiCaller<'a> {
    pub(super) network: &'a Network,
    pub(super) clock: &'a Clock,
    /// How often a call is tried.
    pub(super) attempts: u32,
}

/// What a call says.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApiCall<'a> {
    /// For errors: `ResumeSession`.
    pub(super) operation: &'static str,
    pub(super) url: &'a Uri,
    pub(super) region: &'a str,
    /// The service's signing name.
    pub(super) service: &'static str,
    /// `X-Amz-Target` and its value, for the JSON protocols.
    pub(super) target: Option<&'static str>,
    pub(super) content_type: &'static str,
    pub(super) body: &'a [u8],
}

impl ApiCaller<'_> {
    /// Posts the call, signed if there are credentials, and gives an answer with status 200.
    pub(super) fn call(
        &self,
        call: &ApiCall<'_>,
        credentials: Option<&Credentials>,
        limit: &Limit,
    ) -> Result<Answer, ApiError> {
        let operation = call.operation;
        if let Some(credentials) = credentials {
            credentials.hide_in(&self.network.redactor);
        }
        let mut attempt = 0;
        let mut clock_was_corrected = false;
        let mut answered = None;
        loop {
            attempt += 1;
            let error = match self.attempt(call, credentials, &limit.at_most(ATTEMPT_TIME)) {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let refusal = Refusal::parse(&answer, &self.network.redactor);
                    if refusal.is_about_time()
                        && !clock_was_corrected
                        && self.correct_clock(&answer, &refusal)
                    {
                        clock_was_corrected = true;
                        attempt -= 1;
                        continue;
                    }
                    let again = refusal.is_temporary();
                    let error = ApiError::refused(call.service, operation, refusal);
                    if !again {
                        return Err(error);
                    }
                    error
                }
                Err(error)
                    if error.is_given_up() || error.failure().meaning != Meaning::Temporary =>
                {
                    return Err(error);
                }
                Err(error) => error,
            };
            log::info!("try {attempt}: {error}");
            let is_answer = error.failure().is_answer;
            if !is_answer && limit.remaining().is_err() {
                // A try that the deadline cuts off says less than an answer before it (P119).
                return Err(answered.unwrap_or(error));
            }
            if attempt >= self.attempts {
                return Err(error);
            }
            if is_answer {
                answered = Some(error.clone());
            }
            // "Full jitter", so that many clients of a failing service do not come back all at once.
            let pause = (BACK_OFF * 2u32.pow(attempt - 1)).mul_f64(random::share());
            if let Err(stop) = limit.pause(pause) {
                return Err(ApiError::stopped(operation, stop, Some(error)));
            }
        }
    }

    fn attempt(
        &self,
        call: &ApiCall<'_>,
        credentials: Option<&Credentials>,
        limit: &Limit,
    ) -> Result<Answer, ApiError> {
        let host = host_header(call.url);
        let mut headers = vec![("host", host.as_str()), ("content-type", call.content_type)];
        headers.extend(call.target.map(|target| ("x-amz-target", target)));
        let request = sigv4::SignableRequest {
            method: "POST",
            path: call.url.path(),
            query: call.url.query().unwrap_or_default(),
            headers: &headers,
            payload_hash: &sigv4::payload_hash(call.body),
        };
        let mut post = Request::post(call.url).header(CONTENT_TYPE, call.content_type);
        if let Some(target) = call.target {
            post = post.header("x-amz-target", target);
        }
        let operation = call.operation;
        if let Some(credentials) = credentials {
            let now = self.clock.now();
            let headers = sigv4::sign(&request, credentials, call.region, call.service, now)
                .map_err(|_| ApiError::unsignable())?;
            for (name, value) in headers {
                post = post.header(name, value);
            }
        }
        let malformed = |_| ApiError::Malformed("could not be asked for", operation);
        let post = post.body(call.body).map_err(malformed)?;
        exchange(self.network, &post, limit).map_err(|error| ApiError::Http { operation, error })
    }

    fn correct_clock(&self, answer: &Answer, refusal: &Refusal) -> bool {
        let header = answer
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        let time = Clock::parse_message(&refusal.message).or_else(|| Clock::parse_header(header?));
        time.is_some_and(|time| self.clock.correct(time))
    }
}

/// Signs the upgrade to a websocket: only `host`, the time and the token, over an empty body.
pub(super) fn sign_upgrade(
    uri: &Uri,
    credentials: &Credentials,
    region: &str,
    clock: &Clock,
) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
    let host = uri
        .authority()
        .map(|authority| authority.as_str())
        .unwrap_or_default();
    let request = sigv4::SignableRequest {
        method: "GET",
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &[("host", host)],
        payload_hash: &sigv4::payload_hash(b""),
    };
    sigv4::sign(&request, credentials, region, "ssmmessages", clock.now())
}

/// A form as it is posted.
pub(super) fn form_body<'a>(form: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let fields = form.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    fields.collect::<Vec<_>>().join("&")
}

/// Encodes a part of a form or a query.
pub(super) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
