//! The frames: an 8-byte header, and data in one kind of them.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 1 | version: 1 |
//! | 1 | 1 | command: 0 SYN, 1 FIN, 2 PSH, 3 NOP |
//! | 2 | 2 | length of the data, **little-endian**; 0 but for PSH |
//! | 4 | 4 | stream id, **little-endian**; 0 for NOP |

use bytes::Bytes;

use super::StreamId;

/// Bytes before the data.
pub const HEADER_SIZE: usize = 8;
/// The most data in a frame that the originals send (smux's default `MaxFrameSize`). More is understood.
pub const MAX_DATA: usize = 32_768;

const VERSION: u8 = 1;
const SYN: u8 = 0;
const FIN: u8 = 1;
const PSH: u8 = 2;
const NOP: u8 = 3;

/// The 8 bytes that open a stream.
pub const fn syn(stream: StreamId) -> [u8; HEADER_SIZE] {
    header(SYN, 0, stream)
}

/// The 8 bytes that close a stream.
pub const fn fin(stream: StreamId) -> [u8; HEADER_SIZE] {
    header(FIN, 0, stream)
}

/// The 8 bytes before `length` bytes of a stream's data.
pub const fn push(stream: StreamId, length: u16) -> [u8; HEADER_SIZE] {
    header(PSH, length, stream)
}

/// The 8 bytes that only show that this side is there.
pub const fn nop() -> [u8; HEADER_SIZE] {
    header(NOP, 0, 0)
}

const fn header(command: u8, length: u16, stream: StreamId) -> [u8; HEADER_SIZE] {
    let length = length.to_le_bytes();
    let stream = stream.to_le_bytes();
    [
        VERSION, command, length[0], length[1], stream[0], stream[1], stream[2], stream[3],
    ]
}

/// What has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A stream was opened.
    Syn(StreamId),
    /// A stream was closed.
    Fin(StreamId),
    /// Data of a stream, never empty: a whole frame's, or as much of it as has come.
    Data(StreamId, Bytes),
    /// The other side is there.
    Nop,
}

/// Why bytes are no frames. The byte stream has no marks to find its way back by, so this is the end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the error texts say it")]
pub enum FrameError {
    #[error("version {0} where only 1 is spoken")]
    Version(u8),
    #[error("unknown command {0}")]
    Command(u8),
    #[error("command {command} with {length} bytes of data, where none may be")]
    UnexpectedData { command: u8, length: u16 },
}

/// Takes frames out of a byte stream that comes in pieces of any size.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    header: [u8; HEADER_SIZE],
    header_filled: usize,
    /// Of the PSH frame whose data is coming.
    stream: StreamId,
    data_left: usize,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// The next frame out of `input`, of which what was used is taken away. `None` when all of it was used: give more.
    /// Data is not copied: it shares the memory of `input`.
    ///
    /// # Errors
    /// See [`FrameError`]; after one, always the same again.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while !input.is_empty() {
            if self.data_left > 0 {
                let data = input.split_to(self.data_left.min(input.len()));
                self.data_left -= data.len();
                return Ok(Some(Frame::Data(self.stream, data)));
            }
            let part = input.split_to((HEADER_SIZE - self.header_filled).min(input.len()));
            self.header[self.header_filled..self.header_filled + part.len()].copy_from_slice(&part);
            self.header_filled += part.len();
            if self.header_filled < HEADER_SIZE {
                break;
            }
            self.header_filled = 0;
            match self.read_header() {
                Ok(None) => {}
                Ok(frame) => return Ok(frame),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// `None` for the header of data, which comes next.
    fn read_header(&mut self) -> Result<Option<Frame>, FrameError> {
        let [version, command, l0, l1, s0, s1, s2, s3] = self.header;
        let length = u16::from_le_bytes([l0, l1]);
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let frame = match command {
            PSH => {
                self.stream = stream;
                self.data_left = usize::from(length);
                return Ok(None);
            }
            SYN => Frame::Syn(stream),
            FIN => Frame::Fin(stream),
            NOP => Frame::Nop,
            unknown => return Err(FrameError::Command(unknown)),
        };
        if length != 0 {
            return Err(FrameError::UnexpectedData { command, length });
        }
        Ok(Some(frame))
    }
}
