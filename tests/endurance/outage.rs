//! Outages: the gateway killed and started again, a minute without it, a service that cannot resume for long.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandbox::{Document, Failure, GatewayConfig, Sandbox, SessionConfig, Started};

use crate::port_support::{Server, assert_same, connect, exchange, fast, pattern};
use crate::support::{Io, Plugin, Running, TIMEOUT, exit_code, free_port, sandbox, wait_until};

/// Local connections that are in use all the time.
const CONNECTIONS: usize = 10;

/// Stands in front of the gateway: a process of its own, which can be killed with all its connections.
struct Front {
    process: Child,
    port: u16,
    target: String,
}

impl Front {
    fn start(port: u16, target: &str) -> Self {
        let process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "outage::front", "--ignored", "--nocapture"])
            .env("ENDURANCE_FRONT", format!("{port} {target}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("to run it");
        wait_until("the front", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self {
            process,
            port,
            target: target.to_owned(),
        }
    }

    fn kill(&mut self) {
        self.process.kill().expect("to kill it");
        self.process.wait().expect("its end");
    }

    fn restart(&mut self) {
        *self = Self::start(self.port, &self.target);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Passes connections on, until it is killed.
#[test]
#[ignore = "a process of the test below"]
fn front() {
    let Ok(what) = std::env::var("ENDURANCE_FRONT") else {
        return;
    };
    let (port, target) = what.split_once(' ').expect("a port and a target");
    let port: u16 = port.parse().expect("a port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port");
    for client in listener.incoming().map_while(Result::ok) {
        let server = TcpStream::connect(target).expect("the target");
        for (mut from, mut to) in [
            (
                client.try_clone().expect("a handle"),
                server.try_clone().expect("a handle"),
            ),
            (server, client),
        ] {
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    }
}

/// A port session, with local connections that exchange data until they are told to stop.
struct Busy {
    plugin: Running,
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<()>>,
    server: Server,
}

impl Busy {
    fn start(start: impl FnOnce(SessionConfig) -> (Started, Plugin)) -> (Started, Self) {
        let server = Server::echo();
        let (started, plugin) = start(SessionConfig {
            document: Document::port(server.port()),
            agent: fast(),
            ..SessionConfig::default()
        });
        let plugin = plugin.stdin(Io::Null).spawn();
        let port = plugin.listening_port();
        let (over, rounds) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let clients = (0..CONNECTIONS as u64)
            .map(|me| {
                let (over, rounds) = (Arc::clone(&over), Arc::clone(&rounds));
                let stream = connect(port);
                // An outage may last longer than the usual time-out.
                stream
                    .set_read_timeout(Some(10 * TIMEOUT))
                    .expect("a timeout");
                stream
                    .set_write_timeout(Some(10 * TIMEOUT))
                    .expect("a timeout");
                thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let data = pattern(me, 20_000);
                        assert_same(&exchange(&stream, &data, 5000), &data);
                        rounds.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let busy = Self {
            plugin,
            over,
            rounds,
            clients,
            server,
        };
        busy.wait_for_rounds();
        (started, busy)
    }

    /// Until data has moved on all connections.
    fn wait_for_rounds(&self) {
        let wanted = self.rounds.load(Ordering::SeqCst) + 3 * CONNECTIONS;
        wait_until("data to move", || {
            self.rounds.load(Ordering::SeqCst) >= wanted
        });
    }

    /// All connections are as they were from the beginning, and the program ends well.
    fn finish(self) {
        self.wait_for_rounds();
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("a connection that was not dropped");
        }
        assert_eq!(self.server.accepted.load(Ordering::SeqCst), CONNECTIONS);
        self.plugin.signal(Signal::INT);
        assert_eq!(exit_code(self.plugin.wait()), 0);
    }
}

#[test]
fn p20_a_gateway_that_is_killed_and_started_again_loses_no_connection() {
    let sandbox = sandbox();
    let port = free_port();
    let mut front = Front::start(port, &sandbox.gateway_host());
    let host = format!("127.0.0.1:{port}");
    let (started, busy) = Busy::start(|config| {
        let mut started = sandbox.start_session(SessionConfig {
            gateway: GatewayConfig {
                resume_host: Some(host.clone()),
                ..GatewayConfig::default()
            },
            ..config
        });
        started.stream_url = started.stream_url.replace(&sandbox.gateway_host(), &host);
        let plugin = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .env("SSM_PLUGIN_ALLOW_STREAM_HOST", &host);
        (started, plugin)
    });
    for connection in 2..5 {
        front.kill();
        assert!(started.session.wait_for_disconnection(TIMEOUT));
        front.restart();
        assert!(started.session.wait_for_connection(connection, TIMEOUT));
        busy.wait_for_rounds();
    }
    busy.finish();
}

/// A port session whose gateway can be stopped by the sandbox.
fn busy(sandbox: &Sandbox) -> (Started, Busy) {
    Busy::start(|config| {
        let started = sandbox.start_session(config);
        let plugin = Plugin::new(sandbox, &started).with_api(sandbox);
        (started, plugin)
    })
}

#[test]
#[ignore = "takes more than a minute: `make soak`"]
fn p20_an_outage_of_a_minute_is_survived() {
    let sandbox = sandbox();
    let (started, busy) = busy(&sandbox);
    sandbox.stop_gateway();
    assert!(started.session.wait_for_disconnection(TIMEOUT));
    // The outage itself: there is nothing to wait for.
    thread::sleep(Duration::from_secs(60));
    assert!(busy.plugin.try_wait().is_none());
    sandbox.restart_gateway().expect("the same port");
    let back = Instant::now();
    assert!(started.session.wait_for_connection(2, TIMEOUT));
    eprintln!(
        "back {:.1?} after the end of an outage of 60 s",
        back.elapsed()
    );
    busy.plugin.stderr.wait_for("the connection is back");
    busy.finish();
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn p20_a_resume_that_fails_twenty_times_is_waited_for() {
    let sandbox = sandbox();
    let (started, busy) = busy(&sandbox);
    let begin = Instant::now();
    sandbox.fail_next("ResumeSession", 10, Failure::throttled());
    sandbox.fail_next("ResumeSession", 10, Failure::internal());
    started
        .session
        .end_connection(sandbox::faults::Ending::bye());
    assert!(started.session.wait_for_connection(2, 10 * TIMEOUT));
    eprintln!(
        "back {:.1?} after a break, with the 21st call",
        begin.elapsed()
    );
    busy.finish();
}
