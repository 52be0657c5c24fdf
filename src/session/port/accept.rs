//! Accepts local connections, and pauses for longer after each failure.

use std::io;
use std::time::{Duration, Instant};

use super::listen::Listener;
use super::socket::{Peer, Socket};

/// The pause after the first failure; it is doubled with each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// At most so often the user is told what is wrong.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A listener, and what is known about it.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: Listener,
    /// Which of its sockets may have a connection waiting.
    ready: Vec<bool>,
    pause: Duration,
    retry_at: Option<Instant>,
    complained_at: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(listener: Listener) -> Self {
        Self {
            ready: vec![false; listener.len()],
            listener,
            pause: FIRST_PAUSE,
            retry_at: None,
            complained_at: None,
        }
    }

    /// The system says that this socket has a connection waiting.
    pub(crate) fn set_ready(&mut self, index: usize) {
        if let Some(ready) = self.ready.get_mut(index) {
            *ready = true;
        }
    }

    /// Whether a connection may be waiting.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.contains(&true)
    }

    /// When to try again after a failure.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.is_ready())
    }

    /// The next connection that waits, if there is one.
    ///
    /// # Errors
    /// A line for the user; not with every failure.
    pub(crate) fn next(&mut self, now: Instant) -> Result<Option<(Socket, Peer)>, String> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Ok(None);
        }
        self.retry_at = None;
        while let Some(index) = self.ready.iter().position(|ready| *ready) {
            match self.listener.accept(index) {
                Ok(connection) => {
                    self.pause = FIRST_PAUSE;
                    return Ok(Some(connection));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.ready[index] = false,
                    // It went before it was taken.
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset => {}
                    _ => return self.failed(&error, now),
                },
            }
        }
        Ok(None)
    }

    fn failed(
        &mut self,
        error: &io::Error,
        now: Instant,
    ) -> Result<Option<(Socket, Peer)>, String> {
        self.retry_at = Some(now + self.pause);
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        if self
            .complained_at
            .is_some_and(|at| now < at + COMPLAIN_EVERY)
        {
            return Ok(None);
        }
        self.complained_at = Some(now);
        let advice = match rustix::io::Errno::from_io_error(error) {
            Some(rustix::io::Errno::MFILE) => ": raise the limit with `ulimit -n`",
            _ => "",
        };
        Err(format!(
            "cannot accept local connections ({error}){advice}; trying again"
        ))
    }
}
