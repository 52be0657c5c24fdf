//! Forwards that outlive their sessions: `port-forward` of the built program against the sandbox.

#[path = "../port_support/mod.rs"]
mod port_support;
#[path = "../support/mod.rs"]
mod support;

mod command;
mod denials;
mod descriptors;
mod forms;
mod json;
mod many;
mod names;
mod outliving;
mod programs;
mod sessions;
mod socks;
mod status;
mod taken;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sandbox::{AgentConfig, Config, Sandbox, SessionConfig};
use serde_json::Value;

use support::{Plugin, Running};

/// The target of most tests.
const TARGET: &str = "i-0123456789abcdef0";
/// Within this a connection works again, whatever happened to its session: 2 s, and more where the machine has other work.
const SOON: Duration = Duration::from_secs(15);

/// A sandbox whose agents do not pace themselves.
fn fast_sandbox() -> Sandbox {
    sandbox_with(port_support::fast())
}

fn sandbox_with(agent: AgentConfig) -> Sandbox {
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    sandbox.set_session_config(SessionConfig {
        agent,
        ..SessionConfig::default()
    });
    sandbox
}

/// `port-forward` with these arguments.
fn forward<A: AsRef<str>>(sandbox: &Sandbox, arguments: &[A]) -> Plugin {
    let own = ["port-forward", "--target", TARGET].into_iter();
    let all: Vec<String> = own
        .chain(arguments.iter().map(AsRef::as_ref))
        .map(str::to_owned)
        .collect();
    Plugin::bare(all).with_api(sandbox)
}

/// The ready lines, when there are so many.
fn ready(plugin: &Running, count: usize) -> Vec<String> {
    plugin.stdout.wait_for_count(" -> ", count);
    plugin
        .stdout
        .wait_until("whole lines", |bytes| bytes.ends_with(b"\n"));
    plugin.stdout.text().lines().map(str::to_owned).collect()
}

/// The local port of a ready line.
fn port_of(line: &str) -> u16 {
    let local = line.split(" -> ").next().expect("a local address");
    let port = local
        .rsplit(':')
        .next()
        .and_then(|digits| digits.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {line:?}"))
}

/// The local port of the only forward.
fn only_port(plugin: &Running) -> u16 {
    port_of(&ready(plugin, 1)[0])
}

/// Sends a word and gets it back; an error where the connection fails.
fn try_echo(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = port_support::connect(port);
    echo_on(&mut stream)?;
    Ok(stream)
}

fn echo_on(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping")?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    assert_eq!(&bytes, b"ping");
    Ok(())
}

/// How often StartSession was called, successfully or not.
fn starts(sandbox: &Sandbox) -> usize {
    start_requests(sandbox).len()
}

/// What it was called with.
fn start_requests(sandbox: &Sandbox) -> Vec<Value> {
    support::requests(sandbox, "ssm:StartSession")
}

/// Waits until the connection is reset or ended by the other side.
fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an error, an end is none.
    let _ = stream.read_to_end(&mut rest);
}
