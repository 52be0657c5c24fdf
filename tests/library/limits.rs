//! How long calls take whose time is over, and what goes on after them.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Event, Failure, Sandbox, SessionConfig};
use session_manager_plugin::{Client, ClientError, ErrorKind, Stdin};

use super::{LONG, client, echo, node, sandbox, wait_for_no_session, wait_until};

fn silence(sandbox: &Sandbox) {
    sandbox.set_session_config(SessionConfig {
        agent: AgentConfig {
            silent: true,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
}

#[test]
fn a_service_that_does_not_end_sessions_holds_nobody_up() {
    let sandbox = sandbox();
    sandbox.fail_next("TerminateSession", 1000, Failure::Hang);
    let client = client(&sandbox);
    let target = node(&client);
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("file"), folder.path().join("copy"));
    std::fs::write(&file, "x").unwrap();
    let short = Duration::from_millis(500);
    let hasty = client.with_timeout(short);
    let sleep = || client.exec(&target, ["sleep", "60"]).timeout(short);
    let unwanted = |_, _: &[u8]| Ok(());
    type Call<'a> = &'a (dyn Fn() -> Result<(), ClientError> + Sync);
    let running: [(&str, Call<'_>); 3] = [
        ("output", &|| sleep().output().map(drop)),
        ("run", &|| sleep().run(unwanted).map(drop)),
        ("run with stdin", &|| {
            sleep().stdin(Stdin::piped()).run(unwanted).map(drop)
        }),
    ];
    let beginning: [(&str, Call<'_>); 5] = [
        ("connect", &|| {
            hasty.connect(&target, "localhost", 1).map(drop)
        }),
        ("shell", &|| hasty.shell(&target).map(drop)),
        ("stdin", &|| {
            hasty.exec(&target, ["cat"]).stdin("x").output().map(drop)
        }),
        ("upload", &|| {
            let transfer = client.copy(&target).timeout(short);
            transfer.upload(&file, &copy).map(drop)
        }),
        ("download", &|| {
            let transfer = client.copy(&target).timeout(short);
            transfer.download(&file, &copy).map(drop)
        }),
    ];
    let try_all = |calls: &[(&str, Call<'_>)]| {
        thread::scope(|scope| {
            for (what, call) in calls {
                scope.spawn(move || {
                    let start = Instant::now();
                    let error = call().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{what}: {error}");
                    // The service would have had 5 seconds more.
                    let elapsed = start.elapsed();
                    assert!(elapsed < Duration::from_secs(5), "{what}: {elapsed:?}");
                });
            }
        });
    };
    try_all(&running);
    silence(&sandbox);
    try_all(&beginning);
}

#[test]
fn the_clients_time_counts_for_commands_with_a_stdin() {
    let sandbox = sandbox();
    let client = client(&sandbox).with_timeout(Duration::from_secs(1));
    let target = node(&client);
    let cat = || {
        let start = Instant::now();
        let error = client.exec(&target, ["cat"]).stdin("x").output();
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(30));
    };
    sandbox.fail_next("StartSession", 1, Failure::Hang);
    cat();
    silence(&sandbox);
    cat();
}

#[test]
fn who_waits_for_a_client_sees_the_end_of_all_that_was_dropped() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let port = echo();
    assert!(client.wait_idle(Duration::ZERO));
    let held = client.connect(&target, "localhost", port).unwrap();
    let started = (
        client.connect(&target, "localhost", port).unwrap(),
        client.shell(&target).unwrap(),
        client.exec(&target, ["sleep", "60"]).spawn().unwrap(),
        client
            .exec(&target, ["cat"])
            .stdin(Stdin::piped())
            .spawn()
            .unwrap(),
        client.forward(&target).remote("localhost", port).start(),
        client.copy(&target).begin().unwrap(),
    );
    drop(started);
    // A clone waits for the same, and what is held is not over.
    assert!(!client.clone().wait_idle(Duration::from_millis(10)));
    drop(held);
    assert!(client.wait_idle(LONG));
    let terminated = |event: &Event| matches!(event, Event::Api { operation, .. } if operation == "ssm:TerminateSession");
    wait_until("the calls to be noted", || {
        sandbox.events().iter().any(terminated)
    });
    wait_for_no_session(&sandbox);
}

/// Set for the processes of tests whose name ends in `in_a_process`: a port that answers.
const PORT: &str = "LIBRARY_TEST_PORT";

/// Runs one of them with a sandbox.
fn in_a_process(test: &str, sandbox: &Sandbox) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("limits::{test}"), "--nocapture"])
        .envs(sandbox.environment())
        .env(PORT, echo().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {complained}", output.status);
    assert!(said.contains("it was run"), "{said}");
}

/// In such a process.
fn port() -> Option<u16> {
    std::env::var(PORT).ok()?.parse().ok()
}

#[test]
fn a_process_that_waits_for_its_client_leaves_no_session() {
    let sandbox = sandbox();
    in_a_process("dropped_and_waited_for_in_a_process", &sandbox);
    wait_for_no_session(&sandbox);
}

#[test]
fn dropped_and_waited_for_in_a_process() {
    let Some(port) = port() else { return };
    let client = Client::from_env().unwrap();
    let target = node(&client);
    drop(client.connect(&target, "localhost", port).unwrap());
    drop(client.shell(&target).unwrap());
    assert!(client.wait_idle(LONG));
    println!("it was run");
    std::process::exit(0);
}

/// Programs that set SIGPIPE back, as command line tools do.
#[test]
fn a_command_that_reads_nothing_raises_no_signal() {
    let sandbox = sandbox();
    in_a_process("much_stdin_in_a_process", &sandbox);
}

#[test]
fn much_stdin_in_a_process() {
    if port().is_none() {
        return;
    }
    pipes_end_the_process();
    let client = Client::from_env().unwrap();
    let target = node(&client);
    let command = client.exec(&target, ["true"]).stdin(vec![0; 3_000_000]);
    assert!(command.output().unwrap().is_success());
    // The thread that fed it has seen that nobody reads any more.
    let is_feeding = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks
            .filter_map(|task| name(task).ok())
            .any(|name| name.trim() == "stdin")
    };
    wait_until("its stdin to be given up", || !is_feeding());
    println!("it was run");
}

#[allow(unsafe_code, reason = "there is no other way to set it back")]
fn pipes_end_the_process() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action is no handler that could do something unsafe.
    let set = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    set.unwrap();
}
