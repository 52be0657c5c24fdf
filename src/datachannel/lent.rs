//! The connection while the websocket thread sleeps: who has a message to send, and finds nothing before it, writes it there and then.
//! That spares the message a hand-over between threads, and the websocket thread a wake-up.
//!
//! One thread at a time has the connection, by the lock or by having taken it back, and gives it messages in their order: it asks the
//! sequence state for them itself. Nobody waits for the lock but the websocket thread, and nobody waits for the socket.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::communicator::{Broken, Connection};
use crate::mutex::lock;

/// Where the connection is while the websocket thread sleeps.
#[derive(Debug, Default)]
pub(super) struct Lent(Mutex<Lending>);

#[derive(Debug, Default)]
struct Lending {
    connection: Option<Box<Connection>>,
    /// Why it is of no use any more.
    broken: Option<Broken>,
}

/// The connection, for one sender, until this goes.
#[derive(Debug)]
pub(super) struct Borrowed<'a>(MutexGuard<'a, Lending>);

impl Lent {
    fn lock(&self) -> MutexGuard<'_, Lending> {
        lock(&self.0)
    }

    /// For the websocket thread, on its way into poll(2).
    pub(super) fn lend(&self, connection: Box<Connection>) {
        self.lock().connection = Some(connection);
    }

    /// The connection that was lent, unless writing to it has failed.
    pub(super) fn take_back(&self) -> Result<Box<Connection>, Broken> {
        let mut lending = self.lock();
        let connection = lending.connection.take();
        match (lending.broken.take(), connection) {
            (None, Some(connection)) => Ok(connection),
            (Some(broken), _) => Err(broken),
            // Only who has lent it takes it back.
            (None, None) => Err(Broken::new("nothing was connected")),
        }
    }

    /// The connection, if something can be written to it now.
    pub(super) fn borrow(&self) -> Option<Borrowed<'_>> {
        let lending = self.0.try_lock().ok()?;
        let connection = lending.connection.as_deref()?;
        (lending.broken.is_none() && !connection.is_blocked()).then_some(Borrowed(lending))
    }
}

impl Borrowed<'_> {
    /// Writes these, and says whether the socket took all of them. If not, the websocket thread goes on, or finds out that it cannot.
    pub(super) fn write(mut self, frames: Vec<Bytes>) -> bool {
        let Some(connection) = self.0.connection.as_deref_mut() else {
            return false;
        };
        let written = frames
            .into_iter()
            .try_for_each(|frame| connection.write(frame))
            .and_then(|()| connection.flush());
        let is_blocked = connection.is_blocked();
        self.0.broken = written.err();
        self.0.broken.is_none() && !is_blocked
    }
}
