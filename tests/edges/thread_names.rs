//! The threads of the program, by their names: those of the design and no others.

use sandbox::Document;

use crate::port_support::*;
use crate::support::{self, Io, Plugin, Running, wait_until};

/// Waits until the threads of a session have these names, besides that of the program's first.
fn wait_for_threads(plugin: &Running, expected: &[&str]) {
    let pid = plugin.pid.as_raw_nonzero();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    wait_until(&format!("these threads: {expected:?}"), || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        let mut names: Vec<String> = threads
            .filter_map(|thread| {
                let thread = thread.ok()?;
                let is_first = thread.file_name().to_str() == Some(&pid.to_string());
                let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
                (!is_first).then(|| name.trim_end().to_owned())
            })
            .collect();
        names.sort_unstable();
        names == expected
    });
}

/// Those of each session by the contract; `parent` looks whether the AWS CLI is still there (P116).
const CHANNEL: [&str; 5] = [
    "websocket",
    "acknowledge",
    "retransmit",
    "signals",
    "parent",
];

#[test]
fn a_shell_has_the_threads_of_the_design() {
    let sandbox = support::sandbox();
    let started = support::start_with_prompt(&sandbox, Document::Shell);
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("ready> ");
    wait_for_threads(&plugin, &[&CHANNEL[..], &["input", "output"]].concat());
}

#[test]
fn a_listening_port_has_the_threads_of_the_design() {
    let server = Server::echo();
    for version in ["3.0.196.0", "3.3.0.0"] {
        let forward = Forward::with(self::version(version), Document::port(server.port()));
        assert_eq!(exchange(&forward.connect(), b"echo", 4), b"echo");
        wait_for_threads(&forward.plugin, &[&CHANNEL[..], &["port"]].concat());
    }
}

#[test]
fn ssh_s_port_has_the_threads_of_the_design() {
    let server = Server::echo();
    let (sandbox, started) = start(
        fast(),
        Document::Ssh {
            port: server.port(),
        },
    );
    let plugin = Plugin::new(&sandbox, &started).stdin(Io::Pipe).spawn();
    plugin.type_in(b"echo");
    plugin.stdout.wait_for("echo");
    wait_for_threads(&plugin, &[&CHANNEL[..], &["input", "output"]].concat());
}
