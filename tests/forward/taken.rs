//! Ports that are taken.

use std::net::TcpListener;

use crate::{fast_sandbox, forward, starts};

#[test]
fn a_taken_port_is_named_with_its_owner_before_anything_is_started() {
    let sandbox = fast_sandbox();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let finished = forward(&sandbox, &["0:80", &format!("{port}:81")]).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(finished.stdout, "");
    let owner = format!("(pid {})", std::process::id());
    assert!(finished.stderr.contains(&port.to_string()), "{finished:?}");
    assert!(finished.stderr.contains(&owner), "{finished:?}");
    assert_eq!(starts(&sandbox), 0);
}

#[test]
fn a_socket_that_is_in_use_and_a_file_that_is_none_are_named() {
    let sandbox = fast_sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("used.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let file = directory.path().join("file");
    std::fs::write(&file, "data").expect("to write");
    for path in [&socket, &file] {
        let path = path.display().to_string();
        let finished = forward(&sandbox, &[format!("{path}:db:80")]).run(b"");
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(finished.stderr.contains(&path), "{finished:?}");
    }
    assert_eq!(std::fs::read(&file).expect("to read"), b"data");
    assert_eq!(starts(&sandbox), 0);
}

#[test]
fn the_same_ports_can_be_had_again_at_once() {
    let sandbox = fast_sandbox();
    let server = crate::port_support::Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let port = crate::only_port(&plugin);
    let stream = crate::try_echo(port).expect("an echo");
    plugin.signal(rustix::process::Signal::TERM);
    assert_eq!(crate::support::exit_code(plugin.wait()), 143);
    drop(stream);
    // Its connections may be in TIME_WAIT.
    let again = forward(&sandbox, &[format!("{port}:{}", server.port())]).spawn();
    assert_eq!(crate::only_port(&again), port);
    crate::try_echo(port).expect("an echo");
}

#[test]
fn a_port_that_two_forwards_name_is_not_told_as_another_programs() {
    let sandbox = fast_sandbox();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let finished = forward(&sandbox, &[format!("{port}:80"), format!("{port}:81")]).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("another forward") && !finished.stderr.contains("pid"),
        "{finished:?}"
    );
    let finished = forward(&sandbox, &["53:53/udp"]).run(b"");
    assert_eq!(finished.code(), 2, "{finished:?}");
    assert!(finished.stderr.contains("TCP only"), "{finished:?}");
    assert_eq!(starts(&sandbox), 0);
}
