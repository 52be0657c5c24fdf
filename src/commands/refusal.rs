//! What the service's refusals mean to a command.

use crate::aws::{ApiError, Refusal};
use crate::error::Error;

/// The error of a call as one of a command.
pub(super) fn explain(error: &ApiError) -> Error {
    error.clone().into_error()
}

/// Whether the service took no call because there were too many.
pub(super) fn is_throttled(refusal: &Refusal) -> bool {
    refusal.status == 429
        || ["Throttl", "TooManyRequests", "RequestLimitExceeded"]
            .iter()
            .any(|word| refusal.code.contains(word))
}
