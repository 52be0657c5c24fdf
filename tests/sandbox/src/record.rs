//! What happened, for tests to look at and for people to read.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use session_manager_plugin::internals::message::{Flags, HEADER_SIZE, Message, MessageType};
use uuid::Uuid;

use crate::bell::Bell;
use crate::config::Record;
use crate::threads::lock;

/// A list that grows and can be waited for.
#[derive(Debug)]
pub(crate) struct Log<T> {
    entries: Mutex<Vec<T>>,
    added: Bell,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            added: Bell::default(),
        }
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn add(&self, entry: T) {
        lock(&self.entries).push(entry);
        self.added.ring();
    }

    /// Adds it if there are fewer than so many.
    pub(crate) fn add_below(&self, limit: usize, make: impl FnOnce() -> T) {
        let mut entries = lock(&self.entries);
        if entries.len() < limit {
            entries.push(make());
            self.added.ring();
        }
    }

    pub(crate) fn entries(&self) -> Vec<T> {
        lock(&self.entries).clone()
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }

    /// Waits until the entries please; `false` when they do not in time.
    pub(crate) fn wait(&self, timeout: Duration, mut pleases: impl FnMut(&[T]) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut entries = lock(&self.entries);
        loop {
            if pleases(&entries) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            entries = self.added.wait_timeout(entries, left);
        }
    }
}

/// How many frames of a session are written down, until [`Session::clear_frames`](crate::Session::clear_frames).
pub const MAX_FRAMES: usize = 500_000;

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The client: recorded when the agent reads it.
    Client,
    /// The agent: recorded when it sends it.
    Agent,
}

/// One frame, as the agent saw or sent it: before or behind the faults.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When.
    pub at: Instant,
    /// By whom.
    pub sender: Sender,
    /// Nothing when it is no message.
    pub message_type: Option<MessageType>,
    /// Its number.
    pub sequence_number: i64,
    /// 1 for data, …
    pub payload_type: u32,
    /// SYN and FIN.
    pub flags: Flags,
    /// The same when it is sent again.
    pub message_id: Uuid,
    /// Bytes of the payload.
    pub payload_length: usize,
    /// The payload, of acknowledgements always, otherwise if [`Record::Payloads`] was asked for.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of stream data with a payload type.
    pub fn is_data(&self, sender: Sender, payload_type: u32) -> bool {
        let stream = matches!(
            self.message_type,
            Some(MessageType::InputStreamData | MessageType::OutputStreamData)
        );
        stream && self.sender == sender && self.payload_type == payload_type
    }

    /// The number that it acknowledges.
    pub fn acknowledges(&self) -> Option<i64> {
        if self.message_type != Some(MessageType::Acknowledge) {
            return None;
        }
        let content: Value = serde_json::from_slice(&self.payload).ok()?;
        content.get("AcknowledgedMessageSequenceNumber")?.as_i64()
    }
}

/// Writes frames down.
#[derive(Debug)]
pub(crate) struct Recorder {
    what: Record,
    pub(crate) frames: Log<Frame>,
}

impl Recorder {
    pub(crate) fn new(what: Record) -> Self {
        Self {
            what,
            frames: Log::default(),
        }
    }

    pub(crate) fn note(&self, sender: Sender, frame: &[u8]) {
        if self.what == Record::Nothing {
            return;
        }
        self.frames
            .add_below(MAX_FRAMES, || self.describe(sender, frame));
    }

    fn describe(&self, sender: Sender, frame: &[u8]) -> Frame {
        let at = Instant::now();
        // The digest is not checked here: it costs as much as all the rest.
        let mut header = frame[..frame.len().min(HEADER_SIZE)].to_vec();
        if let Some(length) = header.get_mut(116..120) {
            length.fill(0);
        }
        let payload = frame.get(HEADER_SIZE..).unwrap_or_default();
        let message = Message::decode(&header).ok();
        let message_type = message.as_ref().map(|message| message.message_type);
        let keep = self.what == Record::Payloads || message_type == Some(MessageType::Acknowledge);
        Frame {
            at,
            sender,
            message_type,
            sequence_number: message.as_ref().map_or(0, |it| it.sequence_number),
            payload_type: message.as_ref().map_or(0, |it| it.payload_type),
            flags: message.as_ref().map_or(Flags::NONE, |it| it.flags),
            message_id: message.as_ref().map_or(Uuid::nil(), |it| it.message_id),
            payload_length: payload.len(),
            payload: if keep { payload.to_vec() } else { Vec::new() },
        }
    }
}

/// Something that happened, other than a frame.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Event {
    /// A call of one of the APIs, and the status of the answer.
    Api {
        /// `ssm:StartSession`, `sts:AssumeRole`, `imds:PUT /latest/api/token`, …
        operation: String,
        target: String,
        request: Value,
        /// `host`, `authorization`, … in lower case.
        headers: Vec<(String, String)>,
        /// Whose signature it carried, if it was right.
        signed_by: Option<String>,
        status: u16,
        /// The error's code, or nothing.
        error: Option<String>,
    },
    /// A session exists.
    SessionStarted { session: String, document: String },
    /// A websocket was asked for, and what was answered.
    Upgrade {
        session: String,
        target: String,
        headers: Vec<(String, String)>,
        signed_by: Option<String>,
        status: u16,
        reason: String,
    },
    /// The text frame that opens the channel.
    Opened {
        session: String,
        client_id: String,
        client_version: Option<String>,
        token: String,
        /// Nothing when it was right.
        refused: Option<String>,
    },
    /// A connection ended.
    Disconnected {
        session: String,
        how: String,
        lost_frames: u64,
    },
    /// The agent, in words.
    Agent { session: String, what: String },
    /// The session ended, and what the client is told.
    SessionEnded { session: String, output: String },
    /// A proxy was asked for a destination.
    Proxy {
        kind: &'static str,
        destination: String,
        user: Option<String>,
        outcome: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api {
                operation,
                signed_by,
                status,
                error,
                ..
            } => {
                write!(formatter, "api      {operation}: {status}")?;
                if let Some(error) = error {
                    write!(formatter, " {error}")?;
                }
                match signed_by {
                    Some(key) => write!(formatter, ", signed by {key}"),
                    None => write!(formatter, ", unsigned"),
                }
            }
            Self::SessionStarted { session, document } => {
                write!(formatter, "session  {session}: {document}")
            }
            Self::Upgrade {
                session,
                signed_by,
                status,
                reason,
                ..
            } => {
                let signed = signed_by.as_deref().unwrap_or("nobody");
                write!(
                    formatter,
                    "gateway  {session}: upgrade signed by {signed}: {status} {reason}"
                )
            }
            Self::Opened {
                session,
                client_version,
                refused,
                ..
            } => {
                let version = client_version.as_deref().unwrap_or("?");
                let refused = refused.as_deref().unwrap_or("accepted");
                write!(
                    formatter,
                    "gateway  {session}: client {version} opens: {refused}"
                )
            }
            Self::Disconnected {
                session,
                how,
                lost_frames,
            } => {
                write!(
                    formatter,
                    "gateway  {session}: client gone: {how}; {lost_frames} frames in flight lost"
                )
            }
            Self::Agent { session, what } => write!(formatter, "agent    {session}: {what}"),
            Self::SessionEnded { session, output } => {
                write!(formatter, "session  {session}: over {output:?}")
            }
            Self::Proxy {
                kind,
                destination,
                user,
                outcome,
            } => {
                let user = user.as_deref().unwrap_or("nobody");
                write!(
                    formatter,
                    "proxy    {kind} {user} to {destination}: {outcome}"
                )
            }
        }
    }
}

/// All events of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) events: Log<Event>,
    pub(crate) print: bool,
    pub(crate) file: Option<Mutex<File>>,
}

impl Journal {
    pub(crate) fn note(&self, event: Event) {
        if self.print {
            eprintln!("{event}");
        }
        if let Some(file) = &self.file {
            let _ = writeln!(lock(file), "{event}");
        }
        self.events.add(event);
    }
}
