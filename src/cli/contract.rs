//! The call `RESPONSE region StartSession [profile [parameters [endpoint]]]`, as the AWS CLI and many others make it.

use std::ffi::OsString;

use zeroize::Zeroizing;

use crate::aws::StartedSession;
use crate::error::Error;
use crate::json::{JsonObject, JsonValue};
use crate::secret::Secret;
use crate::settings::Environment;

/// A first argument that begins so is the name of the variable that holds the response.
pub(super) const RESPONSE_VARIABLE: &str = "AWS_SSM_START_SESSION_RESPONSE";
/// A caller that gives only so many arguments names no profile, and is too old for encrypted sessions.
const LEGACY_ARGUMENTS: usize = 3;

/// A session that the caller has started and that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The session.
    pub session: StartedSession,
    /// The region, for signatures and endpoints.
    pub region: String,
    /// The profile whose credentials are used; the default one if there is none.
    pub profile: Option<String>,
    /// Whether the caller is too old for encrypted sessions: it gave no profile argument, not even an empty one.
    pub legacy: bool,
    /// The node or task, as its user named it.
    pub target: Option<String>,
    /// Whether somebody takes stdout apart by the prefix of its lines, and so wants stderr on it.
    pub stderr_to_stdout: bool,
    /// The sixth argument, whatever it is: an SSM endpoint, an ECS endpoint, a stream URL, or empty.
    pub endpoint: Option<String>,
    /// Whether the response came in a variable, as the AWS CLI gives it: the caller waits for us then, and without it nobody wants the
    /// session.
    pub caller_waits: bool,
}

/// The variable that the arguments name as the one that holds the response. A name that no variable can have is none: to remove it would
/// abort.
pub fn response_variable(arguments: &[OsString]) -> Option<&str> {
    let first = arguments.first()?.to_str()?;
    (arguments.len() >= LEGACY_ARGUMENTS && is_response_variable(first)).then_some(first)
}

/// The prefix, and what may follow it in a name: no `=`, which no name has, and nothing of the response itself, which somebody may have put
/// behind the name.
pub(super) fn is_response_variable(text: &str) -> bool {
    text.strip_prefix(RESPONSE_VARIABLE).is_some_and(|rest| {
        rest.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"={}[]\"':,".contains(&byte))
    })
}

impl Call {
    /// Reads three to six arguments; more are ignored.
    pub(super) fn parse(
        arguments: &[String],
        environment: &mut Environment,
    ) -> Result<Self, Error> {
        let given = |index: usize| {
            arguments
                .get(index)
                .filter(|text| !text.is_empty())
                .cloned()
        };
        let response = arguments.first().map_or("", String::as_str);
        let caller_waits = is_response_variable(response);
        if response.starts_with(RESPONSE_VARIABLE) && !caller_waits {
            // Not shown: what follows the name may be the response itself.
            return Err(Error::Usage(format!(
                "argument 1 begins with {RESPONSE_VARIABLE} but is no variable's name: give the name alone, \
                 and the response of StartSession in that variable"
            )));
        }
        let session = if caller_waits {
            let held = environment.take(response)?.ok_or_else(|| {
                Error::Start(format!(
                    "the environment variable {response}, which should hold the response of StartSession, is not set"
                ))
            })?;
            let held = Zeroizing::new(held);
            started_session(&held, &format!("the variable {response}"))?
        } else {
            started_session(response, "the first argument")?
        };
        let request = CallRequest::parse(given(4).as_deref())?;
        Ok(Self {
            session,
            region: given(1).unwrap_or_default(),
            profile: given(3),
            legacy: arguments.len() <= LEGACY_ARGUMENTS,
            target: request.target,
            stderr_to_stdout: request.stderr_to_stdout,
            endpoint: given(5),
            caller_waits,
        })
    }
}

/// Reads the response; keys match without regard to case.
fn started_session(json: &str, place: &str) -> Result<StartedSession, Error> {
    let object = object(json, &format!("the response of StartSession in {place}"))?;
    let field = |name: &str| match object.find(name) {
        Some(JsonValue::Text(text)) if !text.is_empty() => Ok(text.into_owned()),
        Some(JsonValue::Text(_)) => Err(incomplete(place, name, "is empty")),
        Some(_) => Err(incomplete(place, name, "is not a text")),
        None => Err(incomplete(place, name, "is missing")),
    };
    Ok(StartedSession {
        session_id: field("SessionId")?,
        stream_url: field("StreamUrl")?,
        token: Secret::new(field("TokenValue")?),
    })
}

fn incomplete(place: &str, name: &str, wrong: &str) -> Error {
    Error::Start(format!(
        "{name} {wrong} in the response of StartSession in {place}"
    ))
}

/// What the fifth argument says: the request that StartSession was called with.
#[derive(Default)]
struct CallRequest {
    target: Option<String>,
    stderr_to_stdout: bool,
}

impl CallRequest {
    fn parse(json: Option<&str>) -> Result<Self, Error> {
        let Some(json) = json else {
            return Ok(Self::default());
        };
        let request = object(json, "argument 5, the parameters of StartSession,")?;
        let target = match request.find("Target") {
            None => None,
            Some(JsonValue::Text(target)) => {
                Some(target.into_owned()).filter(|text| !text.is_empty())
            }
            Some(_) => {
                return Err(Error::Start(
                    "Target is not a text in the parameters of StartSession in argument 5"
                        .to_owned(),
                ));
            }
        };
        let stderr_to_stdout = matches!(
            request.find("Parameters"),
            Some(JsonValue::Object(parameters)) if parameters.find("stderrSeparatorPrefix").is_some()
        );
        Ok(Self {
            target,
            stderr_to_stdout,
        })
    }
}

/// A JSON object; null counts as an empty one.
fn object<'a>(json: &'a str, what: &str) -> Result<JsonObject<'a>, Error> {
    if json.trim().is_empty() {
        return Err(Error::Start(format!("{what} is empty, which is not JSON")));
    }
    match JsonObject::parse(json) {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err(Error::Start(format!("{what} is not a JSON object"))),
        // The position only: what is there may be the token.
        Err(error) => Err(Error::Start(format!(
            "{what} is not JSON (line {}, column {})",
            error.line(),
            error.column()
        ))),
    }
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
