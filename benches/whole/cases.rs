//! What is measured, and how.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::faults::Faults;
use sandbox::{
    AgentConfig, Config, Document, GatewayConfig, KmsConfig, Record, Sandbox, Session,
    SessionConfig, Started,
};

use super::process::{self, Failed, Plugin, command};
use super::report::quantile;
use super::service::{Counter, ECHO, GIVE, Service, TAKE, give_all, take_all};

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
    stop: Arc<AtomicBool>,
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
    fn upload(&mut self, way: Way) -> Result<(), Failed> {
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
    fn download(&mut self, way: Way) -> Result<(), Failed> {
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
    fn arrived(&self, way: Way, give: bool) -> f64 {
        match way {
            Way::Mux | Way::Basic | Way::Stdio if !give => self.service.taken.get(),
            _ => self.moved.get(),
        }
    }
}

fn start(sandbox: &Sandbox, way: Way, give: bool, size: usize, path: &Route, port: u16) -> Started {
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

/// A rate: MB a second, CPU seconds a GB, peak memory in MB.
pub fn throughput(
    bench: &Bench,
    binary: &Path,
    way: Way,
    give: bool,
    size: usize,
    path: &Route,
) -> Result<[f64; 3], Failed> {
    let mut setup = Setup::new(&bench.tls, binary, way, give, size, path)?;
    if give {
        setup.download(way)?;
    } else {
        setup.upload(way)?;
    }
    let rtt = path.to_agent.delay + path.to_client.delay;
    thread::sleep(Duration::from_millis(300) + 10 * rtt);
    let window = bench.window + 10 * rtt;
    let (bytes, cpu) = (setup.arrived(way, give), setup.plugin.cpu());
    let begin = Instant::now();
    thread::sleep(window);
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = setup.arrived(way, give) - bytes;
    let cpu = setup.plugin.cpu() - cpu;
    if !setup.plugin.is_running() {
        return Err("ended early".to_owned());
    }
    let (_, peak) = setup.plugin.memory();
    if bytes == 0.0 {
        return Err("nothing arrived".to_owned());
    }
    Ok([bytes / 1e6 / seconds, cpu / (bytes / 1e9), peak])
}

/// What runs beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A connection that sends as fast as it can.
    Upload,
    /// One that receives as fast as it can.
    Download,
}

/// Round trips of one byte: p50 and p99, milliseconds.
pub fn ping(
    bench: &Bench,
    binary: &Path,
    way: Way,
    beside: Beside,
    path: &Route,
) -> Result<[f64; 2], Failed> {
    let mut setup = Setup::new(&bench.tls, binary, way, false, 1024, path)?;
    if way == Way::Stdio {
        let mut stdin = setup.plugin.stdin.take().ok_or("no stdin")?;
        let mut stdout = setup.plugin.stdout.take().ok_or("no stdout")?;
        stdin
            .write_all(&[ECHO])
            .map_err(|error| error.to_string())?;
        return pings(bench.pings, &mut stdin, &mut stdout);
    }
    let socket = setup.connect(ECHO)?;
    let (mut reader, mut writer) = (&socket, &socket);
    pings(20, &mut writer, &mut reader)?;
    match beside {
        Beside::Nothing => {}
        Beside::Upload => setup.upload(way)?,
        Beside::Download => setup.download(way)?,
    }
    if beside != Beside::Nothing {
        thread::sleep(Duration::from_millis(500));
    }
    // Slow paths have fewer, so that it comes to an end.
    let is_slow = path.to_agent.bandwidth.is_some() || !path.to_agent.delay.is_zero();
    let count = if is_slow {
        bench.pings / 25
    } else {
        bench.pings
    };
    pings(count, &mut writer, &mut reader)
}

fn pings(count: usize, to: &mut impl Write, from: &mut impl Read) -> Result<[f64; 2], Failed> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let mut byte = [b'p'];
        to.write_all(&byte)
            .and_then(|()| to.flush())
            .and_then(|()| from.read_exact(&mut byte))
            .map_err(|error| format!("ping: {error}"))?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let at = |share| quantile(&times, share).unwrap_or(f64::NAN);
    Ok([at(0.5), at(0.99)])
}

/// Keys typed on a terminal until they show: p50 and p99, milliseconds.
pub fn keystroke(bench: &Bench, binary: &Path) -> Result<[f64; 2], Failed> {
    let failed = |error: &dyn std::fmt::Display| format!("terminal: {error}");
    let sandbox = &bench.tls;
    let started = sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            command: "stty raw -echo; echo ready; exec cat".to_owned(),
        },
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        record: Record::Nothing,
        ..SessionConfig::default()
    });
    let (pty, pts) = pty_process::blocking::open().map_err(|error| failed(&error))?;
    pty.resize(pty_process::Size::new(24, 80))
        .map_err(|error| failed(&error))?;
    let command = command(binary, sandbox, &started, 1024);
    let child = pty_process::blocking::Command::from(command)
        .spawn(pts)
        .map_err(|error| failed(&error))?;
    let mut plugin = Plugin::of(child);
    let mut reader = &pty;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(5).any(|window| window == b"ready") {
        match reader.read(&mut buffer) {
            Ok(count @ 1..) => seen.extend_from_slice(&buffer[..count]),
            _ => return Err(format!("ended: {:?}", String::from_utf8_lossy(&seen))),
        }
    }
    thread::sleep(Duration::from_millis(200));
    let mut writer = &pty;
    // The rest of the line that said so.
    writer.write_all(b"#").map_err(|error| failed(&error))?;
    while !matches!(reader.read(&mut buffer), Ok(count) if buffer[..count].contains(&b'#')) {
        if !plugin.is_running() {
            return Err("ended early".to_owned());
        }
    }
    let result = pings(bench.pings, &mut writer, &mut reader);
    started.session.terminate("");
    started.session.kill_agent();
    result
}

/// From exec to "Port N opened", milliseconds.
pub fn open(sandbox: &Sandbox, binary: &Path) -> Result<f64, Failed> {
    let mut times = Vec::new();
    for _ in 0..11 {
        let started = start(sandbox, Way::Mux, false, 1024, &Route::default(), 9);
        let mut plugin = Plugin::spawn(command(binary, sandbox, &started, 1024))?;
        plugin.port()?;
        times.push(plugin.started_at.elapsed().as_secs_f64() * 1e3);
        started.session.terminate("");
        started.session.kill_agent();
    }
    quantile(&times, 0.5).ok_or_else(|| "no time".to_owned())
}

/// An idle port session after a connection has come and gone: resident MB, threads, wake-ups a second, CPU ms a second.
pub fn idle(bench: &Bench, binary: &Path, full_bundle: bool) -> Result<[f64; 4], Failed> {
    let sandbox = &bench.tls;
    let service = Service::start(false);
    let started = start(
        sandbox,
        Way::Mux,
        false,
        1024,
        &Route::default(),
        service.port,
    );
    let mut command = command(binary, sandbox, &started, 1024);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bundle = folder.path().join("bundle.pem");
    if full_bundle {
        process::full_bundle(sandbox, &bundle).ok_or("no bundle on this system")?;
        command.env("AWS_CA_BUNDLE", &bundle);
        command.env("SSL_CERT_FILE", &bundle);
    }
    let mut plugin = Plugin::spawn(command)?;
    plugin.port()?;
    plugin.ignore_stdout();
    thread::sleep(Duration::from_secs(1));
    let (sleeps, cpu) = (plugin.sleeps(), plugin.cpu());
    let window = bench.window * 3;
    thread::sleep(window);
    let seconds = window.as_secs_f64();
    let sleeps = (plugin.sleeps() - sleeps) / seconds;
    let cpu = (plugin.cpu() - cpu) * 1e3 / seconds;
    let (resident, _) = plugin.memory();
    let figures = [resident, plugin.threads(), sleeps, cpu];
    started.session.terminate("");
    started.session.kill_agent();
    Ok(figures)
}

/// Many connections at once: milliseconds until each has had an echo, and MB a second of all their uploads together.
pub fn streams(bench: &Bench, binary: &Path, count: usize) -> Result<[f64; 2], Failed> {
    let path = Route::default();
    let setup = Setup::new(&bench.tls, binary, Way::Mux, false, 1024, &path)?;
    let begin = Instant::now();
    let mut echoes = (0..count)
        .map(|_| setup.connect(ECHO))
        .collect::<Result<Vec<_>, _>>()?;
    for echo in &mut echoes {
        pings(1, &mut &*echo, &mut &*echo)?;
    }
    let opened = begin.elapsed().as_secs_f64() * 1e3;
    drop(echoes);
    let sockets = (0..count)
        .map(|_| setup.connect(TAKE))
        .collect::<Result<Vec<_>, _>>()?;
    let stop = &setup.stop;
    let rate = thread::scope(|scope| {
        // A few writers that go round, so that it is not threads that are measured.
        for part in sockets.chunks(count.div_ceil(4)) {
            scope.spawn(move || {
                let block = [b'x'; 16 * 1024];
                while !stop.load(Ordering::Relaxed) {
                    for mut socket in part {
                        if socket.write_all(&block).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        let before = setup.service.taken.get();
        let begin = Instant::now();
        thread::sleep(bench.window);
        let rate = (setup.service.taken.get() - before) / 1e6 / begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        // Writers that wait go on.
        for socket in &sockets {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        rate
    });
    Ok([opened, rate])
}

/// A path with a bottleneck, uploaded to: share of what it can carry in percent, share of frames sent again in percent.
pub fn bottleneck(bench: &Bench, binary: &Path, path: &Route) -> Result<[f64; 2], Failed> {
    let limit = path
        .to_agent
        .bandwidth
        .map_or(f64::NAN, |bandwidth| bandwidth.bytes_per_second as f64);
    let mut setup = Setup::new(&bench.tls, binary, Way::Mux, false, 1024, path)?;
    setup.upload(Way::Mux)?;
    thread::sleep(Duration::from_secs(1));
    let bytes = setup.service.taken.get();
    let frames = setup.session.statistics().0;
    let begin = Instant::now();
    thread::sleep(bench.window * 2);
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = setup.service.taken.get() - bytes;
    let after = setup.session.statistics().0;
    let sent = (after.passed + after.lost - frames.passed - frames.lost) as f64;
    let needed = bytes / 1024.0;
    // What a message of 1 KiB has besides its data is its header; the multiplexer's now and then do not count.
    let share = needed * (1024.0 + 120.0) / seconds / limit * 100.0;
    Ok([share, ((sent - needed) / needed * 100.0).max(0.0)])
}
