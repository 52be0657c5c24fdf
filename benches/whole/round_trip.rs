//! What a round trip costs: its time, how often the plugin's threads sleep in it, and how often they call the system.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::latency::{Terminal, ping_times};
use super::process::{Failed, Plugin};
use super::report::quantile;
use super::service::ECHO;
use super::setup::{Bench, Route, Setup, Way};

/// What goes there and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A byte through a multiplexed port.
    Ping,
    /// A key that shows on a terminal.
    Key,
}

/// How long `perf` takes to begin at most.
const TRACER_STARTS: Duration = Duration::from_millis(500);
/// Round trips before the first that counts.
const FIRST: usize = 20;

/// Milliseconds at p50, p99 and p99.9; context switches of the plugin and its system calls for each round trip, the latter where `perf` can
/// count them. `busy`: beside two processes that never sleep.
pub fn round_trip(
    bench: &Bench,
    binary: &Path,
    what: What,
    busy: bool,
) -> Result<[f64; 5], Failed> {
    let count = bench.pings;
    let _neighbours = if busy {
        vec![Neighbour::start()?, Neighbour::start()?]
    } else {
        Vec::new()
    };
    let mut circuit = Circuit::open(bench, binary, what)?;
    circuit.go(FIRST)?;
    let before = circuit.plugin().switches();
    let times = circuit.go(count)?;
    let switches = circuit.plugin().switches() - before;
    let tracer = Tracer::start(circuit.plugin().id());
    circuit.go(count)?;
    let calls = tracer.map_or(f64::NAN, Tracer::calls);
    let at = |share| quantile(&times, share).unwrap_or(f64::NAN);
    let each = |sum: f64| sum / count as f64;
    Ok([at(0.5), at(0.99), at(0.999), each(switches), each(calls)])
}

/// What a round trip takes its way through.
enum Circuit {
    Port(Setup, TcpStream),
    Terminal(Terminal),
}

impl Circuit {
    fn open(bench: &Bench, binary: &Path, what: What) -> Result<Self, Failed> {
        Ok(match what {
            What::Ping => {
                let route = Route::default();
                let setup = Setup::new(&bench.tls, binary, Way::Mux, false, 1024, &route)?;
                let socket = setup.connect(ECHO)?;
                Self::Port(setup, socket)
            }
            What::Key => Self::Terminal(Terminal::open(&bench.tls, binary, false)?),
        })
    }

    fn plugin(&self) -> &Plugin {
        match self {
            Self::Port(setup, _) => &setup.plugin,
            Self::Terminal(terminal) => &terminal.plugin,
        }
    }

    fn go(&mut self, count: usize) -> Result<Vec<f64>, Failed> {
        match self {
            Self::Port(_, socket) => ping_times(count, &mut &*socket, &mut &*socket),
            Self::Terminal(terminal) => terminal.type_keys(count),
        }
    }
}

/// A process that never sleeps.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Result<Self, Failed> {
        let yes = Command::new("yes").stdout(Stdio::null()).spawn();
        yes.map(Self).map_err(|error| format!("yes: {error}"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Counts a process's system calls from outside, without a stop at each.
struct Tracer(Child);

impl Tracer {
    fn start(process: u32) -> Option<Self> {
        let perf = Command::new("perf")
            .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p"])
            .arg(process.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let tracer = perf.ok().map(Self);
        thread::sleep(TRACER_STARTS);
        tracer
    }

    /// Ends it: how many there were.
    fn calls(self) -> f64 {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::INT);
        }
        let output = self.0.wait_with_output();
        let text = output.map(|it| String::from_utf8_lossy(&it.stderr).into_owned());
        let count = text
            .ok()
            .and_then(|text| text.split(',').next()?.parse().ok());
        count.unwrap_or(f64::NAN)
    }
}
