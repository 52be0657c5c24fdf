//! Few descriptors, and many who come and go while there is no session for them.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use sandbox::Failure;

use crate::port_support::{Server, connect, reset};
use crate::support::{Running, exit_code, wait_until};
use crate::{echo_on, fast_sandbox, forward, only_port, try_echo, wait_for_end};

/// Those who come and go.
const VISITORS: usize = 3_000;
/// What may be open besides them: the program's own descriptors, and visitors who are only half closed.
const DESCRIPTORS: usize = 200;

/// Visitors who leave in this way come while a session cannot be had: their descriptors go with them, and one who stays goes on waiting.
fn come_and_go(leave: impl Fn(TcpStream)) {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &["--on-demand", &format!("0:{}", server.port())])
        .before("ulimit -n 4096")
        .spawn();
    let port = only_port(&plugin);
    // StartSession is called, and not answered for as long as they come.
    sandbox.fail_next("StartSession", 20, Failure::Hang);
    let mut waiting = connect(port);
    for _ in 0..VISITORS {
        leave(connect(port));
    }
    wait_until("the descriptors of those who left to be closed", || {
        plugin.usage().descriptors < DESCRIPTORS
    });
    assert!(sandbox.sessions().is_empty());
    waiting.set_nonblocking(true).expect("to set it");
    let nothing = waiting.read(&mut [0; 1]).expect_err("nothing to read");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    end_soon(&plugin);
    assert!(sandbox.sessions().is_empty());
}

/// Ctrl-C does not wait for calls that are not answered.
fn end_soon(plugin: &Running) {
    plugin.signal(Signal::INT);
    let status = plugin.wait_within(Duration::from_secs(10));
    assert_eq!(exit_code(status.expect("its end")), 0);
}

#[test]
fn p75_visitors_that_reset_while_there_is_no_session_are_gone_at_once() {
    come_and_go(reset);
}

#[test]
fn p75_visitors_that_leave_while_there_is_no_session_are_gone_too() {
    come_and_go(drop);
}

#[test]
fn with_few_descriptors_connections_wait_and_the_next_session_can_still_be_had() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())])
        .before("ulimit -n 48")
        .spawn();
    let port = only_port(&plugin);
    for _ in 0..3 {
        let mut first = try_echo(port).expect("an echo");
        let streams: Vec<TcpStream> = (0..60).map(|_| connect(port)).collect();
        plugin.stderr.wait_for("cannot accept local connections");
        echo_on(&mut first).expect("an echo");
        let sessions = sandbox.sessions();
        sessions.iter().for_each(|session| session.terminate(""));
        wait_for_end(&mut first);
        // Reset, as the program keeps what is only closed for a while.
        streams.into_iter().for_each(reset);
        wait_until("an echo", || {
            let mut stream = connect(port);
            echo_on(&mut stream).is_ok()
        });
    }
    end_soon(&plugin);
}
