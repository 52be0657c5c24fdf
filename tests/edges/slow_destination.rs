//! P73: a destination that becomes slow must not break the agent's connection, whose pongs are read behind our data.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::faults::{Bandwidth, Faults};
use sandbox::{AgentConfig, Config, Document, Heartbeat, Sandbox, SessionConfig};

use crate::port_support::{Server, connect, listening_port};
use crate::support::{Plugin, wait_until};

/// What it takes at once, and what it takes a second from then on.
const FAST: usize = 20_000_000;
const SLOW: usize = 100_000;
/// A heartbeat as the real one, but sooner: a pong may be as late as there, and 4 s are less than 6.
const HEARTBEAT: Heartbeat = Heartbeat {
    every: Duration::from_secs(18),
    first_deadline: Duration::from_secs(60),
    deadline: Duration::from_secs(22),
};

#[test]
#[ignore = "takes more than a minute: `make soak`"]
fn p73_a_destination_that_becomes_slow_does_not_break_the_agent() {
    let server = Server::start(|mut stream| {
        let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10);
        let mut buffer = vec![0; 30_000];
        let mut taken = 0;
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            taken += count;
            if taken > FAST {
                // The pace itself.
                thread::sleep(Duration::from_secs_f64(count as f64 / SLOW as f64));
            }
        }
    });
    let delay = Faults {
        delay: Duration::from_millis(50),
        // So that about 1 MB is on its way when the destination becomes slow.
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
            // One connection at a time: smux's 4 MiB would only make it longer.
            version: "3.0.196.0".into(),
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
    let mut local = connect(listening_port(&plugin));
    // From a pong on that came in time.
    wait_until("a pong", || started.session.agent_pongs() >= 1);
    let begin = Instant::now();
    let sender = thread::spawn(move || {
        let piece = vec![7; 100_000];
        while local.write_all(&piece).is_ok() {}
    });
    wait_until("two more pongs, or a break", || {
        started.session.agent_pongs() >= 3 || started.session.agent_breaks() > 0
    });
    let (pongs, breaks) = (
        started.session.agent_pongs(),
        started.session.agent_breaks(),
    );
    eprintln!(
        "{pongs} pongs, {breaks} breaks after {:.1?}",
        begin.elapsed()
    );
    drop(plugin);
    let _ = sender.join();
    assert_eq!(breaks, 0);
}
