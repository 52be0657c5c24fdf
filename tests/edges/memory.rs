//! How often secrets are in the memory of a running program (P103).

use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::FileExt;

use rustix::process::Pid;
use sandbox::{Config, Credentials, Document, Sandbox, SessionConfig};

use crate::support::{Plugin, Running, TIMEOUT};

/// The places where this text is in the writable memory of a process, by the name of the mapping.
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
            let count = count(&bytes, wanted.as_bytes());
            found.extend(std::iter::repeat_n(name, count));
        }
    }
    found
}

/// How often these bytes are in others. A look at every place would take seconds without optimisation.
fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    let mut rest = bytes;
    let mut found = 0;
    loop {
        let skipped = rest.skip_until(wanted[0]).expect("memory");
        if skipped == 0 || rest.is_empty() {
            return found;
        }
        found += usize::from(rest.starts_with(&wanted[1..]));
    }
}

/// Asserts that a secret is in memory so many times at most. One copy is what the program works with, and one is in the snapshot of the
/// environment that children are given. What libraries copy (the websocket's first frame and its upgrade, for each connection) stays until
/// its memory is used again.
fn assert_few(plugin: &Running, what: &str, wanted: &str, most: usize) {
    // Not from its beginning, which an allocator may have written over in a copy that was freed.
    let found = copies(plugin.pid, &wanted[wanted.len() / 4..]);
    eprintln!("{what}: {found:?}");
    assert!(found.len() <= most, "{what}: {found:?}");
    assert!(!found.contains(&"[stack]".to_owned()), "{what}: {found:?}");
}

#[test]
fn p103_secrets_stand_in_memory_a_few_times_at_most() {
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
    // Ten, nine and six of them in bcb394a.
    assert_few(&plugin, "session token", session_token, 4);
    assert_few(&plugin, "secret key", &secret, 3);
    assert_few(&plugin, "token", &started.token_value, 4);
    let environ = fs::read(format!("/proc/{}/environ", plugin.pid.as_raw_nonzero()));
    let environ = environ.expect("its environment");
    for wanted in [session_token, secret.as_str(), started.token_value.as_str()] {
        assert_eq!(count(&environ, wanted.as_bytes()), 0);
    }
    for number in 2..4 {
        started
            .session
            .end_connection(sandbox::faults::Ending::bye());
        assert!(started.session.wait_for_connection(number, TIMEOUT));
    }
    // They do not grow with every connection: twelve after the first resume in bcb394a.
    assert_few(&plugin, "session token, resumed", session_token, 6);
    assert_few(&plugin, "secret key, resumed", &secret, 3);
    assert_few(&plugin, "token, resumed", &started.token_value, 4);
    let tokens = started.session.tokens();
    let last = tokens.last().expect("one");
    assert_few(&plugin, "new token", last, 5);
}
