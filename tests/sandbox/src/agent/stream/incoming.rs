//! Client to agent: in order, each once, acknowledged after it was handled.

use std::collections::HashMap;

use session_manager_plugin::internals::message::content::{Acknowledge, ChannelClosed};
use session_manager_plugin::internals::message::{DecodeError, Message, MessageType};

use super::{Handler, HandlerError};

/// How many messages ahead of the expected one are kept.
pub const MAX_BUFFERED: usize = 100_000;

/// What a frame was, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Handled and acknowledged, and with it so many that had come early.
    Handled {
        /// Its number.
        number: i64,
        /// How many buffered ones followed.
        drained: usize,
    },
    /// Early: acknowledged and kept.
    Buffered(i64),
    /// Early, and there is no room: neither acknowledged nor kept.
    NoRoom(i64),
    /// Handled before: acknowledged again.
    Duplicate(i64),
    /// Not taken by the handler: not acknowledged, still expected.
    Refused(i64, HandlerError),
    /// A buffered message, acknowledged long ago, was not taken when it was the next. Nothing will make it go on.
    Stuck(i64, HandlerError),
    /// An acknowledgement of this number.
    Acknowledge(i64),
    /// The service asks for a pause.
    Pause,
    /// The service ends a pause.
    Start,
    /// The service ends the session, and says why.
    ChannelClosed(String),
    /// Another kind of message, which the agent ignores.
    Ignored,
    /// Not a message: dropped.
    Invalid(DecodeError),
}

/// The receiving half of the stream.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The number that is handled next.
    expected: i64,
    /// Whole frames that came early, by their number.
    buffered: HashMap<i64, Vec<u8>>,
}

impl Incoming {
    /// Takes a frame; calls `acknowledge` with each message that is to be acknowledged, after its handler (but before it, for early ones).
    pub fn handle_message(
        &mut self,
        frame: &[u8],
        handler: &mut impl Handler,
        acknowledge: &mut dyn FnMut(&Message<'_>),
    ) -> Received {
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(DecodeError::UnknownMessageType(_)) => return Received::Ignored,
            Err(error) => return Received::Invalid(error),
        };
        match message.message_type {
            MessageType::InputStreamData => {
                self.handle_stream(frame, &message, handler, acknowledge)
            }
            MessageType::Acknowledge => {
                match serde_json::from_slice::<Acknowledge>(message.payload) {
                    Ok(content) => {
                        Received::Acknowledge(content.acknowledged_message_sequence_number)
                    }
                    Err(_) => Received::Ignored,
                }
            }
            MessageType::PausePublication => Received::Pause,
            MessageType::StartPublication => Received::Start,
            MessageType::ChannelClosed => {
                Received::ChannelClosed(ChannelClosed::output(message.payload))
            }
            MessageType::OutputStreamData | MessageType::AgentSessionState => Received::Ignored,
        }
    }

    fn handle_stream(
        &mut self,
        frame: &[u8],
        message: &Message<'_>,
        handler: &mut impl Handler,
        acknowledge: &mut dyn FnMut(&Message<'_>),
    ) -> Received {
        let number = message.sequence_number;
        if number < self.expected {
            acknowledge(message);
            return Received::Duplicate(number);
        }
        if number > self.expected {
            if self.buffered.len() >= MAX_BUFFERED {
                return Received::NoRoom(number);
            }
            acknowledge(message);
            self.buffered.insert(number, frame.to_vec());
            return Received::Buffered(number);
        }
        if let Err(error) = handler.handle(message) {
            return Received::Refused(number, error);
        }
        acknowledge(message);
        self.expected += 1;
        self.drain(number, handler)
    }

    /// Handles what had come early. A failure leaves the message in the buffer, where only the next message in order would find it; but
    /// that one is this one, and its sender was told that it has arrived.
    fn drain(&mut self, number: i64, handler: &mut impl Handler) -> Received {
        let mut drained = 0;
        while let Some(frame) = self.buffered.get(&self.expected) {
            let outcome = match Message::decode(frame) {
                Ok(message) => handler.handle(&message),
                Err(error) => Err(HandlerError::Failed(error.to_string())),
            };
            if let Err(error) = outcome {
                return Received::Stuck(self.expected, error);
            }
            self.buffered.remove(&self.expected);
            self.expected += 1;
            drained += 1;
        }
        Received::Handled { number, drained }
    }

    /// The number of the message that would be handled next.
    pub fn expected(&self) -> i64 {
        self.expected
    }

    /// How many messages are kept that came early.
    pub fn buffered(&self) -> usize {
        self.buffered.len()
    }
}
