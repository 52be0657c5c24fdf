//! A websocket with a client at its other end: the gateway and the agent in one.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use session_manager_plugin::internals::message::content::{Acknowledge, to_json};
use session_manager_plugin::internals::message::{Flag, Message, MessageType, PayloadType};
use uuid::Uuid;

use super::Shared;
use super::frames::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT, frame, stream};
use crate::support::lock;

/// The newest agent that is known.
const AGENT_VERSION: &str = "3.3.0.0";

/// One connection. What it sends with is its [`Sender`], which other threads may have as well.
pub struct Peer {
    /// Which connection it is: 0 for the first.
    pub number: usize,
    reader: BufReader<TcpStream>,
    sender: Sender,
    shared: Arc<Shared>,
}

/// A message of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it is for.
    pub message_type: MessageType,
    /// Its number in the stream.
    pub number: i64,
    /// See [`PayloadType`].
    pub payload_type: u32,
    /// As it came.
    pub payload: Vec<u8>,
}

impl Received {
    /// Whether it is of the stream, and of this type.
    pub fn is(&self, payload_type: PayloadType) -> bool {
        self.message_type == MessageType::InputStreamData
            && self.payload_type == u32::from(payload_type)
    }

    /// The payload, if it is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

/// What a gateway and an agent send. Cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Mutex<Out>>);

struct Out {
    socket: TcpStream,
    /// Of the next message of the stream.
    next: i64,
}

impl Peer {
    pub(super) fn new(socket: TcpStream, number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let out = Out {
            socket: socket.try_clone()?,
            next: 0,
        };
        Ok(Self {
            number,
            reader: BufReader::new(socket),
            sender: Sender(Arc::new(Mutex::new(out))),
            shared,
        })
    }

    /// For another thread.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The next frame, whatever it is; waits for it.
    pub fn read_frame(&mut self) -> io::Result<Frame> {
        frames::read(&mut self.reader)
    }

    /// The next message of the data channel; pings on the way are answered.
    pub fn read_message(&mut self) -> io::Result<Received> {
        loop {
            let frame = self.read_frame()?;
            match frame.opcode {
                BINARY => {
                    let message = Message::decode(&frame.payload).map_err(io::Error::other)?;
                    return Ok(Received {
                        message_type: message.message_type,
                        number: message.sequence_number,
                        payload_type: message.payload_type,
                        payload: message.payload.to_vec(),
                    });
                }
                PING => self.raw(&super::frame(PONG, true, &frame.payload))?,
                CLOSE => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    /// The next message of the stream that has this type; what comes before it is acknowledged, and it is, too.
    pub fn wait_for(&mut self, payload_type: PayloadType) -> io::Result<Received> {
        loop {
            let message = self.read_message()?;
            if message.message_type == MessageType::InputStreamData {
                self.acknowledge(message.number)?;
            }
            if message.is(payload_type) {
                return Ok(message);
            }
        }
    }

    /// Acknowledges what comes and shows it, until it was enough.
    pub fn serve_until(&mut self, mut is_enough: impl FnMut(&Received) -> bool) -> io::Result<()> {
        loop {
            let message = self.read_message()?;
            if message.message_type == MessageType::InputStreamData {
                self.acknowledge(message.number)?;
            }
            if is_enough(&message) {
                return Ok(());
            }
        }
    }

    /// Acknowledges what comes, until the client leaves.
    pub fn serve(&mut self) -> io::Result<()> {
        self.serve_until(|_| false)
    }

    /// Ends the connection as the service does once an hour, and serves until the client has left.
    pub fn say_bye(&mut self) -> io::Result<()> {
        self.close(1000, "Bye")?;
        self.serve()
    }

    /// Keeps the connection, and reads nothing of what the client sends, until the test is over.
    pub fn pause_reading(&self) -> io::Result<()> {
        while !self.shared.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The test, for another thread to wait for.
    pub fn test(&self) -> Test {
        Test(Arc::clone(&self.shared))
    }

    /// Reads nothing of what the client sends until [`Gateway::go_on`](super::Gateway::go_on).
    pub fn wait_for_test(&self) -> io::Result<()> {
        self.test().wait()
    }

    /// A whole handshake with these actions: request, response, complete. The response.
    pub fn shake_hands(&mut self, actions: &[Value]) -> io::Result<Received> {
        self.request(actions)?;
        let response = self.wait_for(PayloadType::HandshakeResponse)?;
        self.complete("")?;
        Ok(response)
    }

    /// An established session of this type, without properties: `Standard_Stream` and the like.
    pub fn start(&mut self, session_type: &str) -> io::Result<()> {
        self.shake_hands(&[Sender::session_type(session_type, Value::Null)])
            .map(drop)
    }

    /// An established port session; without a local port it is one for stdin and stdout.
    pub fn start_port(&mut self, local_port: Option<u16>) -> io::Result<()> {
        let properties = match local_port {
            Some(port) => json!({
                "portNumber": "80", "localPortNumber": port.to_string(), "type": "LocalPortForwarding"
            }),
            None => json!({ "portNumber": "22" }),
        };
        self.shake_hands(&[Sender::session_type("Port", properties)])
            .map(drop)
    }
}

/// The test that the gateway is for.
pub struct Test(Arc<Shared>);

impl Test {
    /// Waits for [`Gateway::go_on`](super::Gateway::go_on).
    pub fn wait(&self) -> io::Result<()> {
        while !self.0.goes_on.load(Ordering::SeqCst) {
            if self.0.stopped.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Deref for Peer {
    type Target = Sender;

    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl Sender {
    /// Any bytes: several frames, a piece of one, or no frame at all.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.0).socket.write_all(bytes)
    }

    /// A text frame.
    pub fn text(&self, text: &str) -> io::Result<()> {
        self.raw(&frame(TEXT, true, text.as_bytes()))
    }

    /// A binary frame.
    pub fn binary(&self, bytes: &[u8]) -> io::Result<()> {
        self.raw(&frame(BINARY, true, bytes))
    }

    /// A ping.
    pub fn ping(&self, payload: &[u8]) -> io::Result<()> {
        self.raw(&frame(PING, true, payload))
    }

    /// The next message of the stream. Its number.
    pub fn stream(&self, payload_type: PayloadType, payload: &[u8]) -> io::Result<i64> {
        let mut out = lock(&self.0);
        let number = out.next;
        out.next += 1;
        out.socket
            .write_all(&stream(number, payload_type, payload))?;
        Ok(number)
    }

    /// A message of the stream under any number.
    pub fn stream_at(
        &self,
        number: i64,
        payload_type: PayloadType,
        payload: &[u8],
    ) -> io::Result<()> {
        self.raw(&stream(number, payload_type, payload))
    }

    /// The number that the next message of the stream gets.
    pub fn set_next(&self, number: i64) {
        lock(&self.0).next = number;
    }

    /// Output. The first message of a session without handshake makes it a shell.
    pub fn output(&self, payload: &[u8]) -> io::Result<i64> {
        self.stream(PayloadType::Output, payload)
    }

    /// A message outside of the stream.
    pub fn control(&self, message_type: MessageType, payload: &[u8]) -> io::Result<()> {
        self.binary(&Message::control(message_type, payload).encode())
    }

    /// An acknowledgement.
    pub fn acknowledge(&self, number: i64) -> io::Result<()> {
        let content = Acknowledge {
            acknowledged_message_type: MessageType::InputStreamData.name().to_owned(),
            acknowledged_message_id: Uuid::new_v4(),
            acknowledged_message_sequence_number: number,
            is_sequential_message: true,
        };
        self.control(MessageType::Acknowledge, &to_json(&content))
    }

    /// The end of the session, as the service tells it.
    pub fn channel_closed(&self, output: &str) -> io::Result<()> {
        let content = json!({
            "MessageType": "channel_closed", "SchemaVersion": 1, "SessionId": super::SESSION_ID, "Output": output
        });
        self.control(MessageType::ChannelClosed, content.to_string().as_bytes())
    }

    /// A flag.
    pub fn flag(&self, flag: Flag) -> io::Result<i64> {
        self.stream(PayloadType::Flag, &flag.to_bytes())
    }

    /// The action that names the session's type.
    pub fn session_type(session_type: &str, properties: Value) -> Value {
        json!({
            "ActionType": "SessionType",
            "ActionParameters": { "SessionType": session_type, "Properties": properties }
        })
    }

    /// The action that asks for a key of KMS.
    pub fn kms() -> Value {
        json!({
            "ActionType": "KMSEncryption",
            "ActionParameters": { "KMSKeyId": "arn:aws:kms:eu-central-1:111122223333:key/a", "Challenge": "Y2hhbGxlbmdl" }
        })
    }

    /// A handshake request.
    pub fn request(&self, actions: &[Value]) -> io::Result<i64> {
        let content = json!({ "AgentVersion": AGENT_VERSION, "RequestedClientActions": actions });
        self.stream(
            PayloadType::HandshakeRequest,
            content.to_string().as_bytes(),
        )
    }

    /// The end of a handshake.
    pub fn complete(&self, customer_message: &str) -> io::Result<i64> {
        let content = json!({ "HandshakeTimeToComplete": 1, "CustomerMessage": customer_message });
        self.stream(
            PayloadType::HandshakeComplete,
            content.to_string().as_bytes(),
        )
    }

    /// Closes the websocket with a code.
    pub fn close(&self, code: u16, reason: &str) -> io::Result<()> {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.raw(&frame(CLOSE, true, &payload))
    }

    /// Ends the connection without a good-bye; what was written still arrives.
    pub fn hang_up(&self) {
        let _ = lock(&self.0).socket.shutdown(Shutdown::Both);
    }

    /// How long a write may wait for a client that does not read.
    pub fn set_write_timeout(&self, time: Duration) -> io::Result<()> {
        lock(&self.0).socket.set_write_timeout(Some(time))
    }
}
