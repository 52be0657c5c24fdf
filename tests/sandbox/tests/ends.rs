//! Dropping a sandbox ends its threads and processes, whatever they are busy with.

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::Client;
use sandbox::faults::Ending;
use sandbox::{
    AgentConfig, Config, Document, Failure, ProxyBehaviour, ProxyConfig, ProxyKind, Sandbox,
    SessionConfig, Upgrade,
};
use session_manager_plugin::internals::message::PayloadType;
use session_manager_plugin::internals::smux::frame::{push, syn};
use tungstenite::Message;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Names of this process's threads that are the sandbox's.
fn threads() -> Vec<String> {
    let mut names = Vec::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return names;
    };
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if ["agent", "gateway", "api", "proxy"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            names.push(name.trim().to_owned());
        }
    }
    names
}

fn unpaced(document: Document) -> SessionConfig {
    SessionConfig {
        document,
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    }
}

// One test: it counts the process's threads.
#[test]
fn everything_ends_with_the_sandbox() {
    let sandbox = Sandbox::start(Config {
        tls: false,
        ..Config::default()
    })
    .unwrap();
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();

    // An agent whose reader is stuck in writing to a pty.
    let started = sandbox.start_session(Document::Interactive {
        command: "stty raw -echo; echo ready; sleep 1000".into(),
    });
    let mut client = Client::connect(&sandbox, &started);
    client.until("ready");
    for _ in 0..200 {
        client.type_in(&"x".repeat(1024));
    }
    kept.push(Box::new(client));

    // An agent whose writer is stuck, because the client does not read.
    let started = sandbox.start_session(unpaced(Document::Interactive {
        command: "yes".into(),
    }));
    kept.push(Box::new(Client::connect(&sandbox, &started)));

    // An agent that waits for a command that does not care for signals.
    let started = sandbox.start_session(Document::command(
        "sh -c 'trap \"\" INT; while :; do sleep 1; done'",
    ));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.type_in("\u{3}");
    kept.push(Box::new(client));

    // A multiplexer whose streams nobody reads.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = sandbox.start_session(unpaced(Document::port(port)));
    let mut client = Client::connect(&sandbox, &started);
    client.shake_hands();
    client.send(PayloadType::Output, &syn(3));
    let mut data = push(3, 32768).to_vec();
    data.resize(8 + 32768, 0);
    client
        .websocket
        .get_ref()
        .set_write_timeout(Duration::from_millis(200));
    for number in 0..600 {
        let frame = client.frame(PayloadType::Output, &data);
        if client
            .websocket
            .send(Message::Binary(frame.into()))
            .is_err()
        {
            assert!(number > 100, "4 MiB are taken");
            break;
        }
    }
    kept.push(Box::new((client, listener)));

    // Connections that do not finish what they began, and those that are silent for ever.
    let gateway = sandbox.gateway_host();
    let mut half = TcpStream::connect(&gateway).unwrap();
    half.write_all(b"GET /v1").unwrap();
    kept.push(Box::new(half));
    let api = sandbox.api_url().replace("http://", "");
    sandbox.fail_next("StartSession", 1, Failure::Hang);
    let mut hung = TcpStream::connect(&api).unwrap();
    hung.write_all(
        b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSSM.StartSession\r\nContent-Length: 0\r\n\r\n",
    )
    .unwrap();
    kept.push(Box::new(hung));
    let started = sandbox.start_session(Document::Shell);
    started.session.set_upgrades([Upgrade::Hang]);
    let mut hung = TcpStream::connect(&gateway).unwrap();
    let path = started.stream_url.split_once(&gateway).unwrap().1;
    hung.write_all(format!("GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
                            13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").as_bytes())
        .unwrap();
    kept.push(Box::new(hung));
    let started = sandbox.start_session(Document::Shell);
    let client = Client::connect(&sandbox, &started);
    assert!(started.session.wait_for_connection(1, TIMEOUT));
    started.session.end_connection(Ending::Silence);
    kept.push(Box::new(client));
    let proxy = sandbox
        .start_proxy(ProxyConfig {
            behaviour: ProxyBehaviour::Hang,
            ..ProxyConfig::new(ProxyKind::Connect)
        })
        .unwrap();
    let mut hung = TcpStream::connect(proxy).unwrap();
    hung.write_all(b"CONNECT a:1 HTTP/1.1\r\n\r\n").unwrap();
    kept.push(Box::new(hung));
    std::thread::sleep(Duration::from_millis(500));
    assert!(threads().len() > 10);

    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(sandbox);
        let _ = done.send(());
    });
    assert!(
        ended.recv_timeout(TIMEOUT).is_ok(),
        "still there: {:?}",
        threads()
    );
    assert_eq!(threads(), Vec::<String>::new());
}
