//! What threads of local connections sleep in.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use crossbeam_channel::TryIter;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::waker::MailboxReceiver;

/// The token of the mailbox: everything else that is registered has a higher one.
pub(crate) const WAKER: Token = Token(0);

/// Waits for sockets, and for orders.
pub(crate) struct PortPoll<T> {
    poll: Poll,
    orders: MailboxReceiver<T>,
}

impl<T> PortPoll<T> {
    /// Registers the mailbox, under [`WAKER`].
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(crate) fn new(orders: MailboxReceiver<T>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&orders.as_fd().as_raw_fd()),
            WAKER,
            Interest::READABLE,
        )?;
        Ok(Self { poll, orders })
    }

    /// Where sockets are registered.
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The orders that have come.
    pub(crate) fn orders(&self) -> TryIter<'_, T> {
        self.orders.posts()
    }

    /// Sleeps until something is ready, an order or a wake-up comes, or `until`; not at all if `is_busy`. The caller looks at all that may
    /// have changed before the next call: a wake-up that comes in between costs no system call.
    ///
    /// # Errors
    /// Those of poll.
    pub(crate) fn wait(
        &mut self,
        polled: &mut Events,
        is_busy: bool,
        until: Option<Instant>,
    ) -> io::Result<()> {
        let timeout = if is_busy || !self.orders.wake_receiver().arm() {
            Some(Duration::ZERO)
        } else {
            until.map(|at| at.saturating_duration_since(Instant::now()))
        };
        match self.poll.poll(polled, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.orders.wake_receiver().disarm();
        Ok(())
    }
}
