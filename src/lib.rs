//! A client for AWS Session Manager with OS threads and no async runtime.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod message;
pub mod settings;
pub mod waker;
