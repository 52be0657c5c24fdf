//! Hours, compressed: the service ends the connection again and again with "Bye" while data moves, every tenth time with frames in flight
//! lost. Nothing is lost, and no local connection is dropped.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use sandbox::faults::{After, Cut, Ending, Faults};
use sandbox::{Document, Record, SessionConfig, Started};

use crate::port_support::ssh::{Ssh, run};
use crate::port_support::{Server, assert_same, connect, fast, pattern};
use crate::support::{Io, Plugin, TIMEOUT, exit_code, sandbox};

/// How often the service says "Bye": `ENDURANCE_BYES`, or 10. So soon after one another they are one outage, with about one dial a second.
fn count_of_byes() -> u64 {
    let count = std::env::var("ENDURANCE_BYES").map(|count| count.parse().expect("a number"));
    count.unwrap_or(10)
}

/// After how many of them frames are lost, and how many each time.
const LOSING: u64 = 10;
const LOST: u32 = 20;
/// Local connections of a port session.
const CONNECTIONS: usize = 50;
/// What is copied with scp, bytes.
const SIZE: usize = 50 << 20;

/// A "Bye" after every so many bytes, every tenth with frames lost.
fn byes(bytes: u64) -> Faults {
    let cut = |number| Cut {
        after: After::Bytes(bytes),
        lose: if number % LOSING == LOSING - 1 {
            LOST
        } else {
            0
        },
        ending: Ending::bye(),
    };
    Faults {
        cuts: (0..count_of_byes()).map(cut).collect(),
        ..Faults::default()
    }
}

/// Breaks in one direction only: a break is one of both directions, and would be counted twice.
fn breaking(document: Document, up: bool, bytes: u64) -> SessionConfig {
    let mut agent = fast();
    // It resends ten messages a second, and hangs up when that takes longer than this.
    agent.drain_timeout = TIMEOUT;
    let mut config = SessionConfig {
        document,
        agent,
        record: Record::Nothing,
        ..SessionConfig::default()
    };
    let direction = if up {
        &mut config.to_agent
    } else {
        &mut config.to_client
    };
    *direction = byes(bytes);
    config
}

fn report(what: &str, start: Instant, bytes: usize, started: &Started) {
    let (up, down) = started.session.statistics();
    eprintln!(
        "{what}: {bytes} bytes in {:.1?}, {} connections, {} and {} frames lost",
        start.elapsed(),
        started.session.connections(),
        up.lost,
        down.lost,
    );
    assert!(
        started.session.connections() > count_of_byes(),
        "fewer breaks than meant"
    );
    // A direction that is quiet for a moment has less to lose.
    let meant = count_of_byes() / LOSING * u64::from(LOST);
    assert!(
        up.lost + down.lost >= meant * 4 / 5,
        "fewer frames lost than meant"
    );
}

#[test]
fn p20_a_shell_outlives_bye_after_bye() {
    let start = Instant::now();
    let sandbox = sandbox();
    let document = Document::Interactive {
        command: "stty raw -echo; echo ready; exec cat".into(),
    };
    let started = sandbox.start_session(breaking(document, true, 30_000));
    let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
    plugin.stdout.wait_for("ready\n");
    let banner = plugin.stdout.bytes().len();
    let mut sent = Vec::new();
    // A pipe that is full holds it up.
    let byes = count_of_byes();
    while started.session.connections() <= byes {
        let mut piece = pattern(sent.len() as u64, 2000);
        for byte in &mut piece {
            // The agent would keep back what could be the beginning of a character.
            *byte = b' ' + *byte % 90;
        }
        plugin.type_in(&piece);
        sent.extend_from_slice(&piece);
    }
    let all = banner + sent.len();
    plugin
        .stdout
        .wait_until("all of it back", |bytes| bytes.len() >= all);
    assert_same(&plugin.stdout.bytes()[banner..], &sent);
    report("shell", start, sent.len(), &started);
    plugin.signal(Signal::TERM);
    assert_eq!(exit_code(plugin.wait()), 143);
}

/// Exchanges pieces with an echo until everything is over; hands back how many bytes.
fn chat(stream: &mut TcpStream, me: u64, over: &AtomicBool) -> usize {
    let mut bytes = 0;
    while !over.load(Ordering::SeqCst) {
        let piece = pattern(me << 32 | bytes as u64, 3000);
        stream.write_all(&piece).expect("an open connection");
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).expect("an open connection");
        assert_same(&back, &piece);
        bytes += piece.len();
    }
    bytes
}

#[test]
fn p20_fifty_connections_outlive_bye_after_bye() {
    let start = Instant::now();
    let sandbox = sandbox();
    let server = Server::echo();
    let started = sandbox.start_session(breaking(Document::port(server.port()), false, 100_000));
    let plugin = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .stdin(Io::Null)
        .spawn();
    let port = plugin.listening_port();
    let over = AtomicBool::new(false);
    let bytes = thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|me| {
                let over = &over;
                scope.spawn(move || chat(&mut connect(port), me as u64, over))
            })
            .collect();
        let all = started
            .session
            .wait_for_connection(count_of_byes() + 1, 3 * TIMEOUT);
        over.store(true, Ordering::SeqCst);
        let bytes = clients
            .into_iter()
            .map(|client| client.join().expect("a client"));
        let bytes = bytes.sum();
        assert!(all, "{} connections", started.session.connections());
        bytes
    });
    assert_eq!(server.accepted.load(Ordering::SeqCst), CONNECTIONS);
    report("50 connections", start, bytes, &started);
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
}

#[test]
#[ignore = "copies 50 MB twice: `make soak`"]
fn p20_scp_outlives_bye_after_bye() {
    let ssh = Ssh::start();
    let data = pattern(5, SIZE);
    let (source, copy) = (ssh.path("source"), ssh.path("copy"));
    fs::write(&source, &data).expect("a file");
    for up in [true, false] {
        let start = Instant::now();
        let session = ssh.session(breaking(Document::Shell, up, 850_000));
        let through = ssh.through(&format!("up {up}"), &session);
        let remote = |path: &std::path::Path| format!("target:{}", path.display());
        let ends = if up {
            [source.display().to_string(), remote(&copy)]
        } else {
            [remote(&source), copy.display().to_string()]
        };
        run(ssh.command("scp", &through).arg("-q").args(ends));
        assert_same(&fs::read(&copy).expect("the copy"), &data);
        fs::remove_file(&copy).expect("to remove it");
        report(
            if up { "scp up" } else { "scp down" },
            start,
            SIZE,
            &session,
        );
    }
}
