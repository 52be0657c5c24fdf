//! What the other side shall be like. Every default is how the real one is, as far as that is known.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::credentials::{Credentials, Secrets};
use crate::faults::Faults;
use crate::target::{AuthorizedKeys, Target, Task};

/// The whole sandbox.
#[derive(Debug, Clone)]
pub struct Config {
    /// All chance comes from it.
    pub seed: u64,
    /// Whether stream URLs are `wss://` (the default) or `ws://`.
    pub tls: bool,
    /// The region that signatures must name.
    pub region: String,
    /// The keys that are known; one of its own for each run, unless a test says otherwise. The first is what
    /// [`Sandbox::environment`](crate::Sandbox::environment) gives to callers.
    pub credentials: Vec<Credentials>,
    /// What leads to credentials besides keys.
    pub secrets: Secrets,
    /// Whether the API is `https://`, with a certificate of the same authority.
    pub api_tls: bool,
    /// How long credentials of STS, SSO and the metadata services are good for.
    pub issued_lifetime: Duration,
    /// What API calls must carry. Without a signature any user of this machine could start a shell of the sandbox's owner.
    pub api_signatures: Check,
    /// What the websocket's upgrade must carry. Who opens a channel has the session's token besides, which only signed calls give out.
    pub upgrade_signatures: Check,
    /// How far the servers' clock is ahead of this machine's (for `true`) or behind it; signatures 5 minutes off are refused.
    pub clock_skew: Option<(bool, Duration)>,
    /// Names besides loopback's for which the gateway has a certificate.
    pub certificate_names: Vec<String>,
    /// Sessions that are started over the API.
    pub session: SessionConfig,
    /// The nodes that there are. Without any, every identifier is one that is online.
    pub targets: Vec<Target>,
    /// The tasks of ECS that there are. Without any, every name is one that runs, with the container `web`.
    pub tasks: Vec<Task>,
    /// Where the keys of EC2 Instance Connect are put.
    pub authorized_keys: Option<AuthorizedKeys>,
    /// How long Run Command waits for a node that is away, in place of the call's TimeoutSeconds, whose least value is 30.
    pub delivery_timeout: Option<Duration>,
    /// Whether what happens is printed to stderr.
    pub print: bool,
    /// Where else it is written, one event a line.
    pub log_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            tls: true,
            region: "eu-central-1".into(),
            credentials: vec![Credentials::generate()],
            secrets: Secrets::generate(),
            api_tls: false,
            issued_lifetime: Duration::from_secs(3600),
            api_signatures: Check::Required,
            upgrade_signatures: Check::IfPresent,
            clock_skew: None,
            certificate_names: Vec::new(),
            session: SessionConfig::default(),
            targets: Vec::new(),
            tasks: Vec::new(),
            authorized_keys: None,
            delivery_timeout: None,
            print: false,
            log_file: None,
        }
    }
}

impl Config {
    /// The default, with signatures required of everything: of API calls and of the websocket's upgrade.
    pub fn strict() -> Self {
        Self {
            upgrade_signatures: Check::Required,
            ..Self::default()
        }
    }
}

/// How signatures are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Not at all.
    Off,
    /// Wrong ones are refused.
    IfPresent,
    /// Wrong ones and none are refused.
    Required,
}

/// One session.
#[derive(Debug, Clone, Default)]
pub struct SessionConfig {
    /// What kind of session.
    pub document: Document,
    /// What the agent is like.
    pub agent: AgentConfig,
    /// What the gateway does.
    pub gateway: GatewayConfig,
    /// Faults from client to agent.
    pub to_agent: Faults,
    /// Faults from agent to client.
    pub to_client: Faults,
    /// What is written down.
    pub record: Record,
}

impl From<Document> for SessionConfig {
    fn from(document: Document) -> Self {
        Self {
            document,
            ..Self::default()
        }
    }
}

/// What is written down of frames at the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// Nothing: for benchmarks.
    Nothing,
    /// Everything but payloads.
    #[default]
    Headers,
    /// Everything.
    Payloads,
}

/// What kind of session.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Document {
    /// A shell: no document, or `SSM-SessionManagerRunShell`.
    #[default]
    Shell,
    /// `AWS-StartInteractiveCommand`: a command (as for `sh -c`) on a pty.
    Interactive {
        /// The command.
        command: String,
    },
    /// `AWS-StartNonInteractiveCommand`: a command without pty and stdin, **not** run by a shell.
    NonInteractive {
        /// Split into words as a shell would.
        command: String,
        /// stderr apart, and the exit code.
        separate_output: bool,
        /// Written before stdout's lines (more or less).
        stdout_prefix: String,
        /// Written before stderr's.
        stderr_prefix: String,
    },
    /// `AWS-StartPortForwardingSession`, also `…ToRemoteHost` when there is a host.
    Port {
        /// The destination's port.
        port: u16,
        /// The client's port; 0 lets it choose.
        local_port: u16,
        /// The destination, if it is not the instance.
        host: Option<String>,
    },
    /// `AWS-StartSSHSession`.
    Ssh {
        /// The destination's port.
        port: u16,
    },
    /// Anything else that is a port or unknown session to the agent.
    Other {
        /// `Port`, or what no client knows.
        session_type: String,
        /// As they are in the handshake request.
        properties: Value,
    },
}

impl Document {
    /// A command without separate output.
    pub fn command(command: &str) -> Self {
        Self::NonInteractive {
            command: command.into(),
            separate_output: false,
            stdout_prefix: String::new(),
            stderr_prefix: String::new(),
        }
    }

    /// A command whose stderr and exit code come apart.
    pub fn separate_command(command: &str) -> Self {
        Self::NonInteractive {
            command: command.into(),
            separate_output: true,
            stdout_prefix: String::new(),
            stderr_prefix: String::new(),
        }
    }

    /// A port of the instance, the client's port chosen by the client.
    pub fn port(port: u16) -> Self {
        Self::Port {
            port,
            local_port: 0,
            host: None,
        }
    }

    /// What the handshake request calls it.
    pub fn session_type(&self) -> &str {
        match self {
            Self::Shell => "Standard_Stream",
            Self::Interactive { .. } => "InteractiveCommands",
            Self::NonInteractive { .. } => "NonInteractiveCommands",
            Self::Port { .. } | Self::Ssh { .. } => "Port",
            Self::Other { session_type, .. } => session_type,
        }
    }

    /// The properties in the handshake request.
    pub fn properties(&self) -> Value {
        match self {
            Self::Shell | Self::Interactive { .. } | Self::NonInteractive { .. } => Value::Null,
            Self::Port {
                port,
                local_port,
                host,
            } => {
                let mut properties = Map::new();
                if let Some(host) = host {
                    properties.insert("host".into(), json!(host));
                }
                properties.insert("localPortNumber".into(), json!(local_port.to_string()));
                properties.insert("portNumber".into(), json!(port.to_string()));
                properties.insert("type".into(), json!("LocalPortForwarding"));
                Value::Object(properties)
            }
            Self::Ssh { port } => json!({ "portNumber": port.to_string() }),
            Self::Other { properties, .. } => properties.clone(),
        }
    }
}

/// The agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Four numbers. Ports: multiplexed above 3.0.196.0, keepalives up to 3.1.1511.0 (by the client), …
    pub version: String,
    /// `None`: as the real one, for commands without pty, ports, and with a KMS key.
    pub handshake: Option<bool>,
    /// Whether it sleeps 1 ms after each read, as the real one (not for separate output).
    pub paced: bool,
    /// How much it reads at once, and so sends in a message. The real one: 1024.
    pub payload_size: usize,
    /// Before the first output of a shell. The real one: 1 s.
    pub start_delay: Duration,
    /// The shell of a shell session, and what runs interactive commands. The real one: `sh`.
    pub shell: String,
    /// More variables for shell and commands.
    pub environment: Vec<(String, String)>,
    /// Encrypts with a key of KMS.
    pub kms: Option<KmsConfig>,
    /// Instead of its own, in HandshakeComplete.
    pub customer_message: Option<String>,
    /// Says nothing at all of its own (but acknowledges): for clients that must not give up.
    pub silent: bool,
    /// Actions that no client knows, after its own: name and parameters.
    pub extra_actions: Vec<(String, Value)>,
    /// For so long after HandshakeComplete input is acknowledged and lost.
    pub loses_input_after_handshake: Duration,
    /// For so long after the handshake the shell or port is not ready, and input is not acknowledged.
    pub not_ready: Duration,
    /// How long it waits for the handshake response and for the challenge's. The real one: 15 s.
    pub handshake_timeout: Duration,
    /// How often an old agent's multiplexer sends a keepalive; after three times without anything from the client it ends the session. The
    /// real one: 10 s.
    pub smux_keepalive: Duration,
    /// The instance's name, and KMS's target.
    pub instance_id: String,
    /// Names that only its side resolves, as by a private DNS.
    pub hosts: Vec<(String, IpAddr)>,
    /// How long it waits, twice, for its unacknowledged messages at the end. The real one: 2 s.
    pub drain_timeout: Duration,
    /// What keeps its own connection.
    pub heartbeat: Heartbeat,
}

/// The pings of the agent's own connection. The default is as the real one.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// How often they go out.
    pub every: Duration,
    /// When the first pong must have been read.
    pub first_deadline: Duration,
    /// When the next must have been read after one was.
    pub deadline: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(54),
            first_deadline: Duration::from_secs(114),
            deadline: Duration::from_secs(60),
        }
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            version: "3.3.0.0".into(),
            handshake: None,
            paced: true,
            payload_size: 1024,
            start_delay: Duration::ZERO,
            shell: "sh".into(),
            environment: Vec::new(),
            kms: None,
            customer_message: None,
            silent: false,
            extra_actions: Vec::new(),
            loses_input_after_handshake: Duration::ZERO,
            not_ready: Duration::ZERO,
            handshake_timeout: Duration::from_secs(15),
            smux_keepalive: Duration::from_secs(10),
            instance_id: "i-0123456789abcdef0".into(),
            hosts: Vec::new(),
            drain_timeout: Duration::from_secs(2),
            heartbeat: Heartbeat::default(),
        }
    }
}

/// Encryption of a session.
#[derive(Debug, Clone)]
pub struct KmsConfig {
    /// The key's ARN.
    pub key_id: String,
    /// Whether the agent sends a challenge for the encryption context.
    pub challenge: bool,
    /// Whether it insists on the client's acknowledging it.
    pub require_challenge: bool,
    /// What it does wrong.
    pub misbehaviour: Option<KmsMisbehaviour>,
}

impl Default for KmsConfig {
    fn default() -> Self {
        Self {
            key_id:
                "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000"
                    .into(),
            challenge: true,
            require_challenge: false,
            misbehaviour: None,
        }
    }
}

/// What an agent can do wrong about encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KmsMisbehaviour {
    /// Output in clear text after an encrypted handshake.
    ClearText,
    /// Ends the handshake without the challenge, and goes on in clear text.
    NoChallenge,
    /// A challenge under another key.
    WrongKey,
    /// Output whose tag is wrong.
    BadTag,
}

/// The gateway's part in a session.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// What happens at each dial, in this order; accepted when the list is used up.
    pub upgrades: VecDeque<Upgrade>,
    /// What becomes of the agent's frames while the client is away.
    pub while_away: WhileAway,
    /// How many bytes wait between gateway and agent in each direction. The agent blocks on more.
    pub queue: usize,
    /// How long a token from StartSession is good for.
    pub token_lifetime: Option<Duration>,
    /// Send and receive buffers of the gateway's sockets, where the system's are too large for a test.
    pub socket_buffer: Option<usize>,
    /// Frames that are sent at the first opening, before anything else: hostile ones, for example.
    pub first_frames: Vec<Vec<u8>>,
    /// Whether StartSession's stream URL carries a signature in its query: such a URL is neither signed again nor resumed.
    pub presigned: bool,
    /// The host (and port) in the stream URL of ResumeSession's answer, if it is another one: `localhost`, for example.
    pub resume_host: Option<String>,
    /// The service ends the session when nothing has gone through it for so long, in either direction. An account's preference, of minutes.
    pub idle_timeout: Option<Duration>,
    /// The service ends the session after so long, whatever goes through it. The other preference.
    pub maximum_duration: Option<Duration>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            upgrades: VecDeque::new(),
            while_away: WhileAway::Keep,
            queue: 1 << 20,
            token_lifetime: None,
            socket_buffer: None,
            first_frames: Vec::new(),
            presigned: false,
            resume_host: None,
            idle_timeout: None,
            maximum_duration: None,
        }
    }
}

/// What becomes of the agent's frames while the client is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileAway {
    /// They wait, up to the queue's size; then the agent blocks.
    Keep,
    /// They are lost.
    Lose,
}

/// What happens at a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// All is well.
    Accept,
    /// An HTTP error: 403, 404, 503, …
    Status(u16),
    /// These bytes are the answer.
    Raw(Vec<u8>),
    /// No answer ever, after the request was read.
    Hang,
    /// The connection is reset, after the request was read.
    Reset,
    /// Accepted, and then nothing is read or written.
    AcceptAndFreeze,
}
