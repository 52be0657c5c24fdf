//! A session as a stream: one that somebody else started, or a shell.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::carry::{self, Carriage};
use super::failure::{ClientError, ErrorKind};
use super::session_event::{SessionEnd, SessionEvent};
use super::stream::Stream;
use super::watch::bounded;
use super::{Client, Limit, RawSession};
use crate::aws::StartedSession;
use crate::datachannel::{DataChannel, SessionType, Started};
use crate::message::content::Size;
use crate::sanitise;
use crate::secret::Secret;
use crate::session::port::{can_multiplex, uses_stdout, wants_keepalive};

/// What StartSession answered: see [`Client::attach`].
///
/// ```
/// use session_manager_plugin::StartSessionResponse;
///
/// let response = StartSessionResponse::new("me-0123", "wss://…", "AAEAA…");
/// assert_eq!(response.session_id(), "me-0123");
/// // The token is not shown.
/// assert!(!format!("{response:?}").contains("AAEAA"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StartSessionResponse {
    session_id: String,
    stream_url: String,
    token: Secret,
}

impl StartSessionResponse {
    /// From its parts, as an SDK gives them.
    pub fn new(
        session_id: impl Into<String>,
        stream_url: impl Into<String>,
        token_value: impl Into<String>,
    ) -> Self {
        Self {
            session_id: session_id.into(),
            stream_url: stream_url.into(),
            token: Secret::new(token_value.into()),
        }
    }

    /// From JSON, as the AWS CLI and the API give it: `SessionId`, `StreamUrl` and `TokenValue`; other keys are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], without the token in its text.
    pub fn from_json(json: &str) -> Result<Self, ClientError> {
        let parsed: Result<StartedSession, _> = serde_json::from_slice(json.as_bytes());
        let StartedSession {
            session_id,
            stream_url,
            token,
        } = parsed.map_err(|_| {
            ClientError::new(
                ErrorKind::InvalidInput,
                "the response of StartSession is no JSON object with SessionId, StreamUrl and TokenValue",
            )
        })?;
        Ok(Self {
            session_id,
            stream_url,
            token,
        })
    }

    /// As the API's own answer.
    pub(super) fn into_started(self) -> StartedSession {
        StartedSession {
            session_id: self.session_id,
            stream_url: self.stream_url,
            token: self.token,
        }
    }

    /// The session's name.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }
}

impl fmt::Debug for StartSessionResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "StartSessionResponse({})",
            sanitise::line(&self.session_id)
        )
    }
}

/// What runs at the far end of a [`Session`].
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::SessionKind;
///
/// assert_eq!(client.shell(&target)?.kind(), SessionKind::Shell);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionKind {
    /// A login shell on a terminal.
    Shell,
    /// A command on a terminal.
    InteractiveCommand,
    /// A command without a terminal and without a stdin.
    Command,
    /// A port: one connection to it.
    Port,
}

/// A session as a stream: what is written goes to its terminal or port, and what is read comes from there. stderr of a command without a
/// terminal is part of it.
///
/// Reading and writing work as with [`Stream`], of which [`stream`](Self::stream) gives one for other threads. When the session and all
/// its streams are dropped it is ended over there, in the background.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let started = sandbox.start_session(sandbox::Document::Shell);
/// # let answer = started.response().to_string();
/// use session_manager_plugin::{SessionEnd, StartSessionResponse};
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// let mut session = client.attach_session(StartSessionResponse::from_json(&answer)?)?;
/// session.resize(100, 30);
/// session.write_all(b"exit\n")?;
/// std::io::copy(&mut session, &mut std::io::sink())?;
/// let end = session.wait(Duration::from_secs(30));
/// assert!(matches!(end, Some(SessionEnd::Closed { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    id: String,
    kind: SessionKind,
    agent_version: String,
    channel: DataChannel,
    stream: Stream,
}

impl Session {
    /// Waits until a session is established, and carries it from then on.
    pub(super) fn begin(
        client: &Client,
        session: RawSession,
        limit: &Limit,
    ) -> Result<Self, ClientError> {
        let started = match session.wait_within(limit) {
            Ok(started) => started,
            Err(error) => {
                session.give_up();
                return Err(error.within(limit));
            }
        };
        let agent_version = sanitise::line_within(&started.agent_version, 50);
        let (kind, carriage) = Self::carriage(client, &started);
        let id = sanitise::line(session.id());
        let channel = session.channel().clone();
        let (socket, state) = carry::start(session, carriage)?;
        Ok(Self {
            id,
            kind,
            agent_version,
            channel,
            stream: Stream::new(socket, state),
        })
    }

    fn carriage(client: &Client, started: &Started) -> (SessionKind, Carriage) {
        let agent = &started.agent_version;
        let kind = match started.session_type {
            SessionType::StandardStream => SessionKind::Shell,
            SessionType::InteractiveCommands => SessionKind::InteractiveCommand,
            SessionType::NonInteractiveCommands => SessionKind::Command,
            SessionType::Port => SessionKind::Port,
        };
        if kind == SessionKind::Port && !uses_stdout(started) && can_multiplex(agent) {
            let carriage = Carriage::Connection {
                keepalive: wants_keepalive(agent),
                message: client.settings().payload_size,
            };
            return (kind, carriage);
        }
        (kind, Carriage::Bytes(started.session_type))
    }

    /// Its name, as the service gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What runs over there.
    pub const fn kind(&self) -> SessionKind {
        self.kind
    }

    /// The agent's version; empty where it does not tell.
    pub fn agent_version(&self) -> &str {
        &self.agent_version
    }

    /// Tells the terminal over there its size, in characters. Without a terminal nothing happens.
    pub fn resize(&self, columns: u16, rows: u16) {
        if matches!(
            self.kind,
            SessionKind::Shell | SessionKind::InteractiveCommand
        ) {
            self.channel.resize(Size {
                cols: columns,
                rows,
            });
        }
    }

    /// The session's bytes, for another thread.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn stream(&self) -> io::Result<Stream> {
        self.stream.try_clone()
    }

    /// The next event; nothing after that time, or after [`SessionEvent::Ended`]. Who does not ask misses nothing else: 256 of them are
    /// kept.
    pub fn event(&self, timeout: Duration) -> Option<SessionEvent> {
        let deadline = Instant::now() + bounded(timeout);
        self.stream.state().event(deadline)
    }

    /// Waits for its end; nothing where it goes on after that time. The end comes when all that arrived was read.
    pub fn wait(&self, timeout: Duration) -> Option<SessionEnd> {
        self.stream.state().wait(Instant::now() + bounded(timeout))
    }

    /// Ends it, over there as well, and waits until that is done.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`]. It is still being ended then.
    pub fn end(self, timeout: Duration) -> Result<(), ClientError> {
        self.stream.state().leave();
        match self.wait(timeout) {
            Some(_) => Ok(()),
            None => Err(ClientError::new(
                ErrorKind::TimedOut,
                "the session has not ended yet",
            )),
        }
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
