//! Credentials: where they come from, how long they last, and whose they are.

use std::time::{Duration, SystemTime};

use super::check::Check;
use crate::client::CredentialsError;
use crate::client::Limit;
use crate::client::api::FoundCredentials;
use crate::client::{Api, ApiError};

/// How long all sources may take. Some of them wait for their user.
const CREDENTIALS_TIME: Duration = Duration::from_secs(30);
/// How long a call with its retries may take.
const IDENTITY_TIME: Duration = Duration::from_secs(15);
/// Credentials that expire sooner are a warning: a session could be resumed only until then.
const SHORT: Duration = Duration::from_secs(15 * 60);

/// Runs both steps, the second only if the first succeeds. False if there are no credentials, or if AWS refuses them.
pub(super) fn examine(api: &Api, profile: Option<&str>) -> (Vec<Check>, bool) {
    let refresh = refresh(profile);
    let found = match api.find_credentials(&Limit::within(CREDENTIALS_TIME)) {
        Ok(found) => found,
        Err(error) => return (vec![missing(&error, &refresh)], false),
    };
    let credentials = credentials(&found, SystemTime::now(), &refresh);
    let (identity, is_good) = match api.caller_identity(&Limit::within(IDENTITY_TIME)) {
        Ok(identity) => {
            let detail = format!("{}, account {}", identity.arn, identity.account);
            (Check::fine("identity", detail), true)
        }
        Err(error @ ApiError::Refused { .. }) => (refused(&error, &refresh), false),
        Err(error) => {
            let next = "sessions do not need STS; in a network without internet, an interface endpoint for sts would show who you are";
            (Check::warning("identity", error.to_string(), next), true)
        }
    };
    (vec![credentials, identity], is_good)
}

/// How the credentials are renewed, in words.
fn refresh(profile: Option<&str>) -> String {
    match profile {
        Some(profile) => format!(
            "`aws sso login --profile {profile}` if it is SSO, or new keys in the profile {profile}"
        ),
        None => {
            "`aws sso login` if it is SSO, or new keys in the variables or the profile".to_owned()
        }
    }
}

fn missing(error: &CredentialsError, refresh: &str) -> Check {
    let next = match error {
        CredentialsError::NotFound => {
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`".to_owned()
        }
        CredentialsError::Failed(_) => format!("get others: {refresh}"),
        CredentialsError::Temporary { .. } | CredentialsError::Cancelled => {
            "try again; if it stays so, look at the source that is named".to_owned()
        }
    };
    Check::problem("credentials", error.to_string(), next)
}

fn credentials(found: &FoundCredentials, now: SystemTime, refresh: &str) -> Check {
    let name = "credentials";
    let detail = format!("key {} from {}", found.access_key_id, found.source);
    let Some(expires) = found.expires else {
        return Check::fine(name, detail);
    };
    match expires.duration_since(now) {
        Err(over) => {
            let seconds = over.duration().as_secs();
            let detail = format!(
                "{detail}, expired {} ago",
                humantime::format_duration(Duration::from_secs(seconds))
            );
            Check::problem(name, detail, format!("get others: {refresh}"))
        }
        Ok(left) => {
            let seconds = Duration::from_secs(left.as_secs());
            let detail = format!("{detail}, good for {}", humantime::format_duration(seconds));
            if left < SHORT {
                Check::warning(
                    name,
                    detail,
                    format!("get others before you begin something long: {refresh}"),
                )
            } else {
                Check::fine(name, detail)
            }
        }
    }
}

fn refused(error: &ApiError, refresh: &str) -> Check {
    let code = match error {
        ApiError::Refused { refusal, .. } => refusal.code.as_str(),
        _ => "",
    };
    let next = match code {
        code if code.starts_with("ExpiredToken") => format!("they are over, get others: {refresh}"),
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "the key does not exist (any longer), or is for another partition: use another"
                .to_owned()
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "the secret does not belong to the key: set both again".to_owned()
        }
        _ => "use other credentials".to_owned(),
    };
    Check::problem("identity", error.to_string(), next)
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn credentials_that_are_over_or_soon_are() {
        let now = SystemTime::now();
        let outcome = |expires| {
            let found = FoundCredentials {
                source: "x".to_owned(),
                access_key_id: "AKIA".to_owned(),
                expires,
            };
            credentials(&found, now, "").outcome
        };
        let minute = Duration::from_secs(60);
        assert_eq!(outcome(None), CheckOutcome::Fine);
        assert_eq!(outcome(Some(now + minute * 60)), CheckOutcome::Fine);
        assert_eq!(outcome(Some(now + minute * 10)), CheckOutcome::Warning);
        assert_eq!(outcome(Some(now - minute)), CheckOutcome::Problem);
    }
}
