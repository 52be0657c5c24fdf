//! A client for AWS Session Manager with OS threads and no async runtime.
//!
//! Session Manager opens shells, runs commands and forwards ports on machines without inbound ports, through a websocket that a gateway
//! of AWS relays to an agent. This crate is the program `session-manager-plugin`, as the AWS CLI and many others run it.
//!
//! | module | what it is |
//! |---|---|
//! | `program` | from the arguments to the exit code |
//! | `commands` | our own commands: list, exec and so on |
//! | `cli` | the command line |
//! | `client` | the library: sessions for programs, without anything of the process as a whole |
//! | `session` | what a person does with the stream: shells, commands, ports |
//! | `session_api` | what a session wants of AWS |
//! | `logging`, `log_file` | the log, and the file it goes to |
//! | `terminal` | raw mode, size, escapes, signals, stdin and stdout |
//! | `datachannel` | the ordered, reliable, optionally encrypted stream: a state machine without I/O or clock, and its threads |
//! | `communicator` | one websocket: dial, liveness |
//! | `aws` | credentials, signatures, endpoints, API calls |
//! | `network` | connecting through proxies, with the user's roots |
//! | `encryption` | AES-256-GCM with a data key of KMS |
//! | `message`, `smux` | bytes to messages and frames, and back: no I/O |
//! | `partitions` | AWS's partitions: their regions, and the suffixes of their hosts |
//! | `remarks` | what the user is told on the way |
//! | `settings`, `environment`, `files` | the variables, and the files that they and others name |
//! | `host` | hosts as they are written in URLs and settings: brackets, ports, what is this machine |
//! | `waker`, `signal_mask`, `random` | wakes a thread that sleeps in poll(2); which signals are blocked; chance, for waits |
//! | `redactor`, `sanitise`, `secret` | taking secrets out of what others say; text from outside as it may be shown; text that must not be shown |
//! | `error` | why the program ends, and what a failure means for a session |
//!
//! A module uses only what is below it in this table, or to its right in the same row (`tests/architecture.rs` checks that).
//!
//! All of them are private; [`internals`] is the one door to them, for the tests of this repository.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![warn(unreachable_pub)]

mod aws;
#[doc(hidden)]
pub mod cli;
mod client;
mod commands;
mod communicator;
mod datachannel;
mod encryption;
mod environment;
mod error;
mod files;
mod host;
#[doc(hidden)]
pub mod internals;
mod log_file;
mod logging;
mod message;
mod network;
mod partitions;
#[doc(hidden)]
pub mod program;
mod random;
mod redactor;
mod remarks;
mod sanitise;
mod secret;
mod session;
mod session_api;
mod settings;
mod signal_mask;
mod smux;
mod terminal;
mod waker;

pub use client::copy::Copied;
pub use client::forward::{Destination, ForwardEvent};
pub use client::target::Target;
pub use client::{
    Cancel, Client, ClientBuilder, ClientError, ErrorKind, Exec, Fault, Forward, ForwardBuilder,
    ForwardEvents, Output, OutputReader, RemoteCommand, Session, SessionEnd, SessionEvent,
    SessionKind, StartSessionResponse, Stdin, Stream, Transfer,
};

/// Which level of the protocol we speak: the version of the original that this program matches. It is in `--version`, where the AWS CLI
/// reads it, in OpenDataChannel's ClientVersion and in the handshake response, where the agent does. The package's own version is another.
pub const VERSION: &str = "1.2.896.0";
