//! Signals that come before a session stands: nothing is left, neither over there nor here.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, test_kill_process};
use sandbox::{AgentConfig, Document, Sandbox, SessionConfig};

use crate::support::{Io, Plugin, Running, TIMEOUT, exit_code, sandbox, wait_until};

const TARGET: &str = "i-0123456789abcdef0";
/// So long a program is seen to wait for something.
const A_MOMENT: Duration = Duration::from_millis(300);

/// A command of ours, `;` between its words.
fn command(sandbox: &Sandbox, words: &str) -> Plugin {
    let words = words.split(';').map(|word| word.replace("TARGET", TARGET));
    Plugin::bare(words).with_api(sandbox).stdin(Io::Null)
}

/// Runs it until the service has started its session, and nobody was told so yet.
fn until_started(sandbox: &Sandbox, words: &str) -> Running {
    sandbox.hold_answers("ssm:StartSession");
    let plugin = command(sandbox, words).spawn();
    assert!(sandbox.wait_for_held(1, TIMEOUT), "{words}");
    plugin
}

#[test]
fn a_session_whose_start_has_no_answer_yet_at_a_signal_is_ended() {
    for (words, signal, code) in [
        ("port-forward;--target;TARGET;0:80", Signal::INT, 0),
        ("port-forward;--target;TARGET;0:80", Signal::TERM, 143),
        ("start-session;--target;TARGET", Signal::INT, 130),
        ("start-session;--target;TARGET", Signal::TERM, 143),
        ("exec;--target;TARGET;--;true", Signal::HUP, 129),
        (
            "exec;--target;TARGET;--target;i-2;--;true",
            Signal::TERM,
            143,
        ),
        ("exec;-i;--target;TARGET;--;true", Signal::INT, 130),
        ("ssh-proxy;--target;TARGET", Signal::TERM, 143),
        ("cp;TARGET:/etc/hostname;-", Signal::INT, 130),
        ("doctor;--target;TARGET", Signal::INT, 130),
    ] {
        let sandbox = sandbox();
        let plugin = until_started(&sandbox, words);
        assert!(!sandbox.sessions().is_empty(), "{words}");
        plugin.signal(signal);
        let ended = plugin.wait_within(A_MOMENT);
        assert!(ended.is_none(), "{words}: {ended:?}");
        sandbox.release_answers();
        let finished = plugin.finish();
        assert_eq!(finished.code(), code, "{words}: {finished:?}");
        assert!(sandbox.sessions().is_empty(), "{words}: {finished:?}");
    }
}

#[test]
fn who_does_not_want_to_wait_for_that_sends_a_second_signal() {
    for words in [
        "port-forward;--target;TARGET;0:80",
        "start-session;--target;TARGET",
        "cp;TARGET:/etc/hostname;-",
    ] {
        let sandbox = sandbox();
        let plugin = until_started(&sandbox, words);
        plugin.signal(Signal::TERM);
        assert!(plugin.wait_within(A_MOMENT).is_none(), "{words}");
        plugin.signal(Signal::TERM);
        // Less than the 3 s for which it waits otherwise.
        let ended = plugin.wait_within(Duration::from_secs(2));
        assert_eq!(ended.map(exit_code), Some(143), "{words}");
    }
}

#[test]
fn an_answer_that_never_comes_is_not_waited_for_long() {
    let sandbox = sandbox();
    let plugin = until_started(&sandbox, "start-session;--target;TARGET");
    plugin.signal(Signal::INT);
    plugin.stderr.wait_for("a second signal ends this at once");
    assert_eq!(exit_code(plugin.wait()), 130);
}

#[test]
fn a_session_whose_agent_has_not_said_a_word_is_ended_at_a_signal() {
    let sandbox = sandbox();
    sandbox.set_session_config(SessionConfig {
        agent: AgentConfig {
            silent: true,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    for (words, signal, code) in [
        ("start-session;--target;TARGET", Signal::INT, 130),
        ("exec;--target;TARGET;--;true", Signal::TERM, 143),
        ("port-forward;--target;TARGET;0:80", Signal::TERM, 143),
    ] {
        let plugin = command(&sandbox, words).spawn();
        wait_until("a connection", || {
            let sessions = sandbox.sessions();
            sessions.iter().any(|session| session.is_connected())
        });
        plugin.signal(signal);
        let finished = plugin.finish();
        assert_eq!(finished.code(), code, "{words}: {finished:?}");
        assert!(sandbox.sessions().is_empty(), "{words}: {finished:?}");
    }
}

/// A home whose profile runs a program that writes its number and waits; it may need to be killed.
fn write_profile(home: &Path, is_stubborn: bool) {
    let trap = if is_stubborn { "trap '' TERM; " } else { "" };
    let script =
        format!("{trap}echo $$ >~/pid.new; mv ~/pid.new ~/pid; while :; do sleep 0.1; done");
    fs::write(home.join("script"), script).expect("a file");
    fs::create_dir(home.join(".aws")).expect("a folder");
    let profile = format!(
        "[default]\nregion = eu-central-1\ncredential_process = sh {}\n",
        home.join("script").display()
    );
    fs::write(home.join(".aws/config"), profile).expect("a file");
}

#[test]
fn a_credential_process_ends_with_the_program_that_a_signal_ends() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Shell);
    let cases = [
        "start-session;--target;TARGET",
        "list",
        "run;--target;TARGET;--;true",
        "cp;TARGET:/etc/hostname;-",
        "exec;--target;TARGET;--target;i-2;--;true",
        "port-forward;--target;TARGET;0:80",
        "doctor;--target;TARGET",
    ];
    for words in cases.into_iter().chain(["a call"]) {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            // Each once with a program that takes no notice.
            let is_stubborn = signal == Signal::HUP;
            let home = tempfile::tempdir().expect("a folder");
            write_profile(home.path(), is_stubborn);
            let plugin = match words {
                "a call" => Plugin::new(&sandbox, &started).with_api(&sandbox),
                words => command(&sandbox, words),
            };
            let plugin = plugin
                .without_keys()
                .env("HOME", home.path())
                .stdin(Io::Null)
                .spawn();
            let mut pid = None;
            wait_until("its number", || {
                let text = fs::read_to_string(home.path().join("pid")).unwrap_or_default();
                pid = text.trim().parse().ok().and_then(Pid::from_raw);
                pid.is_some()
            });
            let pid = pid.expect("a number");
            plugin.signal(signal);
            plugin.wait();
            assert!(
                test_kill_process(pid).is_err(),
                "{words}, {signal:?}: its credential_process lives on"
            );
        }
    }
}
