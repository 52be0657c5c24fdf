//! The library as other programs use it, against the sandbox; what of it is public, and what is published.

mod clients;
mod commands;
mod copies;
mod errors;
mod forwards;
mod limits;
mod public_api;
mod published;
mod redis;
mod sessions;
mod streams;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Config, Sandbox, SessionConfig};
use session_manager_plugin::{Client, Target};

/// A node of every sandbox without targets of its own.
const NODE: &str = "i-0123456789abcdef0";
/// Nothing here takes as long.
const LONG: Duration = Duration::from_secs(60);

/// A sandbox whose agents do not pace themselves.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    sandbox.set_session_config(SessionConfig {
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    sandbox
}

/// One with these targets.
fn sandbox_of(targets: Vec<sandbox::Target>) -> Sandbox {
    Sandbox::start(Config {
        targets,
        ..Config::default()
    })
    .expect("a sandbox")
}

fn client(sandbox: &Sandbox) -> Client {
    let builder = Client::builder().variables(sandbox.environment());
    builder.build().expect("a client")
}

fn node(client: &Client) -> Target {
    client.target(NODE).expect("a target")
}

/// A port whose connections are answered with what they send.
fn echo() -> u16 {
    serve(|stream| {
        let _ = io::copy(&mut &stream, &mut &stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// A port whose connections are handed to this, each in a thread.
fn serve(work: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let work = work.clone();
            thread::spawn(move || work(stream));
        }
    });
    port
}

/// Sends a word and gets it back.
fn ping(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"ping")?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    assert_eq!(&word, b"ping");
    Ok(())
}

/// Waits until no session of the sandbox goes on.
fn wait_for_no_session(sandbox: &Sandbox) {
    wait_until("all sessions to end", || sandbox.sessions().is_empty());
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
