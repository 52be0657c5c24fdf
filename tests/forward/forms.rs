//! Every form of FORWARD, and where its connections go.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::port_support::Server;
use crate::support::{exit_code, free_port};
use crate::{fast_sandbox, forward, only_port, port_of, ready, start_requests, try_echo};

#[test]
fn every_form_leads_to_its_destination() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let remote = server.port();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("a.sock").display().to_string();
    let fixed = free_port();
    let plugin = forward(
        &sandbox,
        &[
            format!("{remote}"),
            format!(":{remote}"),
            format!("{fixed}:{remote}"),
            format!("0:localhost:{remote}"),
            format!("127.0.0.2:0:127.0.0.1:{remote}"),
            "-L".to_owned(),
            format!("{socket}:localhost:{remote}"),
        ],
    )
    .spawn();
    let lines = ready(&plugin, 6);
    for line in &lines {
        assert!(
            line.contains(&format!(
                "-> localhost:{remote} (i-0123456789abcdef0, session sandbox-"
            )),
            "{line}"
        );
        if line.starts_with("127.0.0.1:") {
            try_echo(port_of(line)).expect("an echo");
        }
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with(&format!("127.0.0.1:{fixed} ")))
    );
    let second = lines
        .iter()
        .find(|line| line.starts_with("127.0.0.2:"))
        .expect("the second address");
    let mut bytes = [0; 4];
    let mut other = TcpStream::connect(("127.0.0.2", port_of(second))).expect("to connect");
    other.write_all(b"ping").expect("to write");
    other.read_exact(&mut bytes).expect("an echo");
    let mut unix = UnixStream::connect(&socket).expect("to connect");
    unix.write_all(b"ping").expect("to write");
    unix.read_exact(&mut bytes).expect("an echo");
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
    assert!(!std::path::Path::new(&socket).exists());
    for request in start_requests(&sandbox) {
        assert_eq!(request["DocumentName"], "AWS-StartPortForwardingSession");
    }
}

#[test]
fn a_host_is_reached_by_its_name_and_over_ipv6() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return;
    };
    let remote = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"six");
        }
    });
    let sandbox = fast_sandbox();
    let plugin = forward(
        &sandbox,
        &[
            format!("[::1]:0:[0:0:0:0:0:0:0:1]:{remote}"),
            format!("0:ip6-localhost:{remote}"),
        ],
    )
    .spawn();
    let lines = ready(&plugin, 2);
    let v6 = lines
        .iter()
        .find(|line| line.starts_with("[::1]:"))
        .expect("the one on IPv6");
    let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port_of(v6))).expect("to connect");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("to read");
    assert_eq!(text, "six");
    let requests = start_requests(&sandbox);
    let named = requests
        .iter()
        .find(|request| request["Parameters"]["host"] == serde_json::json!(["ip6-localhost"]));
    let named = named.expect("the one with a name");
    assert_eq!(
        named["DocumentName"],
        "AWS-StartPortForwardingSessionToRemoteHost"
    );
}

#[test]
fn host_is_for_every_forward_that_names_none() {
    let server = Server::echo();
    let sandbox = fast_sandbox();
    // Resolved by the agent: a name of the loopback.
    let plugin = forward(
        &sandbox,
        &["--host", "127.0.0.1", &format!("0:{}", server.port())],
    )
    .spawn();
    try_echo(only_port(&plugin)).expect("an echo");
}

#[test]
fn nothing_to_forward_is_wrong_usage() {
    let sandbox = fast_sandbox();
    for arguments in [
        &[][..],
        &["x"],
        &["80", "--sessions", "17"],
        &["80:0"],
        &["1:2:3:4:5"],
    ] {
        let finished = forward(&sandbox, arguments).run(b"");
        assert_eq!(finished.code(), 2, "{arguments:?}: {finished:?}");
    }
}
