//! Connections without a local port, and forwards.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use sandbox::faults::Ending;
use session_manager_plugin::{self as library, ClientError, ForwardEvent};

use super::{LONG, client, echo, node, ping, sandbox, serve, wait_for_no_session, wait_until};

/// Bytes in which no piece is like another.
fn noise(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| random.u8(..)).collect()
}

#[test]
fn a_stream_carries_bytes_both_ways_at_once_and_through_a_break() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let stream = client.connect(&node(&client), "localhost", echo()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let sent = noise(4 << 20);
    let mut reader = stream.try_clone().unwrap();
    let received = thread::spawn({
        let length = sent.len();
        move || {
            let mut received = vec![0; length];
            reader.read_exact(&mut received).map(|()| received)
        }
    });
    let half = sent.len() / 2;
    (&stream).write_all(&sent[..half]).unwrap();
    let session = sandbox.sessions().pop().expect("a session");
    assert!(session.end_connection(Ending::bye()));
    (&stream).write_all(&sent[half..]).unwrap();
    assert!(received.join().unwrap().unwrap() == sent);
    assert!(session.connections() > 1, "it was broken");
    drop(stream);
    wait_for_no_session(&sandbox);
}

#[test]
fn ends_are_told_apart() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);

    // The destination's own end: an end, also the second time.
    let port = serve(|mut stream| drop(stream.write_all(b"bye")));
    let mut stream = client.connect(&target, "localhost", port).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye");
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    drop(stream);

    // Nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let mut stream = client.connect(&target, "localhost", port).unwrap();
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ClientError>());
    assert_eq!(inner.unwrap().kind(), library::ErrorKind::ConnectionRefused);
    drop(stream);

    // The session ends under a connection: no end that looks like a good one.
    wait_for_no_session(&sandbox);
    let mut stream = client.connect(&target, "localhost", echo()).unwrap();
    ping(&mut stream).unwrap();
    sandbox.sessions().pop().unwrap().terminate("");
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
    // Everybody else is told the same.
    let mut clone = stream.try_clone().unwrap();
    assert_eq!(
        clone.read(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::ConnectionAborted
    );
    let write = || {
        stream
            .try_clone()
            .and_then(|mut clone| clone.write_all(b"x"))
    };
    assert!(write().is_err());
}

#[test]
fn who_only_writes_is_told_of_the_end_as_well() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let (sender, held) = std::sync::mpsc::channel();
    // It reads nothing.
    let port = serve(move |stream| drop(sender.send(stream)));
    let mut stream = client.connect(&node(&client), "localhost", port).unwrap();
    let short = Some(Duration::from_millis(200));
    stream.set_write_timeout(short).unwrap();
    // Until all on the way is full, this stream as well.
    let error = loop {
        if let Err(error) = stream.write(&[0; 65536]) {
            break error;
        }
    };
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
    sandbox.sessions().pop().unwrap().terminate("");
    let error = loop {
        match stream.write(&[0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => break error,
            Ok(_) => {}
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
    drop(held);
}

#[test]
fn a_stream_waits_as_long_as_it_is_told_and_its_last_bytes_arrive() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let (sender, received) = std::sync::mpsc::channel();
    let port = serve(move |mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let _ = sender.send(all);
    });
    let mut stream = client.connect(&target, "localhost", port).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
    let sent = noise(1 << 20);
    stream.write_all(&sent).unwrap();
    drop(stream);
    assert!(received.recv_timeout(LONG).unwrap() == sent);
    wait_for_no_session(&sandbox);
}

#[test]
fn a_forward_outlives_its_sessions_and_tells_of_them() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let forward = client
        .forward(&target)
        .local("127.0.0.1:0")
        .remote("localhost", echo())
        .start()
        .unwrap();
    let events = forward.events();
    let next = |what: &str, pleases: &dyn Fn(&ForwardEvent) -> bool| {
        let mut seen = Vec::new();
        loop {
            match events.next_within(LONG) {
                Some(event) if pleases(&event) => return event,
                Some(event) => seen.push(event),
                None => panic!("no {what}, but {seen:?}"),
            }
        }
    };
    let connect = || -> io::Result<TcpStream> {
        let mut connection = TcpStream::connect(forward.local_addr())?;
        connection.set_read_timeout(Some(LONG))?;
        ping(&mut connection)?;
        Ok(connection)
    };
    next("start", &|event| {
        matches!(event, ForwardEvent::SessionStarted { .. })
    });
    let first = connect().unwrap();
    next("connection", &|event| {
        matches!(event, ForwardEvent::Opened { .. })
    });
    sandbox.sessions().pop().unwrap().terminate("");
    next("end", &|event| {
        matches!(event, ForwardEvent::SessionEnded { .. })
    });
    drop(first);
    let second = connect().unwrap();
    next("second start", &|event| {
        matches!(event, ForwardEvent::SessionStarted { .. })
    });
    second.shutdown(Shutdown::Both).unwrap();

    // Its port is taken as long as it is there.
    let again = client
        .forward(&target)
        .local(forward.local_addr())
        .remote("localhost", 1)
        .start()
        .unwrap_err();
    assert_eq!(again.kind(), library::ErrorKind::Local, "{again}");
    let address = forward.local_addr().clone();
    forward.stop().unwrap();
    wait_for_no_session(&sandbox);
    assert!(TcpStream::connect(address).is_err());
    assert!(matches!(
        events.into_iter().last(),
        None | Some(ForwardEvent::Closed { .. })
    ));
}

#[test]
fn a_forward_on_demand_makes_no_call_before_it_is_needed() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let forward = client
        .forward(&node(&client))
        .remote("localhost", echo())
        .on_demand()
        .start()
        .unwrap();
    assert!(sandbox.sessions().is_empty());
    let mut connection = TcpStream::connect(forward.local_addr()).unwrap();
    ping(&mut connection).unwrap();
    assert_eq!(sandbox.sessions().len(), 1);
    drop(forward);
    wait_for_no_session(&sandbox);
    wait_until("the port to be closed", || ping(&mut connection).is_err());
}
