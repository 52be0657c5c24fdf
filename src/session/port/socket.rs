//! A local connection: TCP or a unix socket, non-blocking.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// One local connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What would be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Data.
    Data,
    /// Nothing yet.
    Nothing,
    /// The end.
    End,
    /// A failure: the peer is gone.
    Failure,
}

/// Who connected, for texts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    Address(SocketAddr),
    /// Those who connect to a unix socket have no name.
    Nameless,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(formatter, "the connection from {address}"),
            Self::Nameless => formatter.write_str("a connection to the unix socket"),
        }
    }
}

impl Peer {
    /// Its address; empty where it has no name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Nameless => String::new(),
        }
    }
}

impl Socket {
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Looks what would be read, and leaves it there.
    pub(crate) fn peek(&self) -> Unread {
        let mut byte = [0; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let result = match self {
            Self::Tcp(stream) => recv(stream, &mut byte[..], flags),
            Self::Unix(stream) => recv(stream, &mut byte[..], flags),
        };
        match result {
            Ok((_, 0)) => Unread::End,
            Ok(_) => Unread::Data,
            Err(Errno::AGAIN | Errno::INTR) => Unread::Nothing,
            Err(_) => Unread::Failure,
        }
    }

    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn finish(&self) {
        // A peer that is gone needs no telling.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Closes so that the peer sees a failure and not an end; unix sockets do not know the difference.
    pub(crate) fn reset(self) {
        if let Self::Tcp(stream) = &self {
            // With no time to linger, close sends RST.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

impl Source for Socket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interests),
            Self::Unix(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(registry, token, interests),
            Self::Unix(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
        }
    }
}
