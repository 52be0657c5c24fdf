//! Networks of a test's own, made of network namespaces: a client's, and a router's between it and this machine.

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

const IP: &str = "/usr/sbin/ip";

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
pub struct Networks {
    number: u8,
    name: String,
}

impl Networks {
    /// None where this user may not make any, which is printed.
    pub fn make() -> Option<Self> {
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
            // Without it the kernel adds an IPv6 address a second or two later, which is a change of its own.
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
        // Newer kernels repeat the first packets of a connection each second; without that they do as older ones, which have no such file.
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

    /// Shell commands that turn a process into one of the client's network, for [`Plugin::before`](crate::support::Plugin::before).
    pub fn enter(&self) -> String {
        format!("exec {IP} netns exec {}c \"$0\" \"$@\"", self.name)
    }

    /// The address of this machine that the client reaches.
    pub fn here(&self) -> String {
        format!("10.202.{}.1", self.number)
    }

    /// Changes the client's network by this command of ip(8).
    pub fn client(&self, arguments: &str) {
        ip(&format!("-n {}c {arguments}", self.name)).expect("to change the client's network");
    }

    /// From now on the router drops everything, in both directions, without a word; or it forwards again.
    pub fn black_hole(&self, is_black: bool) {
        let verb = if is_black { "add" } else { "del" };
        let (name, n) = (&self.name, self.number);
        for address in [format!("10.201.{n}.2"), format!("10.202.{n}.1")] {
            ip(&format!("-n {name}r route {verb} blackhole {address}/32")).expect("a route");
        }
    }

    /// Adds (`add`) or deletes (`del`) the client's default route.
    pub fn default_route(&self, verb: &str) {
        self.client(&format!(
            "route {verb} default via 10.201.{}.1",
            self.number
        ));
    }

    /// Sets up the second way, which the client's routes prefer.
    pub fn second_way(&self) {
        self.client("link set second up");
        self.client(&format!(
            "route add 10.202.{}.0/24 via 10.203.{}.1",
            self.number, self.number
        ));
    }

    /// Removes the second way.
    pub fn no_second_way(&self) {
        self.client("link del second");
    }

    /// Lets the first way end at the router (`add`), or not any more (`del`); the client is not told.
    pub fn block_first_way(&self, verb: &str) {
        let old = format!("10.201.{}.2/32", self.number);
        ip(&format!("-n {}r route {verb} blackhole {old}", self.name)).expect("a route");
    }

    /// Gives the client another address.
    pub fn move_client(&self) {
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
