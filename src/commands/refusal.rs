//! What the service's refusals mean to a command.

use crate::aws::{ApiError, Refusal};
use crate::error::Error;

/// The error of a call of Systems Manager as one of a command: where it is denied, with the action that must be allowed.
pub(super) fn explain(error: &ApiError) -> Error {
    match error {
        ApiError::Refused { operation, refusal } if refusal.is_denial() => Error::Start(format!(
            "{error}; these credentials must be allowed the action ssm:{operation}"
        )),
        error => Error::Start(error.to_string()),
    }
}

/// Whether the service took no call because there were too many.
pub(super) fn is_throttled(refusal: &Refusal) -> bool {
    refusal.status == 429
        || ["Throttl", "TooManyRequests", "RequestLimitExceeded"]
            .iter()
            .any(|word| refusal.code.contains(word))
}
