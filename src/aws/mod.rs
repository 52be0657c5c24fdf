//! AWS: credentials, signatures, and the API calls.

mod advice;
pub mod api;
mod call;
mod clock;
mod configured;
pub mod credentials;
mod endpoint;
mod error;
mod exchange;
mod refusal;
mod service;
pub mod sigv4;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
pub mod time;
mod xml;

pub use api::{Api, ApiOptions, DataKey, ResumedSession, StartRequest, StartedSession};
pub use configured::Configured;
#[doc(hidden)]
pub use endpoint::{CallerEndpoint, standard_host};
pub use error::ApiError;
#[doc(hidden)]
pub use error::judge_answer;
pub use exchange::HttpError;
pub use refusal::Refusal;
