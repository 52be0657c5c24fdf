//! How long one waits: for a byte, for a key, for the start.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Document, Record, Sandbox, Session, SessionConfig};

use super::process::{Failed, Plugin, command};
use super::report::quantile;
use super::service::ECHO;
use super::setup::{Bench, Route, Setup, Way, start};

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

/// After so long no more pings are sent than these: who waits half a second for each would be measured for half an hour.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
const ENOUGH: usize = 20;

/// Round trips of one byte each: p50 and p99, milliseconds.
pub fn pings(count: usize, to: &mut impl Write, from: &mut impl Read) -> Result<[f64; 2], Failed> {
    Ok(p50_and_p99(&ping_times(count, to, from)?))
}

/// Round trips of one byte each, milliseconds.
pub fn ping_times(
    count: usize,
    to: &mut impl Write,
    from: &mut impl Read,
) -> Result<Vec<f64>, Failed> {
    let mut times = Vec::with_capacity(count);
    let end = Instant::now() + LONG_ENOUGH;
    for number in 0..count {
        if number >= ENOUGH && Instant::now() > end {
            break;
        }
        let begin = Instant::now();
        let mut byte = [b'p'];
        to.write_all(&byte)
            .and_then(|()| to.flush())
            .and_then(|()| from.read_exact(&mut byte))
            .map_err(|error| format!("ping: {error}"))?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Keys typed on a terminal until they show: p50 and p99, milliseconds. Beside a flood of output the agent pauses, as the real one does;
/// without its pauses one would wait for the queues in front of it alone.
pub fn keystroke(bench: &Bench, binary: &Path, flood: bool) -> Result<[f64; 2], Failed> {
    let mut terminal = Terminal::open(&bench.tls, binary, flood)?;
    let count = if flood { bench.pings / 25 } else { bench.pings };
    // The first only goes through what was shown until now.
    let times = terminal.type_keys(count + 1)?;
    Ok(p50_and_p99(&times[1..]))
}

/// A shell on a terminal, which shows what is typed. The session ends when this goes.
pub struct Terminal {
    /// The plugin.
    pub plugin: Plugin,
    pty: pty_process::blocking::Pty,
    session: Arc<Session>,
}

impl Terminal {
    /// Starts it.
    pub fn open(sandbox: &Sandbox, binary: &Path, flood: bool) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| format!("terminal: {error}");
        let begin = "stty raw -echo; echo ready; sleep 0.1;";
        let command_line = if flood {
            format!("{begin} dd if=/dev/zero bs=1024 status=none & exec cat")
        } else {
            format!("{begin} exec cat")
        };
        let started = sandbox.start_session(SessionConfig {
            document: Document::Interactive {
                command: command_line,
            },
            agent: AgentConfig {
                paced: flood,
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
        let mut terminal = Self {
            plugin: Plugin::of(child),
            pty,
            session: started.session,
        };
        read_until(&mut terminal.plugin, &mut &terminal.pty, b"ready")?;
        thread::sleep(Duration::from_millis(300));
        Ok(terminal)
    }

    /// Types so many keys, each when the one before shows: milliseconds until they do.
    pub fn type_keys(&mut self, count: usize) -> Result<Vec<f64>, Failed> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            (&self.pty)
                .write_all(b"#")
                .map_err(|error| format!("terminal: {error}"))?;
            read_until(&mut self.plugin, &mut &self.pty, b"#")?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.session.terminate("");
        self.session.kill_agent();
    }
}

/// Reads what the terminal shows up to this.
fn read_until(plugin: &mut Plugin, from: &mut impl Read, text: &[u8]) -> Result<(), Failed> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(text.len()).any(|window| window == text) {
        let keep = seen.len().saturating_sub(text.len() - 1);
        seen.drain(..keep);
        match from.read(&mut buffer) {
            Ok(count @ 1..) if plugin.is_running() => seen.extend_from_slice(&buffer[..count]),
            _ => return Err(format!("ended: {:?}", String::from_utf8_lossy(&seen))),
        }
    }
    Ok(())
}

/// The median, and what one in a hundred exceeds.
pub fn p50_and_p99(times: &[f64]) -> [f64; 2] {
    [0.5, 0.99].map(|share| quantile(times, share).unwrap_or(f64::NAN))
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
