//! Many sessions and connections at a time, and one after the other; what they cost, and what they leave behind.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use sandbox::faults::Ending;
use sandbox::{GatewayConfig, Sandbox, SessionConfig};

use crate::port_support::{Server, fast};
use crate::support::{Running, TIMEOUT, Usage, exit_code, wait_until};
use crate::{echo_on, fast_sandbox, forward, only_port, port_of, ready, try_echo};

/// What 16 sessions and 1,000 connections may cost beyond the first session, bytes. All of it is to stay below 12 MB in the static release,
/// whose first session costs 4.7 MB; the debug build's data is as large.
const MOST_MEMORY: usize = 6 << 20;
/// Wake-ups of all threads in a second without traffic: a ping of each session every 30 s, its pong, and some for a busy machine.
const MOST_WAKE_UPS: u64 = 20;
/// Forwards of a day in fast time, each with sessions that follow each other a second apart.
const DAY_FORWARDS: usize = 30;

/// What the idle program uses.
#[derive(Debug, Clone, Copy)]
struct Rest {
    usage: Usage,
    resident: usize,
}

fn number_of(plugin: &Running, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{}/{file}", plugin.pid.as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.and_then(|line| line.split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// How often its threads have gone to sleep so far.
fn wake_ups(plugin: &Running) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", plugin.pid.as_raw_nonzero()));
    let tasks = tasks.expect("its threads").flatten();
    tasks
        .map(|task| {
            let file = format!("task/{}/status", task.file_name().display());
            number_of(plugin, &file, "voluntary_ctxt_switches:")
        })
        .sum()
}

/// This process has both ends of each connection, and a server's: as many as there may be files for.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum.or(Some(8192)),
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, wanted);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(8192);
    usize::try_from(files / 4).expect("a number").min(1000)
}

#[test]
fn sixteen_sessions_and_a_thousand_connections_cost_little_and_sleep() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let to = format!("0:{}", server.port());
    let plugin = forward(&sandbox, &["--sessions", "16", &to])
        .before("ulimit -n 4096")
        .spawn();
    let port = only_port(&plugin);
    let before = plugin.usage();
    let mut streams: Vec<TcpStream> = (0..connections())
        .map(|_| try_echo(port).expect("an echo"))
        .collect();
    assert_eq!(sandbox.sessions().len(), 16);
    wait_until("a second with next to no wake-ups", || {
        let before = wake_ups(&plugin);
        std::thread::sleep(Duration::from_secs(1));
        wake_ups(&plugin) - before <= MOST_WAKE_UPS
    });
    streams
        .iter_mut()
        .for_each(|stream| echo_on(stream).expect("an echo"));
    let usage = plugin.usage();
    let more = usage.peak - before.peak;
    eprintln!(
        "{more} bytes more than with one session; {} threads, {} connections",
        usage.threads,
        streams.len()
    );
    assert!(
        more < MOST_MEMORY,
        "{more} bytes more than with one session"
    );
    assert!(usage.threads <= 16 * 3 + 5, "{} threads", usage.threads);
}

/// A sandbox whose sessions end when they have been idle for a moment, and after a second in any case.
fn hurried_sandbox() -> Sandbox {
    let sandbox = fast_sandbox();
    sandbox.set_session_config(SessionConfig {
        agent: fast(),
        gateway: GatewayConfig {
            idle_timeout: Some(Duration::from_millis(200)),
            maximum_duration: Some(Duration::from_millis(700)),
            ..GatewayConfig::default()
        },
        ..SessionConfig::default()
    });
    sandbox
}

/// Uses a forward until its session ends: by traffic until its time is over, or by silence.
fn use_up(port: u16, talks: bool) {
    let deadline = Instant::now() + TIMEOUT;
    // A session may end just when somebody connects.
    let mut stream = loop {
        assert!(Instant::now() < deadline, "no echo");
        if let Ok(stream) = try_echo(port) {
            break stream;
        }
    };
    while talks && echo_on(&mut stream).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    crate::wait_for_end(&mut stream);
}

/// Sessions end, connections break, an agent is restarted; then nothing goes on, and no more descriptors are open than `before`.
fn round(
    sandbox: &Sandbox,
    plugin: &Running,
    ports: &[u16],
    (number, before): (usize, Option<Rest>),
) -> Rest {
    std::thread::scope(|scope| {
        for (index, port) in ports.iter().enumerate() {
            scope.spawn(move || use_up(*port, (index + number).is_multiple_of(2)));
        }
        wait_until("sessions", || sandbox.sessions().len() >= ports.len() / 2);
        for (index, session) in sandbox.sessions().iter().enumerate() {
            match index % 5 {
                0 => drop(session.end_connection(Ending::Reset)),
                1 => session.terminate("ended by somebody else"),
                _ => {}
            }
        }
    });
    wait_until("the sessions' ends", || sandbox.sessions().is_empty());
    // The main thread, signals, forward, port.
    wait_until("the threads of ended sessions to end", || {
        plugin.usage().threads <= 4
    });
    wait_until("the descriptors of ended sessions to be closed", || {
        before.is_none_or(|before| plugin.usage().descriptors <= before.usage.descriptors)
    });
    Rest {
        usage: plugin.usage(),
        resident: 1024 * usize::try_from(number_of(plugin, "status", "VmRSS:")).expect("a number"),
    }
}

/// Runs for so long, and at least for so many rounds. What the program used after each.
fn live(forwards: usize, rounds: usize, time: Duration) -> Vec<Rest> {
    let sandbox = hurried_sandbox();
    let server = Server::echo();
    let all = vec![format!("0:{}", server.port()); forwards];
    // A first session that is over before anybody connects would be one that could not be started.
    let options = ["--quiet", "--on-demand"].map(str::to_owned);
    let plugin = forward(&sandbox, &[&options[..], &all].concat()).spawn();
    let lines = ready(&plugin, forwards);
    let ports: Vec<u16> = lines.iter().map(|line| port_of(line)).collect();
    let began = Instant::now();
    let mut rests = Vec::new();
    while rests.len() < rounds || began.elapsed() < time {
        let number = (rests.len(), rests.first().copied());
        rests.push(round(&sandbox, &plugin, &ports, number));
    }
    eprintln!(
        "{} sessions in {:.0} s; after the first round {:?}, at last {:?}",
        crate::starts(&sandbox),
        began.elapsed().as_secs_f64(),
        rests[0],
        rests[rests.len() - 1]
    );
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
    rests
}

fn assert_flat(rests: &[Rest], from: usize, growth: usize) {
    let (early, late) = (rests[from], rests[rests.len() - 1]);
    assert_eq!(early.usage.threads, late.usage.threads);
    let grown = late.resident.saturating_sub(early.resident);
    assert!(grown < growth, "{grown} bytes more; {early:?}, {late:?}");
}

#[test]
fn many_sessions_leave_no_memory_threads_or_descriptors_behind() {
    let rests = live(8, 6, Duration::ZERO);
    assert_flat(&rests, 1, 2 << 20);
}

#[test]
#[ignore = "takes SOAK_SECONDS: `make soak`"]
fn a_day_in_fast_time() {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds = seconds.map_or(60, |text| text.parse().expect("SOAK_SECONDS"));
    let rests = live(DAY_FORWARDS, 8, Duration::from_secs(seconds));
    assert_flat(&rests, rests.len() / 4, 1 << 20);
}
