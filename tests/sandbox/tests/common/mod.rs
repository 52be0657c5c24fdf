//! A client as small as it can be: sends, acknowledges, resends everything each 100 ms of silence.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sandbox::{Sandbox, Started};
use session_manager_plugin::internals::message::content::{
    Acknowledge, ActionStatus, HandshakeRequest, HandshakeResponse, OpenDataChannel,
    ProcessedClientAction, RequestedClientAction, to_json,
};
use session_manager_plugin::internals::message::{
    Message as Wire, MessageType, PayloadType, number,
};
use tungstenite::{Message, WebSocket};
use uuid::Uuid;

pub enum Socket {
    Plain(TcpStream),
    Tls(native_tls::TlsStream<TcpStream>),
}

impl Socket {
    pub fn set_write_timeout(&self, timeout: Duration) {
        self.tcp().set_write_timeout(Some(timeout)).unwrap();
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What the client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub payload_type: u32,
    pub payload: Vec<u8>,
}

pub struct Client {
    pub websocket: WebSocket<Socket>,
    next: i64,
    expected: i64,
    early: std::collections::BTreeMap<i64, Got>,
    pub closed: Option<String>,
    unacknowledged: std::collections::BTreeMap<i64, Vec<u8>>,
}

pub fn dial(sandbox: &Sandbox, url: &str) -> Result<WebSocket<Socket>, String> {
    let uri: tungstenite::http::Uri = url.parse().unwrap();
    let tcp = TcpStream::connect((uri.host().unwrap(), uri.port_u16().unwrap()))
        .map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).unwrap();
    let socket = if uri.scheme_str() == Some("wss") {
        let ca = std::fs::read(sandbox.ca_file()).unwrap();
        let connector = native_tls::TlsConnector::builder()
            .add_root_certificate(native_tls::Certificate::from_pem(&ca).unwrap())
            .build()
            .unwrap();
        Socket::Tls(
            connector
                .connect(uri.host().unwrap(), tcp)
                .map_err(|error| error.to_string())?,
        )
    } else {
        Socket::Plain(tcp)
    };
    match tungstenite::client(url, socket) {
        Ok((websocket, _)) => Ok(websocket),
        Err(error) => Err(error.to_string()),
    }
}

impl Client {
    pub fn connect(sandbox: &Sandbox, started: &Started) -> Self {
        let mut client = Self {
            websocket: dial(sandbox, &started.stream_url).unwrap(),
            next: 0,
            expected: 0,
            early: Default::default(),
            closed: None,
            unacknowledged: Default::default(),
        };
        client.open(&started.token_value);
        client
    }

    pub fn reconnect(&mut self, sandbox: &Sandbox, started: &Started) {
        self.websocket = dial(sandbox, &started.stream_url).unwrap();
        let token = started.session.new_token(None);
        self.open(&token);
    }

    pub fn open(&mut self, token: &str) {
        let open = OpenDataChannel::client(token, Uuid::new_v4(), "1.2.896.0");
        let text = String::from_utf8(to_json(&open)).unwrap();
        self.websocket.send(Message::Text(text.into())).unwrap();
    }

    /// The next frame of the stream.
    pub fn frame(&mut self, payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
        let mut frame = Wire::stream(MessageType::InputStreamData, payload_type, payload).encode();
        number(&mut frame, self.next);
        self.unacknowledged.insert(self.next, frame.clone());
        self.next += 1;
        frame
    }

    pub fn send(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let frame = self.frame(payload_type, payload);
        self.websocket.send(Message::Binary(frame.into())).unwrap();
    }

    pub fn type_in(&mut self, text: &str) {
        self.send(PayloadType::Output, text.as_bytes());
    }

    /// The next message in order; nothing at the end of the session or after the timeout.
    pub fn receive(&mut self, timeout: Duration) -> Option<Got> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(got) = self.early.remove(&self.expected) {
                self.expected += 1;
                return Some(got);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.closed.is_some() {
                return None;
            }
            self.websocket
                .get_ref()
                .tcp()
                .set_read_timeout(Some(left.min(Duration::from_millis(100))))
                .unwrap();
            match self.websocket.read() {
                Ok(Message::Binary(frame)) => self.take(&frame),
                Ok(Message::Close(frame)) => {
                    self.closed = Some(format!("{frame:?}"));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    for frame in self.unacknowledged.values() {
                        let _ = self.websocket.send(Message::Binary(frame.clone().into()));
                    }
                }
                Err(error) => self.closed = Some(error.to_string()),
            }
        }
    }

    fn take(&mut self, frame: &[u8]) {
        let Ok(message) = Wire::decode(frame) else {
            return;
        };
        match message.message_type {
            MessageType::OutputStreamData => {
                let content = to_json(&Acknowledge {
                    acknowledged_message_type: message.message_type.name().into(),
                    acknowledged_message_id: message.message_id,
                    acknowledged_message_sequence_number: message.sequence_number,
                    is_sequential_message: true,
                });
                let answer = Wire::control(MessageType::Acknowledge, &content).encode();
                let _ = self.websocket.send(Message::Binary(answer.into()));
                if message.sequence_number >= self.expected {
                    self.early.insert(
                        message.sequence_number,
                        Got {
                            payload_type: message.payload_type,
                            payload: message.payload.to_vec(),
                        },
                    );
                }
            }
            MessageType::Acknowledge => {
                let content: Acknowledge = serde_json::from_slice(message.payload).unwrap();
                self.unacknowledged
                    .remove(&content.acknowledged_message_sequence_number);
            }
            MessageType::ChannelClosed => {
                let content: serde_json::Value = serde_json::from_slice(message.payload).unwrap();
                self.closed = Some(content["Output"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }

    /// Answers the handshake with success; hands back the request.
    pub fn shake_hands(&mut self) -> HandshakeRequest {
        let got = self.receive(Duration::from_secs(5)).expect("a request");
        assert_eq!(got.payload_type, u32::from(PayloadType::HandshakeRequest));
        let request: HandshakeRequest = serde_json::from_slice(&got.payload).unwrap();
        let actions = request.requested_client_actions.iter().map(|action| {
            let name = match action {
                RequestedClientAction::SessionType(_) => "SessionType",
                RequestedClientAction::KmsEncryption(_) => "KMSEncryption",
                RequestedClientAction::Unknown { action_type, .. } => action_type,
            };
            ProcessedClientAction {
                action_type: name.into(),
                action_status: ActionStatus::Success,
                action_result: None,
                error: String::new(),
            }
        });
        let response = HandshakeResponse {
            client_version: "1.2.896.0".into(),
            processed_client_actions: actions.collect(),
            errors: None,
        };
        self.send(PayloadType::HandshakeResponse, &to_json(&response));
        let complete = self.receive(Duration::from_secs(5)).expect("complete");
        assert_eq!(
            complete.payload_type,
            u32::from(PayloadType::HandshakeComplete)
        );
        request
    }

    /// All output of one payload type until the session ends.
    pub fn output(&mut self, payload_type: PayloadType) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(got) = self.receive(Duration::from_secs(20)) {
            if got.payload_type == u32::from(payload_type) {
                all.extend_from_slice(&got.payload);
            }
        }
        all
    }

    /// Output until it ends with the text.
    pub fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let got = self
                .receive(Duration::from_secs(10))
                .unwrap_or_else(|| panic!("{text:?} did not come, but {all:?}; {:?}", self.closed));
            all.push_str(&String::from_utf8_lossy(&got.payload));
        }
        all
    }
}
