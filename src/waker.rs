//! Wakes a thread that sleeps in `poll(2)`.
//!
//! A byte in a socket pair makes the sleeper's descriptor readable; a flag saves the bytes that nobody needs. Why no wake-up is lost, if
//! whatever it is about is changed, under a lock, **before** [`Waker::wake`], and looked at, under the same lock, **after**
//! [`WakeReceiver::clear`]:
//!
//! - The flag was down: this waker writes a byte. Only `clear` takes bytes, and whoever calls it looks at the state afterwards. If the
//!   byte is not written yet when it does, it will be, and poll(2) returns once too often.
//! - The flag was up: then some `clear` has yet to take it down. Somebody raised it, so a byte is there or about to come, and so a `clear`
//!   comes. What was changed before our look at the flag is seen by the look at the state that follows that `clear`: would the sleeper
//!   have had the lock before us, its taking down of the flag would have happened before our look, and we would have found it down.
//! - `clear` takes the bytes first and the flag down then. The other way round, a byte written in between would be swallowed while its
//!   flag stays up, and no later waker would write one.
//! - `clear` without a byte (a waker stands between its two lines) takes the flag down; the byte comes, and costs one round.
//! - Bytes cannot pile up: each needs a flag that was down, and what `clear` leaves of more than 16 keeps the descriptor readable.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The side that wakes. Cheap to clone; waking twice before the sleeper looked costs one system call, not two.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    woken: AtomicBool,
    writer: UnixStream,
}

/// The side that sleeps: poll its descriptor for reading, then [`clear`](WakeReceiver::clear) **before** looking at what the wake-up was about.
#[derive(Debug)]
pub struct WakeReceiver {
    shared: Arc<Shared>,
    reader: UnixStream,
}

/// A connected pair.
///
/// # Errors
/// When the process is out of file descriptors.
pub fn waker() -> io::Result<(Waker, WakeReceiver)> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    writer.set_nonblocking(true)?;
    let shared = Arc::new(Shared {
        woken: AtomicBool::new(false),
        writer,
    });
    Ok((Waker(Arc::clone(&shared)), WakeReceiver { shared, reader }))
}

impl Waker {
    /// Makes the sleeper's descriptor readable.
    pub fn wake(&self) {
        if !self.0.woken.swap(true, Ordering::SeqCst) {
            // A full buffer is fine: the sleeper's descriptor is readable then.
            let _ = (&self.0.writer).write(&[1]);
        }
    }
}

impl WakeReceiver {
    /// Takes the wake-up, so that the next one is seen.
    pub fn clear(&self) {
        // The bytes first: a wake-up between the two lines is seen by the caller's look at the state, which comes next.
        // Read even when nothing seems to be there: a waker may stand between its two lines.
        let mut bytes = [0; 16];
        let _ = (&self.reader).read(&mut bytes);
        self.shared.woken.store(false, Ordering::SeqCst);
    }
}

impl AsFd for WakeReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
