//! A local connection and what is known of its readiness. The system tells of changes only (edges), so it has to be remembered.

use std::io;
use std::ops::ControlFlow;

use mio::event::Event as Readiness;

use super::socket::{Peer, Socket, Unread};

/// How much is thrown away of what a peer sends that does not see that nobody listens, in reads.
const DISCARDED_READS: usize = 256;

/// One local connection.
#[derive(Debug)]
pub(super) struct LocalConnection {
    pub socket: Socket,
    pub peer: Peer,
    pub may_read: bool,
    pub may_write: bool,
    /// Bytes that were read from it, and written to it.
    pub sent: u64,
    pub received: u64,
    /// The end was read.
    pub at_end: bool,
    /// The remote has closed and all is written; what still comes is thrown away.
    pub is_closing: bool,
    /// Nobody will read what is written.
    pub peer_is_gone: bool,
    /// The peer has reset the connection: it does not want what it sent to arrive, either.
    was_reset: bool,
    /// The system said that the end will be read, after what is still there.
    end_is_near: bool,
}

/// What a local socket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Data(usize),
    /// Nothing now.
    Nothing,
    /// Nothing any more, but the peer may still read. Said once.
    End,
    /// It is broken: the peer is gone.
    Failed,
}

impl LocalConnection {
    pub(super) fn new(socket: Socket, peer: Peer) -> Self {
        Self {
            socket,
            peer,
            may_read: true,
            may_write: true,
            sent: 0,
            received: 0,
            at_end: false,
            is_closing: false,
            peer_is_gone: false,
            was_reset: false,
            end_is_near: false,
        }
    }

    /// Remembers what the system told.
    pub(super) fn note(&mut self, readiness: &Readiness) {
        let is_ending = readiness.is_read_closed() || readiness.is_error();
        self.end_is_near |= is_ending;
        self.may_read |= readiness.is_readable() || is_ending;
        self.may_write |= readiness.is_writable();
        self.was_reset |= readiness.is_error();
        self.peer_is_gone |= readiness.is_error() || readiness.is_write_closed();
    }

    /// Whether the peer is gone and there is nothing of it that should still be read. `is_blocked`: nothing can be read now, as the channel
    /// takes nothing. What a peer sent before it reset the connection is read only where that can be done at once.
    pub(super) fn is_over(&self, is_blocked: bool) -> bool {
        self.peer_is_gone
            && (self.at_end || self.was_reset && is_blocked || self.socket.peek() != Unread::Data)
    }

    /// Whether the peer has ended without having left anything to read.
    pub(super) fn ended_empty(&self) -> bool {
        self.end_is_near && !self.at_end && self.socket.peek() == Unread::End
    }

    /// Reads as much as there is room for, without waiting.
    pub(super) fn read(&mut self, room: &mut [u8]) -> Read {
        if !self.may_read || self.at_end {
            return Read::Nothing;
        }
        loop {
            match self.socket.read(room) {
                Ok(0) => {
                    self.at_end = true;
                    self.may_read = false;
                    return if self.peer_is_gone {
                        Read::Failed
                    } else {
                        Read::End
                    };
                }
                Ok(count) => {
                    // Less than there was room for: no more is there, unless the end is.
                    self.may_read = count == room.len() || self.end_is_near;
                    return Read::Data(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.may_read = false;
                    return Read::Nothing;
                }
                Err(_) => return Read::Failed,
            }
        }
    }

    /// Reads what nobody wants any more. `Break`: there will be no more, or too much.
    pub(super) fn discard(&mut self) -> ControlFlow<()> {
        let mut buffer = [0; 16 * 1024];
        self.may_read = true;
        for _ in 0..DISCARDED_READS {
            match self.read(&mut buffer) {
                Read::Data(_) if self.may_read => {}
                Read::Data(_) | Read::Nothing => return ControlFlow::Continue(()),
                Read::End | Read::Failed => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Break(())
    }
}
