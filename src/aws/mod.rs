//! AWS: who we are, signatures, and the API calls.

pub mod credentials;
pub mod sigv4;
pub mod time;
