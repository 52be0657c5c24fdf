//! The data channel alone, against the sandbox: no terminal, no arguments.

use std::time::{Duration, Instant};

use sandbox::{AgentConfig, Config, Document, Sandbox, SessionConfig};
use session_manager_plugin::internals::communicator::{Dialer, StreamUrl};
use session_manager_plugin::internals::datachannel::{
    self, DataChannel, Delivery, End, Reconnector, Urgency,
};
use session_manager_plugin::internals::network::Network;
use session_manager_plugin::internals::remarks::Remarks;
use session_manager_plugin::internals::settings::{Environment, HostPort, Settings};

fn open(sandbox: &Sandbox, started: &sandbox::Started) -> DataChannel {
    DataChannel::open(config(sandbox, started), crossbeam_channel::unbounded().0).expect("a thread")
}

fn config(sandbox: &Sandbox, started: &sandbox::Started) -> datachannel::Config {
    let ca = sandbox.ca_file().display().to_string();
    let environment = Environment::from([("AWS_CA_BUNDLE", ca.as_str())]);
    let settings = Settings {
        allow_stream_host: vec![
            HostPort::parse(&sandbox.gateway_host()).expect("the sandbox's host"),
        ],
        ..Settings::default()
    };
    let response = started.response();
    let text = |key: &str| response[key].as_str().expect("a text").to_owned();
    datachannel::Config {
        reconnector: Reconnector {
            stream_url: StreamUrl::parse(&text("StreamUrl"), &settings)
                .expect("the sandbox's URL is allowed"),
            token: text("TokenValue").into(),
            dialer: Dialer {
                network: Network::new(&environment, None).expect("the sandbox's roots"),
                remarks: Remarks::default(),
            },
            sign: None,
            resume: Err("this is a test"),
        },
        payload_size: 1024,
        make_key: None,
        require_encryption: false,
    }
}

#[test]
fn p107_a_look_for_credentials_has_time_of_its_own_before_the_connection() {
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    let started = sandbox.start_session(SessionConfig::default());
    let (told, left) = crossbeam_channel::unbounded();
    let mut config = config(&sandbox, &started);
    // A credential_process may take 60 s, and all tries of the connection 30.
    config.reconnector.sign = Some(Box::new(move |_, _, limit| {
        let _ = told.send(limit.remaining());
        Ok(None)
    }));
    let channel = DataChannel::open(config, crossbeam_channel::unbounded().0).expect("a thread");
    let left = left.recv_timeout(Duration::from_secs(20)).expect("a call");
    assert!(left.expect("time") > Duration::from_secs(70), "{left:?}");
    assert!(matches!(receive(&channel), Delivery::Started(_)));
}

fn receive(channel: &DataChannel) -> Delivery {
    channel
        .receive(Some(Instant::now() + Duration::from_secs(20)))
        .expect("nothing came for 20 s")
}

#[test]
fn a_command_without_handshake_runs_and_ends() {
    let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
    let started = sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            command: "read line; echo \"<$line>\"; seq 1 50000".into(),
        },
        agent: AgentConfig {
            paced: false,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    let channel = open(&sandbox, &started);
    let Delivery::Started(_) = receive(&channel) else {
        panic!("no start")
    };
    assert_eq!(channel.send(b"hello\n", Urgency::Interactive), Ok(6));
    let mut output = Vec::new();
    let end = loop {
        match receive(&channel) {
            Delivery::Payload(_, payload) => output.extend_from_slice(&payload),
            Delivery::Ended(end) => break end,
            Delivery::Started(_) => panic!("started twice"),
        }
    };
    let output = String::from_utf8(output).expect("text");
    assert!(
        output.contains("<hello>\r\n1\r\n2\r\n") && output.ends_with("\r\n50000\r\n"),
        "{output}"
    );
    assert_eq!(
        end,
        End::Closed {
            output: String::new()
        }
    );
    assert!(channel.join(Instant::now() + Duration::from_secs(5)));
}
