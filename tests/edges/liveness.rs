//! P72: paths that die, for real: the program in a network namespace of its own, behind a router in another. Skipped where this user may
//! not make any. What takes longer than the suite may is run by `make soak`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Config, Document, GatewayConfig, Sandbox, SessionConfig, Started};

use crate::support::{Plugin, Running, TIMEOUT, wait_until};

const IP: &str = "/usr/sbin/ip";
/// What the log says when a path is dead.
const DEAD: [&str; 2] = ["does not answer any more", "address is another one now"];
/// What it says when a try led to nothing, and when one begins.
const FAILED: &str = "no fresh token";
const CONNECTING: &str = "connecting to";
/// How soon a session goes on once there is a path: 2 s, and what a busy machine adds.
const BACK: Duration = Duration::from_millis(2500);

fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new(IP).args(arguments.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments}: {error}")))
}

/// A client's network and a router's, and this machine behind that, with a second way from the client to the router:
/// client 10.201.N.2 - 10.201.N.1 router 10.202.N.2 - 10.202.N.1 here; client 10.203.N.2 - 10.203.N.1 router.
struct Networks {
    number: u8,
    name: String,
}

impl Networks {
    /// None where it is not allowed, which is said.
    fn make() -> Option<Self> {
        static LAST: AtomicU8 = AtomicU8::new(0);
        let number = LAST.fetch_add(1, Ordering::SeqCst) + (std::process::id() % 200) as u8;
        let name = format!("smp{}x{number}", std::process::id());
        let networks = Self { number, name };
        match networks.set_up() {
            Ok(()) => Some(networks),
            Err(error) => {
                eprintln!(
                    "skipped: no network namespaces ({})",
                    error.to_string().trim()
                );
                None
            }
        }
    }

    fn set_up(&self) -> io::Result<()> {
        let (name, n) = (&self.name, self.number);
        for command in [
            format!("netns add {name}c"),
            format!("netns add {name}r"),
            format!("-n {name}c link set lo up"),
            format!("link add {name} type veth peer name here netns {name}r"),
            format!("-n {name}c link add router type veth peer name client netns {name}r"),
            format!("-n {name}c link add second type veth peer name mobile netns {name}r"),
            format!("addr add 10.202.{n}.1/24 dev {name}"),
            format!("-n {name}r addr add 10.203.{n}.1/24 dev mobile"),
            format!("-n {name}c addr add 10.203.{n}.2/24 dev second"),
            format!("-n {name}c link set second addrgenmode none"),
            format!("-n {name}r link set mobile up"),
            format!("-n {name}r addr add 10.202.{n}.2/24 dev here"),
            format!("-n {name}r addr add 10.201.{n}.1/24 dev client"),
            format!("-n {name}c addr add 10.201.{n}.2/24 dev router"),
            // Its addresses are checked for a second or two, and that they are there then is a change.
            format!("-n {name}c link set router addrgenmode none"),
            format!("link set {name} up"),
            format!("-n {name}r link set here up"),
            format!("-n {name}r link set client up"),
            format!("-n {name}c link set router up"),
            format!("-n {name}c route add default via 10.201.{n}.1"),
            format!("route add 10.201.{n}.0/24 via 10.202.{n}.2"),
            format!("route add 10.203.{n}.0/24 via 10.202.{n}.2"),
        ] {
            ip(&command)?;
        }
        // Newer kernels repeat the first packets of a connection each second; this is what all do later on. Not every kernel has it.
        let client = format!("{name}c");
        let rarely = "echo 0 2>/dev/null >/proc/sys/net/ipv4/tcp_syn_linear_timeouts; :";
        let script = ["netns", "exec", &client, "sh", "-c", rarely];
        Command::new(IP).args(script).status()?;
        let router = format!("{name}r");
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        let script = ["netns", "exec", &router, "sh", "-c", forward];
        let status = Command::new(IP).args(script).status()?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| io::Error::other("the router does not forward"))
    }

    fn here(&self) -> String {
        format!("10.202.{}.1", self.number)
    }

    /// In the client's network.
    fn client(&self, arguments: &str) {
        ip(&format!("-n {}c {arguments}", self.name)).expect("to change the client's network");
    }

    /// Nothing passes the router any more, in either direction, and nobody is told; or all does again.
    fn black_hole(&self, is_black: bool) {
        let verb = if is_black { "add" } else { "del" };
        let (name, n) = (&self.name, self.number);
        for address in [format!("10.201.{n}.2"), format!("10.202.{n}.1")] {
            ip(&format!("-n {name}r route {verb} blackhole {address}/32")).expect("a route");
        }
    }

    fn default_route(&self, verb: &str) {
        self.client(&format!(
            "route {verb} default via 10.201.{}.1",
            self.number
        ));
    }

    /// The second way is there, and the better one.
    fn second_way(&self) {
        self.client("link set second up");
        self.client(&format!(
            "route add 10.202.{}.0/24 via 10.203.{}.1",
            self.number, self.number
        ));
    }

    /// The client is at another address from now on.
    fn move_client(&self) {
        let n = self.number;
        self.client(&format!("addr del 10.201.{n}.2/24 dev router"));
        self.client(&format!("addr add 10.201.{n}.3/24 dev router"));
        self.default_route("add");
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.name));
        for side in ["c", "r"] {
            let _ = ip(&format!("netns del {}{side}", self.name));
        }
    }
}

/// Hands connections to this address on to another; the address that it got.
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
    fn start(networks: Networks) -> Self {
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
            .before(&format!(
                "exec {IP} netns exec {}c \"$0\" \"$@\"",
                networks.name
            ))
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
        echo
    }

    /// Another line.
    fn say(&mut self) {
        let line = format!("line {}\n", self.said.lines().count());
        self.plugin.type_in(line.as_bytes());
        self.said.push_str(&line);
    }

    /// Nothing is lost, and nothing comes twice.
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

    /// Waits until the session is on this connection, at most [`BACK`] after the path was there, and all that was said is there.
    fn is_back(&mut self, what: &str, connection: u64, path_since: Instant) {
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

    /// Breaks the path at once and mends it `mend_after` what; with a line every 100 ms, or without a word. The time until it was noticed,
    /// and from its mending until the session was back.
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
                broken.elapsed() < 2 * TIMEOUT,
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

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn p72_another_address_is_noticed_and_the_session_goes_on() {
    let Some(networks) = Networks::make() else {
        return;
    };
    let mut echo = Echo::start(networks);
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

/// Not when its back-off is over.
#[test]
fn p72_the_next_try_begins_as_soon_as_there_is_a_route() {
    let Some(networks) = Networks::make() else {
        return;
    };
    let mut echo = Echo::start(networks);
    echo.networks.default_route("del");
    // From the sixth try on they are 3 s apart at least.
    for _ in 0..6 {
        echo.wait_for_log(FAILED);
        echo.say();
    }
    echo.networks.default_route("add");
    let path_since = Instant::now();
    echo.is_back("a route again", 2, path_since);
}

/// What was sent into nothing is not waited for, whether there is a sign of the path's return or none.
#[test]
fn p72_what_waits_on_a_dead_path_begins_afresh() {
    thread::scope(|scope| {
        for is_told in [true, false] {
            scope.spawn(move || begins_afresh(is_told));
        }
    });
}

fn begins_afresh(is_told: bool) {
    let Some(networks) = Networks::make() else {
        return;
    };
    let mut echo = Echo::start(networks);
    echo.networks.default_route("del");
    echo.wait_for_log(FAILED);
    echo.networks.black_hole(true);
    echo.networks.default_route("add");
    echo.wait_for_log(CONNECTING);
    // The system has repeated the first packet after 1 s and 3 s; the next time would be after 7 s.
    thread::sleep(Duration::from_millis(3200));
    echo.networks.black_hole(false);
    let path_since = Instant::now();
    if is_told {
        echo.networks.client("addr add 10.204.0.2/32 dev router");
    }
    echo.is_back("a path again", 2, path_since);
}

/// From one interface to another, as from Wi-Fi to mobile or when a VPN comes up, and back when that is gone.
#[test]
fn p72_a_session_moves_to_another_interface_and_back() {
    thread::scope(|scope| {
        for is_talking in [true, false] {
            scope.spawn(move || moves_to_another_interface(is_talking));
        }
    });
}

fn moves_to_another_interface(is_talking: bool) {
    let Some(networks) = Networks::make() else {
        return;
    };
    let what = if is_talking { "under traffic" } else { "idle" };
    let mut echo = Echo::start(networks);
    // The old way is still there, and leads nowhere.
    let router = format!("{}r", echo.networks.name);
    let old = format!("10.201.{}.2/32", echo.networks.number);
    ip(&format!("-n {router} route add blackhole {old}")).expect("a route");
    echo.networks.second_way();
    let path_since = Instant::now();
    if is_talking {
        echo.say();
    }
    echo.is_back(&format!("another interface, {what}"), 2, path_since);

    ip(&format!("-n {router} route del blackhole {old}")).expect("a route");
    echo.networks.client("link del second");
    let path_since = Instant::now();
    if is_talking {
        echo.say();
    }
    echo.is_back(&format!("that interface gone, {what}"), 3, path_since);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn p72_dead_paths_of_every_kind_are_noticed_in_time() {
    thread::scope(|scope| {
        for is_talking in [true, false] {
            scope.spawn(move || black_hole(is_talking));
            scope.spawn(move || without_default_route(is_talking));
        }
    });
}

fn black_hole(is_talking: bool) {
    let Some(networks) = Networks::make() else {
        return;
    };
    let (what, within) = if is_talking {
        ("black hole under traffic", 22)
    } else {
        ("black hole, idle", 47)
    };
    let mut echo = Echo::start(networks);
    if !is_talking {
        // Only then it is idle.
        thread::sleep(seconds(11));
    }
    let (noticed, _) = echo.outlives(
        what,
        is_talking,
        |networks| networks.black_hole(true),
        |networks| networks.black_hole(false),
        None,
    );
    assert!(noticed < seconds(within), "{noticed:?}");
}

fn without_default_route(is_talking: bool) {
    let Some(networks) = Networks::make() else {
        return;
    };
    let what = if is_talking {
        "no default route for 20 s, under traffic"
    } else {
        "no default route for 20 s, idle"
    };
    let mut echo = Echo::start(networks);
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
