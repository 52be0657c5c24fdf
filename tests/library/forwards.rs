//! Forwards of several local addresses, sockets in the file system, SOCKS5, and what they tell.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use library::{ErrorKind, ForwardEvent, LocalAddress};
use sandbox::Target;
use session_manager_plugin as library;

use crate::{LONG, client, echo, node, ping, sandbox, sandbox_of, wait_for_no_session, wait_until};

#[test]
fn several_addresses_are_one_forward() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let forward = client
        .forward(&node(&client))
        .remote("localhost", echo())
        .and()
        .local_socket(&path)
        .remote("localhost", echo())
        .and()
        .local_port(0)
        .socks()
        .start()
        .unwrap();
    let [first, second, third] = forward.locals() else {
        panic!("{:?}", forward.locals());
    };
    assert_eq!(first, forward.local_addr());
    assert_eq!(second, &LocalAddress::Unix(path.clone()));
    assert_eq!(second.to_string(), path.display().to_string());
    assert_eq!(second.port(), None);
    assert_eq!(
        second.to_socket_addrs().unwrap_err().kind(),
        std::io::ErrorKind::InvalidInput
    );
    assert_eq!(
        third.to_string(),
        format!("127.0.0.1:{}", third.port().unwrap())
    );

    let mut by_port = TcpStream::connect(first).unwrap();
    ping(&mut by_port).unwrap();
    let mut by_path = UnixStream::connect(&path).unwrap();
    ping(&mut by_path).unwrap();
    let now = forward.statistics();
    assert_eq!((now.sessions, now.connections), (2, 2));
    wait_until("the bytes to be counted", || {
        let now = forward.statistics();
        (now.sent, now.received) == (8, 8)
    });

    let ready = forward
        .events()
        .take_while(|event| !matches!(event, ForwardEvent::Opened { .. }));
    let mut ready: Vec<_> = ready
        .filter_map(|event| match event {
            ForwardEvent::Ready { forward, .. } => Some(forward),
            _ => None,
        })
        .collect();
    ready.sort_unstable();
    assert_eq!(ready, [0, 1, 2]);

    forward.close();
    let last = forward.events().last();
    assert_eq!(last, Some(ForwardEvent::Ended(Ok(()))));
    assert!(ping(&mut by_path).is_err());
    assert!(!fs::exists(&path).unwrap());
    wait_for_no_session(&sandbox);
}

#[test]
fn a_proxy_takes_each_connection_where_it_wants_to_go() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let forward = client.forward(&node(&client)).socks().start().unwrap();
    assert!(sandbox.sessions().is_empty());
    for port in [echo(), echo()] {
        let mut connection = TcpStream::connect(forward.local_addr()).unwrap();
        connection.set_read_timeout(Some(LONG)).unwrap();
        // No password; then CONNECT to a name.
        connection.write_all(&[5, 1, 0]).unwrap();
        let mut hello = [0; 2];
        connection.read_exact(&mut hello).unwrap();
        assert_eq!(hello, [5, 0]);
        let mut request = vec![5, 1, 0, 3, 9];
        request.extend_from_slice(b"localhost");
        request.extend_from_slice(&port.to_be_bytes());
        connection.write_all(&request).unwrap();
        let mut answer = [0; 10];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..2], [5, 0]);
        ping(&mut connection).unwrap();
    }
    assert_eq!(sandbox.sessions().len(), 2);
    forward.stop().unwrap();
    wait_for_no_session(&sandbox);
}

#[test]
fn a_forward_by_name_finds_another_node_when_the_first_is_gone() {
    let sandbox = sandbox_of(vec![Target::new(1, "web")]);
    let client = client(&sandbox);
    let forward = client
        .forward_by_name("web")
        .unwrap()
        .remote("localhost", echo())
        .start()
        .unwrap();
    let started = |what: &str| {
        let events = forward.events();
        loop {
            match events.next_within(LONG) {
                Some(ForwardEvent::SessionStarted { target, .. }) => return target,
                Some(_) => {}
                None => panic!("no {what}"),
            }
        }
    };
    assert_eq!(started("first session"), "i-00000000000000001");
    sandbox.change_target("i-00000000000000001", |node| node.tags.clear());
    sandbox.add_target(Target::new(2, "web"));
    sandbox.sessions().pop().unwrap().terminate("");
    wait_until("a connection through the other node", || {
        let connected = TcpStream::connect(forward.local_addr());
        connected.is_ok_and(|mut connection| ping(&mut connection).is_ok())
    });
    assert_eq!(started("second session"), "i-00000000000000002");

    let error = client.forward_by_name("tag:Name=").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn what_is_open_may_not_be_ready_and_one_session_can_be_all() {
    let sandbox = sandbox_of(vec![Target::new(1, "web")]);
    let client = client(&sandbox);
    let forward = client
        .forward_by_name("db")
        .unwrap()
        .remote("localhost", 1)
        .open()
        .unwrap();
    let Some(ForwardEvent::Ended(Err(error))) = forward.events().last() else {
        panic!("it did not end");
    };
    assert_eq!(error.kind(), ErrorKind::TargetNotFound, "{error}");

    // It comes before the wait is over.
    let forward = client
        .forward_by_name("db")
        .unwrap()
        .remote("localhost", echo())
        .wait(LONG)
        .once()
        .open()
        .unwrap();
    let is_waiting = |event: &ForwardEvent| matches!(event, ForwardEvent::Warning(_));
    assert!(forward.events().any(|event| is_waiting(&event)));
    sandbox.add_target(Target::new(2, "db"));
    let is_ready = |event: &ForwardEvent| matches!(event, ForwardEvent::Ready { .. });
    assert!(forward.events().any(|event| is_ready(&event)));
    sandbox.sessions().pop().unwrap().terminate("");
    let last = forward.events().last();
    assert!(matches!(last, Some(ForwardEvent::Ended(_))), "{last:?}");
}

#[test]
fn what_cannot_be_an_address_is_said() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let node = node(&client);
    let builder = || client.forward(&node).remote("localhost", 1);
    for (builder, kind) in [
        (builder().local("127.0.0.1"), ErrorKind::InvalidInput),
        (builder().local("::1:80"), ErrorKind::InvalidInput),
        (builder().and(), ErrorKind::InvalidInput),
        (builder().local("no.such.host.invalid:0"), ErrorKind::Local),
        (
            builder().local_socket("/no/such/folder/s"),
            ErrorKind::Local,
        ),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.start().unwrap_err();
        assert_eq!(error.kind(), kind, "{error} of {shown}");
    }
    assert!(sandbox.sessions().is_empty());
    // A deadline is one of all of it.
    let hasty = client.with_timeout(Duration::ZERO);
    let error = hasty.forward(&node).remote("localhost", 1).start();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
}
