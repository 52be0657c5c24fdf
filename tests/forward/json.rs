//! `--json`: one object a line.

use serde_json::{Value, json};

use crate::port_support::Server;
use crate::support::{Io, Running, exit_code, free_port};
use crate::{fast_sandbox, forward, try_echo, wait_for_end};

/// The objects so far.
fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

fn wait_for(plugin: &Running, event: &str) -> Value {
    plugin.stdout.wait_until(event, |bytes| {
        bytes.ends_with(b"\n") && String::from_utf8_lossy(bytes).contains(event)
    });
    let all = objects(&plugin.stdout.text());
    all.into_iter()
        .find(|object| object.to_string().contains(event))
        .expect("the event")
}

#[test]
fn every_event_is_an_object() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(
        &sandbox,
        &["--json", &format!("0:{}", server.port()), "-D", "0"],
    )
    .spawn();
    wait_for(&plugin, r#""socks5""#);
    let ready = wait_for(&plugin, r#""forward":1"#);
    let port = ready["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .expect("a port");
    assert_eq!(
        ready,
        json!({
            "event": "ready", "forward": 1, "local": format!("127.0.0.1:{port}"), "port": port,
            "remote": format!("localhost:{}", server.port()), "target": crate::TARGET,
        })
    );
    let session = wait_for(&plugin, r#""started""#);
    assert_eq!(
        (&session["event"], &session["target"]),
        (&json!("session"), &json!(crate::TARGET))
    );
    let mut stream = try_echo(port).expect("an echo");
    let opened = wait_for(&plugin, r#""opened""#);
    assert_eq!(
        (&opened["event"], &opened["session"]),
        (&json!("connection"), &session["session"])
    );
    assert_eq!(
        opened["peer"],
        stream.local_addr().expect("an address").to_string()
    );
    sandbox.sessions()[0].terminate("enough");
    wait_for_end(&mut stream);
    let closed = wait_for(&plugin, r#""closed""#);
    assert_eq!(
        (&closed["sent"], &closed["received"]),
        (&json!(4), &json!(4))
    );
    let ended = wait_for(&plugin, r#""ended""#);
    assert_eq!(
        (&ended["reason"], &ended["session"]),
        (&json!("enough"), &session["session"])
    );
    plugin.signal(rustix::process::Signal::INT);
    let finished = plugin.finish();
    assert_eq!(finished.stderr, "");
    assert_eq!(
        objects(&finished.stdout).last(),
        Some(&json!({ "event": "end", "code": 0 }))
    );
}

#[test]
fn an_outage_is_two_events() {
    let sandbox = fast_sandbox();
    let plugin = forward(&sandbox, &["--json", "0:80"]).spawn();
    wait_for(&plugin, r#""ready""#);
    sandbox.stop_gateway();
    let broken = wait_for(&plugin, r#""reconnecting""#);
    assert!(broken["reason"].is_string(), "{broken}");
    sandbox.restart_gateway().expect("its port");
    let back = wait_for(&plugin, r#""reconnected""#);
    assert_eq!(back["session"], broken["session"]);
    assert!(back["seconds"].is_f64(), "{back}");
}

#[test]
fn a_failure_is_an_object_too() {
    let sandbox = fast_sandbox();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let finished = forward(&sandbox, &["--json", &format!("{port}:80")]).run(b"");
    let all = objects(&finished.stdout);
    assert_eq!(all[0]["event"], "error");
    assert!(
        all[0]["message"]
            .as_str()
            .is_some_and(|text| text.contains(&port.to_string())),
        "{all:?}"
    );
    assert_eq!(all[1], json!({ "event": "end", "code": 1 }));
}

#[test]
fn who_stops_reading_does_not_hold_up_the_end() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let port = free_port();
    let plugin = forward(&sandbox, &["--json", &format!("{port}:{}", server.port())])
        .stdout(Io::HeldPipe)
        .spawn();
    plugin.wait_for_held(1);
    // Two objects each, and a pipe holds 64 KiB.
    for _ in 0..600 {
        try_echo(port).expect("an echo");
    }
    plugin.signal(rustix::process::Signal::TERM);
    let status = plugin.wait_within(std::time::Duration::from_secs(8));
    let status = status.expect("an end, though many objects waited a second each");
    assert_eq!(exit_code(status), 143);
    plugin.read_stdout();
    let finished = plugin.finish();
    // Those that were taken are whole.
    assert!(objects(&finished.stdout).len() > 100, "{finished:?}");
}
