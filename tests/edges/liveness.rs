//! P72: paths that die, for real: the program in a network namespace of its own, behind a router in another. Passed over where this user
//! may not make any. What takes longer than the suite may is run by `make soak`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Config, Document, GatewayConfig, Sandbox, SessionConfig, Started};

use crate::networks::Networks;
use crate::support::{Plugin, Running, TIMEOUT, wait_until};

/// What the log says when a path is dead.
const DEAD: [&str; 2] = ["does not answer any more", "address is another one now"];
/// What it says when a try led to nothing, and when one begins.
const FAILED: &str = "no fresh token";
const CONNECTING: &str = "connecting to";
/// How soon a session goes on once there is a path: 2 s, and what a busy machine adds.
const BACK: Duration = Duration::from_millis(2500);

/// Listens on this address and hands connections on to another one. Where it listens.
fn relay(from: &str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((from, 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(to) else {
                continue;
            };
            let ends = [(&client, &server), (&server, &client)].map(|(from, to)| {
                (
                    from.try_clone().expect("a handle"),
                    to.try_clone().expect("a handle"),
                )
            });
            for (mut from, mut to) in ends {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

/// A session in the client's network: what goes in comes out again.
struct Echo {
    plugin: Running,
    started: Started,
    said: String,
    _sandbox: Sandbox,
    networks: Arc<Networks>,
}

impl Echo {
    /// None where this user may not make networks.
    fn start() -> Option<Self> {
        let networks = Networks::make()?;
        let here = networks.here();
        let echo = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = echo.local_addr().expect("its address").port();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().expect("the agent");
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
        let sandbox = Sandbox::start(Config {
            certificate_names: vec![here.clone()],
            ..Config::default()
        })
        .expect("a sandbox");
        let gateway = relay(&here, sandbox.gateway_host().parse().expect("an address"));
        let api = sandbox.api_url();
        let api = api.strip_prefix("http://").expect("a URL");
        let api = relay(&here, api.parse().expect("an address"));
        let mut started = sandbox.start_session(SessionConfig {
            document: Document::Ssh { port },
            agent: AgentConfig {
                paced: false,
                ..AgentConfig::default()
            },
            gateway: GatewayConfig {
                resume_host: Some(gateway.to_string()),
                ..GatewayConfig::default()
            },
            ..SessionConfig::default()
        });
        let host = gateway.to_string();
        started.stream_url = started.stream_url.replace(&sandbox.gateway_host(), &host);
        let plugin = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .env("AWS_ENDPOINT_URL", format!("http://{api}"))
            .env("SSM_PLUGIN_ALLOW_STREAM_HOST", host)
            .env("SSM_PLUGIN_LOG", "debug")
            .before(&networks.enter())
            .spawn();
        let mut echo = Self {
            plugin,
            started,
            said: String::new(),
            _sandbox: sandbox,
            networks: Arc::new(networks),
        };
        echo.say();
        echo.wait_for_all();
        Some(echo)
    }

    /// Another line.
    fn say(&mut self) {
        let line = format!("line {}\n", self.said.lines().count());
        self.plugin.type_in(line.as_bytes());
        self.said.push_str(&line);
    }

    /// Waits until all that was said has come back, each line once.
    fn wait_for_all(&self) {
        let echoed = || {
            let text = self.plugin.stdout.text();
            text.split_once("line 0\n")
                .is_some_and(|(_, rest)| format!("line 0\n{rest}") == self.said)
        };
        wait_until("all that was said to come back, once", echoed);
    }

    /// Waits for one more line of the log with these words.
    fn wait_for_log(&self, what: &str) {
        let count = || self.plugin.stderr.text().matches(what).count();
        let before = count();
        wait_until(what, || count() > before);
    }

    /// Waits until the session is on this connection and nothing is lost. It must be there at most [`BACK`] after the path was.
    fn assert_back(&mut self, what: &str, connection: u64, path_since: Instant) {
        assert!(
            self.started
                .session
                .wait_for_connection(connection, TIMEOUT)
        );
        let back = path_since.elapsed();
        self.say();
        self.wait_for_all();
        eprintln!("{what}: back {back:.1?} after the path, nothing lost");
        assert!(back < BACK, "{back:?}\n{}", self.plugin.stderr.text());
    }

    /// Breaks the path, and mends it `mend_after` that, or once the break was noticed. Meanwhile a line is said every 100 ms, or none.
    /// Returns the time until the break was noticed, and the time from the mending until the session was back.
    fn outlives(
        &mut self,
        what: &str,
        is_talking: bool,
        break_path: impl FnOnce(&Networks),
        mend: impl FnOnce(&Networks) + Send + 'static,
        mend_after: Option<Duration>,
    ) -> (Duration, Duration) {
        let networks = Arc::clone(&self.networks);
        break_path(&networks);
        let broken = Instant::now();
        let noticed = Arc::new(AtomicBool::new(false));
        let mender = thread::spawn({
            let noticed = Arc::clone(&noticed);
            move || {
                match mend_after {
                    // The length of the outage itself.
                    Some(time) => thread::sleep(time),
                    None => wait_until_noticed(&noticed),
                }
                mend(&networks);
                Instant::now()
            }
        });
        let mut noticed_after = None;
        while !mender.is_finished() || noticed_after.is_none() {
            assert!(
                broken.elapsed() < 2 * TIMEOUT + mend_after.unwrap_or_default(),
                "{what}: {}",
                self.plugin.stderr.text()
            );
            if is_talking {
                self.say();
            }
            thread::sleep(Duration::from_millis(100));
            let log = self.plugin.stderr.text();
            if noticed_after.is_none() && DEAD.iter().any(|dead| log.contains(dead)) {
                noticed_after = Some(broken.elapsed());
                noticed.store(true, Ordering::SeqCst);
            }
        }
        let mended = mender.join().expect("no panic");
        assert!(self.started.session.wait_for_connection(2, TIMEOUT));
        let back = mended.elapsed();
        self.say();
        self.wait_for_all();
        let noticed_after = noticed_after.expect("noticed");
        eprintln!(
            "{what}: noticed after {noticed_after:.1?}, back {back:.1?} after the path, nothing lost"
        );
        (noticed_after, back)
    }
}

fn wait_until_noticed(noticed: &AtomicBool) {
    while !noticed.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs this with `true` and with `false`, side by side: most of the time they wait.
fn for_both(run: impl Fn(bool) + Sync) {
    thread::scope(|scope| {
        for flag in [true, false] {
            let run = &run;
            scope.spawn(move || run(flag));
        }
    });
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn p72_another_address_is_noticed_and_the_session_goes_on() {
    let Some(mut echo) = Echo::start() else {
        return;
    };
    let (noticed, back) = echo.outlives(
        "address changed, idle",
        false,
        Networks::move_client,
        |_| {},
        Some(Duration::ZERO),
    );
    assert!(noticed < BACK, "{noticed:?}");
    assert!(back < BACK, "{back:?}");
}

/// It does not wait for the end of its back-off.
#[test]
fn p72_the_next_try_begins_as_soon_as_there_is_a_route() {
    let Some(mut echo) = Echo::start() else {
        return;
    };
    echo.networks.default_route("del");
    // The sixth try comes 3 s after the fifth, or later.
    for _ in 0..5 {
        echo.wait_for_log(FAILED);
        echo.say();
    }
    echo.networks.default_route("add");
    let path_since = Instant::now();
    echo.assert_back("a route again", 2, path_since);
}

/// A dial whose packets were lost is not waited for, whether there is a sign of the path's return or none.
#[test]
fn p72_a_dial_on_a_dead_path_begins_afresh() {
    for_both(begins_afresh);
}

fn begins_afresh(is_told: bool) {
    let Some(mut echo) = Echo::start() else {
        return;
    };
    echo.networks.default_route("del");
    echo.wait_for_log(FAILED);
    echo.networks.black_hole(true);
    echo.networks.default_route("add");
    echo.wait_for_log(CONNECTING);
    // The system has repeated the first packet after 1 s and 3 s; the next time would be after 7 s. Nothing tells when it has.
    thread::sleep(Duration::from_millis(3200));
    echo.networks.black_hole(false);
    let path_since = Instant::now();
    if is_told {
        echo.networks.client("addr add 10.204.0.2/32 dev router");
    }
    echo.assert_back("a path again", 2, path_since);
}

/// From one interface to another, as from Wi-Fi to mobile or when a VPN comes up, and back when that is gone.
#[test]
fn p72_a_session_moves_to_another_interface_and_back() {
    for_both(moves_to_another_interface);
}

fn moves_to_another_interface(is_talking: bool) {
    let what = if is_talking { "under traffic" } else { "idle" };
    let Some(mut echo) = Echo::start() else {
        return;
    };
    // The old way is still there, and leads nowhere.
    echo.networks.block_first_way("add");
    echo.networks.second_way();
    let path_since = Instant::now();
    if is_talking {
        echo.say();
    }
    echo.assert_back(&format!("another interface, {what}"), 2, path_since);

    echo.networks.block_first_way("del");
    echo.networks.no_second_way();
    let path_since = Instant::now();
    if is_talking {
        echo.say();
    }
    echo.assert_back(&format!("that interface gone, {what}"), 3, path_since);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn p72_dead_paths_of_every_kind_are_noticed_in_time() {
    for_both(|is_talking| {
        thread::scope(|scope| {
            scope.spawn(|| black_hole(is_talking, None));
            scope.spawn(|| black_hole(is_talking, Some(seconds(100))));
            scope.spawn(|| without_default_route(is_talking));
        });
    });
}

/// Nothing passes any more, and nobody is told: until it is noticed, or for so long. By then tries are far apart, if they fail soon.
fn black_hole(is_talking: bool, lasts: Option<Duration>) {
    let (what, within) = if is_talking {
        ("black hole under traffic", 22)
    } else {
        ("black hole, idle", 47)
    };
    let Some(mut echo) = Echo::start() else {
        return;
    };
    if !is_talking {
        // Only then it is idle.
        thread::sleep(seconds(11));
    }
    let what = match lasts {
        Some(time) => format!("{what}, {} s", time.as_secs()),
        None => what.to_owned(),
    };
    let (noticed, back) = echo.outlives(
        &what,
        is_talking,
        |networks| networks.black_hole(true),
        |networks| networks.black_hole(false),
        lasts,
    );
    assert!(noticed < seconds(within), "{noticed:?}");
    assert!(back < BACK, "{back:?}");
}

fn without_default_route(is_talking: bool) {
    let what = if is_talking {
        "no default route for 20 s, under traffic"
    } else {
        "no default route for 20 s, idle"
    };
    let Some(mut echo) = Echo::start() else {
        return;
    };
    let (noticed, back) = echo.outlives(
        what,
        is_talking,
        |networks| networks.default_route("del"),
        |networks| networks.default_route("add"),
        Some(seconds(20)),
    );
    assert!(noticed < seconds(5), "{noticed:?}");
    assert!(back < BACK, "{back:?}");
}
