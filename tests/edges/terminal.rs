//! The terminal is as before, whatever ends the program (P77, P100).

use std::process::{Command, ExitStatus};

use rustix::process::{Resource, Rlimit, Signal, prlimit};
use sandbox::{AgentConfig, Config, Document, Sandbox, SessionConfig, Started};

use session_manager_plugin::internals::terminal::raw::RawMode;

use crate::support::{Io, Plugin, Running, exit_code, sandbox, start_with_prompt, wait_until};

/// A program over there that says nothing, in a terminal that is raw.
fn raw(sandbox: &Sandbox, change: impl FnOnce(Plugin) -> Plugin) -> (Started, Running, String) {
    let command = "stty raw -echo; echo go; exec cat > /dev/null".into();
    let started = start_with_prompt(sandbox, Document::Interactive { command });
    let plugin = change(Plugin::new(sandbox, &started).terminal()).spawn();
    let before = fresh_settings();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    (started, plugin, before)
}

/// Those of a terminal that nobody has changed: the program may have changed its own by the time that a test looks.
fn fresh_settings() -> String {
    let plugin = Plugin::bare(["--version"]).terminal().spawn();
    plugin.wait();
    format!("{:?}", plugin.settings())
}

fn kill(plugin: &Running, number: i32) {
    // By the shell's kill: some signals have no name.
    let pid = plugin.pid.as_raw_nonzero().to_string();
    let killed = Command::new("/bin/sh")
        .args(["-c", "kill -\"$0\" \"$1\"", &number.to_string(), &pid])
        .status();
    assert!(killed.expect("a shell").success(), "signal {number}");
}

fn assert_restored(plugin: &Running, before: &str, what: &str) -> ExitStatus {
    let status = plugin.wait();
    assert_eq!(format!("{:?}", plugin.settings()), before, "{what}");
    status
}

#[test]
fn p100_every_signal_that_can_be_caught_leaves_the_terminal_as_it_was() {
    let sandbox = sandbox();
    // All but KILL, STOP and those that do not end a process; INT and QUIT go over there. The last two have no names.
    let fatal = [
        1, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 40, 64,
    ];
    for number in fatal {
        // Without core files.
        let (_, plugin, before) = raw(&sandbox, |plugin| plugin.before("ulimit -c 0"));
        kill(&plugin, number);
        let status = assert_restored(&plugin, &before, &format!("signal {number}"));
        // The parent sees the same status as without a handler.
        assert_eq!(exit_code(status), 128 + number);
    }
}

#[test]
fn p100_the_second_of_two_and_one_in_the_background_find_the_terminal_as_it_was() {
    let sandbox = sandbox();
    let (_, plugin, before) = raw(&sandbox, |plugin| plugin.before("ulimit -c 0"));
    kill(&plugin, 19);
    wait_until("the stop", || plugin.state() == 'T');
    for number in [12, 10, 34, 18] {
        kill(&plugin, number);
    }
    assert_restored(&plugin, &before, "two at once");
}

#[test]
fn p100_what_was_ignored_at_the_start_stays_ignored() {
    let sandbox = sandbox();
    let (started, plugin, before) = raw(&sandbox, |plugin| plugin.before("trap '' USR1 ALRM XCPU"));
    for number in [10, 14, 24] {
        kill(&plugin, number);
    }
    plugin.type_in(b"still here");
    wait_until("what was typed", || {
        let frames = started.session.frames();
        frames.iter().any(|frame| frame.payload.ends_with(b"here"))
    });
    plugin.wait_for_raw(true);
    plugin.signal(Signal::TERM);
    let status = assert_restored(&plugin, &before, "TERM");
    assert_eq!(exit_code(status), 143);
}

/// From now on the program gets no more memory than it has.
fn limit_memory(plugin: &Running) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", plugin.pid.as_raw_nonzero()));
    let status = status.expect("its status");
    let size = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
    let size: u64 = size.expect("a size").trim().parse().expect("a number");
    let limit = Rlimit {
        current: Some(size * 1024),
        maximum: Some(size * 1024),
    };
    prlimit(Some(plugin.pid), Resource::Data, limit).expect("a limit");
}

#[test]
fn p77_an_allocation_that_fails_leaves_the_terminal_as_it_was() {
    // Without TLS: for OpenSSL an allocation that fails is a broken connection, and the session goes on.
    let sandbox = Sandbox::start(Config {
        tls: false,
        ..Config::default()
    })
    .expect("a sandbox");
    let started = sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            command: "read -r line; exec yes".into(),
        },
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    // Output that nobody takes is kept, up to 4 MiB.
    let plugin = Plugin::new(&sandbox, &started)
        .terminal()
        .stdout(Io::HeldPipe)
        .before("ulimit -c 0")
        .spawn();
    let before = format!("{:?}", plugin.settings());
    plugin.wait_for_raw(true);
    limit_memory(&plugin);
    plugin.type_in(b"go\r");
    let status = assert_restored(&plugin, &before, "no memory");
    assert_eq!(exit_code(status), 134);
    // It fails in the heap, or at the start of a thread.
    plugin.terminal.wait_until("its reason", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        ["memory allocation of", "Cannot allocate memory"]
            .iter()
            .any(|reason| text.contains(reason))
    });
}

/// Needs more stack than there is, in a terminal that is raw.
#[test]
#[ignore = "a process of the test below"]
fn overflow() {
    fn deeper(depth: u64) -> u64 {
        if depth == u64::MAX {
            return 0;
        }
        let here = std::hint::black_box([depth; 512]);
        deeper(here[1] + 1) + here[0]
    }
    if std::env::var("EDGES_OVERFLOW").is_err() {
        return;
    }
    let raw = RawMode::enter().expect("its settings");
    assert!(raw.is_some(), "no terminal");
    println!("it is raw");
    let overflown = std::thread::spawn(|| deeper(0)).join();
    panic!("{overflown:?}");
}

#[test]
fn p77_a_stack_overflow_leaves_the_terminal_as_it_was() {
    let (pty, pts) = pty_process::blocking::open().expect("a terminal");
    let settings = || {
        format!(
            "{:?}",
            rustix::termios::tcgetattr(&pty).expect("its settings")
        )
    };
    let before = settings();
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "ulimit -c 0; exec \"$0\" --exact terminal::overflow --ignored --nocapture",
        ])
        .arg(std::env::current_exe().expect("this program"))
        .env("EDGES_OVERFLOW", "1");
    let mut child = pty_process::blocking::Command::from(command)
        .spawn_borrowed(&pts)
        .expect("to run it");
    let status = child.wait().expect("its end");
    let mut said = vec![0; 65536];
    let count = rustix::io::read(&pty, &mut said).expect("what it said");
    let said = String::from_utf8_lossy(&said[..count]).into_owned();
    assert!(said.contains("it is raw"), "{said}");
    assert_eq!(exit_code(status), 128 + 11, "{said}");
    assert_eq!(settings(), before, "{said}");
}

#[test]
fn who_leaves_while_data_is_not_acknowledged_is_told() {
    let sandbox = sandbox();
    let (started, plugin, _) = raw(&sandbox, |plugin| {
        plugin.env("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true")
    });
    started.session.stop_reading(true);
    plugin.type_in(b"lost\r");
    plugin.type_until(b"\r~.", "its end", || plugin.try_wait().is_some());
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    let line = "has not acknowledged what was sent last, which may not have arrived";
    assert!(finished.terminal.contains(line), "{finished:?}");
}
