//! What the AWS CLI started does not outlive it; what detaches on purpose does (P116).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sandbox::{Config, Document, Event, Sandbox, SessionConfig, Started, Upgrade};

use crate::support::{
    Io, Plugin, Running, TIMEOUT, aws_cli, sandbox, start_with_prompt, wait_until,
};

/// A process below another one: its number and arguments.
fn below(top: Pid) -> Vec<(Pid, Vec<String>)> {
    let pid = top.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw));
    let mut found = Vec::new();
    for child in children {
        let arguments = fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero()));
        let arguments = String::from_utf8_lossy(&arguments.unwrap_or_default()).into_owned();
        let arguments = arguments.split('\0').map(str::to_owned).collect();
        found.push((child, arguments));
        found.extend(below(child));
    }
    found
}

fn find(top: Pid, is_it: impl Fn(&[String]) -> bool) -> Pid {
    let mut found = None;
    wait_until("the process", || {
        found = below(top)
            .into_iter()
            .find(|(_, arguments)| is_it(arguments))
            .map(|(pid, _)| pid);
        found.is_some()
    });
    found.expect("waited for")
}

/// Whether it is still there; one that nobody has asked for yet is not.
fn is_alive(pid: Pid) -> bool {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    test_kill_process(pid).is_ok() && !matches!(state, None | Some('Z' | 'X'))
}

fn wait_for_the_end(sandbox: &Sandbox, plugin: Pid, what: &str) {
    let ended = sandbox.wait_for_events(TIMEOUT, |events| {
        events
            .iter()
            .any(|event| matches!(event, Event::SessionEnded { .. }))
    });
    assert!(ended, "{what}: the remote session goes on");
    wait_until(what, || !is_alive(plugin));
}

/// A shell that runs the AWS CLI in this way (`AWS` stands for it and its arguments), and stays.
fn awscli(sandbox: &Sandbox, way: &str, document: &str) -> Running {
    let call = format!(
        "'{}' ssm start-session --target i-0123456789abcdef0 {document} --endpoint-url '{}'",
        aws_cli::aws().display(),
        sandbox.api_url()
    );
    Plugin::bare([""; 0])
        .with_api(sandbox)
        .env("PATH", aws_cli::path())
        .before(&format!(
            "{}; read -r line; exit",
            way.replace("AWS", &call)
        ))
        .terminal()
        .spawn()
}

fn is_aws(arguments: &[String]) -> bool {
    arguments
        .get(1)
        .is_some_and(|argument| argument.ends_with("/bin/aws"))
}

fn is_plugin(arguments: &[String]) -> bool {
    // The AWS CLI asks for the version first.
    let is_session = arguments.len() > 3;
    is_session && arguments[0].ends_with("session-manager-plugin")
}

#[test]
fn p116_an_aws_cli_that_is_killed_takes_the_session_with_it() {
    for (way, signal) in [
        ("AWS", Signal::KILL),
        ("AWS", Signal::TERM),
        ("AWS & wait", Signal::KILL),
        ("timeout 600 AWS", Signal::KILL),
        ("setsid -w AWS", Signal::TERM),
        ("cd \"$HOME\"; nohup AWS", Signal::KILL),
        // A shell with job control.
        ("exec bash -ic \"AWS\ntrue; read -r line\"", Signal::KILL),
    ] {
        let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
        let shell = awscli(&sandbox, way, "");
        let before = format!("{:?}", shell.settings());
        let cli = find(shell.pid, is_aws);
        let plugin = find(cli, is_plugin);
        wait_until("the session", || {
            started(&sandbox).is_some_and(|session| session.is_connected())
        });
        kill_process(cli, signal).expect("to kill it");
        wait_for_the_end(&sandbox, plugin, way);
        assert_eq!(format!("{:?}", shell.settings()), before, "{way}");
    }
}

fn started(sandbox: &Sandbox) -> Option<std::sync::Arc<sandbox::Session>> {
    let events = sandbox.events();
    events.iter().find_map(|event| match event {
        Event::SessionStarted { session, .. } => sandbox.session(session),
        _ => None,
    })
}

/// Where a user may have a namespace of his own.
#[test]
fn p116_below_a_first_process_of_a_namespace() {
    let unshare = "unshare --user --map-root-user --pid --fork --mount-proc";
    let allowed = Command::new("/bin/sh")
        .args(["-c", &format!("{unshare} true")])
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("no namespaces here: not tried");
        return;
    }
    // The AWS CLI is process 1, and the plugin's parent is alive all the time; or it is below a shell that is.
    for (way, signal) in [
        (format!("{unshare} AWS"), Signal::KILL),
        (format!("{unshare} sh -c \"AWS; sleep 600\""), Signal::TERM),
    ] {
        let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
        let shell = awscli(&sandbox, &way, "");
        let cli = find(shell.pid, is_aws);
        let plugin = find(cli, is_plugin);
        wait_until("the session", || {
            started(&sandbox).is_some_and(|session| session.is_connected())
        });
        // Longer than the parent is given.
        assert_eq!(shell.wait_within(Duration::from_millis(600)), None);
        assert!(is_alive(plugin), "{way}");
        kill_process(cli, signal).expect("to kill it");
        if signal == Signal::TERM {
            wait_for_the_end(&sandbox, plugin, &way);
        } else {
            // The system kills all of the namespace.
            wait_until("its end", || !is_alive(plugin));
        }
    }
}

/// The program below a process that can be killed; that one is no leader of its session, whose end would be a hang-up.
fn below_another(plugin: Plugin) -> (Running, Pid, Pid) {
    let way = r#"sh -c '"$0" "$@" <&0 & exec sleep 600' "$0" "$@"; sleep 600; exit"#;
    let top = plugin.before(way).spawn();
    let parent = find(top.pid, |arguments| {
        arguments.first().is_some_and(|first| first == "sleep")
    });
    let plugin = find(parent, is_plugin);
    (top, parent, plugin)
}

#[test]
fn p116_every_kind_of_session_ends_with_the_parent() {
    let echo = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = echo.local_addr().expect("its address").port();
    for document in [
        Document::Interactive {
            command: "echo go; sleep 600".into(),
        },
        Document::separate_command("sh -c 'echo go; exec sleep 600'"),
        Document::port(port),
        Document::Ssh { port },
    ] {
        let sandbox = sandbox();
        let started = start_with_prompt(&sandbox, document.clone());
        let (top, parent, plugin) =
            below_another(Plugin::new(&sandbox, &started).with_api(&sandbox));
        top.stdout.wait_for("Starting session");
        match document {
            Document::Port { .. } => top.stdout.wait_for("Waiting for connections"),
            Document::Ssh { .. } => assert!(started.session.wait_for_connection(1, TIMEOUT)),
            _ => top.stdout.wait_for("go"),
        }
        kill_process(parent, Signal::KILL).expect("to kill it");
        wait_for_the_end(&sandbox, plugin, &format!("{document:?}"));
    }
}

#[test]
fn p116_a_parent_that_goes_before_the_session_stands_ends_it() {
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::Shell);
    config.gateway.upgrades = [Upgrade::Hang].into();
    let started = sandbox.start_session(config);
    let (top, parent, plugin) = below_another(Plugin::new(&sandbox, &started).with_api(&sandbox));
    top.stdout.wait_for("Starting session");
    kill_process(parent, Signal::KILL).expect("to kill it");
    // Not only when the dial is given up, after 30 s.
    let ended = sandbox.wait_for_events(Duration::from_secs(20), |events| {
        events
            .iter()
            .any(|event| matches!(event, Event::SessionEnded { .. }))
    });
    assert!(ended, "the remote session goes on");
    wait_until("its end", || !is_alive(plugin));
}

/// The same as a hang-up of the whole group: what ends us first is no second signal.
#[test]
fn p116_a_signal_to_the_whole_group_still_ends_the_remote_session() {
    let sandbox = sandbox();
    let started = start_with_prompt(
        &sandbox,
        Document::Interactive {
            command: "echo go; sleep 600".into(),
        },
    );
    // Tried again: it takes longer than the parent is given.
    let busy = sandbox::Failure::error(503, "ServiceUnavailable", "busy");
    sandbox.fail_next("TerminateSession", 2, busy);
    let (top, parent, plugin) = below_another(Plugin::new(&sandbox, &started).with_api(&sandbox));
    top.stdout.wait_for("go");
    kill_process(parent, Signal::TERM).expect("to end it");
    kill_process(plugin, Signal::TERM).expect("to end it");
    wait_for_the_end(&sandbox, plugin, "both");
}

fn echo_works(port: u16, listener: &std::net::TcpListener) {
    let mut near = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    near.write_all(b"ping").expect("to write");
    let (mut far, _) = listener.accept().expect("the other end");
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes).expect("to read");
    assert_eq!(&bytes, b"ping");
}

#[test]
fn what_detaches_on_purpose_lives_on() {
    let sandbox = sandbox();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let started: Started = sandbox.start_session(Document::port(port));
    let response = [
        "{}",
        "eu-central-1",
        "StartSession",
        "",
        "{\"Target\":\"i-1\"}",
        "",
    ];
    let plugin = Plugin::new(&sandbox, &started)
        .arguments(&started, &response)
        .with_api(&sandbox)
        .stdin(Io::Null);
    let (top, parent, plugin) = below_another(plugin);
    top.stdout.wait_for("Waiting for connections");
    let local = top.listening_port();
    kill_process(parent, Signal::KILL).expect("to kill it");
    wait_until("its end", || !is_alive(parent));
    echo_works(local, &listener);
    std::thread::sleep(Duration::from_millis(600));
    echo_works(local, &listener);
    assert!(is_alive(plugin));
    kill_process(plugin, Signal::TERM).expect("to end it");
    wait_for_the_end(&sandbox, plugin, "TERM");
}
