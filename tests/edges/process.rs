//! What the program inherits, keeps and hands on: signals, memory, files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::process::Signal;
use sandbox::{Document, Sandbox, Started};

use crate::support::{Plugin, exit_code, input, sandbox, start_with_prompt, wait_until};

/// Runs it with these signals blocked, as Python names them.
fn blocking(plugin: Plugin, signals: &str) -> Plugin {
    plugin.before(&format!(
        "exec python3 -c 'import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, \"SIG\" + name) for name in \
         \"{signals}\".split()])\n\
         os.execv(sys.argv[1], sys.argv[1:])' \"$0\" \"$@\""
    ))
}

const ALL: &str = "HUP INT QUIT TERM TSTP CONT WINCH USR1";

/// A command on a pty that takes no notice of anything.
fn stubborn(sandbox: &Sandbox) -> Started {
    let command = "stty raw -echo; echo go; sleep 600".into();
    start_with_prompt(sandbox, Document::Interactive { command })
}

fn wait_for_input(started: &Started, bytes: &[u8]) {
    wait_until("the agent's input", || {
        let input = input(started);
        input.windows(bytes.len()).any(|window| window == bytes)
    });
}

#[test]
fn p117_signals_that_were_blocked_at_the_start_are_seen() {
    let sandbox = sandbox();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let started = stubborn(&sandbox);
        let plugin = blocking(Plugin::new(&sandbox, &started), ALL).spawn();
        plugin.stdout.wait_for("go");
        plugin.signal(Signal::INT);
        wait_for_input(&started, &[0x03]);
        plugin.signal(Signal::QUIT);
        wait_for_input(&started, &[0x03, 0x1c]);
        plugin.signal(Signal::TSTP);
        wait_for_input(&started, &[0x03, 0x1c, 0x1a]);
        plugin.signal(signal);
        assert_eq!(exit_code(plugin.wait()), code);
    }
}

#[test]
fn p117_before_the_session_stands_they_end_our_own_commands_too() {
    // An API that never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    let command = [
        "start-session",
        "--target",
        "i-1",
        "--region",
        "eu-central-1",
        "--endpoint-url",
        &endpoint,
    ];
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let plugin = blocking(
            Plugin::bare(command)
                .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
                .env("AWS_SECRET_ACCESS_KEY", "secret"),
            ALL,
        )
        .spawn();
        let _calling = listener.accept().expect("its call");
        plugin.signal(signal);
        assert_eq!(exit_code(plugin.wait()), code);
    }
}

#[test]
fn p117_children_get_the_mask_that_we_got() {
    let sandbox = sandbox();
    for (signals, mask) in [
        ("TERM USR1 WINCH", "0000000008004200"),
        ("", "0000000000000000"),
    ] {
        let started = stubborn(&sandbox);
        let plugin = Plugin::new(&sandbox, &started);
        let home = tempfile::tempdir().expect("a directory");
        let seen = home.path().join("seen");
        let script = home.path().join("script");
        // Python: some shells clear their mask.
        let code = format!(
            "mask = [line for line in open('/proc/self/status') if line.startswith('SigBlk')]\n\
             open('{}', 'w').write(mask[0])\n\
             print('{{\"Version\":1,\"AccessKeyId\":\"AKIAEXAMPLE\",\"SecretAccessKey\":\"secret\"}}')\n",
            seen.display()
        );
        fs::write(&script, code).expect("a script");
        let config = home.path().join("config");
        fs::write(
            &config,
            format!(
                "[default]\ncredential_process = python3 '{}'\n",
                script.display()
            ),
        )
        .expect("a file");
        let plugin = blocking(plugin.env("AWS_CONFIG_FILE", config), signals).spawn();
        wait_until("its child", || {
            fs::read_to_string(&seen).is_ok_and(|seen| seen.ends_with('\n'))
        });
        assert_eq!(
            fs::read_to_string(&seen).expect("it").trim(),
            format!("SigBlk:\t{mask}")
        );
        drop(plugin);
    }
}

/// A short session with this log.
fn logging_to(sandbox: &Sandbox, log: &Path) -> crate::support::Finished {
    let started = sandbox.start_session(Document::command("echo done"));
    let plugin = Plugin::new(sandbox, &started)
        .env("SSM_PLUGIN_LOG", "trace")
        .env("SSM_PLUGIN_LOG_FILE", log);
    let finished = plugin.run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("done"), "{finished:?}");
    finished
}

#[test]
fn p98_the_log_is_our_own_file_or_none() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let mode = |path: &Path| fs::metadata(path).expect("it").permissions().mode() & 0o777;

    // A new one, and one that was open to all.
    logging_to(&sandbox, &file("new"));
    assert_eq!(mode(&file("new")), 0o600);
    fs::write(file("open"), "before\n").expect("a file");
    fs::set_permissions(file("open"), Permissions::from_mode(0o666)).expect("a mode");
    logging_to(&sandbox, &file("open"));
    assert_eq!(mode(&file("open")), 0o600);
    let log = fs::read_to_string(file("open")).expect("it");
    assert!(
        log.starts_with("before\n") && log.lines().count() > 3,
        "{log}"
    );

    // Links lead nowhere, there or not.
    fs::write(file("precious"), "precious").expect("a file");
    symlink(file("precious"), file("link")).expect("a link");
    symlink(file("nothing"), file("dangling")).expect("a link");
    fs::hard_link(file("precious"), file("hard")).expect("a link");
    for name in ["link", "dangling", "hard"] {
        let finished = logging_to(&sandbox, &file(name));
        assert!(
            finished.stderr.contains("cannot write the log"),
            "{name}: {finished:?}"
        );
        assert!(
            finished.stderr.contains("SSM_PLUGIN_LOG_FILE"),
            "{name}: {finished:?}"
        );
    }
    assert_eq!(fs::read(file("precious")).expect("it"), b"precious");
    assert!(!file("nothing").exists());

    // Another user's, if we may make one.
    fs::write(file("foreign"), "foreign").expect("a file");
    if chown(file("foreign"), Some(1), None).is_err() {
        eprintln!("no file of another user here: not tried");
        return;
    }
    let finished = logging_to(&sandbox, &file("foreign"));
    assert!(finished.stderr.contains("another user"), "{finished:?}");
    assert_eq!(fs::read(file("foreign")).expect("it"), b"foreign");
}
