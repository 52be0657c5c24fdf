//! A stream that gives no more than a budget at a time: below a websocket, which reads on for as long as fragments come.

use std::io::{self, Read, Write};

use crate::network::NetworkStream;

/// A stream, and how much may still be read from it.
#[derive(Debug)]
pub(super) struct Metered {
    stream: NetworkStream,
    /// What may be read until the next [`refill`](Self::refill), bytes.
    left: usize,
    /// What was read since the last [`message`](Self::message), bytes.
    unfinished: usize,
}

impl Metered {
    /// Without a budget yet: whoever reads first (the upgrade) has bounds of its own.
    pub(super) const fn new(stream: NetworkStream) -> Self {
        Self {
            stream,
            left: usize::MAX,
            unfinished: 0,
        }
    }

    pub(super) const fn get_ref(&self) -> &NetworkStream {
        &self.stream
    }

    /// Allows so many more bytes, and no others.
    pub(super) const fn refill(&mut self, bytes: usize) {
        self.left = bytes;
    }

    /// What of a budget of so many bytes was used.
    pub(super) const fn used(&self, budget: usize) -> usize {
        budget.saturating_sub(self.left)
    }

    /// Whether the budget is used up: more may be there.
    pub(super) const fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// A whole message was read.
    pub(super) const fn message(&mut self) {
        self.unfinished = 0;
    }

    /// What was read since the last whole message, bytes; the beginning of it may have been read before that.
    pub(super) const fn unfinished(&self) -> usize {
        self.unfinished
    }
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.stream.read(buffer)?;
        self.left = self.left.saturating_sub(count);
        self.unfinished = self.unfinished.saturating_add(count);
        Ok(count)
    }
}

impl Write for Metered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
