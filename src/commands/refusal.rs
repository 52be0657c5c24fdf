//! What the service's refusals mean to a command.

use crate::client::ApiError;
use crate::error::Error;

/// The error of a call as one of a command.
pub(super) fn explain(error: &ApiError) -> Error {
    error.clone().into_error()
}
