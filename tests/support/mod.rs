//! Drives the built program: every form of call, any mix of pipes, files, terminals and closed descriptors, and waiting without fixed
//! sleeps.
//!
//! ```ignore
//! let sandbox = support::sandbox();
//! let started = sandbox.start_session(Document::Shell);
//! let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
//! plugin.terminal.wait_for("$ ");
//! plugin.type_in(b"exit\r");
//! assert_eq!(plugin.wait().code(), Some(0));
//! ```
#![allow(dead_code, reason = "not every test needs all of it")]

pub mod api;
pub mod aws_cli;
pub mod gateway;
mod output;
mod plugin;
mod running;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{
    AgentConfig, Config, Credentials, Document, Event, Frame, Record, Sandbox, Sender,
    SessionConfig, Started,
};

use serde_json::{Value, json};

pub use output::Output;
pub use plugin::{Io, Plugin};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub use running::{Finished, Running, Usage};

/// Longer than anything takes, on however slow a machine; a test that reaches it has failed.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A sandbox with the defaults.
pub fn sandbox() -> Sandbox {
    Sandbox::start(Config::default()).expect("a sandbox")
}

/// A sandbox that requires signatures of API calls and of the websocket's upgrade.
pub fn strict_sandbox() -> Sandbox {
    Sandbox::start(Config::strict()).expect("a sandbox")
}

/// Keys as lines of a profile.
pub fn profile_keys(keys: &Credentials) -> String {
    format!(
        "aws_access_key_id={}\naws_secret_access_key={}\n",
        keys.access_key_id, keys.secret_access_key
    )
}

/// Keys as a `credential_process` prints them.
pub fn process_answer(keys: &Credentials) -> String {
    json!({
        "Version": 1,
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "SessionToken": keys.session_token,
    })
    .to_string()
}

/// What the API was asked for by calls of an operation (`ssm:StartSession`), in order; refused calls are among them.
pub fn requests(sandbox: &Sandbox, operation: &str) -> Vec<Value> {
    let events = sandbox.events().into_iter();
    let requests = events.filter_map(|event| match event {
        Event::Api {
            operation: called,
            request,
            ..
        } if called == operation => Some(request),
        _ => None,
    });
    requests.collect()
}

/// All input that the agent took, in one piece; needs [`Record::Payloads`].
pub fn input(started: &Started) -> Vec<u8> {
    input_in(&started.session.frames())
}

/// The input in these frames: each message once and in its place, however often it was sent.
pub fn input_in(frames: &[Frame]) -> Vec<u8> {
    let messages = input_messages(frames);
    messages.into_values().flatten().copied().collect()
}

/// The messages with input by their numbers.
pub fn input_messages(frames: &[Frame]) -> BTreeMap<i64, &[u8]> {
    let data = frames
        .iter()
        .filter(|frame| frame.is_data(Sender::Client, 1));
    data.map(|frame| (frame.sequence_number, &*frame.payload))
        .collect()
}

/// The highest number of the agent's messages with output so far; needs recorded frames.
pub fn last_output(started: &Started) -> u64 {
    let mut last = 0;
    started.session.wait_for_frames(Duration::ZERO, |frames| {
        let output = frames
            .iter()
            .filter(|frame| frame.is_data(Sender::Agent, 1));
        last = output.map(|frame| frame.sequence_number).max().unwrap_or(0);
        true
    });
    u64::try_from(last).expect("a number from 0 on")
}

/// A session whose shell has the prompt `ready> `, which is easy to find. Payloads are recorded.
pub fn start_with_prompt(sandbox: &Sandbox, document: Document) -> Started {
    sandbox.start_session(SessionConfig {
        document,
        agent: AgentConfig {
            environment: vec![("PS1".into(), "ready> ".into())],
            ..AgentConfig::default()
        },
        record: Record::Payloads,
        ..SessionConfig::default()
    })
}

/// The exit code; 128 and its number if a signal ended it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A port of this machine on which nobody listens: it was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Waits for a condition that can only be looked at again and again.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a number that grows is above 0 and has stayed the same for a while: what makes it grow waits for something. The number.
pub fn wait_until_still(what: &str, mut number: impl FnMut() -> u64) -> u64 {
    const WHILE: Duration = Duration::from_millis(700);
    let mut last = (0, Instant::now());
    wait_until(what, || {
        let now = number();
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > 0 && last.1.elapsed() > WHILE
    });
    last.0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
