//! Websocket frames by hand (RFC 6455, 5.2): what a library would not write, and what it would not show.

use std::io::{self, Read};

use bytes::BytesMut;
use session_manager_plugin::internals::message::{self, Message, MessageType, PayloadType};

/// The rest of a fragmented message.
pub const CONTINUE: u8 = 0;
/// Text.
pub const TEXT: u8 = 1;
/// What messages of the data channel come in.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// Wants a pong.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of the constants.
    pub opcode: u8,
    /// Unmasked.
    pub payload: Vec<u8>,
}

/// A frame of a server: unmasked.
pub fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode | if is_final { 0x80 } else { 0 }];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        medium @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The frame of a message of the agent's stream.
pub fn stream(number: i64, payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    let message = Message::stream(MessageType::OutputStreamData, payload_type, payload);
    let mut bytes = BytesMut::new();
    message.encode_to(&mut bytes);
    message::number(&mut bytes, number);
    frame(BINARY, true, &bytes)
}

/// Reads a frame of a client.
pub(super) fn read(source: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 2];
    source.read_exact(&mut head)?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut length = [0; 2];
            source.read_exact(&mut length)?;
            usize::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            source.read_exact(&mut length)?;
            usize::try_from(u64::from_be_bytes(length)).expect("a length of this machine")
        }
        short => usize::from(short),
    };
    assert!(head[1] & 0x80 != 0, "a client must mask its frames");
    let mut mask = [0; 4];
    source.read_exact(&mut mask)?;
    let mut payload = vec![0; length];
    source.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Frame {
        opcode: head[0] & 0x0f,
        payload,
    })
}
