//! Bytes to messages and back: the 120-byte header that every binary frame begins with. No I/O, no clock.
//!
//! All integers are big-endian. The layout, from the original client and agent:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | header length: 116, the offset of the payload length |
//! | 4 | 32 | message type, padded with spaces |
//! | 36 | 4 | schema version: 1 |
//! | 40 | 8 | created date, milliseconds since the epoch, not 0 |
//! | 48 | 8 | sequence number, signed |
//! | 56 | 8 | flags |
//! | 64 | 16 | message id, the UUID with its **low half first** |
//! | 80 | 32 | SHA-256 of the payload as sent |
//! | 112 | 4 | payload type |
//! | 116 | 4 | payload length |
//! | 120 | n | payload |

mod acknowledge;
pub mod content;
mod payload_type;

use std::fmt;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BufMut;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use acknowledge::AcknowledgeEncoder;
pub use payload_type::{Flag, PayloadType};

/// Bytes before the payload.
pub const HEADER_SIZE: usize = 120;
/// What the first field says: where the payload length is.
const HEADER_LENGTH: u32 = 116;
/// The only schema version there is.
const SCHEMA_VERSION: u32 = 1;

const MESSAGE_TYPE: Range<usize> = 4..36;
const SCHEMA: Range<usize> = 36..40;
const CREATED_DATE: Range<usize> = 40..48;
const SEQUENCE_NUMBER: Range<usize> = 48..56;
const FLAGS: Range<usize> = 56..64;
const MESSAGE_ID: Range<usize> = 64..80;
const PAYLOAD_DIGEST: Range<usize> = 80..112;
const PAYLOAD_TYPE: Range<usize> = 112..116;
const PAYLOAD_LENGTH: Range<usize> = 116..120;

/// What a message is for, by its 32-byte name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// `input_stream_data`: client to agent, numbered.
    InputStreamData,
    /// `output_stream_data`: agent to client, numbered.
    OutputStreamData,
    /// `acknowledge`: of one numbered message, by its receiver.
    Acknowledge,
    /// `channel_closed`: the service ends the session.
    ChannelClosed,
    /// `start_publication`: the service lets data flow again.
    StartPublication,
    /// `pause_publication`: the service asks for a pause.
    PausePublication,
    /// `agent_session_state`: agent to service; a client never sees it.
    AgentSessionState,
}

impl MessageType {
    const ALL: [Self; 7] = [
        Self::InputStreamData,
        Self::OutputStreamData,
        Self::Acknowledge,
        Self::ChannelClosed,
        Self::StartPublication,
        Self::PausePublication,
        Self::AgentSessionState,
    ];

    /// The name on the wire, without its padding.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputStreamData => "input_stream_data",
            Self::OutputStreamData => "output_stream_data",
            Self::Acknowledge => "acknowledge",
            Self::ChannelClosed => "channel_closed",
            Self::StartPublication => "start_publication",
            Self::PausePublication => "pause_publication",
            Self::AgentSessionState => "agent_session_state",
        }
    }

    /// Whether the header's other fields mean nothing: these two are commands of the service, sent with an empty header.
    const fn is_bare_command(self) -> bool {
        matches!(self, Self::StartPublication | Self::PausePublication)
    }

    fn from_wire(padded: &[u8]) -> Result<Self, DecodeError> {
        let name = trim(padded);
        if name.is_empty() {
            return Err(DecodeError::EmptyMessageType);
        }
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
            .ok_or_else(|| {
                DecodeError::UnknownMessageType(String::from_utf8_lossy(name).into_owned())
            })
    }
}

/// The parser of the original takes NULs away, then white space at both ends.
fn trim(padded: &[u8]) -> &[u8] {
    let is_padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let start = padded
        .iter()
        .position(|byte| !is_padding(byte))
        .unwrap_or(padded.len());
    let end = padded
        .iter()
        .rposition(|byte| !is_padding(byte))
        .map_or(start, |last| last + 1);
    &padded[start..end]
}

/// Bit 0 SYN, bit 1 FIN. Nobody acts on them; they are sent as the originals send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u64);

impl Flags {
    /// On data of the client, and of the agent but for the first.
    pub const NONE: Self = Self(0);
    /// On the agent's first message.
    pub const SYN: Self = Self(1);
    /// On messages that are not part of a stream: acknowledgements and the agent's state.
    pub const SYN_FIN: Self = Self(3);
}

/// One message, its payload borrowed from the frame it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is for.
    pub message_type: MessageType,
    /// Always 1 in what is sent.
    pub schema_version: u32,
    /// Milliseconds since the epoch.
    pub created_date: u64,
    /// Position in its direction's stream; 0 in messages outside of it.
    pub sequence_number: i64,
    /// See [`Flags`].
    pub flags: Flags,
    /// Unique for every message; a resent message keeps its own.
    pub message_id: Uuid,
    /// What the payload is; meaningless (0) in messages outside the stream.
    pub payload_type: u32,
    /// The payload as it was on the wire: ciphertext when the session is encrypted.
    pub payload: &'a [u8],
}

/// Why a frame is no message. Such a frame is dropped and not acknowledged, so the sender sends it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the error texts say it")]
pub enum DecodeError {
    #[error("frame of {0} bytes is shorter than a header")]
    TooShort(usize),
    #[error("header length {header_length} does not fit a frame of {frame} bytes")]
    HeaderLength { header_length: u32, frame: usize },
    #[error("message type is empty")]
    EmptyMessageType,
    #[error("unknown message type {0:?}")]
    UnknownMessageType(String),
    #[error("created date is 0")]
    NoCreatedDate,
    #[error("payload digest does not match")]
    Digest,
}

impl<'a> Message<'a> {
    /// Reads a frame. Never panics, whatever the bytes.
    ///
    /// As the originals do, the payload is everything behind the header; the payload length field only decides whether the digest is
    /// checked.
    ///
    /// # Errors
    /// See [`DecodeError`]; `start_publication` and `pause_publication` are accepted whatever their other fields say.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        if frame.len() < MESSAGE_TYPE.end {
            return Err(DecodeError::TooShort(frame.len()));
        }
        let message_type = MessageType::from_wire(&frame[MESSAGE_TYPE])?;
        if message_type.is_bare_command() {
            return Ok(Self::bare(message_type));
        }
        if frame.len() < HEADER_SIZE {
            return Err(DecodeError::TooShort(frame.len()));
        }
        let header_length = u32_at(frame, 0..4);
        let payload = usize::try_from(header_length)
            .ok()
            .filter(|length| *length >= PAYLOAD_LENGTH.start)
            .and_then(|length| length.checked_add(PAYLOAD_LENGTH.len()))
            .and_then(|start| frame.get(start..))
            .ok_or(DecodeError::HeaderLength {
                header_length,
                frame: frame.len(),
            })?;
        let created_date = u64_at(frame, CREATED_DATE);
        if created_date == 0 {
            return Err(DecodeError::NoCreatedDate);
        }
        if u32_at(frame, PAYLOAD_LENGTH) != 0
            && Sha256::digest(payload).as_slice() != &frame[PAYLOAD_DIGEST]
        {
            return Err(DecodeError::Digest);
        }
        Ok(Self {
            message_type,
            schema_version: u32_at(frame, SCHEMA),
            created_date,
            sequence_number: u64_at(frame, SEQUENCE_NUMBER).cast_signed(),
            flags: Flags(u64_at(frame, FLAGS)),
            message_id: uuid_from_wire(frame),
            payload_type: u32_at(frame, PAYLOAD_TYPE),
            payload,
        })
    }

    const fn bare(message_type: MessageType) -> Self {
        Self {
            message_type,
            schema_version: SCHEMA_VERSION,
            created_date: 0,
            sequence_number: 0,
            flags: Flags::NONE,
            message_id: Uuid::nil(),
            payload_type: 0,
            payload: &[],
        }
    }

    /// A message of a stream, created now, with a new id and number 0: the number is written by [`number`] where numbers are given out.
    pub fn stream(message_type: MessageType, payload_type: PayloadType, payload: &'a [u8]) -> Self {
        Self {
            message_type,
            schema_version: SCHEMA_VERSION,
            created_date: now(),
            sequence_number: 0,
            flags: Flags::NONE,
            message_id: Uuid::new_v4(),
            payload_type: payload_type.into(),
            payload,
        }
    }

    /// A message outside the stream, created now: an acknowledgement, for one.
    pub fn control(message_type: MessageType, payload: &'a [u8]) -> Self {
        Self {
            flags: Flags::SYN_FIN,
            payload_type: 0,
            ..Self::stream(message_type, PayloadType::Output, payload)
        }
    }

    /// The frame that carries it, in a buffer of exactly its size.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEADER_SIZE + self.payload.len());
        self.encode_to(&mut frame);
        frame
    }

    /// Appends the frame that carries it.
    pub fn encode_to(&self, frame: &mut impl BufMut) {
        let mut header = [0; HEADER_SIZE];
        header[..MESSAGE_TYPE.start].copy_from_slice(&HEADER_LENGTH.to_be_bytes());
        header[MESSAGE_TYPE].fill(b' ');
        let name = self.message_type.name().as_bytes();
        header[MESSAGE_TYPE][..name.len()].copy_from_slice(name);
        header[SCHEMA].copy_from_slice(&self.schema_version.to_be_bytes());
        header[CREATED_DATE].copy_from_slice(&self.created_date.to_be_bytes());
        header[SEQUENCE_NUMBER].copy_from_slice(&self.sequence_number.to_be_bytes());
        header[FLAGS].copy_from_slice(&self.flags.0.to_be_bytes());
        let (high, low) = self.message_id.as_u64_pair();
        let (first, last) = header[MESSAGE_ID].split_at_mut(8);
        first.copy_from_slice(&low.to_be_bytes());
        last.copy_from_slice(&high.to_be_bytes());
        header[PAYLOAD_DIGEST].copy_from_slice(&Sha256::digest(self.payload));
        header[PAYLOAD_TYPE].copy_from_slice(&self.payload_type.to_be_bytes());
        // A frame cannot be anywhere near 4 GiB: the websocket refuses it long before.
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        header[PAYLOAD_LENGTH].copy_from_slice(&length.to_be_bytes());
        frame.put_slice(&header);
        frame.put_slice(self.payload);
    }
}

/// Writes the sequence number into an encoded frame. The digest covers the payload only, so hashing happens before the number is known.
pub fn number(frame: &mut [u8], sequence_number: i64) {
    if let Some(field) = frame.get_mut(SEQUENCE_NUMBER) {
        field.copy_from_slice(&sequence_number.to_be_bytes());
    }
}

/// Milliseconds since the epoch; never 0, which receivers refuse.
fn now() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

fn u32_at(frame: &[u8], field: Range<usize>) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame[field]);
    u32::from_be_bytes(bytes)
}

fn u64_at(frame: &[u8], field: Range<usize>) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&frame[field]);
    u64::from_be_bytes(bytes)
}

fn uuid_from_wire(frame: &[u8]) -> Uuid {
    let low = u64_at(frame, MESSAGE_ID.start..MESSAGE_ID.start + 8);
    let high = u64_at(frame, MESSAGE_ID.start + 8..MESSAGE_ID.end);
    Uuid::from_u64_pair(high, low)
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} number {} payload type {} of {} bytes",
            self.message_type.name(),
            self.sequence_number,
            self.payload_type,
            self.payload.len()
        )
    }
}

#[cfg(test)]
mod tests;
