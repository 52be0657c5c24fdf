//! Processes that are killed without warning, and things that run out: the agent, a local client, the AWS CLI, descriptors, the disk.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandbox::faults::Ending;
use sandbox::{Config, Document, Event, Sandbox, SessionConfig, Started};

use crate::port_support::{Forward, Server, assert_same, connect, exchange, fast, pattern, reset};
use crate::process::Sample;
use crate::support::{Io, Plugin, TIMEOUT, aws_cli, exit_code, sandbox, wait_until};

/// A session to the server whose agent does not pause.
fn fast_port(sandbox: &Sandbox, server: &Server) -> Started {
    sandbox.start_session(SessionConfig {
        document: Document::port(server.port()),
        agent: fast(),
        ..SessionConfig::default()
    })
}

#[test]
fn an_agent_that_is_killed_leaves_a_session_that_can_be_left_or_is_ended_by_the_service() {
    for ended_by_service in [true, false] {
        let sandbox = sandbox();
        let server = Server::echo();
        let started = fast_port(&sandbox, &server);
        let plugin = Plugin::new(&sandbox, &started)
            .with_api(&sandbox)
            .stdin(Io::Null)
            .spawn();
        let stream = connect(plugin.listening_port());
        let data = pattern(1, 100_000);
        assert_same(&exchange(&stream, &data, 9000), &data);
        started.session.kill_agent();
        // More than the window takes: the rest waits in the socket, not in memory.
        let mut writer = stream.try_clone().expect("a handle");
        let sender = thread::spawn(move || while writer.write_all(&[1; 100_000]).is_ok() {});
        wait_until("a full window", || Sample::of(&plugin).resident > 10_000);
        assert!(plugin.try_wait().is_none());
        if ended_by_service {
            started.session.terminate("The instance is gone.");
            plugin.stdout.wait_for("The instance is gone.");
        } else {
            plugin.signal(Signal::INT);
        }
        let status = plugin.wait_within(Duration::from_secs(20));
        assert_eq!(status.map(exit_code), Some(0));
        assert!(started.session.is_terminated());
        sender.join().expect("the sender");
    }
}

/// Reads and writes until it is killed.
#[test]
#[ignore = "a process of the test below"]
fn client() {
    let Ok(port) = std::env::var("ENDURANCE_CLIENT") else {
        return;
    };
    let stream = TcpStream::connect(("127.0.0.1", port.parse().expect("a port"))).expect("it");
    let mut writer = stream.try_clone().expect("a handle");
    thread::spawn(move || while writer.write_all(&[2; 10_000]).is_ok() {});
    let mut reader = stream;
    let mut buffer = [0; 10_000];
    while let Ok(1..) = reader.read(&mut buffer) {}
}

#[test]
fn a_local_client_that_is_killed_leaves_nothing_behind_and_disturbs_nobody() {
    let server = Server::echo();
    let forward = Forward::to(&server);
    let other = forward.connect();
    let data = pattern(2, 100_000);
    assert_same(&exchange(&other, &data, 9000), &data);
    let before = Sample::of(&forward.plugin);
    for killed in 1..=5 {
        let mut client = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed::client", "--ignored"])
            .env("ENDURANCE_CLIENT", forward.port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("to run it");
        wait_until("its connection", || {
            server.accepted.load(Ordering::SeqCst) == killed + 1
        });
        assert_same(&exchange(&other, &data, 9000), &data);
        client.kill().expect("to kill it");
        client.wait().expect("its end");
        server.wait_for_done(killed);
    }
    assert_same(&exchange(&other, &data, 9000), &data);
    wait_until("threads and descriptors as before", || {
        let now = Sample::of(&forward.plugin);
        (now.threads, now.descriptors) == (before.threads, before.descriptors)
    });
}

#[test]
fn p116_an_aws_cli_that_is_killed_takes_the_forwarding_with_it() {
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    sandbox.set_session_config(SessionConfig {
        agent: fast(),
        ..SessionConfig::default()
    });
    let server = Server::echo();
    // The shell in between stays: without it the terminal would be hung up.
    let cli = Plugin::bare([""; 0])
        .with_api(&sandbox)
        .env("PATH", aws_cli::path())
        .before(&format!(
            "'{}' ssm start-session --target i-0123456789abcdef0 --document-name AWS-StartPortForwardingSession \
             --parameters portNumber={} --endpoint-url '{}' </dev/null; read -r line; exit",
            aws_cli::aws().display(),
            server.port(),
            sandbox.api_url()
        ))
        .spawn();
    let port = cli.listening_port();
    let aws = child(cli.pid);
    let plugin = child(aws);
    let data = pattern(3, 100_000);
    let stream = connect(port);
    assert_same(&exchange(&stream, &data, 9000), &data);
    kill_process(aws, Signal::KILL).expect("to kill it");
    let ended = sandbox.wait_for_events(TIMEOUT, |events| {
        events
            .iter()
            .any(|event| matches!(event, Event::SessionEnded { .. }))
    });
    assert!(ended, "the remote session is ended, too");
    wait_until("its end", || kill_process(plugin, Signal::CONT).is_err());
}

/// The only child of a process.
fn child(pid: Pid) -> Pid {
    let pid = pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("its children");
    let child = children.trim().parse().ok().and_then(Pid::from_raw);
    child.unwrap_or_else(|| panic!("one child: {children:?}"))
}

#[test]
fn p45_a_break_while_descriptors_are_used_up_is_survived() {
    let server = Server::echo();
    let sandbox = sandbox();
    let started = fast_port(&sandbox, &server);
    let plugin = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .before("ulimit -n 40")
        .stdin(Io::Null)
        .spawn();
    let port = plugin.listening_port();
    let mut streams: Vec<_> = (0..60).map(|_| connect(port)).collect();
    plugin.stderr.wait_for("cannot accept local connections");
    let first = streams.remove(0);
    let data = pattern(4, 20_000);
    assert_same(&exchange(&first, &data, 9000), &data);
    // The break frees a descriptor for a moment, and many local connections wait for one.
    started.session.end_connection(Ending::bye());
    assert!(started.session.wait_for_connection(2, TIMEOUT));
    assert_same(&exchange(&first, &data, 9000), &data);
    // Reset, as the program keeps what is only closed for a while.
    streams.into_iter().for_each(reset);
    assert_same(&exchange(&connect(port), &data, 9000), &data);
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
}

/// The disk of the log has room for another KiB, where this user may mount one; elsewhere it is full from the beginning.
#[test]
fn a_disk_that_fills_up_under_the_log_stops_nothing() {
    let sandbox = sandbox();
    let started = sandbox.start_session(Document::Interactive {
        command: "stty -echo; echo ready; while read -r line; do echo \"<$line>\"; done".into(),
    });
    let plugin = Plugin::new(&sandbox, &started)
        .with_api(&sandbox)
        .env("SSM_PLUGIN_LOG", "trace")
        .before(
            "if [ -z \"$SMALL\" ] && unshare -rm true 2>/dev/null; then export SMALL=yes; \
             exec unshare -rm /bin/sh -c 'mount -t tmpfs -o size=4k none \"$HOME\" && export SSM_PLUGIN_LOG_FILE=\"$HOME/log\" && \
             head -c 3000 /dev/zero >\"$HOME/log\" && exec \"$0\" \"$@\"' \"$0\" \"$@\"; fi; export SSM_PLUGIN_LOG_FILE=/dev/full",
        )
        .spawn();
    plugin.stdout.wait_for("ready");
    let home = plugin.home().display();
    let log = format!("/proc/{}/root{home}/log", plugin.pid.as_raw_nonzero());
    // Each break and resume is logged: the first ones still fit.
    for number in 2..5 {
        started.session.end_connection(Ending::bye());
        assert!(started.session.wait_for_connection(number, TIMEOUT));
        plugin.type_in(format!("{number}\n").as_bytes());
        plugin.stdout.wait_for(&format!("<{number}>"));
    }
    match std::fs::metadata(log) {
        Ok(log) => assert_eq!(log.len(), 4096, "the disk is full"),
        Err(_) => eprintln!("no small disk here: /dev/full instead"),
    }
    plugin.close_stdin();
    assert_eq!(exit_code(plugin.wait()), 0);
}
