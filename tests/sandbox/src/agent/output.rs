//! How the agent cuts output into messages, and paces itself.

use std::time::Duration;

use session_manager_plugin::internals::message::PayloadType;

use super::channel::Channel;
use super::wait::Waiter;
use crate::queue::Closed;

/// After each read, in the agent's default mode.
const PACE: Duration = Duration::from_millis(1);

/// Sends output of one kind.
pub(super) struct Pump<'a> {
    channel: &'a Channel,
    payload_type: PayloadType,
    /// Nothing where bytes are not text.
    recutter: Option<Recutter>,
    size: usize,
    paced: bool,
}

impl<'a> Pump<'a> {
    pub(super) fn new(channel: &'a Channel, payload_type: PayloadType) -> Self {
        let config = &channel.session.config.agent;
        Self {
            channel,
            payload_type,
            recutter: Some(Recutter::default()),
            size: config.payload_size.max(1),
            paced: config.paced,
        }
    }

    /// For bytes that are not text: ports.
    pub(super) fn raw(channel: &'a Channel) -> Self {
        Self {
            recutter: None,
            ..Self::new(channel, PayloadType::Output)
        }
    }

    /// Without the pause, whatever the session's settings.
    pub(super) fn unpaced(mut self) -> Self {
        self.paced = false;
        self
    }

    /// Sends a piece of any size, in messages of the agent's.
    pub(super) fn send(&mut self, piece: &[u8], waiter: &Waiter) -> Result<(), Closed> {
        for read in piece.chunks(self.size) {
            match &mut self.recutter {
                Some(recutter) => self.channel.send(self.payload_type, &recutter.cut(read))?,
                None => self.channel.send(self.payload_type, read)?,
            }
            if self.paced && !waiter.sleep(PACE) {
                return Err(Closed);
            }
        }
        Ok(())
    }
}

/// Cuts output so that no message ends inside a UTF-8 sequence: what may be the beginning of one waits for the rest.
///
/// Like the real agent, what still waits at the end of the output is lost, and U+FFFD, which it takes for the sign of an error, becomes its
/// first byte. Other bytes that are no UTF-8 pass unchanged.
#[derive(Debug, Default)]
pub(super) struct Recutter {
    waiting: Vec<u8>,
}

/// The longest sequence.
const LONGEST: usize = 4;

impl Recutter {
    /// What can be sent after this piece.
    pub(super) fn cut(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.waiting);
        bytes.extend_from_slice(piece);
        let mut cut = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            for (index, good) in chunk.valid().split('\u{fffd}').enumerate() {
                if index > 0 {
                    if bytes.len() - at < LONGEST {
                        self.waiting = bytes[at..].to_vec();
                        return cut;
                    }
                    cut.push(bytes[at]);
                    at += '\u{fffd}'.len_utf8();
                }
                cut.extend_from_slice(good.as_bytes());
                at += good.len();
            }
            for byte in chunk.invalid() {
                if bytes.len() - at < LONGEST {
                    self.waiting = bytes[at..].to_vec();
                    return cut;
                }
                cut.push(*byte);
                at += 1;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_not_torn() {
        let text = "aé€𝄞z".repeat(3);
        let mut recutter = Recutter::default();
        let mut out = Vec::new();
        for byte in text.as_bytes() {
            let piece = recutter.cut(&[*byte]);
            assert!(std::str::from_utf8(&piece).is_ok());
            out.extend_from_slice(&piece);
        }
        assert_eq!(out, text.as_bytes());
    }

    #[test]
    fn what_is_no_utf8_passes() {
        let mut recutter = Recutter::default();
        let mut out = recutter.cut(b"\xff\xfeabc\x80");
        out.extend(recutter.cut(b"defg"));
        assert_eq!(out, b"\xff\xfeabc\x80defg");
    }

    #[test]
    fn the_replacement_character_becomes_one_byte() {
        let mut recutter = Recutter::default();
        let mut out = recutter.cut("a\u{fffd}bcde".as_bytes());
        out.extend(recutter.cut("fgh\u{fffd}".as_bytes()));
        // The last one waits for what follows, and nothing does.
        assert_eq!(out, b"a\xefbcdefgh");
        assert_eq!(recutter.cut(b"ijk"), b"\xefijk");
    }
}
