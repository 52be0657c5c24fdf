//! Acknowledgements, one for each message of the stream, and so written without detours.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::{HEADER_SIZE, Message, MessageType};

/// One acknowledgement takes less than this: header, 150 bytes of JSON around a UUID and a number.
const LARGEST: usize = HEADER_SIZE + 256;
/// So many share one piece of memory.
const BATCH: usize = 64;

/// The JSON around the id and the number.
const BEFORE_ID: &str =
    r#"{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":""#;
const BEFORE_NUMBER: &str = r#"","AcknowledgedMessageSequenceNumber":"#;
const AFTER_NUMBER: &str = r#","IsSequentialMessage":true}"#;

/// Writes acknowledgements of `output_stream_data`.
#[derive(Debug, Default)]
pub struct AcknowledgeEncoder {
    /// The JSON, kept for its memory.
    payload: String,
    /// Frames are cut off from its front.
    arena: BytesMut,
}

impl AcknowledgeEncoder {
    /// The frame that acknowledges the message of this number and id.
    pub fn encode(&mut self, number: i64, id: Uuid) -> Bytes {
        self.payload.clear();
        self.payload.push_str(BEFORE_ID);
        let mut text = [0; Hyphenated::LENGTH];
        self.payload
            .push_str(id.hyphenated().encode_lower(&mut text));
        self.payload.push_str(BEFORE_NUMBER);
        // Writing to a string cannot fail.
        let _ = write!(self.payload, "{number}");
        self.payload.push_str(AFTER_NUMBER);
        if self.arena.capacity() < LARGEST {
            self.arena = BytesMut::with_capacity(LARGEST * BATCH);
        }
        Message::control(MessageType::Acknowledge, self.payload.as_bytes())
            .encode_to(&mut self.arena);
        self.arena.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::content::{Acknowledge, to_json};

    #[test]
    fn is_what_the_general_encoder_writes() {
        let mut encoder = AcknowledgeEncoder::default();
        for number in [0, 1, i64::MAX, 4711].into_iter().chain(0..200) {
            let id = Uuid::new_v4();
            let content = Acknowledge {
                acknowledged_message_type: MessageType::OutputStreamData.name().to_owned(),
                acknowledged_message_id: id,
                acknowledged_message_sequence_number: number,
                is_sequential_message: true,
            };
            let frame = encoder.encode(number, id);
            assert!(frame.len() <= LARGEST);
            let message = Message::decode(&frame).unwrap();
            assert_eq!(message.message_type, MessageType::Acknowledge);
            assert_eq!(message.flags.0, 3);
            assert_eq!(message.payload, to_json(&content));
        }
    }
}
