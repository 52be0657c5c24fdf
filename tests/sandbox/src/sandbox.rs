//! The sandbox itself: starts all servers, hands out sessions, ends everything.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant, SystemTime};

use tungstenite::WebSocket;
use uuid::Uuid;

use crate::api::{self, Failure, Issued, Pushed};
use crate::certificates::Certificates;
use crate::config::{Config, SessionConfig};
use crate::credentials::{Credentials, Secrets};
use crate::gateway::{Gateway, Socket};
use crate::held_answers::HeldAnswers;
use crate::kms::Kms;
use crate::private_file::private_file;
use crate::proxy::{self, ProxyConfig};
use crate::record::{Event, Journal};
use crate::run_command::SentCommand;
use crate::session::Session;
use crate::signature;
use crate::started::Started;
use crate::target::{PushedKey, Target, Task};
use crate::threads::{Threads, lock};

/// The other side of Session Manager, on loopback. Dropping it ends all its threads, connections and processes.
pub struct Sandbox {
    shared: Arc<Shared>,
    gateway: Gateway,
    api: SocketAddr,
}

/// What all servers know.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) threads: Threads,
    pub(crate) journal: Arc<Journal>,
    pub(crate) certificates: Certificates,
    pub(crate) acceptor: Option<native_tls::TlsAcceptor>,
    pub(crate) kms: Kms,
    /// Temporary credentials.
    pub(crate) issued: Mutex<Vec<Issued>>,
    /// What goes wrong with which API calls.
    pub(crate) failures: Mutex<VecDeque<(String, Failure)>>,
    pub(crate) targets: Mutex<Vec<Target>>,
    pub(crate) tasks: Mutex<Vec<Task>>,
    pub(crate) pushed_keys: Mutex<Vec<Pushed>>,
    /// Run Command's, by their ids.
    pub(crate) commands: Mutex<HashMap<String, Arc<SentCommand>>>,
    /// Answers of the API that are held back.
    held_answers: HeldAnswers,
    gateway_address: OnceLock<SocketAddr>,
    sessions: Mutex<Sessions>,
    /// Connections that are silent for ever.
    kept_open: Mutex<Vec<WebSocket<Socket>>>,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<String, Arc<Session>>,
    count: u64,
    config: SessionConfig,
    /// How many may go on at a time.
    quota: Option<usize>,
    /// Documents that nobody may start.
    denied_documents: Vec<String>,
}

impl Shared {
    pub(crate) fn session(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).by_id.get(id).cloned()
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        lock(&self.sessions).by_id.values().cloned().collect()
    }

    pub(crate) fn start_session(&self, config: SessionConfig) -> Started {
        self.start_session_within(config, None)
            .expect("there is no quota")
    }

    /// The same over the API; none where the account has no room for another session.
    pub(crate) fn start_session_within_quota(&self, config: SessionConfig) -> Option<Started> {
        let quota = lock(&self.sessions).quota;
        self.start_session_within(config, quota)
    }

    fn start_session_within(&self, config: SessionConfig, quota: Option<usize>) -> Option<Started> {
        let id = format!("sandbox-{}", &Uuid::new_v4().simple().to_string()[..17]);
        let document = config.document.session_type().to_owned();
        let lifetime = config.gateway.token_lifetime;
        let presigned = config.gateway.presigned;
        let session = {
            // Under one lock with the count of those that go on: two calls must not both have the last place.
            let mut sessions = lock(&self.sessions);
            let going_on = sessions.by_id.values();
            let going_on = going_on.filter(|session| session.ended().is_none()).count();
            if quota.is_some_and(|quota| going_on >= quota) {
                return None;
            }
            sessions.count += 1;
            let seed = self.config.seed.wrapping_add(sessions.count - 1);
            let journal = Arc::clone(&self.journal);
            let session = Arc::new(Session::new(id.clone(), config, seed, journal));
            sessions.by_id.insert(id.clone(), Arc::clone(&session));
            session
        };
        self.journal.note(Event::SessionStarted {
            session: id,
            document,
        });
        self.watch_time(&session);
        Some(Started {
            token_value: session.new_token(lifetime),
            stream_url: if presigned {
                signature::presign(&self.stream_url(session.id(), None), self)
            } else {
                self.stream_url(session.id(), None)
            },
            session,
        })
    }

    /// Waits until the answer to this operation may be given.
    pub(crate) fn hold_answer(self: &Arc<Self>, operation: &str) {
        if !self.held_answers.are_of(operation) {
            return;
        }
        let shared = Arc::downgrade(self);
        let _hook = self.threads.on_stop(move || {
            if let Some(shared) = shared.upgrade() {
                shared.held_answers.release();
            }
        });
        self.held_answers.pass(operation);
    }

    /// Whether the account's policy lets nobody start this document.
    pub(crate) fn is_denied_document(&self, name: &str) -> bool {
        lock(&self.sessions)
            .denied_documents
            .iter()
            .any(|denied| denied == name)
    }

    /// Ends the session when its time is up.
    fn watch_time(&self, session: &Arc<Session>) {
        let started = Instant::now();
        if session.time_is_up(started).is_none() {
            return;
        }
        let (sender, stopped) = mpsc::channel();
        let hook = self.threads.on_stop(move || {
            let _ = sender.send(());
        });
        let session = Arc::clone(session);
        self.threads.spawn("session-time", move || {
            let _hook = hook;
            while session.ended().is_none()
                && let Some((at, output)) = session.time_is_up(started)
            {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    session.terminate(output);
                } else if stopped.recv_timeout(left) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
    }

    /// The settings that sessions of the API start from.
    pub(crate) fn session_config(&self) -> SessionConfig {
        lock(&self.sessions).config.clone()
    }

    pub(crate) fn stream_url(&self, session: &str, host: Option<&str>) -> String {
        let scheme = if self.acceptor.is_some() { "wss" } else { "ws" };
        let port = self.gateway_address.get().map_or(0, SocketAddr::port);
        let host = match host {
            None => format!("127.0.0.1:{port}"),
            Some(host) if host.contains(':') => host.to_owned(),
            Some(host) => format!("{host}:{port}"),
        };
        format!("{scheme}://{host}/v1/data-channel/{session}?role=publish_subscribe")
    }

    pub(crate) fn keep_open(&self, websocket: WebSocket<Socket>) {
        lock(&self.kept_open).push(websocket);
    }

    /// What the servers' clock shows.
    pub(crate) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        match self.config.clock_skew {
            None => now,
            Some((true, ahead)) => now + ahead,
            Some((false, behind)) => now - behind,
        }
    }
}

impl Sandbox {
    /// Starts it with the defaults, and with online nodes of these names: `i-00000000000000001` and so on. Without any, every identifier
    /// is a node.
    ///
    /// # Errors
    /// When ports or certificates cannot be had.
    pub fn with_targets(names: &[&str]) -> io::Result<Self> {
        Self::start(Config {
            targets: (1..)
                .zip(names)
                .map(|(number, name)| Target::new(number, name))
                .collect(),
            ..Config::default()
        })
    }

    /// Starts it.
    ///
    /// # Errors
    /// When ports or certificates cannot be had.
    pub fn start(config: Config) -> io::Result<Self> {
        let certificates = Certificates::new(&config.certificate_names)?;
        let journal = Arc::new(Journal {
            print: config.print,
            file: match &config.log_file {
                Some(path) => Some(Mutex::new(private_file(path)?)),
                None => None,
            },
            ..Journal::default()
        });
        let shared = Arc::new(Shared {
            threads: Threads::default(),
            journal,
            acceptor: config.tls.then(|| certificates.acceptor()),
            certificates,
            kms: Kms::default(),
            issued: Mutex::default(),
            failures: Mutex::default(),
            targets: Mutex::new(config.targets.clone()),
            tasks: Mutex::new(config.tasks.clone()),
            pushed_keys: Mutex::default(),
            commands: Mutex::default(),
            held_answers: HeldAnswers::default(),
            gateway_address: OnceLock::new(),
            sessions: Mutex::new(Sessions {
                config: config.session.clone(),
                ..Sessions::default()
            }),
            kept_open: Mutex::default(),
            config,
        });
        let mut gateway = Gateway::new();
        let address = gateway.start(&shared)?;
        let _ = shared.gateway_address.set(address);
        let api = api::start(&shared)?;
        Ok(Self {
            shared,
            gateway,
            api,
        })
    }

    /// The key of callers.
    ///
    /// # Panics
    /// When the test wanted none to be known.
    pub fn credentials(&self) -> &Credentials {
        let first = self.shared.config.credentials.first();
        first.expect("a key in the configuration")
    }

    /// What leads to credentials besides keys.
    pub fn secrets(&self) -> &Secrets {
        &self.shared.config.secrets
    }

    /// Starts a session as the API would.
    pub fn start_session(&self, config: impl Into<SessionConfig>) -> Started {
        self.shared.start_session(config.into())
    }

    /// What sessions that are started over the API are like from now on, but for their document.
    pub fn set_session_config(&self, config: SessionConfig) {
        lock(&self.shared.sessions).config = config;
    }

    /// How many sessions the account may have at a time from now on; without a number any.
    pub fn set_session_quota(&self, quota: Option<usize>) {
        lock(&self.shared.sessions).quota = quota;
    }

    /// The account's policy lets nobody start this document from now on.
    pub fn deny_document(&self, name: &str) {
        let mut sessions = lock(&self.shared.sessions);
        sessions.denied_documents.push(name.to_owned());
    }

    /// Changes a node: it goes away or comes back, gets another tag. Nothing when there is none of this id.
    pub fn change_target(&self, id: &str, change: impl FnOnce(&mut Target)) {
        if let Some(target) = lock(&self.shared.targets)
            .iter_mut()
            .find(|target| target.id == id)
        {
            change(target);
        }
    }

    /// The nodes; none where every identifier is one.
    pub fn targets(&self) -> Vec<Target> {
        lock(&self.shared.targets).clone()
    }

    /// A further node.
    pub fn add_target(&self, target: Target) {
        lock(&self.shared.targets).push(target);
    }

    /// Changes the tasks of ECS.
    pub fn change_tasks(&self, change: impl FnOnce(&mut Vec<Task>)) {
        change(&mut lock(&self.shared.tasks));
    }

    /// The keys that EC2 Instance Connect was given, expired ones too.
    pub fn pushed_keys(&self) -> Vec<PushedKey> {
        let pushed = lock(&self.shared.pushed_keys);
        pushed.iter().map(|pushed| pushed.key.clone()).collect()
    }

    /// The sessions that go on, in no order.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let mut sessions = self.shared.sessions();
        sessions.retain(|session| session.ended().is_none());
        sessions
    }

    /// The agent of a target is restarted: its sessions are over, and the service learns of it.
    pub fn restart_agent(&self, target: &str) {
        for session in self.sessions() {
            if session.config().agent.instance_id == target {
                session.terminate("");
            }
        }
    }

    /// A session by its id.
    pub fn session(&self, id: &str) -> Option<Arc<Session>> {
        self.shared.session(id)
    }

    /// The authority that the gateway's certificate comes from: a PEM file for `AWS_CA_BUNDLE`.
    pub fn ca_file(&self) -> PathBuf {
        self.shared.certificates.authority_file()
    }

    /// What other servers of a test on loopback need to be trusted like the gateway.
    pub fn tls_acceptor(&self) -> native_tls::TlsAcceptor {
        self.shared.certificates.acceptor()
    }

    /// The gateway's `host:port`, as in stream URLs.
    pub fn gateway_host(&self) -> String {
        let port = self
            .shared
            .gateway_address
            .get()
            .map_or(0, SocketAddr::port);
        format!("127.0.0.1:{port}")
    }

    /// The API, for `--endpoint-url` and `AWS_ENDPOINT_URL`: SSM, KMS, ECS, STS, SSO, and the metadata services.
    pub fn api_url(&self) -> String {
        let scheme = if self.shared.config.api_tls {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.api)
    }

    /// From now on the answers to an operation (`ssm:StartSession`) are held back, once it has been carried out, until the next
    /// [`release_answers`](Self::release_answers).
    pub fn hold_answers(&self, operation: &str) {
        self.shared.held_answers.hold(operation);
    }

    /// Waits until so many answers are held back; false if they are not within this time.
    #[must_use]
    pub fn wait_for_held(&self, count: usize, timeout: Duration) -> bool {
        self.shared.held_answers.wait_for(count, timeout)
    }

    /// Gives those answers, and holds back no more.
    pub fn release_answers(&self) {
        self.shared.held_answers.release();
    }

    /// The next `times` calls of an operation (`ResumeSession`, or `ssm:ResumeSession`) fail. Several such orders are carried out in
    /// their order.
    pub fn fail_next(&self, operation: &str, times: usize, failure: Failure) {
        let mut failures = lock(&self.shared.failures);
        for _ in 0..times {
            failures.push_back((operation.to_owned(), failure.clone()));
        }
    }

    /// Starts a proxy, which serves until the sandbox ends: `http://ADDRESS`, `https://…` or `socks5://…`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start_proxy(&self, config: ProxyConfig) -> io::Result<SocketAddr> {
        proxy::start(config, &self.shared)
    }

    /// The variables that point the AWS CLI, and the plugin below it, at this sandbox.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL", self.api_url()),
            ("AWS_REGION", self.shared.config.region.clone()),
            ("AWS_DEFAULT_REGION", self.shared.config.region.clone()),
            ("AWS_CA_BUNDLE", self.ca_file().display().to_string()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("SSM_PLUGIN_ALLOW_STREAM_HOST", self.allowed_hosts()),
        ];
        if let Some(credentials) = self.shared.config.credentials.first() {
            let secret = credentials.secret_access_key.clone();
            variables.push(("AWS_ACCESS_KEY_ID", credentials.access_key_id.clone()));
            variables.push(("AWS_SECRET_ACCESS_KEY", secret));
            if let Some(token) = &credentials.session_token {
                variables.push(("AWS_SESSION_TOKEN", token.clone()));
            }
        }
        variables
    }

    /// A command that is pointed at this sandbox: `sandbox.command("aws")`. Nothing else that AWS's programs read from the environment
    /// reaches it, neither does this user's own configuration.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b"AWS_") || bytes.starts_with(b"SSM_PLUGIN_") {
                command.env_remove(&name);
            }
        }
        command
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .envs(self.environment());
        command
    }

    /// The gateway under all its loopback names, as `SSM_PLUGIN_ALLOW_STREAM_HOST` wants them.
    pub fn allowed_hosts(&self) -> String {
        let host = self.gateway_host();
        format!("{host},{}", host.replace("127.0.0.1", "localhost"))
    }

    /// All that happened, but for frames (which are with their [`Session`]).
    pub fn events(&self) -> Vec<Event> {
        self.shared.journal.events.entries()
    }

    /// Waits until the events please; `false` when they do not within `timeout`.
    pub fn wait_for_events(
        &self,
        timeout: Duration,
        pleases: impl FnMut(&[Event]) -> bool,
    ) -> bool {
        self.shared.journal.events.wait(timeout, pleases)
    }

    /// Ends all websockets, and refuses new ones (connection refused).
    pub fn stop_gateway(&self) {
        self.gateway.stop();
    }

    /// Starts the gateway again, on the same port. Sessions have survived.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn restart_gateway(&self) -> io::Result<()> {
        self.gateway.restart(&self.shared)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.gateway.stop();
        lock(&self.shared.kept_open).clear();
        self.shared.threads.stop();
    }
}
