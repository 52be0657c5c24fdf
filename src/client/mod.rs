//! The library: sessions with nodes and tasks, for programs.
//!
//! Nothing here belongs to the process as a whole: no signals, no terminal, no stdout, and no variable that the caller did not give. Calls
//! block, threads are inside, and deadlines are arguments.
//!
//! What other programs see is what `src/lib.rs` makes public of this module. The rest is for our own commands, which use nothing below it.

mod attach;
mod builder;
mod carried_state;
mod carry;
mod command;
pub mod copy;
mod copying;
mod entry;
pub mod exec;
mod failure;
pub mod forward;
mod forward_builder;
mod forwarding;
mod idle;
mod output;
mod pieces;
mod remote_command;
mod session;
mod session_event;
mod stdin;
mod stream;
pub mod target;
mod transfer;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

pub use attach::{Session, SessionKind, StartSessionResponse};
pub use builder::ClientBuilder;
pub use command::Exec;
pub use copying::{CopiedFolder, Copying};
pub use failure::{ClientError, ErrorKind, Fault};
pub use forward_builder::ForwardBuilder;
pub use forwarding::{Forward, ForwardEvents};
pub use output::{Output, OutputReader};
pub use remote_command::RemoteCommand;
pub(crate) use session::{RawSession, SessionOpening};
pub use session_event::{SessionEnd, SessionEvent};
pub use stdin::Stdin;
pub use stream::Stream;
pub use transfer::Transfer;

// What our own commands need besides, so that they use nothing below this module.
pub use crate::aws::api;
pub use crate::aws::credentials::CredentialsError;
pub(crate) use crate::aws::credentials::end_programs;
pub use crate::aws::{Api, ApiError, ApiOptions, CallerEndpoint, Configured, StartRequest};
pub use crate::datachannel::{DataChannel, Notice, Urgency};
pub use crate::network::{Cancel, ConnectError, Limit, Network, Probe, ProxySettings, Trust};
pub(crate) use crate::session_api::TerminateSession;

use self::idle::Going;
use self::target::{Target, TaskContainer};
use crate::aws::StartedSession;
use crate::error::Error;
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::settings::{Environment, Settings};

/// How long a call may take unless somebody says otherwise: credentials may have to be asked for, and calls are tried again.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long a session may take to be ended that could not even begin.
const END_UNUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// Which account and region, and where the user is told something.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// The profile in the AWS configuration; without it that of the environment, or the default one.
    pub profile: Option<String>,
    /// The region; without it that of the environment or the profile.
    pub region: Option<String>,
    /// The URL of the Systems Manager API.
    pub endpoint: Option<String>,
    /// Where the user is told what takes its time.
    pub remarks: Remarks,
    /// What texts of others are cleaned of. Tokens and credentials are added as they become known.
    pub redactor: Redactor,
    /// Where the notices of all sessions go, instead of each session's own receiver.
    pub notices: Option<Sender<Notice>>,
}

/// Starts sessions on nodes and tasks.
///
/// One network, one chain of credentials and one clock for all of them. Cheap to clone, and for use from any thread: clones share all of
/// it. A client holds no thread and no connection between calls; what it started lives as long as its own handle.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// use session_manager_plugin::Client;
///
/// let client = Client::builder()
///     .region("eu-central-1")
/// #   .variables(sandbox.environment())
///     .build()?;
/// let target = client.target("i-0123456789abcdef0")?;
/// assert!(client.exec(&target, ["true"]).output()?.is_success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    state: Arc<ClientState>,
    /// How long a call may take.
    timeout: Duration,
    /// What ends it earlier.
    cancel: Option<Cancel>,
}

#[derive(Debug)]
struct ClientState {
    api: Api,
    settings: Arc<Settings>,
    remarks: Remarks,
    notices: Option<Sender<Notice>>,
    going: Going,
}

impl Client {
    /// Reads the configuration; nothing is sent, and no credentials are looked for yet. `environment` is all that is known of variables.
    ///
    /// # Errors
    /// No region, or a variable or setting that cannot be used: the text names it.
    pub(crate) fn new(
        options: ClientOptions,
        environment: &Environment,
        settings: Settings,
    ) -> Result<Self, Error> {
        let ClientOptions {
            profile,
            region,
            endpoint,
            remarks,
            redactor,
            notices,
        } = options;
        let configured = Configured::load(environment, profile.as_deref())?;
        let network =
            Network::new(environment, configured.ca_bundle().as_deref())?.hiding(&redactor);
        let options = ApiOptions {
            region,
            profile,
            endpoint: endpoint.map(CallerEndpoint::Asked),
            target: None,
            stream_host: None,
            remarks: remarks.clone(),
        };
        let api = Api::new(options, environment, &configured, network).map_err(|error| {
            match (&error, configured.missing_profile()) {
                // There is no region because there is no such profile.
                (Error::NoRegion, Some(missing)) => Error::Start(format!("{error}; {missing}")),
                _ => error,
            }
        })?;
        Ok(Self {
            state: Arc::new(ClientState {
                api,
                settings: Arc::new(settings),
                remarks,
                notices,
                going: Going::default(),
            }),
            timeout: TIMEOUT,
            cancel: None,
        })
    }

    /// The calls of AWS's API.
    pub(crate) fn api(&self) -> &Api {
        &self.state.api
    }

    /// The `SSM_PLUGIN_*` variables.
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.state.settings
    }

    /// Where the user is told what takes its time.
    pub(crate) fn remarks(&self) -> &Remarks {
        &self.state.remarks
    }

    /// What of it goes on.
    fn going(&self) -> &Going {
        &self.state.going
    }

    /// Calls StartSession (`ssm:StartSession`), within the limit, and begins to open the session's data channel.
    ///
    /// # Errors
    /// See [`ApiError`]. What goes wrong with the data channel is delivered by it.
    pub(crate) fn start(
        &self,
        request: &StartRequest,
        limit: &Limit,
    ) -> Result<RawSession, ApiError> {
        let started = self.state.api.start_session(request, limit)?;
        self.open_wanted(&started, &request.target, "StartSession", limit)
    }

    /// Runs a command on the pty of a container of ECS (`ecs:ExecuteCommand`).
    ///
    /// # Errors
    /// See [`ApiError`]. What goes wrong with the data channel is delivered by it.
    pub(crate) fn execute(
        &self,
        target: &Target,
        container: &TaskContainer,
        line: &str,
        limit: &Limit,
    ) -> Result<RawSession, ApiError> {
        let TaskContainer {
            cluster,
            task,
            name,
        } = container;
        let api = &self.state.api;
        let started = api.ecs_execute(cluster, task, name.as_deref(), line, limit)?;
        self.open_wanted(&started, target.id(), "ExecuteCommand", limit)
    }

    /// Begins to open the data channel of a session that this operation has started, unless nobody wants it any more: then it is ended.
    fn open_wanted(
        &self,
        started: &StartedSession,
        target: &str,
        operation: &'static str,
        limit: &Limit,
    ) -> Result<RawSession, ApiError> {
        if limit.remaining().is_err() {
            self.end_unused(started);
            return Err(ApiError::GivenUp(operation));
        }
        Ok(self.open(started, target)?)
    }

    /// Ends a session that nobody will ever use (P90).
    fn end_unused(&self, started: &StartedSession) {
        let limit = Limit::within(END_UNUSED_TIMEOUT);
        let ended = self
            .state
            .api
            .terminate_session(&started.session_id, &limit);
        if let Err(error) = ended {
            log::info!("the remote session could not be ended: {error}");
        }
    }

    /// Begins to open the data channel of a session that was started, by us or by somebody else with the same account.
    ///
    /// # Errors
    /// A stream URL that leads elsewhere; no descriptor or thread. The session is ended then.
    pub(crate) fn open(&self, started: &StartedSession, target: &str) -> Result<RawSession, Error> {
        let shared = &self.state;
        let target = Some(target).filter(|target| !target.is_empty());
        let opened = RawSession::open(SessionOpening {
            started,
            target,
            api: Some(&shared.api).filter(|_| !shared.settings.skip_client_configure),
            network: shared.api.network(),
            settings: &shared.settings,
            remarks: &shared.remarks,
            notices: shared.notices.as_ref(),
            is_legacy: false,
        });
        let opened = opened.map(|session| session.counted(self.going().begin()));
        opened.inspect_err(|_| self.end_unused(started))
    }
}
