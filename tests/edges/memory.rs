//! How often secrets stand in the memory of a running program (P103).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rustix::process::Pid;
use sandbox::{Config, Credentials, Document, Sandbox, SessionConfig};

use crate::support::{PATIENCE, Plugin};

/// The places where this text stands in the writable memory of a process, by the name of the mapping.
fn copies(pid: Pid, wanted: &str) -> Vec<String> {
    let pid = pid.as_raw_nonzero();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(access)) = (fields.next(), fields.next()) else {
            continue;
        };
        if !access.starts_with("rw") {
            continue;
        }
        let name = fields.nth(3).unwrap_or("anonymous").to_owned();
        let (start, end) = range.split_once('-').expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("a number");
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a size")];
        // Some of it may be gone meanwhile.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            let wanted = wanted.as_bytes();
            let count = bytes
                .windows(wanted.len())
                .filter(|window| *window == wanted)
                .count();
            found.extend(std::iter::repeat_n(name, count));
        }
    }
    found
}

#[test]
fn p103_secrets_stand_in_memory_once_or_twice() {
    let session_token =
        "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHconfidential/session+token==";
    let credentials = Credentials {
        session_token: Some(session_token.into()),
        ..Config::default().credentials.remove(0)
    };
    let secret = credentials.secret_access_key.clone();
    let sandbox = Sandbox::start(Config {
        credentials: vec![credentials],
        ..Config::default()
    })
    .expect("a sandbox");
    let started = sandbox.start_session(SessionConfig::from(Document::Interactive {
        command: "echo go; sleep 600".into(),
    }));
    let plugin = Plugin::new(&sandbox, &started).with_api(&sandbox).spawn();
    plugin.stdout.wait_for("go");
    for (what, wanted) in [
        ("session token", session_token),
        ("secret key", secret.as_str()),
        ("token of the session", started.token_value.as_str()),
    ] {
        eprintln!(
            "{what}: {:?}",
            copies(plugin.pid, &wanted[wanted.len() / 4..])
        );
    }
    started
        .session
        .end_connection(sandbox::faults::Ending::bye());
    assert!(started.session.wait_for_connection(2, PATIENCE));
    let tokens = started.session.tokens();
    for (what, wanted) in [
        ("session token", session_token),
        ("secret key", secret.as_str()),
        ("token of the session", started.token_value.as_str()),
        ("token after resume", tokens.last().expect("one").as_str()),
    ] {
        eprintln!(
            "resumed, {what}: {:?}",
            copies(plugin.pid, &wanted[wanted.len() / 4..])
        );
    }
}
