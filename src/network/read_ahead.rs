//! Reads ahead of TLS, which otherwise asks the system twice for each record: for its five bytes of header, then for the rest.

use std::io::{self, Read, Write};

use rustix::event::PollFlags;

/// The size of the first reads, in bytes. A connection that carries little needs no more.
const SMALLEST: usize = 4 * 1024;
/// The size of a read at most, where much comes, in bytes: a few of the largest records.
const LARGEST: usize = 64 * 1024;

/// A stream with what was read from it too early.
#[derive(Debug)]
pub struct ReadAhead<S> {
    stream: S,
    /// Made at the first read, and twice as large when a read has filled it.
    buffer: Vec<u8>,
    /// What of `buffer` was read and not taken yet.
    start: usize,
    end: usize,
    /// What the stream was not ready for when it was asked last.
    waits_for: PollFlags,
    /// Whether the last read gave less than there was room for: that was all there was.
    is_drained: bool,
}

impl<S> ReadAhead<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self {
            waits_for: PollFlags::IN,
            stream,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            is_drained: false,
        }
    }

    /// The stream itself.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// What to wait for after the last [`io::ErrorKind::WouldBlock`].
    pub(super) const fn waits_for(&self) -> PollFlags {
        self.waits_for
    }

    fn note<T>(&mut self, for_what: PollFlags, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.waits_for = for_what;
        }
        result
    }
}

impl<S: Read> Read for ReadAhead<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            // This answer needs no system call, which would say the same. If something has come since, the poll(2) that follows says so.
            if std::mem::take(&mut self.is_drained) {
                return self.note(PollFlags::IN, Err(io::ErrorKind::WouldBlock.into()));
            }
            let size = if self.end == self.buffer.len() {
                (self.end * 2).clamp(SMALLEST, LARGEST)
            } else {
                self.buffer.len()
            };
            self.buffer.resize(size, 0);
            self.start = 0;
            self.end = 0;
            let result = self.stream.read(&mut self.buffer);
            self.end = self.note(PollFlags::IN, result)?;
            self.is_drained = (1..self.buffer.len()).contains(&self.end);
        }
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

impl<S: Write> Write for ReadAhead<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.stream.write(bytes);
        self.note(PollFlags::OUT, result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.stream.flush();
        self.note(PollFlags::OUT, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn gives_all_that_came_in_any_pieces() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let sender = std::thread::spawn({
            let to = listener.local_addr().unwrap();
            move || {
                let mut socket = TcpStream::connect(to).unwrap();
                let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
                socket.write_all(&sent).unwrap();
                sent
            }
        });
        let (socket, _) = listener.accept().unwrap();
        let mut reader = ReadAhead::new(socket);
        let mut got = Vec::new();
        let mut piece = [0; 5];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => got.extend_from_slice(&piece[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(got, sender.join().unwrap());
    }

    /// Gives these pieces, one a call, and then nothing for now.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.pop().ok_or(io::ErrorKind::WouldBlock)?;
            into[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn what_filled_no_buffer_was_all_there_was() {
        let mut reader = ReadAhead::new(Pieces(vec![b"more", b"some"]));
        let mut piece = [0; 4];
        let mut waited = 0;
        let mut got = Vec::new();
        while waited < 3 {
            match reader.read(&mut piece) {
                Ok(count) => got.extend_from_slice(&piece[..count]),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    assert_eq!(reader.waits_for(), PollFlags::IN);
                    waited += 1;
                    // Once without a look at the stream, after each piece.
                    assert_eq!(
                        reader.stream.0.len(),
                        2_usize.saturating_sub(waited),
                        "{waited}"
                    );
                }
            }
        }
        assert_eq!(got, b"somemore");
    }
}
