//! Sessions of AWS Session Manager for programs: commands, forwards, connections, shells and files on machines without inbound ports. With
//! OS threads, and without an async runtime.
//!
//! Session Manager relays a websocket between the caller and an agent on the node. This crate speaks both AWS's API and that websocket
//! itself: no AWS CLI, no `session-manager-plugin` and no sshd is needed. (The crate is also the program `session-manager-plugin`, as the
//! AWS CLI and many others run it; its commands use this library.)
//!
//! # First use
//!
//! ```
//! # let sandbox = sandbox::Sandbox::start(sandbox::Config {
//! #     targets: vec![sandbox::Target::new(1, "web-1")],
//! #     ..sandbox::Config::default()
//! # })?;
//! # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let port = service.local_addr()?.port();
//! # std::thread::spawn(move || {
//! #     use std::io::Write;
//! #     for stream in service.incoming().flatten() {
//! #         let _ = (&stream).write_all(b"hello");
//! #     }
//! # });
//! use session_manager_plugin::Client;
//! use std::io::Read;
//!
//! let client = Client::builder()
//!     .region("eu-central-1")
//! #   .variables(sandbox.environment())
//!     .build()?; // or Client::from_env()
//! let target = client.target("web-1")?;
//!
//! // A command: its exit code, stdout and stderr.
//! let output = client.exec(&target, ["uname", "-s"]).output()?;
//! assert_eq!(output.stdout, b"Linux\n");
//!
//! // A port that the target reaches, as a stream …
//! let mut stream = client.connect(&target, "localhost", port)?;
//! let mut text = String::new();
//! stream.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//!
//! // … or for other programs, as a local port.
//! let forward = client.forward(&target).remote("localhost", port).sessions(4).start()?;
//! println!("connect to {}", forward.local_addr());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [forward](ForwardBuilder) may have several local addresses, be a socket in the file system, or speak SOCKS5. [`Client::copy`] carries
//! files and folders, [`Client::shell`] opens a shell, and [`Client::attach`] takes over a session that an AWS SDK started.
//! `docs/examples/redis.rs` in the sources asks a Redis server behind a node.
//!
//! # Threads
//!
//! Calls block, and everything is `Send` and `Sync`. A [`Client`] has no threads; each session has a few of its own (its websocket,
//! acknowledgements and timers, and one that carries its bytes) and about ten descriptors, which go when its handle is dropped. Whoever
//! uses an async runtime calls from a blocking thread of it (`tokio::task::spawn_blocking`).
//!
//! Nothing belongs to the process as a whole: no signal handler, no terminal, nothing printed, no exit, and no variable read but by
//! [`Client::from_env`]. Two clients with different credentials do not know of each other. Messages go to the [`log`] crate, without
//! secrets. TLS is that of [`native_tls`]; on Linux OpenSSL reads the system's authorities when it is first used.
//!
//! # Cancellation
//!
//! - **By dropping**: a handle that is dropped ends what it stands for, over there as well, in the background. The end of the process cuts
//!   that short, and leaves sessions that go on until they have been idle for their time: [`Client::wait_idle`] waits for them before.
//! - **By deadline**: [`Client::with_timeout`] bounds each call up to the point where a session is established, [`Exec::timeout`] and
//!   [`Transfer::timeout`] the whole (copies start sessions as they go, and have nothing but that), and [`Stream::set_read_timeout`] a
//!   read. A call whose time is over takes up to a second more, in which its session is ended; what takes longer goes on in the
//!   background. By itself an established session lives as long as it is used: a broken network is mended underneath, for hours if need be.
//! - **By another thread**: [`Cancel`], given by [`Client::with_cancel`], ends all calls of that client.
//!
//! # Errors
//!
//! [`ClientError`] has a [kind](ErrorKind), which says whose [fault](Fault) it is, whether the same call may work later, and what to do;
//! its text is for people. A command that exits with another code than 0 is no error. [`Stream`] and [`Session`] give
//! [`std::io::Error`]s with a `ClientError` inside, and tell the remote's own end (0 bytes) from a session that was lost.
//!
//! # What is stable
//!
//! From 0.2.0 on, what these pages show keeps compiling within a minor version; `docs/changelog.md` tells what came. Types that are
//! `non_exhaustive` may grow. What is not on these pages is for the tests of this repository alone.
//!
//! # For who changes it
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
//! | `json` | JSON objects of which a few keys matter |
//! | `host` | hosts as they are written in URLs and settings: brackets, ports, what is this machine |
//! | `waker`, `signal_mask`, `random` | wakes a thread that sleeps in poll(2); which signals are blocked; chance, for waits |
//! | `redactor`, `sanitise`, `secret` | taking secrets out of what others say; text from outside as it may be shown; text that must not be shown |
//! | `error` | why the program ends, and what a failure means for a session |
//! | `mutex` | locks a mutex whose holder may have panicked |
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
mod json;
mod log_file;
mod logging;
mod message;
mod mutex;
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

pub use client::copy::{Copied, CopyProgress, EntryOutcome, OutputStream, RemoteKind};
pub use client::forward::{Destination, ForwardEvent, ForwardStatistics, LocalAddress};
pub use client::target::Target;
pub use client::{
    Cancel, Client, ClientBuilder, ClientError, CopiedFolder, Copying, ErrorKind, Exec, Fault,
    Forward, ForwardBuilder, ForwardEvents, Output, OutputReader, RemoteCommand, Session,
    SessionEnd, SessionEvent, SessionKind, StartSessionResponse, Stdin, Stream, Transfer,
};

/// Which level of the protocol we speak: the version of the original that this program matches. It is in `--version`, where the AWS CLI
/// reads it, in OpenDataChannel's ClientVersion and in the handshake response, where the agent does. The package's own version is another.
pub const VERSION: &str = "1.2.896.0";
