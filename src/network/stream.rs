//! A connection as the websocket and the API calls use it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use native_tls::TlsStream;
use rustix::event::PollFlags;

use super::limit::Limit;
use super::read_ahead::ReadAhead;

/// A connection, always non-blocking: reads and writes that would wait say [`io::ErrorKind::WouldBlock`].
///
/// TLS keeps bytes that poll(2) cannot see: read until `WouldBlock` before polling. One thread at a time may use it.
#[derive(Debug)]
pub enum NetworkStream {
    /// In the clear.
    Tcp(Arc<TcpStream>),
    /// TLS, over TCP or over the TLS of an https proxy.
    Tls(Box<TlsStream<ReadAhead<NetworkStream>>>),
}

impl NetworkStream {
    /// The socket below, for its options.
    pub fn tcp(&self) -> &Arc<TcpStream> {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(stream) => stream.get_ref().get_ref().tcp(),
        }
    }

    /// The same connection as one that waits, until the limit.
    pub fn waiting<'a>(&'a mut self, limit: &'a Limit) -> WaitingStream<'a> {
        WaitingStream {
            stream: self,
            limit,
        }
    }
}

impl AsFd for NetworkStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}

impl Read for NetworkStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&**socket).read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for NetworkStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&**socket).write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => (&**socket).flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A [`NetworkStream`] whose reads and writes wait until they can do something or the limit is reached (see [`super::Stop::of`]).
#[derive(Debug)]
pub struct WaitingStream<'a> {
    stream: &'a mut NetworkStream,
    limit: &'a Limit,
}

impl WaitingStream<'_> {
    fn retry<T>(
        &mut self,
        for_what: PollFlags,
        mut act: impl FnMut(&mut NetworkStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            // Not only before a wait: a peer that always has more to say would never let one come.
            self.limit.remaining()?;
            match act(self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.limit.wait(self.stream.as_fd(), for_what)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Read for WaitingStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |stream| stream.read(buffer))
    }
}

impl Write for WaitingStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.retry(PollFlags::OUT, NetworkStream::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::super::limit::Stop;
    use super::*;

    #[test]
    fn p78_a_deadline_is_seen_while_data_floods_in() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let to = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            while socket.write_all(&[b'x'; 65536]).is_ok() {}
        });
        let socket = TcpStream::connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut stream = NetworkStream::Tcp(socket.into());
        let limit = Limit::within(Duration::from_millis(100));
        let mut waiting = stream.waiting(&limit);
        let begin = Instant::now();
        let mut one = [0];
        let error = loop {
            // A byte at a time: there is always more.
            if let Err(error) = waiting.read(&mut one) {
                break error;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "unseen");
        };
        assert_eq!(Stop::of(&error), Some(Stop::TimedOut));
    }
}
