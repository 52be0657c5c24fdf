//! What programs call.

use std::time::{Duration, Instant};

use super::attach::{Session, StartSessionResponse};
use super::builder::ClientBuilder;
use super::command::Exec;
use super::failure::{ClientError, ErrorKind};
use super::forward::{Destination, ForwardTarget};
use super::forward_builder::ForwardBuilder;
use super::stream::{self, Stream};
use super::target::{Target, TargetName};
use super::transfer::Transfer;
use super::watch::bounded;
use super::{Client, Limit};
use crate::aws::StartRequest;
use crate::network::Cancel;
use crate::settings::Environment;

impl Client {
    /// A client made from settings that are named one by one; nothing is taken from the environment.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// use session_manager_plugin::Client;
    ///
    /// let client = Client::builder()
    ///     .region("eu-central-1")
    /// #   .variables(sandbox.environment())
    ///     .build()?;
    /// assert_eq!(client.region(), "eu-central-1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client as the AWS CLI would be: from the variables of the process (`AWS_PROFILE`, `AWS_REGION`, `HTTPS_PROXY` and so on) and the
    /// files that they name. This is the only function that reads the environment, and it reads it once.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: no region, or a variable or file that cannot be used.
    ///
    /// ```no_run
    /// use session_manager_plugin::Client;
    ///
    /// let client = Client::from_env()?;
    /// # Ok::<(), session_manager_plugin::ClientError>(())
    /// ```
    pub fn from_env() -> Result<Self, ClientError> {
        ClientBuilder::from_environment(Environment::capture()).build()
    }

    /// The same client, whose calls may take so long, each. Without it, 90 seconds.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// use session_manager_plugin::ErrorKind;
    /// use std::time::Duration;
    ///
    /// let hasty = client.with_timeout(Duration::ZERO);
    /// let error = hasty.target("web-1").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout: bounded(timeout),
            ..self.clone()
        }
    }

    /// The same client, whose calls end with [`ErrorKind::Cancelled`] as soon as this is cancelled, those that wait by then included. A
    /// call that has just asked the service for a session waits up to 3 seconds more for the answer, and ends the session.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// use session_manager_plugin::{Cancel, ErrorKind};
    ///
    /// let cancel = Cancel::new()?;
    /// let target = client.target("i-0123456789abcdef0")?;
    /// let client = client.with_cancel(&cancel);
    /// std::thread::spawn(move || cancel.cancel());
    /// let error = client.exec(&target, ["sleep", "60"]).output().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_cancel(&self, cancel: &Cancel) -> Self {
        Self {
            cancel: Some(cancel.clone()),
            ..self.clone()
        }
    }

    /// The region whose targets it finds.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// assert_eq!(client.region(), "eu-central-1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn region(&self) -> &str {
        self.api().region()
    }

    /// Finds a target: `i-…`, `mi-…`, `ecs:CLUSTER_TASK_RUNTIME` are taken as they are; `ecs:CLUSTER/SERVICE[/CONTAINER]`,
    /// `tag:KEY=VALUE`, a tag `Name`, a private address or a computer's name are looked up (`ssm:DescribeInstanceInformation`,
    /// `ec2:DescribeInstances`, `ecs:ListTasks`, `ecs:DescribeTasks`).
    ///
    /// # Errors
    /// [`ErrorKind::TargetNotFound`], [`ErrorKind::TargetAmbiguous`], [`ErrorKind::TargetNotConnected`], and what can go wrong with calls.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config {
    /// #     targets: vec![sandbox::Target::new(1, "web-1")],
    /// #     ..sandbox::Config::default()
    /// # })?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// let target = client.target("web-1")?;
    /// assert_eq!(target.id(), "i-00000000000000001");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn target(&self, name: &str) -> Result<Target, ClientError> {
        let limit = self.limit();
        limit
            .remaining()
            .map_err(|stop| ClientError::stopped(stop, "looking for the target"))?;
        let name = TargetName::parse(name)?;
        let found = name.resolve(self.api(), &limit);
        found.map_err(|error| ClientError::from(error).within(&limit))
    }

    /// A command to be run on a node, as a program and its arguments: they arrive as they are, no shell reads them
    /// (`ssm:StartSession` with AWS-StartNonInteractiveCommand, and AWS-StartInteractiveCommand where it has a stdin).
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// let target = client.target("i-0123456789abcdef0")?;
    /// let output = client.exec(&target, ["echo", "it's", "  here"]).output()?;
    /// assert_eq!(output.stdout, b"it's   here\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exec<W: Into<String>>(
        &self,
        target: &Target,
        words: impl IntoIterator<Item = W>,
    ) -> Exec {
        Exec::new(self, target, words.into_iter().map(Into::into).collect())
    }

    /// A local port to be opened, whose connections go to a port that the target reaches (`ssm:StartSession` with
    /// AWS-StartPortForwardingSession or AWS-StartPortForwardingSessionToRemoteHost).
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let port = service.local_addr()?.port();
    /// # std::thread::spawn(move || service.accept().unwrap().0.write_all(b"hello"));
    /// let forward = client.forward(&target).remote("localhost", port).start()?;
    /// let mut connection = std::net::TcpStream::connect(forward.local_addr())?;
    /// let mut word = [0; 5];
    /// connection.read_exact(&mut word)?;
    /// assert_eq!(&word, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward(&self, target: &Target) -> ForwardBuilder {
        ForwardBuilder::new(self, ForwardTarget::Id(target.id().to_owned()))
    }

    /// A [forward](Self::forward) whose target is looked up by its name whenever a session is started: it goes on when another node has the
    /// name, after a replacement for one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a text that is no name. Whether there is such a target shows when the forward is started.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config {
    /// #     targets: vec![sandbox::Target::new(1, "web-1")],
    /// #     ..sandbox::Config::default()
    /// # })?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// let forward = client.forward_by_name("web-1")?.remote("localhost", 5432).start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_by_name(&self, name: &str) -> Result<ForwardBuilder, ClientError> {
        let name = TargetName::parse(name)?;
        Ok(ForwardBuilder::new(self, ForwardTarget::Named(name)))
    }

    /// A connection to a port that the target reaches, without a local port. `localhost` is the target itself. Each stream is a session of
    /// its own: who wants many to one place opens a [forward](Self::forward), whose connections share sessions.
    ///
    /// It returns when the session is established. The agent dials after that, and does not say that it succeeded; where it fails, reading
    /// gives [`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused).
    ///
    /// # Errors
    /// [`ErrorKind::AgentTooOld`] for agents up to 3.0.196, and what can go wrong with StartSession.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let port = service.local_addr()?.port();
    /// # std::thread::spawn(move || service.accept().unwrap().0.write_all(b"hello"));
    /// use std::io::{Read, Write};
    ///
    /// let mut stream = client.connect(&target, "localhost", port)?;
    /// let mut text = String::new();
    /// stream.read_to_string(&mut text)?;
    /// assert_eq!(text, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect(&self, target: &Target, host: &str, port: u16) -> Result<Stream, ClientError> {
        let destination = Destination::new(Some(host), port)
            .map_err(|error| ClientError::new(ErrorKind::InvalidInput, error.to_string()))?;
        stream::connect(self, target, &destination)
    }

    /// Copies files to and from a target.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let folder = tempfile::tempdir()?;
    /// # let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    /// std::fs::write(&here, "a file")?;
    /// client.copy(&target).upload(&here, &there)?;
    /// # assert_eq!(std::fs::read(there)?, b"a file");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy(&self, target: &Target) -> Transfer {
        Transfer::new(self, target)
    }

    /// A shell on a node, as `aws ssm start-session` opens it (`ssm:StartSession`).
    ///
    /// # Errors
    /// What can go wrong with StartSession, and before the session is established.
    ///
    /// ```
    /// # use std::io::{BufRead, BufReader, Write};
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// let mut shell = client.shell(&target)?;
    /// shell.resize(80, 24);
    /// shell.write_all(b"echo $((6 * 7)); exit\n")?;
    /// let mut lines = BufReader::new(shell.stream()?).lines();
    /// assert!(lines.any(|line| line.is_ok_and(|line| line.trim_end() == "42")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shell(&self, target: &Target) -> Result<Session, ClientError> {
        let limit = self.limit();
        let request = StartRequest {
            target: target.id().to_owned(),
            document_name: None,
            parameters: std::collections::BTreeMap::new(),
            reason: None,
        };
        let session = self
            .start(&request, &limit)
            .map_err(|error| ClientError::from(error).within(&limit))?;
        Session::begin(self, session, &limit)
    }

    /// Takes a session over that somebody else started with StartSession, an AWS SDK for one: a client for the region, with the default
    /// credentials, and [`attach_session`](Self::attach_session).
    ///
    /// # Errors
    /// See there.
    ///
    /// ```no_run
    /// use session_manager_plugin::{Client, StartSessionResponse};
    ///
    /// let response = StartSessionResponse::from_json(
    ///     r#"{"SessionId": "me-0123", "StreamUrl": "wss://…", "TokenValue": "AAEAA…"}"#,
    /// )?;
    /// let session = Client::attach(response, "eu-central-1")?;
    /// # Ok::<(), session_manager_plugin::ClientError>(())
    /// ```
    pub fn attach(response: StartSessionResponse, region: &str) -> Result<Session, ClientError> {
        Self::builder()
            .region(region)
            .build()?
            .attach_session(response)
    }

    /// Takes a session over that somebody else started: a shell, a command or a port. Credentials are needed only where the session is to
    /// survive a break (`ssm:ResumeSession`), is encrypted (`kms:GenerateDataKey`), or is to be ended though its agent does not answer
    /// (`ssm:TerminateSession`). A response can be used once, and soon: its token is good for a few minutes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a stream URL that leads elsewhere than to AWS; what goes wrong before the session is established.
    ///
    /// ```
    /// # use std::io::Read;
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let started = sandbox.start_session(sandbox::Document::command("echo hello"));
    /// # let answer = started.response().to_string();
    /// use session_manager_plugin::{SessionKind, StartSessionResponse};
    ///
    /// let mut session = client.attach_session(StartSessionResponse::from_json(&answer)?)?;
    /// assert_eq!(session.kind(), SessionKind::Command);
    /// let mut text = String::new();
    /// session.read_to_string(&mut text)?;
    /// assert_eq!(text, "hello\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_session(&self, response: StartSessionResponse) -> Result<Session, ClientError> {
        let limit = self.limit();
        let started = response.into_started();
        let session = self
            .open(&started, "")
            .map_err(|error| ClientError::of(ErrorKind::InvalidInput, &error))?;
        Session::begin(self, session, &limit)
    }

    /// Waits until nothing goes on that this client or a clone of it has started; false where something does after that time, which may be
    /// because its handle is still held. What is dropped is ended in the background, and a process that ends meanwhile cuts that short: its
    /// sessions go on until they have been idle for their time. So this is the last call before the end of `main`.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use std::time::Duration;
    ///
    /// let shell = client.shell(&target)?;
    /// assert!(!client.wait_idle(Duration::from_millis(1)));
    /// drop(shell);
    /// assert!(client.wait_idle(Duration::from_secs(30)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        self.going().wait(Instant::now() + bounded(timeout))
    }

    /// Of one call that begins now.
    pub(super) fn limit(&self) -> Limit {
        self.limit_with(Duration::ZERO)
    }

    /// Of one call that begins now, and may take so much more.
    pub(super) fn limit_with(&self, more: Duration) -> Limit {
        self.cancelled_too(Limit::within(bounded(self.timeout.saturating_add(more))))
    }

    /// The same limit, or earlier when the client's calls are to end.
    pub(super) fn cancelled_too(&self, limit: Limit) -> Limit {
        match &self.cancel {
            Some(cancel) => limit.or_cancelled(cancel),
            None => limit,
        }
    }

    /// What ends calls early.
    pub(super) const fn cancel(&self) -> Option<&Cancel> {
        self.cancel.as_ref()
    }
}
