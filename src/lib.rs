//! A client for AWS Session Manager with OS threads and no async runtime.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod aws;
pub mod cli;
pub mod communicator;
pub mod datachannel;
pub mod encryption;
pub mod error;
pub mod logging;
pub mod message;
pub mod network;
pub mod program;
pub mod secret;
pub mod service;
pub mod session;
pub mod settings;
pub mod smux;
pub mod terminal;
pub mod waker;

/// Which level of the protocol we speak: the version of the original that this program matches. It stands in `--version`, where the AWS CLI
/// reads it, in OpenDataChannel's ClientVersion and in the handshake response, where the agent does. The package's own version is another.
pub const VERSION: &str = "1.2.896.0";
