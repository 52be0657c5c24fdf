//! A long time in short: many sessions one after the other, and what they leave behind.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::port_support::Server;
use crate::support::{Running, exit_code, wait_until};
use crate::{echo_on, fast_sandbox, forward, only_port, try_echo, wait_for_end};

/// Sessions that follow each other; one a second is allowed for each destination, so there are several.
const ROUNDS: usize = 12;
const FORWARDS: usize = 6;

/// Memory that is in use now, bytes.
fn memory(plugin: &Running) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", plugin.pid.as_raw_nonzero()))
        .expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("its memory");
    let kib: usize = line
        .split_whitespace()
        .next()
        .and_then(|digits| digits.parse().ok())
        .expect("a number");
    kib * 1024
}

#[test]
fn many_sessions_leave_no_memory_threads_or_descriptors_behind() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let all = vec![format!("0:{}", server.port()); FORWARDS];
    let plugin = forward(&sandbox, &all).spawn();
    let ports: Vec<u16> = crate::ready(&plugin, FORWARDS)
        .iter()
        .map(|line| crate::port_of(line))
        .collect();
    let mut after_some = None;
    for round in 0..ROUNDS {
        let mut streams: Vec<TcpStream> = std::thread::scope(|scope| {
            let workers: Vec<_> = ports
                .iter()
                .map(|port| scope.spawn(move || try_echo(*port).expect("an echo")))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("a worker"))
                .collect()
        });
        if round == 2 {
            after_some = Some((plugin.usage(), memory(&plugin)));
        }
        for session in sandbox.sessions() {
            session.terminate("");
        }
        streams.iter_mut().for_each(wait_for_end);
    }
    let (usage, resident) = after_some.expect("some rounds");
    let mut last: Vec<TcpStream> = ports
        .iter()
        .map(|port| try_echo(*port).expect("an echo"))
        .collect();
    wait_until("threads of ended sessions to end", || {
        plugin.usage().threads <= usage.threads
    });
    wait_until("descriptors of ended sessions to be closed", || {
        plugin.usage().descriptors <= usage.descriptors
    });
    let grown = memory(&plugin).saturating_sub(resident);
    assert!(
        grown < 2 << 20,
        "{grown} bytes more after {} sessions",
        ROUNDS * FORWARDS
    );
    last.iter_mut()
        .for_each(|stream| echo_on(stream).expect("an echo"));
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
}

#[test]
fn a_thousand_connections_wait_for_nothing() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(
        &sandbox,
        &["--sessions", "4", &format!("0:{}", server.port())],
    )
    .before("ulimit -n 4096")
    .spawn();
    let port = only_port(&plugin);
    let mut streams: Vec<TcpStream> = (0..250).map(|_| try_echo(port).expect("an echo")).collect();
    streams
        .iter_mut()
        .for_each(|stream| echo_on(stream).expect("an echo"));
    let usage = plugin.usage();
    eprintln!(
        "peak {} bytes, {} threads with 4 sessions and {} connections",
        usage.peak,
        usage.threads,
        streams.len()
    );
    assert!(usage.threads <= 4 * 3 + 5, "{} threads", usage.threads);
}
