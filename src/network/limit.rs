//! How long a blocking call may take, and how another thread ends it early.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::path_watch::PathWatch;

/// Ends the waits of every [`Limit`] made with it, at once and for good. Cheap to clone.
///
/// ```
/// use session_manager_plugin::Cancel;
///
/// let cancel = Cancel::new()?;
/// let elsewhere = cancel.clone();
/// std::thread::spawn(move || elsewhere.cancel()).join().expect("a thread");
/// assert!(cancel.is_cancelled());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug)]
struct CancelState {
    /// Since when it is cancelled.
    since: OnceLock<Instant>,
    /// Readable (end of file) from the moment of cancellation, so that poll(2) sees it.
    reader: UnixStream,
    writer: UnixStream,
}

impl Cancel {
    /// A cancellation that has not happened yet.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        Ok(Self(Arc::new(CancelState {
            since: OnceLock::new(),
            reader,
            writer,
        })))
    }

    /// Ends what waits now and all that would wait later.
    pub fn cancel(&self) {
        if self.0.since.set(Instant::now()).is_ok() {
            // Cannot fail on a connected pair; if it did, the waits would still end at their deadlines.
            let _ = self.0.writer.shutdown(Shutdown::Both);
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.since().is_some()
    }

    fn since(&self) -> Option<Instant> {
        self.0.since.get().copied()
    }

    /// A descriptor that is readable once it is cancelled.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }
}

/// Why a wait ended without what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// Somebody called [`Cancel::cancel`].
    #[error("cancelled")]
    Cancelled,
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::TimedOut => Self::new(io::ErrorKind::TimedOut, stop),
            Stop::Cancelled => Self::other(stop),
        }
    }
}

impl Stop {
    /// Finds the stop inside an error that came through a library's I/O.
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        inner.copied()
    }
}

/// A deadline and, if wanted, a cancellation: what every blocking call of this crate takes.
#[derive(Debug, Clone)]
pub struct Limit {
    deadline: Instant,
    cancel: Option<Cancel>,
    /// How long after a cancellation the answer to a request is waited for that has been sent.
    answer_grace: Duration,
    /// How long after a cancellation it ends.
    grace: Duration,
    /// What began on a path that is no more is given up, to begin afresh.
    path: Option<PathWatch>,
}

impl Limit {
    /// Until a moment.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            cancel: None,
            answer_grace: Duration::ZERO,
            grace: Duration::ZERO,
            path: None,
        }
    }

    /// For a while from now.
    pub fn within(time: Duration) -> Self {
        Self::until(Instant::now() + time)
    }

    /// The same deadline, or earlier when cancelled.
    #[must_use]
    pub fn or_cancelled(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// The same, but a cancellation leaves so much time for the answer to a request that has been sent, where the answer must not be lost.
    #[must_use]
    pub(crate) fn with_answer_grace(&self, grace: Duration) -> Self {
        Self {
            answer_grace: grace,
            ..self.clone()
        }
    }

    /// The limit for the answer, once the request has been sent.
    #[must_use]
    pub(crate) fn for_answer(&self) -> Self {
        Self {
            grace: self.answer_grace,
            ..self.clone()
        }
    }

    /// The same, but no longer than a time from now.
    #[must_use]
    pub fn at_most(&self, time: Duration) -> Self {
        Self {
            deadline: self.deadline.min(Instant::now() + time),
            ..self.clone()
        }
    }

    /// The same, but no longer than a moment after the path has changed, where nothing comes from then on.
    #[must_use]
    pub fn or_path_gone(&self, path: Option<&PathWatch>) -> Self {
        Self {
            path: path.cloned(),
            ..self.clone()
        }
    }

    /// When it ends, unless it is cancelled.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time that is left.
    ///
    /// # Errors
    /// When none is left, or the wait is cancelled.
    pub fn remaining(&self) -> Result<Duration, Stop> {
        let now = Instant::now();
        let left_until = |at: Instant| {
            let left = at.checked_duration_since(now);
            left.filter(|left| !left.is_zero())
        };
        let gone_at = self.path.as_ref().and_then(PathWatch::gone_at);
        let deadline = gone_at.map_or(self.deadline, |at| at.min(self.deadline));
        let left = left_until(deadline).ok_or(Stop::TimedOut);
        match self.cancel.as_ref().and_then(Cancel::since) {
            None => left,
            Some(since) => match left_until(since + self.grace) {
                None => Err(Stop::Cancelled),
                Some(grace) => left.map(|left| left.min(grace)),
            },
        }
    }

    /// Waits for a time (back-off), less if the limit comes first.
    ///
    /// # Errors
    /// When the limit comes first.
    pub fn pause(&self, time: Duration) -> Result<(), Stop> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if left.is_zero() {
                break;
            }
            self.poll(&mut Vec::new(), Some(left))
                .map_err(|error| Stop::of(&error).unwrap_or(Stop::TimedOut))?;
        }
        Ok(())
    }

    /// Waits until a descriptor is ready.
    ///
    /// # Errors
    /// [`Stop`] as an I/O error when the limit comes first.
    pub fn wait(&self, descriptor: BorrowedFd<'_>, for_what: PollFlags) -> io::Result<()> {
        let mut descriptors = vec![PollFd::from_borrowed_fd(descriptor, for_what)];
        loop {
            self.poll(&mut descriptors, None)?;
            if !descriptors[0].revents().is_empty() {
                return Ok(());
            }
        }
    }

    /// One poll(2) over the descriptors and the cancellation, at most for `time`. Returning says nothing about readiness.
    ///
    /// # Errors
    /// [`Stop`] as an I/O error when the limit comes first.
    pub(crate) fn poll<'a>(
        &'a self,
        descriptors: &mut Vec<PollFd<'a>>,
        time: Option<Duration>,
    ) -> io::Result<()> {
        let left = self.remaining()?;
        let time = time.map_or(left, |time| time.min(left));
        let timeout = Timespec::try_from(time).ok();
        let asked = descriptors.len();
        // One that is cancelled, and in its grace, would be readable for ever.
        if let Some(cancel) = self.cancel.as_ref().filter(|cancel| !cancel.is_cancelled()) {
            descriptors.push(PollFd::from_borrowed_fd(
                cancel.0.reader.as_fd(),
                PollFlags::IN,
            ));
        }
        if let Some(path) = &self.path {
            descriptors.push(PollFd::new(path, PollFlags::IN));
        }
        let result = poll(descriptors, timeout.as_ref());
        let path_may_differ = self.path.is_some()
            && descriptors
                .last()
                .is_some_and(|last| !last.revents().is_empty());
        descriptors.truncate(asked);
        match result {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = descriptors.iter().any(|one| !one.revents().is_empty());
        if let Some(path) = &self.path {
            if path_may_differ {
                path.look();
            }
            if ready {
                path.carries();
            }
        }
        if !ready {
            self.remaining()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_pause_ends_early() {
        let cancel = Cancel::new().unwrap();
        let limit = Limit::within(Duration::from_secs(60)).or_cancelled(&cancel);
        let waiter = std::thread::spawn({
            let limit = limit.clone();
            move || limit.pause(Duration::from_secs(30))
        });
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), Err(Stop::Cancelled));
        assert_eq!(limit.remaining(), Err(Stop::Cancelled));
    }

    #[test]
    fn an_answer_is_waited_for_a_little_longer_than_the_cancellation() {
        use std::io::Write;
        let cancel = Cancel::new().unwrap();
        let limit = Limit::within(Duration::from_secs(60)).or_cancelled(&cancel);
        let short = limit.with_answer_grace(Duration::from_millis(20));
        let long = limit.with_answer_grace(Duration::from_secs(60));
        let (mut one, other) = UnixStream::pair().unwrap();
        let wait = |limit: Limit| {
            let stream = other.try_clone().unwrap();
            std::thread::spawn(move || limit.for_answer().wait(stream.as_fd(), PollFlags::IN))
        };
        let (in_vain, answered) = (wait(short), wait(long.clone()));
        cancel.cancel();
        let error = in_vain.join().unwrap().unwrap_err();
        assert_eq!(Stop::of(&error), Some(Stop::Cancelled));
        assert_eq!(long.remaining(), Err(Stop::Cancelled));
        one.write_all(b"x").unwrap();
        answered.join().unwrap().unwrap();
    }

    #[test]
    fn a_pause_ends_at_the_deadline() {
        let limit = Limit::within(Duration::from_millis(5));
        assert_eq!(limit.pause(Duration::from_secs(30)), Err(Stop::TimedOut));
        let longer = Limit::within(Duration::from_secs(30));
        assert_eq!(longer.pause(Duration::from_millis(2)), Ok(()));
    }

    #[test]
    fn a_wait_ends_when_the_descriptor_is_ready() {
        use std::io::Write;
        let (mut one, other) = UnixStream::pair().unwrap();
        let limit = Limit::within(Duration::from_secs(30));
        one.write_all(b"x").unwrap();
        limit.wait(other.as_fd(), PollFlags::IN).unwrap();
        let short = Limit::within(Duration::from_millis(5));
        let error = short.wait(one.as_fd(), PollFlags::IN).unwrap_err();
        assert_eq!(Stop::of(&error), Some(Stop::TimedOut));
    }
}
