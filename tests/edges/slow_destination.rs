//! P73: a slow destination must not break the agent's connection, whose pongs are read behind our data. Minutes long: `make soak`.
//!
//! What we keep in flight is bounded; what the kernels and smux over there have taken is not ours any more. A socket whose buffer has grown
//! to megabytes takes nothing, once it is full, until a third of it is free: at 100 kB/s the agent's reader is held up for ten seconds by
//! one message, whatever the window. After the second time the destination is given what it takes, and that is seldom so. Where it is so
//! the tests say how often it broke the agent's connection, and that all goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::faults::{Bandwidth, Faults};
use sandbox::{AgentConfig, Config, Document, Heartbeat, Sandbox, SessionConfig, Started};

use crate::port_support::{Server, assert_same, connect, pattern};
use crate::support::{Plugin, Running, wait_until};

/// What a destination takes at once before it becomes slow, and what it takes a second from then on.
const FAST: usize = 20_000_000;
const SLOW: usize = 100_000;
/// A heartbeat as the real one, but sooner: a pong may be as late as there, and 4 s are less than 6.
const HEARTBEAT: Heartbeat = Heartbeat {
    every: Duration::from_secs(18),
    first_deadline: Duration::from_secs(60),
    deadline: Duration::from_secs(22),
};
/// A ping that takes longer is late.
const LATE: Duration = Duration::from_millis(2500);
/// The first byte of a connection that wants its bytes back, and of one whose bytes are taken.
const ECHO: u8 = b'e';
const TAKE: u8 = b't';

/// A session over 10 MB/s and 100 ms, so that about 1 MB is on its way when a destination becomes slow. `pause`: what the destination
/// waits after a piece, by its bytes and by all that it has taken so far.
struct Slow {
    plugin: Running,
    started: Started,
    taken: Arc<AtomicUsize>,
    port: u16,
    _sandbox: Sandbox,
    _server: Server,
}

impl Slow {
    fn start(
        version: &str,
        pause: impl Fn(usize, usize) -> Duration + Send + Sync + 'static,
    ) -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let server = Server::start(move |stream| serve(stream, &pause, &count));
        let delay = Faults {
            delay: Duration::from_millis(50),
            bandwidth: Some(Bandwidth {
                bytes_per_second: 10_000_000,
                burst: 100_000,
            }),
            ..Faults::default()
        };
        let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
        let started = sandbox.start_session(SessionConfig {
            document: Document::port(server.port()),
            agent: AgentConfig {
                version: version.into(),
                paced: false,
                heartbeat: HEARTBEAT,
                ..AgentConfig::default()
            },
            to_agent: delay.clone(),
            to_client: delay,
            record: sandbox::Record::Nothing,
            ..SessionConfig::default()
        });
        let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
        Self {
            port: plugin.listening_port(),
            plugin,
            started,
            taken,
            _sandbox: sandbox,
            _server: server,
        }
    }

    /// A local connection that waits as long as it takes.
    fn connect(&self, what: u8) -> TcpStream {
        let mut local = connect(self.port);
        local.set_write_timeout(None).expect("no timeout");
        local.set_read_timeout(None).expect("no timeout");
        local.write_all(&[what]).expect("to write");
        local
    }

    /// Sends without an end.
    fn upload(&self) -> thread::JoinHandle<()> {
        let mut local = self.connect(TAKE);
        thread::spawn(move || {
            let piece = vec![7; 100_000];
            while local.write_all(&piece).is_ok() {}
        })
    }

    fn pongs(&self) -> usize {
        self.started.session.agent_pongs()
    }

    /// Waits for so many pongs more, or a break of the agent's connection: how many breaks there were.
    fn breaks_within(&self, pongs: usize, what: &str) -> usize {
        let (begin, from) = (Instant::now(), self.pongs());
        let breaks = || self.started.session.agent_breaks();
        wait_until("more pongs, or a break", || {
            self.pongs() >= from + pongs || breaks() > 0
        });
        eprintln!(
            "{what}: {} breaks in {:.1?}, {} bytes taken, {:?}",
            breaks(),
            begin.elapsed(),
            self.taken.load(Ordering::SeqCst),
            self.plugin.usage()
        );
        breaks()
    }
}

fn serve(mut stream: TcpStream, pause: &dyn Fn(usize, usize) -> Duration, taken: &AtomicUsize) {
    let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10);
    let mut kind = [0];
    let mut buffer = vec![0; 30_000];
    if stream.read_exact(&mut kind).is_err() {
        return;
    }
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if kind == [ECHO] {
            if stream.write_all(&buffer[..count]).is_err() {
                return;
            }
            continue;
        }
        let all = taken.fetch_add(count, Ordering::SeqCst) + count;
        // The pace itself.
        thread::sleep(pause(count, all));
    }
}

fn slow(count: usize) -> Duration {
    Duration::from_secs_f64(count as f64 / SLOW as f64)
}

/// The last agent that carries one connection at a time: smux's 4 MiB would only make it longer.
const BASIC: &str = "3.0.196.0";

#[test]
#[ignore = "takes more than a minute: `make soak`"]
fn p73_a_destination_that_becomes_slow_is_served_on() {
    let slow = Slow::start(BASIC, |count, all| {
        if all > FAST {
            slow(count)
        } else {
            Duration::ZERO
        }
    });
    // From a pong on that came in time.
    wait_until("a pong", || slow.pongs() >= 1);
    let sender = slow.upload();
    let before = slow.breaks_within(2, "slow after 20 MB");
    // Its length.
    thread::sleep(Duration::from_secs(100));
    let later = slow.started.session.agent_breaks() - before;
    eprintln!("slow after 20 MB: {later} more breaks in 100 s");
    let taken = slow.taken.load(Ordering::SeqCst);
    wait_until("the destination to be given more", || {
        slow.taken.load(Ordering::SeqCst) > taken + SLOW
    });
    drop(slow);
    let _ = sender.join();
}

#[test]
#[ignore = "takes more than a minute: `make soak`"]
fn p73_a_destination_that_is_slow_from_the_start_does_not_break_the_agent() {
    let slow = Slow::start(BASIC, |count, _| slow(count));
    let sender = slow.upload();
    assert_eq!(slow.breaks_within(2, "slow from the start"), 0);
    drop(slow);
    let _ = sender.join();
}

/// An agent that multiplexes reads some megabytes ahead for all connections; after that each waits while its reader is held up.
#[test]
#[ignore = "takes more than a minute: `make soak`"]
fn p73_a_second_connection_beside_a_slow_destination_is_answered() {
    let slow = Slow::start(&AgentConfig::default().version, |count, _| slow(count));
    let mut ping = slow.connect(ECHO);
    let sender = slow.upload();
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        let begin = Instant::now();
        ping.write_all(b"p").expect("to write");
        ping.read_exact(&mut [0]).expect("an answer");
        times.push(begin.elapsed());
        thread::sleep(Duration::from_millis(200));
    }
    let total: Duration = times.iter().sum();
    let late: Duration = times.iter().filter(|time| **time > LATE).sum();
    eprintln!(
        "pings: {} in {total:.1?}, at most {:.1?}, {late:.1?} in those above {LATE:?}",
        times.len(),
        times.iter().max().expect("a ping")
    );
    slow.breaks_within(1, "two connections");
    drop(slow);
    let _ = sender.join();
}

/// Nothing that a client does keeps an agent's connection whose reader is held up for longer than its own deadline; but it goes on.
#[test]
#[ignore = "takes more than a minute: `make soak`"]
fn p73_a_destination_that_stops_for_a_minute_gets_all_in_the_end() {
    let got = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (sink, stop_at) = (Arc::clone(&got), 3_000_000);
    let server = Server::start(move |mut stream| {
        let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10);
        let mut buffer = vec![0; 30_000];
        let mut has_stopped = false;
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let mut got = sink.lock().expect("the bytes");
            got.extend_from_slice(&buffer[..count]);
            let stops = got.len() > stop_at && !has_stopped;
            drop(got);
            if stops {
                has_stopped = true;
                thread::sleep(Duration::from_secs(60));
            }
        }
    });
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    let started = sandbox.start_session(SessionConfig {
        document: Document::port(server.port()),
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        record: sandbox::Record::Nothing,
        ..SessionConfig::default()
    });
    let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
    let data = pattern(73, 40_000_000);
    let mut local = connect(plugin.listening_port());
    local.set_write_timeout(None).expect("no timeout");
    local.write_all(&data).expect("to write");
    let begin = Instant::now();
    wait_until("all of it", || {
        got.lock().expect("the bytes").len() >= data.len()
    });
    eprintln!(
        "stopped for a minute: {} breaks of the agent's connection, the rest came {:.1?} after the last write",
        started.session.agent_breaks(),
        begin.elapsed()
    );
    assert_same(&got.lock().expect("the bytes"), &data);
}
