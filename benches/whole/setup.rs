//! A plugin in a session against the sandbox, with a service behind it.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sandbox::faults::Faults;
use sandbox::{
    AgentConfig, Config, Document, GatewayConfig, KmsConfig, Record, Sandbox, Session,
    SessionConfig, Started,
};

use super::process::{Failed, Plugin, command};
use super::service::{Counter, GIVE, Service, TAKE, give_all, take_all};

/// The last agent that does not multiplex.
const BASIC_AGENT: &str = "3.0.196.0";
/// How long a local socket may be silent before a measurement has failed.
const SILENCE: Duration = Duration::from_secs(30);

/// What all cases share.
pub struct Bench {
    /// `wss://`.
    pub tls: Sandbox,
    /// `ws://`.
    pub plain: Sandbox,
    /// How long a rate is measured.
    pub window: Duration,
    /// How many pings.
    pub pings: usize,
}

impl Bench {
    /// Starts the sandboxes.
    pub fn new(is_quick: bool) -> std::io::Result<Self> {
        let plain = Config {
            tls: false,
            ..Config::default()
        };
        Ok(Self {
            tls: Sandbox::start(Config::default())?,
            plain: Sandbox::start(plain)?,
            window: Duration::from_millis(if is_quick { 700 } else { 2000 }),
            pings: if is_quick { 500 } else { 3000 },
        })
    }
}

/// The way that bytes take through the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A port, multiplexed.
    Mux,
    /// A port, one connection at a time.
    Basic,
    /// SSH: a port on stdin and stdout.
    Stdio,
    /// A shell on pipes.
    Shell,
    /// The same, encrypted.
    ShellKms,
}

/// What lies between client and agent.
#[derive(Clone, Default)]
pub struct Route {
    /// Faults from client to agent.
    pub to_agent: Faults,
    /// Faults from agent to client.
    pub to_client: Faults,
    /// Whether the agent pauses 1 ms after each read, as the real one.
    pub paced: bool,
    /// Buffers of the gateway's sockets: what the system lets them grow to, some megabytes, would hide all else that makes one wait.
    pub socket_buffer: Option<usize>,
}

/// A plugin in a session, its service behind it. The session ends when this goes.
pub struct Setup {
    /// The plugin.
    pub plugin: Plugin,
    /// The session.
    pub session: Arc<Session>,
    /// What the agent dials.
    pub service: Service,
    /// Where the plugin listens.
    pub port: u16,
    /// What was taken from the plugin's stdout, or given to its stdin.
    moved: Counter,
    /// Ends what sends.
    pub stop: Arc<AtomicBool>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.session.terminate("");
        self.session.kill_agent();
    }
}

impl Setup {
    /// Starts a session and a plugin.
    pub fn new(
        sandbox: &Sandbox,
        binary: &Path,
        way: Way,
        give: bool,
        size: usize,
        path: &Route,
    ) -> Result<Self, Failed> {
        let service = Service::start(give && way == Way::Stdio);
        let started = start(sandbox, way, give, size, path, service.port);
        let mut command = command(binary, sandbox, &started, size);
        if way == Way::ShellKms {
            command.env_remove("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE");
            command.envs(sandbox.environment());
        }
        let mut plugin = Plugin::spawn(command)?;
        let port = match way {
            Way::Mux | Way::Basic => {
                let port = plugin.port()?;
                plugin.ignore_stdout();
                port
            }
            Way::Stdio => {
                plugin.wait_for("Starting session")?;
                0
            }
            Way::Shell | Way::ShellKms => {
                plugin.wait_for("ready")?;
                0
            }
        };
        Ok(Self {
            plugin,
            session: started.session,
            service,
            port,
            moved: Counter::default(),
            stop: Arc::default(),
        })
    }

    /// A local connection that asks the service for this.
    pub fn connect(&self, what: u8) -> Result<TcpStream, Failed> {
        let connect = || {
            let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.set_write_timeout(Some(SILENCE))?;
            socket.write_all(&[what])?;
            Ok(socket)
        };
        connect().map_err(|error: std::io::Error| format!("local connection: {error}"))
    }

    /// Sends without end in the background.
    pub fn upload(&mut self, way: Way) -> Result<(), Failed> {
        let stop = Arc::clone(&self.stop);
        let moved = self.moved.clone();
        match way {
            Way::Mux | Way::Basic => {
                let mut socket = self.connect(TAKE)?;
                thread::spawn(move || give_all(&mut socket, &stop, &moved));
            }
            _ => {
                let mut stdin = self.plugin.stdin.take().ok_or("no stdin")?;
                if way == Way::Stdio {
                    stdin
                        .write_all(&[TAKE])
                        .map_err(|error| error.to_string())?;
                }
                thread::spawn(move || give_all(&mut stdin, &stop, &moved));
            }
        }
        Ok(())
    }

    /// Takes without end in the background.
    pub fn download(&mut self, way: Way) -> Result<(), Failed> {
        let moved = self.moved.clone();
        match way {
            Way::Mux | Way::Basic => {
                let mut socket = self.connect(GIVE)?;
                thread::spawn(move || take_all(&mut socket, &moved));
            }
            _ => {
                let mut stdout = self.plugin.stdout.take().ok_or("no stdout")?;
                thread::spawn(move || take_all(&mut stdout, &moved));
            }
        }
        Ok(())
    }

    /// Bytes that have arrived so far.
    pub fn arrived(&self, way: Way, give: bool) -> f64 {
        match way {
            Way::Mux | Way::Basic | Way::Stdio if !give => self.service.taken.get(),
            _ => self.moved.get(),
        }
    }
}

/// A session of this kind.
pub fn start(
    sandbox: &Sandbox,
    way: Way,
    give: bool,
    size: usize,
    path: &Route,
    port: u16,
) -> Started {
    let document = match way {
        Way::Mux | Way::Basic => Document::port(port),
        Way::Stdio => Document::Ssh { port },
        Way::Shell | Way::ShellKms if give => Document::Interactive {
            command: "stty raw -echo; echo ready; sleep 0.2; exec cat /dev/zero".to_owned(),
        },
        Way::Shell | Way::ShellKms => Document::Interactive {
            command: "stty raw -echo; echo ready; exec cat >/dev/null".to_owned(),
        },
    };
    let agent = AgentConfig {
        paced: path.paced,
        payload_size: size,
        version: if way == Way::Basic {
            BASIC_AGENT.to_owned()
        } else {
            AgentConfig::default().version
        },
        kms: (way == Way::ShellKms).then(KmsConfig::default),
        ..AgentConfig::default()
    };
    sandbox.start_session(SessionConfig {
        document,
        agent,
        to_agent: path.to_agent.clone(),
        to_client: path.to_client.clone(),
        gateway: GatewayConfig {
            socket_buffer: path.socket_buffer,
            ..GatewayConfig::default()
        },
        record: Record::Nothing,
    })
}
