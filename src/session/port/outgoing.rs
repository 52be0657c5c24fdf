//! What the multiplexer puts on the data channel: composed only as fast as the channel takes it, so that nobody waits behind a queue.

use crate::smux::StreamId;
use crate::smux::frame::{self, HEADER_SIZE};

/// The most that is composed before the channel has taken it, bytes: a few dozen messages of the usual size.
const BATCH: usize = 16 * 1024;
/// The most data in a frame while several streams have something to send, bytes.
const SHARE: usize = 4 * 1024;
/// Less room than this at the end of a batch is not worth a frame, bytes.
const LEAST: usize = 512;

/// Frames on their way to the channel.
#[derive(Debug)]
pub(super) struct Outgoing {
    buffer: Box<[u8]>,
    filled: usize,
    taken: usize,
    /// A frame that needs a message of its own, and had to wait for the batch before it.
    alone: Option<[u8; HEADER_SIZE]>,
}

impl Outgoing {
    /// `message`: the size of the channel's messages, bytes.
    pub(super) fn new(message: usize) -> Self {
        Self {
            buffer: vec![0; BATCH.max(message)].into(),
            filled: 0,
            taken: 0,
            alone: None,
        }
    }

    /// Begins a new batch if the channel has taken the one before; whether it is open for more.
    pub(super) fn begin(&mut self) -> bool {
        if self.taken < self.filled {
            return false;
        }
        self.taken = 0;
        self.filled = 0;
        match self.alone.take() {
            Some(frame) => {
                self.put(frame);
                false
            }
            None => true,
        }
    }

    /// Whether another frame fits.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() - self.filled >= HEADER_SIZE + LEAST
    }

    /// Puts in a frame without data.
    pub(super) fn put(&mut self, frame: [u8; HEADER_SIZE]) {
        self.buffer[self.filled..self.filled + HEADER_SIZE].copy_from_slice(&frame);
        self.filled += HEADER_SIZE;
    }

    /// Puts in a frame without data that is to have a message of its own, now or as the next batch: this one is closed.
    pub(super) fn put_alone(&mut self, frame: [u8; HEADER_SIZE]) {
        if self.filled == 0 {
            self.put(frame);
        } else {
            self.alone = Some(frame);
        }
    }

    /// Where the data of the next frame goes; less while others want to send, too.
    pub(super) fn data_room(&mut self, others_wait: bool) -> &mut [u8] {
        let share = if others_wait { SHARE } else { frame::MAX_DATA };
        let room = &mut self.buffer[self.filled + HEADER_SIZE..];
        let length = room.len().min(share);
        &mut room[..length]
    }

    /// Puts in a frame with the first `count` bytes of [`data_room`](Self::data_room).
    pub(super) fn put_data(&mut self, stream: StreamId, count: usize) {
        // What fits a share fits the length field.
        self.put(frame::push(
            stream,
            u16::try_from(count).unwrap_or(u16::MAX),
        ));
        self.filled += count;
    }

    /// What the channel is to take next.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..self.filled]
    }

    /// The channel took that much of it, bytes.
    pub(super) fn take(&mut self, count: usize) {
        self.taken += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outgoing: &mut Outgoing) -> Vec<u8> {
        let rest = outgoing.rest().to_vec();
        outgoing.take(rest.len());
        rest
    }

    #[test]
    fn an_opening_has_a_batch_of_its_own() {
        let mut outgoing = Outgoing::new(1024);
        assert!(outgoing.begin());
        outgoing.data_room(false)[..2].fill(7);
        outgoing.put_data(3, 2);
        outgoing.put_alone(frame::syn(5));
        assert_eq!(
            take(&mut outgoing),
            [&frame::push(3, 2)[..], &[7, 7]].concat()
        );
        assert!(!outgoing.begin());
        assert_eq!(take(&mut outgoing), frame::syn(5));
        assert!(outgoing.begin());
        outgoing.put_alone(frame::syn(7));
        assert_eq!(take(&mut outgoing), frame::syn(7));
        assert!(outgoing.begin());
        assert!(take(&mut outgoing).is_empty());
    }

    #[test]
    fn a_batch_stays_until_all_of_it_was_taken() {
        let mut outgoing = Outgoing::new(1024);
        assert!(outgoing.begin());
        outgoing.put(frame::fin(3));
        outgoing.take(5);
        assert!(!outgoing.begin());
        assert_eq!(outgoing.rest(), &frame::fin(3)[5..]);
        outgoing.take(3);
        assert!(outgoing.begin());
    }

    #[test]
    fn one_stream_alone_gets_all_of_a_batch_and_many_get_shares() {
        let mut outgoing = Outgoing::new(1024);
        let room = outgoing.data_room(false).len();
        assert_eq!(room, BATCH - HEADER_SIZE);
        let mut frames = 0;
        while outgoing.has_room() {
            let count = outgoing.data_room(true).len();
            assert!(count <= SHARE);
            outgoing.put_data(3, count);
            frames += 1;
        }
        assert_eq!(frames, 4);
        // Frames no longer than the originals', whatever the messages' size.
        let mut large = Outgoing::new(100_000);
        assert_eq!(large.data_room(false).len(), frame::MAX_DATA);
    }
}
