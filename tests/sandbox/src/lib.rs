//! The other side of Session Manager on loopback: API, gateway and agent, for tests and for trying out.
//!
//! A [`Sandbox`] runs everything on threads and ports of its own; dropping it ends them, and all processes that its agents started.
//!
//! # A test of a program
//!
//! Whatever talks to Session Manager can be run against it: the AWS CLI, an SDK, or a client of its own.
//!
//! ```
//! use sandbox::Sandbox;
//!
//! // Online nodes called web-1 and db. Each of them is this machine.
//! let sandbox = Sandbox::with_targets(&["web-1", "db"])?;
//!
//! // The command finds the sandbox in place of AWS, and nothing of this user's own configuration.
//! let output = sandbox.command("sh").args(["-c", "echo $AWS_ENDPOINT_URL"]).output()?;
//! assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), sandbox.api_url());
//!
//! // Make it difficult …
//! sandbox.change_target("i-00000000000000002", |db| db.state = sandbox::TargetState::ConnectionLost);
//! sandbox.fail_next("StartSession", 1, sandbox::Failure::throttled());
//! // … and look at what was asked of it.
//! assert!(sandbox.events().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A test in five minutes
//!
//! ```
//! use std::time::Duration;
//! use sandbox::{AgentConfig, Config, Document, Sandbox, Sender, SessionConfig};
//!
//! // TLS with an authority of its own is the default; `tls: false` gives `ws://` URLs.
//! let sandbox = Sandbox::start(Config::default())?;
//!
//! // What StartSession would do. A `Document` alone is enough where the defaults are right.
//! let started = sandbox.start_session(SessionConfig {
//!     document: Document::Interactive { command: "seq 1 100".into() },
//!     agent: AgentConfig { paced: false, ..AgentConfig::default() },
//!     ..SessionConfig::default()
//! });
//!
//! // Run the plugin: `response` is the first argument, or the value of AWS_SSM_START_SESSION_RESPONSE.
//! let arguments = [started.response().to_string(), "eu-central-1".into(), "StartSession".into()];
//! let environment = [
//!     ("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.allowed_hosts()),
//!     ("AWS_CA_BUNDLE", sandbox.ca_file().display().to_string()),
//! ];
//! # let _ = (arguments, environment);
//!
//! // Make it difficult while it runs …
//! started.session.end_connection(sandbox::faults::Ending::bye());
//! // … and look at what the agent saw, without sleeping. (Nobody was there in this example.)
//! let answered = started.session.wait_for_frames(Duration::ZERO, |frames| {
//!     frames.iter().any(|frame| frame.is_data(Sender::Client, 1))
//! });
//! assert!(!answered);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Two things that are easily forgotten: a client that has just been started has no connection yet that could be ended
//! ([`Session::wait_for_connection`]), and an agent that has lost acknowledgements needs 100 ms for each before it leaves
//! ([`AgentConfig::drain_timeout`]).
//!
//! # The program
//!
//! `sandbox` runs until Ctrl-C and says how to point the AWS CLI at it; `sandbox exec -- COMMAND` runs one command that way and ends with
//! its code. The example `ceiling` measures what gateway and agent can do at most.
//!
//! # Where to find what
//!
//! | wanted | there |
//! |---|---|
//! | other sessions: commands, ports, SSH, unknown types | [`Document`] |
//! | agents of other versions, silent, not reading, slow, encrypting, misbehaving | [`AgentConfig`], [`KmsConfig`] |
//! | loss, duplication, reordering, corruption, delay, bandwidth, cuts | [`faults::Faults`] in [`SessionConfig`], one for each direction; [`Session::set_faults`] |
//! | presigned stream URLs, another host after a resume | [`GatewayConfig`] |
//! | refused, hanging or garbled dials | [`GatewayConfig::upgrades`], [`Session::set_upgrades`], [`Sandbox::stop_gateway`] |
//! | connections that end | [`Session::end_connection`], [`faults::Cut`] |
//! | hostile frames | [`Session::inject_frame`], [`Session::inject_text`], [`Session::inject_raw`], [`GatewayConfig::first_frames`] |
//! | a gateway that stops reading or writing | [`Session::stop_reading`], [`Session::stop_writing`] |
//! | pauses | [`Session::pause_client`], [`Session::pause_agent`] |
//! | tokens | [`Session::new_token`], [`Session::expire_tokens`], [`Session::tokens`] |
//! | the end of a session by the service; an agent that ends | [`Session::terminate`], [`Session::kill_agent`] |
//! | acknowledgements, resends, sizes, flags: frames at the agent | [`Session::frames`], [`Session::wait_for_frames`], [`Record`] |
//! | API calls that fail, hang, are throttled or answer without a token | [`Sandbox::fail_next`], [`Failure`] |
//! | signatures: required, refused, of a skewed clock | [`Config`] |
//! | credentials of STS, SSO, containers, instances | [`Sandbox::api_url`] and [`Sandbox::secrets`], [`Sandbox::container_url`], [`Sandbox::metadata_url`] |
//! | several nodes with tags, states, versions; tasks of ECS | [`Target`], [`Task`] in [`Config`]; [`Sandbox::change_target`] |
//! | Run Command on all of them | [`RunBehaviour`], [`Sandbox::fail_next`] |
//! | keys of EC2 Instance Connect, for a real sshd | [`AuthorizedKeys`], [`Sandbox::pushed_keys`] |
//! | proxies, with passwords, and broken ones | [`Sandbox::start_proxy`] |
//! | everything else that happened | [`Sandbox::events`], [`Sandbox::wait_for_events`] |
//! | the agent's rules in one thread with a virtual clock | [`agent::stream::Stream`]; [`faults::Link`] is the network for it |
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
mod api;
mod bell;
mod certificates;
mod config;
mod credentials;
pub mod faults;
mod gateway;
mod held_answers;
mod http;
mod kms;
mod private_file;
mod proxy;
mod queue;
mod record;
mod run_command;
mod sandbox;
mod session;
mod signature;
mod started;
mod target;
mod threads;

pub use api::Failure;
pub use config::*;
pub use credentials::{Credentials, Secrets};
pub use private_file::private_file;
pub use proxy::{ProxyBehaviour, ProxyConfig, ProxyKind};
pub use record::{Event, Frame, MAX_FRAMES, Sender};
pub use sandbox::Sandbox;
pub use session::Session;
pub use started::Started;
pub use target::{AuthorizedKeys, Platform, PushedKey, RunBehaviour, Target, TargetState, Task};
