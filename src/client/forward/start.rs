//! Starts one session for a destination, in a thread of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::destination::Destination;
use super::options::{ForwardOptions, ForwardTarget, Unresolved};
use crate::aws::{ApiError, StartRequest};
use crate::client::failure::{ClientError, ErrorKind};
use crate::client::target::Target;
use crate::client::{Client, RawSession};
use crate::datachannel::Started;
use crate::network::Limit;
use crate::sanitise;
use crate::session::Asked;
use crate::session::port::{can_multiplex, wants_keepalive};

/// StartSession with all its retries and the search for credentials, which may ask somebody, and until the agent has answered.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long it may take to end a session that is not needed.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// An established session.
pub(in crate::client) struct Ready {
    pub session: RawSession,
    /// The target's id.
    pub target: String,
    /// Whether the agent wants keep-alives.
    pub keepalive: bool,
}

/// Why no session was started.
#[derive(Debug)]
pub(super) struct StartFailure {
    pub error: ClientError,
    /// Whether another try would fail as well.
    pub is_final: bool,
}

/// Starts a session and waits until it is established. One that cannot be used is ended before the answer.
pub(super) fn start(
    client: &Client,
    options: &ForwardOptions,
    destination: &Destination,
    local_port: u16,
    limit: &Limit,
) -> Result<Ready, StartFailure> {
    let end = |session: RawSession| {
        if let Err(error) = session.end(Instant::now() + END_TIMEOUT) {
            log::info!("the remote session could not be ended: {error}");
        }
    };
    establish(client, options, destination, local_port, limit, end)
}

/// The same; `end` gets a session that cannot be used.
fn establish(
    client: &Client,
    options: &ForwardOptions,
    destination: &Destination,
    local_port: u16,
    limit: &Limit,
    end: impl FnOnce(RawSession),
) -> Result<Ready, StartFailure> {
    let limit = limit.at_most(START_TIMEOUT);
    let target = options
        .target
        .resolve(client, &limit)
        .map_err(StartFailure::of_target)?;
    let request = request(&target, destination, local_port, options.reason.clone());
    let asked = Asked::new(request.document_name.as_deref(), &request.parameters);
    let session = client
        .start(&request, &limit)
        .map_err(StartFailure::of_api)?;
    let stood = session
        .wait_within(&limit)
        .map_err(StartFailure::temporary)
        .and_then(|started| check(&asked, &started));
    match stood {
        Ok(keepalive) => Ok(Ready {
            session,
            target,
            keepalive,
        }),
        Err(failure) => {
            end(session);
            Err(failure)
        }
    }
}

/// A session for one destination of a target that is known.
pub(in crate::client) fn start_for(
    client: &Client,
    target: &Target,
    destination: &Destination,
    limit: &Limit,
) -> Result<Ready, ClientError> {
    let options = ForwardOptions {
        target: ForwardTarget::Id(target.id().to_owned()),
        forwards: Vec::new(),
        sessions: 1,
        on_demand: false,
        once: true,
        wait: None,
        reason: None,
    };
    establish(client, &options, destination, 0, limit, RawSession::give_up)
        .map_err(|failure| failure.error)
}

fn request(
    target: &str,
    destination: &Destination,
    local_port: u16,
    reason: Option<String>,
) -> StartRequest {
    let mut parameters = BTreeMap::new();
    let mut set = |name: &str, value: String| parameters.insert(name.to_owned(), vec![value]);
    set("portNumber", destination.port().to_string());
    set("localPortNumber", local_port.to_string());
    let document = match destination.host() {
        None => "AWS-StartPortForwardingSession",
        Some(host) => {
            set("host", host.to_owned());
            "AWS-StartPortForwardingSessionToRemoteHost"
        }
    };
    StartRequest {
        target: target.to_owned(),
        document_name: Some(document.to_owned()),
        parameters,
        reason,
    }
}

/// Checks that the session is what was asked for and can be used. True if its agent wants keep-alives.
fn check(asked: &Asked, started: &Started) -> Result<bool, StartFailure> {
    asked
        .check(started)
        .map_err(|error| StartFailure::for_good(ClientError::of(ErrorKind::Service, &error)))?;
    let agent = &started.agent_version;
    if can_multiplex(agent) {
        return Ok(wants_keepalive(agent));
    }
    let agent = sanitise::line_within(agent, 50);
    Err(StartFailure::for_good(ClientError::new(
        ErrorKind::AgentTooOld,
        format!(
            "the agent of the target ({agent}) carries one connection at a time: update it, or use --once with one FORWARD"
        ),
    )))
}

impl StartFailure {
    fn temporary(error: ClientError) -> Self {
        Self {
            error,
            is_final: false,
        }
    }

    fn for_good(error: ClientError) -> Self {
        Self {
            error,
            is_final: true,
        }
    }

    fn of_target(unresolved: Unresolved) -> Self {
        Self {
            error: unresolved.error,
            is_final: !unresolved.is_temporary,
        }
    }

    /// Only a denial of the account's policy, and what cannot even be tried, are final: credentials are renewed, and nodes come back.
    fn of_api(error: ApiError) -> Self {
        let is_denied = matches!(&error, ApiError::Refused { refusal, .. } if refusal.code.starts_with("AccessDenied"));
        Self {
            is_final: is_denied || matches!(error, ApiError::Setup(_)),
            error: error.into(),
        }
    }
}
