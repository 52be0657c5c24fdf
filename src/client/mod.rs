//! The library: sessions with nodes and tasks, for programs.
//!
//! Nothing here belongs to the process as a whole: no signals, no terminal, no stdout, and no variable that the caller did not give. Calls
//! block, threads are inside, and deadlines are arguments.

pub mod copy;
pub mod exec;
pub mod forward;
mod session;
pub mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use session::Session;
pub(crate) use session::SessionOpening;

use self::target::{Target, TaskContainer};
use crate::aws::{Api, ApiError, ApiOptions, Configured, StartRequest, StartedSession};
use crate::error::Error;
use crate::network::{Limit, Network};
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::settings::{Environment, Settings};

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
}

/// Starts sessions. One network, one chain of credentials and one clock for all of them. Cheap to clone, and for use from any thread.
#[derive(Debug, Clone)]
pub struct Client(Arc<ClientState>);

#[derive(Debug)]
struct ClientState {
    api: Api,
    settings: Arc<Settings>,
    remarks: Remarks,
}

impl Client {
    /// Reads the configuration; nothing is sent, and no credentials are looked for yet. `environment` is all that is known of variables.
    ///
    /// # Errors
    /// No region, or a variable or setting that cannot be used: the text names it.
    pub fn new(
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
        } = options;
        let configured = Configured::load(environment, profile.as_deref())?;
        let network =
            Network::new(environment, configured.ca_bundle().as_deref())?.hiding(&redactor);
        let options = ApiOptions {
            region,
            profile,
            endpoint,
            target: None,
            stream_host: None,
            remarks: remarks.clone(),
        };
        let api = Api::new(options, environment, &configured, network).map_err(|error| {
            match (&error, configured.missing_profile()) {
                // That is why.
                (Error::NoRegion, Some(missing)) => Error::Start(format!("{error}; {missing}")),
                _ => error,
            }
        })?;
        Ok(Self(Arc::new(ClientState {
            api,
            settings: Arc::new(settings),
            remarks,
        })))
    }

    /// The calls of AWS's API.
    pub fn api(&self) -> &Api {
        &self.0.api
    }

    /// The `SSM_PLUGIN_*` variables.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.0.settings
    }

    /// Where the user is told what takes its time.
    pub(crate) fn remarks(&self) -> &Remarks {
        &self.0.remarks
    }

    /// Calls StartSession (`ssm:StartSession`), within the limit, and begins to open the session's data channel.
    ///
    /// # Errors
    /// See [`ApiError`]. What goes wrong with the data channel is delivered by it.
    pub fn start(&self, request: &StartRequest, limit: &Limit) -> Result<Session, ApiError> {
        let started = self.0.api.start_session(request, limit)?;
        Ok(self.open(&started, &request.target)?)
    }

    /// Runs a command on the pty of a container of ECS (`ecs:ExecuteCommand`).
    ///
    /// # Errors
    /// See [`ApiError`]. What goes wrong with the data channel is delivered by it.
    pub fn execute(
        &self,
        target: &Target,
        container: &TaskContainer,
        line: &str,
        limit: &Limit,
    ) -> Result<Session, ApiError> {
        let TaskContainer {
            cluster,
            task,
            name,
        } = container;
        let api = &self.0.api;
        let started = api.ecs_execute(cluster, task, name.as_deref(), line, limit)?;
        Ok(self.open(&started, target.id())?)
    }

    /// Begins to open the data channel of a session that was started, by us or by somebody else with the same account.
    ///
    /// # Errors
    /// A stream URL that leads elsewhere; no descriptor or thread. The session is ended then.
    pub fn open(&self, started: &StartedSession, target: &str) -> Result<Session, Error> {
        let shared = &self.0;
        let target = Some(target).filter(|target| !target.is_empty());
        let opened = Session::open(SessionOpening {
            started,
            target,
            api: Some(&shared.api).filter(|_| !shared.settings.skip_client_configure),
            network: shared.api.network(),
            settings: &shared.settings,
            remarks: &shared.remarks,
            is_legacy: false,
        });
        opened.inspect_err(|_| {
            let limit = Limit::until(Instant::now() + END_UNUSED_TIMEOUT);
            if let Err(error) = shared.api.terminate_session(&started.session_id, &limit) {
                log::info!("the remote session could not be ended: {error}");
            }
        })
    }
}
