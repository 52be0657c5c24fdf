//! Wakes a thread that sleeps in `poll(2)`.

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

/// The side that sleeps: poll its descriptor for reading, then [`clear`](Sleeper::clear) **before** looking at what the wake-up was about.
#[derive(Debug)]
pub struct Sleeper {
    shared: Arc<Shared>,
    reader: UnixStream,
}

/// A connected pair.
///
/// # Errors
/// When the process is out of file descriptors.
pub fn waker() -> io::Result<(Waker, Sleeper)> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    writer.set_nonblocking(true)?;
    let shared = Arc::new(Shared {
        woken: AtomicBool::new(false),
        writer,
    });
    Ok((Waker(Arc::clone(&shared)), Sleeper { shared, reader }))
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

impl Sleeper {
    /// Takes the wake-up, so that the next one is seen.
    pub fn clear(&self) {
        // The bytes first: a wake-up between the two lines is seen by the caller's look at the state, which comes next.
        // Read even when nothing seems to be there: a waker may stand between its two lines.
        let mut bytes = [0; 16];
        let _ = (&self.reader).read(&mut bytes);
        self.shared.woken.store(false, Ordering::SeqCst);
    }
}

impl AsFd for Sleeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
