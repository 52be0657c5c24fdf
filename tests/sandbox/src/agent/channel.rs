//! The sending side of the agent for its threads: numbering and sending in one order, acknowledging, resending, encrypting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use session_manager_plugin::internals::message::{Message, MessageType, PayloadType};

use super::encryption::Cipher;
use super::stream::{Outgoing, Received, acknowledgement};
use crate::bell::Bell;
use crate::queue::Closed;
use crate::record::Sender;
use crate::session::Session;
use crate::threads::lock;

/// The way out. Sending blocks while the gateway takes nothing more.
pub(crate) struct Channel {
    pub(crate) session: Arc<Session>,
    /// Held from numbering a message to its having been sent. The reader does not need it for acknowledgements.
    sending: Mutex<()>,
    outgoing: Mutex<Outgoing>,
    /// There is something to look at each 100 ms.
    timer: Bell,
    /// Nothing is unacknowledged any more.
    drained: Bell,
    encrypting: AtomicBool,
    cipher: Mutex<Option<Cipher>>,
    closed: AtomicBool,
}

impl Channel {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            sending: Mutex::new(()),
            outgoing: Mutex::new(Outgoing::new(Instant::now())),
            timer: Bell::default(),
            drained: Bell::default(),
            encrypting: AtomicBool::new(false),
            cipher: Mutex::new(None),
            closed: AtomicBool::new(false),
        }
    }

    fn transmit(&self, frame: Bytes) -> Result<(), Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        self.session.recorder.note(Sender::Agent, &frame);
        self.session.to_client.push(frame)
    }

    /// Sends a message of the stream, encrypted if it has to be.
    pub(crate) fn send(&self, payload_type: PayloadType, payload: &[u8]) -> Result<(), Closed> {
        let _sending = lock(&self.sending);
        self.session.note_use();
        let encrypted;
        let payload = match payload_type {
            PayloadType::Output | PayloadType::StdErr | PayloadType::ExitCode
                if self.is_encrypting() && !payload.is_empty() =>
            {
                encrypted = lock(&self.cipher)
                    .as_mut()
                    .map_or_else(|| payload.to_vec(), |cipher| cipher.encrypt(payload));
                &encrypted
            }
            _ => payload,
        };
        let frame = {
            let mut outgoing = lock(&self.outgoing);
            let idle = outgoing.next_timeout().is_none();
            let frame = outgoing.send(payload_type, payload, Instant::now());
            if idle {
                self.timer.ring();
            }
            frame
        };
        match frame {
            Some(frame) => self.transmit(frame),
            None => Ok(()),
        }
    }

    /// Sends an acknowledgement; blocks the reader while the gateway takes nothing.
    pub(super) fn acknowledge(&self, message: &Message<'_>) {
        let _ = self.transmit(acknowledgement(message));
    }

    /// Does what a received frame means for what was sent.
    pub(super) fn note(&self, received: &Received) {
        let mut outgoing = lock(&self.outgoing);
        let before = outgoing.next_timeout().is_none();
        outgoing.note(received, Instant::now());
        if before && outgoing.next_timeout().is_some() {
            self.timer.ring();
        }
        if outgoing.unacknowledged() == 0 {
            self.drained.ring();
        }
    }

    /// Tells the service (and never the client) in what state the session is.
    pub(super) fn send_state(&self, state: &str) {
        let content = json!({
            "SchemaVersion": 1,
            "SessionState": state,
            "SessionId": self.session.id(),
        })
        .to_string();
        let frame = Message::control(MessageType::AgentSessionState, content.as_bytes()).encode();
        self.session.recorder.note(Sender::Agent, &frame);
        self.session.note_agent(state);
    }

    /// The thread that resends.
    pub(super) fn resend(&self) {
        let mut outgoing = lock(&self.outgoing);
        while !self.is_closed() {
            let now = Instant::now();
            match outgoing.next_timeout() {
                None => {
                    outgoing = self.timer.wait(outgoing);
                }
                Some(time) if time > now => {
                    outgoing = self.timer.wait_timeout(outgoing, time - now);
                }
                Some(_) => {
                    if let Some(frame) = outgoing.handle_timeout(now) {
                        drop(outgoing);
                        let _ = self.transmit(frame);
                        outgoing = lock(&self.outgoing);
                    }
                }
            }
        }
    }

    /// Waits until everything is acknowledged, but not for longer than `timeout`.
    pub(super) fn drain(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut outgoing = lock(&self.outgoing);
        while outgoing.unacknowledged() > 0 && !self.is_closed() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            outgoing = self.drained.wait_timeout(outgoing, left);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Nothing is sent any more, and nobody waits for it.
    pub(super) fn close(&self) {
        // Under the lock, so that nobody looks before and sleeps after.
        let outgoing = lock(&self.outgoing);
        self.closed.store(true, Ordering::SeqCst);
        self.timer.ring();
        self.drained.ring();
        drop(outgoing);
        self.session.to_client.close();
        self.session.to_agent.close();
    }

    pub(super) fn is_encrypting(&self) -> bool {
        self.encrypting.load(Ordering::SeqCst)
    }

    /// From now on data is encrypted; a client's that comes before the key is there cannot be read.
    pub(super) fn set_encrypting(&self, encrypting: bool) {
        self.encrypting.store(encrypting, Ordering::SeqCst);
    }

    pub(super) fn set_cipher(&self, cipher: Cipher) {
        *lock(&self.cipher) = Some(cipher);
    }

    pub(super) fn break_tags(&self) {
        if let Some(cipher) = &mut *lock(&self.cipher) {
            cipher.break_tags = true;
        }
    }

    pub(super) fn decrypt(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        match &*lock(&self.cipher) {
            Some(cipher) => cipher.decrypt(payload),
            None => Err("there is no key yet".into()),
        }
    }

    pub(super) fn encrypt(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        match &mut *lock(&self.cipher) {
            Some(cipher) => Ok(cipher.encrypt(payload)),
            None => Err("there is no key yet".into()),
        }
    }
}
