//! Sessions that somebody else started, and shells.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use sandbox::faults::Ending;
use sandbox::{Document, Sender, Started};
use session_manager_plugin::{
    Client, ErrorKind, Session, SessionEnd, SessionEvent, SessionKind, StartSessionResponse,
};

use super::{LONG, client, echo, ping, sandbox, wait_for_no_session};

fn attach(client: &Client, started: &Started) -> Session {
    let response = StartSessionResponse::from_json(&started.response().to_string()).unwrap();
    let session = client.attach_session(response).unwrap();
    assert_eq!(session.id(), started.session.id());
    session
}

#[test]
fn ports_of_every_kind_are_streams() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let port = echo();
    let mux = Document::Port {
        port,
        local_port: 0,
        host: None,
    };
    for document in [mux, Document::Ssh { port }] {
        let started = sandbox.start_session(document);
        let mut session = attach(&client, &started);
        assert_eq!(session.kind(), SessionKind::Port);
        ping(&mut session).unwrap();
        let mut stream = session.stream().unwrap();
        ping(&mut stream).unwrap();
        drop(stream);
        ping(&mut session).unwrap();
        drop(session);
        wait_for_no_session(&sandbox);
    }
}

#[test]
fn a_shell_is_typed_to_resized_and_ended() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let started = sandbox.start_session(Document::Shell);
    let mut shell = attach(&client, &started);
    assert_eq!(shell.kind(), SessionKind::Shell);
    shell.resize(91, 33);
    let is_told = started.session.wait_for_frames(LONG, |frames| {
        let is_size =
            |frame: &sandbox::Frame| frame.sender == Sender::Client && frame.payload_type == 3;
        frames.iter().any(is_size)
    });
    assert!(is_told);
    shell
        .write_all(b"stty size; echo the-$((1+1))nd\n")
        .unwrap();
    let stream = shell.stream().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut lines = BufReader::new(stream).lines();
    // The prompt may come late, before what a command says.
    let mut said = lines.by_ref().map(|line| line.unwrap().trim().to_owned());
    assert!(said.any(|line| line.ends_with("33 91")));
    assert!(said.any(|line| line.ends_with("the-2nd")));

    started.session.end_connection(Ending::bye());
    shell.write_all(b"echo still-$((1+1))here\n").unwrap();
    assert!(said.any(|line| line.ends_with("still-2here")));

    shell.write_all(b"exit 4\n").unwrap();
    assert!(said.all(|_| true));
    let end = shell.wait(LONG).unwrap();
    assert!(matches!(end, SessionEnd::Closed { .. }), "{end:?}");
    let mut events = std::iter::from_fn(|| shell.event(LONG));
    assert!(events.any(|event| matches!(event, SessionEvent::Ended(_))));
    assert_eq!(shell.event(LONG), None);
}

#[test]
fn a_session_ends_as_it_is_asked_to_and_tells_how() {
    let sandbox = sandbox();
    let client = client(&sandbox);

    let started = sandbox.start_session(Document::Shell);
    attach(&client, &started).end(LONG).unwrap();
    wait_for_no_session(&sandbox);

    let started = sandbox.start_session(Document::Shell);
    let mut session = attach(&client, &started);
    started.session.terminate("the account says so");
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).unwrap();
    match session.wait(LONG) {
        Some(SessionEnd::Closed { message, .. }) => assert_eq!(message, "the account says so"),
        end => panic!("{end:?}"),
    }

    let started = sandbox.start_session(Document::Shell);
    let session = attach(&client, &started);
    assert_eq!(session.wait(Duration::from_millis(20)), None);
    drop(session);
    wait_for_no_session(&sandbox);

    let started = sandbox.start_session(Document::command("sh -c 'echo out; echo err >&2'"));
    let mut session = attach(&client, &started);
    let mut text = String::new();
    session.read_to_string(&mut text).unwrap();
    assert!(text.contains("out\n") && text.contains("err\n"), "{text:?}");
}

#[test]
fn a_port_that_nobody_listens_on_is_told_as_such() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let started = sandbox.start_session(Document::Ssh { port });
    let mut session = attach(&client, &started);
    let error = session.read(&mut [0; 8]).unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ConnectionRefused,
        "{error}"
    );
}

#[test]
fn a_response_that_leads_elsewhere_is_refused_without_its_token() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let response =
        StartSessionResponse::new("s", "wss://gateway.example/v1/data-channel/s", "hush");
    let error = client.attach_session(response).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"));
    for json in ["", "{}", "[]", r#"{"SessionId":"s","TokenValue":"hush"}"#] {
        let error = StartSessionResponse::from_json(json).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
}
