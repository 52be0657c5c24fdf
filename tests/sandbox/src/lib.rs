//! The other side of Session Manager on loopback: API, gateway and agent, for tests and for trying out.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
