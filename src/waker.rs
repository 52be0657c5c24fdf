//! Wakes a thread that sleeps in `poll(2)`, and hands it things: [`Mailbox`].
//!
//! A flag says what the sleeper does, and a readable descriptor (an eventfd on Linux) ends its poll(2). Each value of the flag and who
//! leaves it:
//!
//! | flag | means | left by |
//! |---|---|---|
//! | `ARMED` | the sleeper may be in poll(2), or on its way into it | a waker, which writes a byte: `SIGNALLED` |
//! | `SIGNALLED` | a byte is written or about to be | the sleeper ([`clear`](WakeReceiver::clear): `ARMED`, [`disarm`](WakeReceiver::disarm): `BUSY`) |
//! | `BUSY` | the sleeper works and looks again before it sleeps: no byte is needed | a waker: `RECALLED`; the sleeper ([`arm`](WakeReceiver::arm)): `ARMED` |
//! | `RECALLED` | somebody woke it meanwhile | the sleeper (`arm`, which answers that it is to look again): `BUSY` |
//!
//! Why no wake-up is lost, if whatever it is about is changed **before** [`Waker::wake`], under a lock or through a channel, and looked at
//! **after** `clear` or `disarm`, and, by who is busy, before `arm`:
//!
//! - A waker that finds `ARMED` writes a byte, and poll(2) returns. It does not matter that the sleeper is only on its way into it.
//! - A waker that finds `SIGNALLED` or `RECALLED` does nothing: a later `clear`, `disarm` or failing `arm` of the sleeper changes the flag
//!   after this look at it, and the sleeper looks at the state after that.
//! - A waker that finds `BUSY` makes `arm` fail, and the sleeper looks again instead of sleeping.
//! - Changes of the flag are single atomic steps in one order, so there is no moment between these.
//!
//! The descriptor never stays readable for nothing, and no byte is waited for that does not come: each change to `SIGNALLED` makes one
//! byte, and only the sleeper changes it back, after it has read: so each byte that it reads belongs to a change that it has counted or
//! counts now (`owed`). A waker may be between its change of the flag and its byte, which is then read later and costs one round.
//! Where none is owed and the flag is down, no read(2) is needed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryIter, unbounded};
use rustix::event::Timespec;

/// A time as poll(2) takes it.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

const ARMED: u8 = 0;
const SIGNALLED: u8 = 1;
const BUSY: u8 = 2;
const RECALLED: u8 = 3;

/// The side that wakes. Cheap to clone; waking twice before the sleeper looked costs one system call, not two, and none while it is busy.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    flag: AtomicU8,
    bell: Bell,
}

/// The side that sleeps: poll its descriptor for reading, then [`clear`](Self::clear) **before** looking at what the wake-up was about.
#[derive(Debug)]
pub struct WakeReceiver {
    shared: Arc<Shared>,
    /// Bytes that were, or are about to be, written and are not read yet, as far as the sleeper knows.
    owed: AtomicI64,
}

/// A connected pair.
///
/// # Errors
/// When the process is out of file descriptors.
pub fn waker() -> io::Result<(Waker, WakeReceiver)> {
    let shared = Arc::new(Shared {
        flag: AtomicU8::new(ARMED),
        bell: Bell::new()?,
    });
    let receiver = WakeReceiver {
        shared: Arc::clone(&shared),
        owed: AtomicI64::new(0),
    };
    Ok((Waker(shared), receiver))
}

impl Waker {
    /// Ends the sleeper's poll(2), or makes it look again before the next.
    pub fn wake(&self) {
        let next = |flag| match flag {
            ARMED => Some(SIGNALLED),
            BUSY => Some(RECALLED),
            _ => None,
        };
        let flag = &self.0.flag;
        if flag.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(ARMED) {
            self.0.bell.ring();
        }
    }
}

impl WakeReceiver {
    /// Takes the wake-up, so that the next one is seen. Whoever wakes from here on ends the next poll(2).
    pub fn clear(&self) {
        self.leave(ARMED);
    }

    /// The same, and says that the sleeper works now: nobody needs to end a poll(2) until it is [armed](Self::arm).
    pub fn disarm(&self) {
        self.leave(BUSY);
    }

    /// To be called before poll(2) by who is [disarmed](Self::disarm) and has looked at everything; false when somebody woke it
    /// meanwhile, and it is to look again.
    #[must_use = "when it is false, look again instead of sleeping"]
    pub fn arm(&self) -> bool {
        let flag = &self.shared.flag;
        match flag.compare_exchange(BUSY, ARMED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            // Armed, or signalled: poll(2) will tell.
            Err(ARMED | SIGNALLED) => true,
            Err(_) => {
                flag.store(BUSY, Ordering::SeqCst);
                false
            }
        }
    }

    fn leave(&self, next: u8) {
        // Only the sleeper changes this.
        let mut owed = self.owed.load(Ordering::Relaxed);
        // The bytes first: one that came after the flag was taken down would be swallowed, while its flag stays up.
        if owed > 0 || self.shared.flag.load(Ordering::SeqCst) == SIGNALLED {
            owed -= self.shared.bell.take();
        }
        let was_signalled = self.shared.flag.swap(next, Ordering::SeqCst) == SIGNALLED;
        self.owed
            .store(owed + i64::from(was_signalled), Ordering::Relaxed);
    }
}

impl AsFd for WakeReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }
}

/// The descriptor: each ring makes it readable.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Bell(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Bell {
    fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?))
    }

    fn ring(&self) {
        // It fails where 2^64 rings were not taken.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes the rings, and says how many there were.
    fn take(&self) -> i64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => i64::try_from(u64::from_ne_bytes(count)).unwrap_or(i64::MAX),
            Err(_) => 0,
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The descriptors: each ring makes one of them readable.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Bell {
    reader: std::os::unix::net::UnixStream,
    writer: std::os::unix::net::UnixStream,
}

#[cfg(not(target_os = "linux"))]
impl Bell {
    fn new() -> io::Result<Self> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, writer })
    }

    fn ring(&self) {
        // A ring needs one that was taken, so the buffer is never full.
        let _ = io::Write::write(&mut &self.writer, &[1]);
    }

    /// Takes the rings, and says how many there were.
    fn take(&self) -> i64 {
        let mut bytes = [0; 16];
        let count = io::Read::read(&mut &self.reader, &mut bytes).unwrap_or(0);
        i64::try_from(count).unwrap_or_default()
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// A channel to a thread that sleeps in `poll(2)`: what is posted wakes it.
#[derive(Debug)]
pub struct Mailbox<T> {
    sender: Sender<T>,
    waker: Waker,
}

/// The thread's end of a [`Mailbox`]: poll its descriptor for reading, then take what has come.
#[derive(Debug)]
pub struct MailboxReceiver<T> {
    posts: Receiver<T>,
    wake_receiver: WakeReceiver,
}

/// A connected pair. Posts are few (a signal, a stop), so nothing bounds them.
///
/// # Errors
/// When the process is out of file descriptors.
pub fn mailbox<T>() -> io::Result<(Mailbox<T>, MailboxReceiver<T>)> {
    let (waker, wake_receiver) = waker()?;
    let (sender, posts) = unbounded();
    let receiver = MailboxReceiver {
        posts,
        wake_receiver,
    };
    Ok((Mailbox { sender, waker }, receiver))
}

impl<T> Mailbox<T> {
    /// Hands the thread something, and wakes it. It is lost when the thread has ended.
    pub fn post(&self, post: T) {
        let _ = self.sender.send(post);
        self.waker.wake();
    }

    /// Wakes the same thread for something else than a post.
    pub const fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl<T> MailboxReceiver<T> {
    /// Takes the wake-up, and then what was posted.
    pub fn take(&self) -> TryIter<'_, T> {
        self.wake_receiver.clear();
        self.posts.try_iter()
    }

    /// What was posted, for who has cleared or disarmed the [receiver](Self::wake_receiver) before.
    pub fn posts(&self) -> TryIter<'_, T> {
        self.posts.try_iter()
    }

    /// Whether nothing was posted; leaves the wake-up where it is.
    pub fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// What the thread sleeps with.
    pub const fn wake_receiver(&self) -> &WakeReceiver {
        &self.wake_receiver
    }
}

impl<T> AsFd for MailboxReceiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake_receiver.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(receiver: &WakeReceiver) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(receiver, PollFlags::IN)], Some(&now)) == Ok(1)
    }

    #[test]
    fn wakes_once_until_it_is_cleared() {
        let (waker, receiver) = waker().unwrap();
        receiver.clear();
        assert!(!is_readable(&receiver));
        waker.wake();
        waker.wake();
        assert!(is_readable(&receiver));
        receiver.clear();
        assert!(!is_readable(&receiver));
        waker.wake();
        assert!(is_readable(&receiver));
    }

    #[test]
    fn who_is_busy_is_not_rung_for_and_looks_again() {
        let (waker, receiver) = waker().unwrap();
        receiver.disarm();
        waker.wake();
        assert!(!is_readable(&receiver));
        assert!(!receiver.arm(), "woken meanwhile");
        assert!(receiver.arm());
        waker.wake();
        assert!(is_readable(&receiver));
        assert!(receiver.arm(), "poll(2) tells");
        receiver.disarm();
        assert!(!is_readable(&receiver));
        assert!(receiver.arm());
    }

    /// Each of some threads posts, and waits for the answer before it posts again: a wake-up that is lost leaves all of them waiting.
    /// `answer` says whether more is to come.
    fn posts_are_answered(
        receive: impl Fn(&MailboxReceiver<usize>, &mut dyn FnMut(usize) -> bool),
    ) {
        const THREADS: usize = 4;
        const POSTS: usize = 20_000;
        let (posts, receiver) = mailbox().unwrap();
        let (answers, waiting): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| unbounded()).unzip();
        std::thread::scope(|scope| {
            for (thread, waiting) in waiting.into_iter().enumerate() {
                let posts = &posts;
                scope.spawn(move || {
                    for _ in 0..POSTS {
                        posts.post(thread);
                        waiting.recv().unwrap();
                    }
                });
            }
            let mut left = THREADS * POSTS;
            while left > 0 {
                receive(&receiver, &mut |thread| {
                    left -= 1;
                    answers[thread].send(()).unwrap();
                    left > 0
                });
            }
        });
    }

    fn sleep(receiver: &WakeReceiver) {
        poll(&mut [PollFd::new(receiver, PollFlags::IN)], None).unwrap();
    }

    #[test]
    fn no_wake_up_is_lost_by_who_clears_and_looks() {
        posts_are_answered(|receiver, answer| {
            sleep(receiver.wake_receiver());
            receiver.take().for_each(|post| {
                answer(post);
            });
        });
    }

    #[test]
    fn no_wake_up_is_lost_by_who_is_busy_and_looks_again() {
        posts_are_answered(|receiver, answer| {
            let more = receiver.posts.try_iter().map(answer).last() != Some(false);
            if more && receiver.wake_receiver().arm() {
                sleep(receiver.wake_receiver());
            }
            receiver.wake_receiver().disarm();
        });
    }

    #[test]
    fn what_is_posted_wakes_and_is_taken_in_order() {
        let (mailbox, receiver) = mailbox().unwrap();
        assert_eq!(receiver.take().next(), None);
        mailbox.post(1);
        mailbox.post(2);
        assert!(is_readable(receiver.wake_receiver()));
        assert_eq!(receiver.take().collect::<Vec<_>>(), [1, 2]);
        assert!(!is_readable(receiver.wake_receiver()));
    }
}
