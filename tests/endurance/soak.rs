//! Sessions that stay open for long, idle and with traffic: what they need does not grow.
//!
//! `SOAK_SECONDS` says for how long; `make soak` runs it for its minutes, with the released program.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandbox::faults::Ending;
use sandbox::{AgentConfig, Document, Record, Sandbox, SessionConfig, Started};

use crate::port_support::{Server, assert_same, connect, exchange, fast, half_close, pattern};
use crate::process::{Sample, Samples};
use crate::support::{Io, Plugin, Running, TIMEOUT, exit_code, sandbox, wait_until};

/// How often the processes are looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// Before that: caches, the allocator's arenas, connections that are still closing.
const WARM_UP: Duration = Duration::from_secs(20);
/// How often the service ends the connections of those with traffic.
const BYE: Duration = Duration::from_secs(60);
/// Local connections that come and go at the same time.
const CONNECTIONS: u64 = 8;
/// How much more memory the last quarter may take than the first, KiB: what an allocator keeps here or there.
const MEMORY: u64 = 512;
/// The same for descriptors: chance decides how many connections are still closing at a time.
const DESCRIPTORS: u64 = 30;

fn start(sandbox: &Sandbox, document: Document) -> Started {
    sandbox.start_session(SessionConfig {
        document,
        agent: AgentConfig {
            environment: vec![("PS1".to_owned(), "$ ".to_owned())],
            ..fast()
        },
        record: Record::Nothing,
        ..SessionConfig::default()
    })
}

fn shell(sandbox: &Sandbox) -> (Started, Running) {
    let started = start(sandbox, Document::Shell);
    let plugin = Plugin::new(sandbox, &started)
        .with_api(sandbox)
        .terminal()
        .spawn();
    plugin.terminal.wait_for("$ ");
    (started, plugin)
}

fn port(sandbox: &Sandbox, server: &Server) -> (Started, Running, u16) {
    let started = start(sandbox, Document::port(server.port()));
    let plugin = Plugin::new(sandbox, &started)
        .with_api(sandbox)
        .stdin(Io::Null)
        .spawn();
    let port = plugin.listening_port();
    (started, plugin, port)
}

/// A line a second is typed and answered.
fn type_lines(plugin: &Running, over: &AtomicBool, lines: &AtomicU64) {
    while !over.load(Ordering::SeqCst) {
        let number = lines.fetch_add(1, Ordering::SeqCst);
        plugin.type_in(format!("echo line $(({number} + 0)) done\r").as_bytes());
        plugin.terminal.wait_for(&format!("line {number} done"));
        thread::sleep(Duration::from_secs(1));
    }
}

/// Connections of all kinds, one after the other.
fn come_and_go(port: u16, over: &AtomicBool, bytes: &AtomicU64, connections: &AtomicU64, me: u64) {
    let mut random = fastrand::Rng::with_seed(me);
    while !over.load(Ordering::SeqCst) {
        let stream: TcpStream = connect(port);
        for _ in 0..random.u8(1..5) {
            let data = pattern(random.u64(..), random.usize(1..64 << 10));
            assert_same(&exchange(&stream, &data, random.usize(1..9000)), &data);
            bytes.fetch_add(2 * data.len() as u64, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(random.u64(..500)));
        }
        match random.u8(..3) {
            0 => half_close(&stream),
            // With something on its way.
            1 => drop(std::io::Write::write(&mut (&stream), &[7; 1000])),
            _ => {}
        }
        connections.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until no more threads and descriptors are used than by one that had no connections at all.
fn wait_for_rest(plugin: &Running, idle: Sample) -> Sample {
    let mut now = idle;
    wait_until(&format!("threads and descriptors like {idle:?}"), || {
        now = Sample::of(plugin);
        now.threads <= idle.threads && now.descriptors <= idle.descriptors
    });
    now
}

#[test]
#[ignore = "takes SOAK_SECONDS: `make soak`"]
fn nothing_grows_and_idle_is_idle() {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let time = Duration::from_secs(seconds.map_or(60, |text| text.parse().expect("SOAK_SECONDS")));
    let sandbox = sandbox();
    let server = Server::echo();
    let (_, idle_shell) = shell(&sandbox);
    let (_, idle_port, _) = port(&sandbox, &server);
    let (typed, busy_shell) = shell(&sandbox);
    let (used, busy_port, local) = port(&sandbox, &server);
    let mut samples = [
        (Samples::new("idle shell"), &idle_shell),
        (Samples::new("idle port"), &idle_port),
        (Samples::new("shell with traffic"), &busy_shell),
        (Samples::new("port with connections"), &busy_port),
    ];
    let (over, lines) = (AtomicBool::new(false), AtomicU64::new(0));
    let (bytes, connections) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let (over, bytes, connections) = (&over, &bytes, &connections);
        let mut workers = vec![scope.spawn(|| type_lines(&busy_shell, over, &lines))];
        for me in 0..CONNECTIONS {
            workers.push(scope.spawn(move || come_and_go(local, over, bytes, connections, me)));
        }
        // Until as many connections wait for the other side's end as ever will.
        thread::sleep(WARM_UP);
        let until = Instant::now() + time;
        let mut bye = Instant::now() + BYE;
        while Instant::now() < until && workers.iter().all(|worker| !worker.is_finished()) {
            for (samples, plugin) in &mut samples {
                samples.take(plugin);
            }
            if Instant::now() > bye {
                bye += BYE;
                typed.session.end_connection(Ending::bye());
                used.session.end_connection(Ending::bye());
            }
            thread::sleep(INTERVAL);
        }
        over.store(true, Ordering::SeqCst);
    });
    eprintln!(
        "{time:?}: {lines:?} lines, {connections:?} connections, {bytes:?} bytes; {} and {} connections to the service",
        typed.session.connections(),
        used.session.connections(),
    );
    for (samples, _) in &samples {
        samples.assert_flat(MEMORY, DESCRIPTORS);
    }
    for (samples, _) in &samples[..2] {
        let cpu = samples.cpu_per_second();
        assert!(cpu < 1.0, "{cpu} ms of CPU a second, idle");
    }
    // Nothing of all those connections is left.
    let now = wait_for_rest(&busy_port, Sample::of(&idle_port));
    eprintln!("after the last connection: {} KiB", now.resident);
    for plugin in [&idle_port, &busy_port] {
        plugin.signal(Signal::INT);
        assert_eq!(exit_code(plugin.wait()), 0);
    }
    for plugin in [&idle_shell, &busy_shell] {
        plugin.type_in(b"exit\r");
        let status = plugin.wait_within(TIMEOUT).expect("its end");
        assert_eq!(exit_code(status), 0);
    }
}
