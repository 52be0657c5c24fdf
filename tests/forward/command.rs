//! A command that runs while the forwards are up.

use std::io::Write;

use rustix::process::Signal;

use crate::port_support::Server;
use crate::support::{exit_code, wait_until};
use crate::{fast_sandbox, forward};

#[test]
fn its_words_and_environment_name_the_ports_and_its_exit_code_is_ours() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let to = format!(":{}", server.port());
    let script =
        "echo \"{port} {port1} {port2} {host} $SSM_FORWARD_PORT $SSM_FORWARD_2_PORT {x}\"; exit 7";
    let finished = forward(&sandbox, &[&to, &to, "--", "sh", "-c", script]).run(b"");
    assert_eq!(finished.code(), 7, "{finished:?}");
    let words: Vec<_> = finished.stdout.split_whitespace().collect();
    let [port, port1, port2, host, variable, variable2, rest] = words.as_slice() else {
        panic!("{finished:?}");
    };
    assert!(
        port == port1 && port == variable && port2 == variable2 && port != port2,
        "{words:?}"
    );
    assert_eq!((*host, *rest), ("127.0.0.1", "{x}"));
    assert_eq!(finished.stderr.matches(" -> ").count(), 2, "{finished:?}");
    wait_until("the sessions to be ended", || sandbox.sessions().is_empty());
}

#[test]
fn it_uses_the_forward() {
    let sandbox = fast_sandbox();
    let server = Server::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello");
    });
    let curl = "curl -sS http://127.0.0.1:{port}/";
    let finished = forward(
        &sandbox,
        &[
            "--quiet",
            &format!(":{}", server.port()),
            "--",
            "sh",
            "-c",
            curl,
        ],
    )
    .run(b"");
    assert_eq!(
        (
            finished.stdout.as_str(),
            finished.stderr.as_str(),
            finished.code()
        ),
        ("hello", "", 0)
    );
}

#[test]
fn one_that_cannot_be_run_is_named() {
    let sandbox = fast_sandbox();
    let finished = forward(&sandbox, &["0:80", "--", "/no/such/program"]).run(b"");
    assert_eq!(finished.code(), 127, "{finished:?}");
    assert!(finished.stderr.contains("/no/such/program"), "{finished:?}");
    let finished = forward(&sandbox, &["0:80", "--", "/etc/passwd"]).run(b"");
    assert_eq!(finished.code(), 126, "{finished:?}");
    let finished = forward(&sandbox, &["0:80", "--", "sh", "-c", "kill -9 $$"]).run(b"");
    assert_eq!(finished.code(), 137, "{finished:?}");
}

#[test]
fn an_interrupt_is_the_command_s() {
    let sandbox = fast_sandbox();
    let script = "trap 'echo interrupted; exit 3' INT; echo up; while :; do sleep 0.05; done";
    let plugin = forward(&sandbox, &["0:80", "--", "sh", "-c", script]).spawn();
    plugin.stdout.wait_for("up\n");
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 3);
    plugin.stdout.wait_for("interrupted");
    wait_until("the session to be ended", || sandbox.sessions().is_empty());
}

#[test]
fn a_termination_ends_both() {
    let sandbox = fast_sandbox();
    let script = "trap 'echo terminated; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let plugin = forward(&sandbox, &["0:80", "--", "sh", "-c", script]).spawn();
    plugin.stdout.wait_for("up\n");
    plugin.signal(Signal::TERM);
    assert_eq!(exit_code(plugin.wait()), 143);
    plugin.stdout.wait_for("terminated");
    wait_until("the session to be ended", || sandbox.sessions().is_empty());
}

#[test]
fn a_denial_meanwhile_ends_the_command() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let script = "echo up {port}; while :; do sleep 0.05; done";
    let plugin = forward(
        &sandbox,
        &[&format!(":{}", server.port()), "--", "sh", "-c", script],
    )
    .spawn();
    plugin.stdout.wait_for("\n");
    let text = plugin.stdout.text();
    let port = text
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let denied = sandbox::Failure::Error {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "no more".into(),
    };
    sandbox.fail_next("StartSession", 1, denied);
    sandbox.sessions()[0].terminate("");
    plugin.stderr.wait_for("the next connection");
    let _ = crate::try_echo(port);
    let finished = plugin.finish();
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("no more"), "{finished:?}");
}

#[test]
fn with_json_its_output_is_not_among_the_objects() {
    let sandbox = fast_sandbox();
    let finished = forward(
        &sandbox,
        &["--json", ":80", "--", "sh", "-c", "echo hello; exit 7"],
    )
    .run(b"");
    assert_eq!((finished.code(), finished.stderr.as_str()), (7, "hello\n"));
    let objects = finished.stdout.lines().map(serde_json::from_str);
    let objects: Result<Vec<serde_json::Value>, _> = objects.collect();
    let objects = objects.unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    assert_eq!(objects.last().expect("an end")["code"], 7);
}
