//! The terminal passes every byte while a session uses it, and is as it was found afterwards.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{QueueSelector, isatty, tcflush, tcgetpgrp};
use termios::{Termios, tcsetattr};

use super::last_resort;

/// How the terminal was when it was made raw for the first time. Here, and not in the guard, so that the panic hook and the handler of
/// signals find it; without a lock, as that handler may have interrupted whoever holds it.
static FOUND: OnceLock<Termios> = OnceLock::new();
/// What the terminal is like: one of the four below.
static STATE: AtomicU8 = AtomicU8::new(AS_FOUND);
/// As it was found.
const AS_FOUND: u8 = 0;
/// A thread is making it raw.
const CHANGING: u8 = 1;
/// Raw.
const RAW: u8 = 2;
/// As it was found, for good: a signal ends the process, and no thread makes it raw any more.
const LEFT: u8 = 3;

/// How long a change by another thread is waited for, and how often it is looked at. A change is one system call; when a signal has
/// interrupted the thread that makes it, the wait is in vain.
const CHANGE: Duration = Duration::from_millis(50);
const CHANGE_LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000,
};

/// A terminal whose writer has more than its queue takes is not emptied at once: how long it must be quiet, and for how long it is emptied
/// at most. A busy machine, or the network before the terminal, delays a paste by some tens of milliseconds.
const QUIET: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
const EMPTIED_FOR: Duration = Duration::from_secs(1);

/// Puts the terminal back when it goes.
#[derive(Debug)]
pub struct RawMode {
    found: &'static Termios,
}

impl RawMode {
    /// Makes the terminal on stdin raw, now if we are in the foreground, otherwise at the next [`refresh`](Self::refresh). Nothing when
    /// stdin is no terminal. From now on no signal that can be caught leaves it raw.
    ///
    /// # Errors
    /// When the terminal does not tell its settings.
    pub fn enter() -> io::Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let found = Termios::from_fd(stdin().as_raw_fd())?;
        let mode = Self {
            found: FOUND.get_or_init(|| found),
        };
        last_resort::restore_before_signals(restore_for_good);
        mode.refresh();
        Ok(Some(mode))
    }

    /// After SIGCONT: raw again, if we are in the foreground. Says whether we are.
    ///
    /// In the background the terminal is another program's, and the shell has set it for that program already.
    pub fn refresh(&self) -> bool {
        let is_ours = in_foreground();
        let change = |before| match before {
            AS_FOUND | RAW if is_ours => Some(CHANGING),
            AS_FOUND | RAW => Some(AS_FOUND),
            _ => None,
        };
        let Ok(before) = STATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change) else {
            return is_ours;
        };
        if is_ours {
            let after = if set(&raw(self.found)).is_ok() {
                RAW
            } else {
                before
            };
            // A signal that ends the process may not have waited for the change: it is taken back.
            if !becomes(CHANGING, after) {
                let _ = set(self.found);
            }
        }
        is_ours
    }

    /// Throws away what is in the terminal's queue, and what still comes: it was meant for the session, and would be run by the local
    /// shell.
    pub fn discard_input(&self) {
        let deadline = Instant::now() + EMPTIED_FOR;
        while is_raw() && in_foreground() && tcflush(stdin(), QueueSelector::IFlush).is_ok() {
            let mut polled = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
            let is_quiet = !matches!(poll(&mut polled, Some(&QUIET)), Ok(1..));
            if is_quiet || Instant::now() > deadline {
                return;
            }
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back, if it is raw.
pub fn restore() {
    put_back(AS_FOUND);
}

/// Puts the terminal back, and keeps it so: the process ends, and another thread may be about to make it raw again after SIGCONT. Takes no
/// lock and no memory, as the handler of signals calls it.
fn restore_for_good() {
    put_back(LEFT);
}

/// In the background only if the terminal is still as we have set it: a shell whose job was killed has taken it, and some set it for
/// themselves.
fn put_back(after: u8) {
    let deadline = Instant::now() + CHANGE;
    while STATE.load(Ordering::SeqCst) == CHANGING && Instant::now() < deadline {
        let _ = poll(&mut [], Some(&CHANGE_LOOK));
    }
    let change = |before| (before != LEFT).then_some(after);
    let before = match STATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change) {
        Ok(before) | Err(before) => before,
    };
    // Also where the state is LEFT already: the thread that set it may not have restored the terminal yet, and the process may end as soon
    // as this returns.
    let Some(found) = FOUND.get().filter(|_| before != AS_FOUND) else {
        return;
    };
    let is_ours = || Termios::from_fd(stdin().as_raw_fd()).is_ok_and(|now| now == raw(found));
    if in_foreground() || is_ours() {
        // A terminal that is gone needs no settings.
        let _ = set(found);
    }
}

/// Changes the state if it is this one.
fn becomes(before: u8, after: u8) -> bool {
    STATE
        .compare_exchange(before, after, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// Whether the terminal is raw now.
pub fn is_raw() -> bool {
    matches!(STATE.load(Ordering::SeqCst), RAW | CHANGING)
}

/// From now on a panic puts the terminal back before it says what happened.
pub fn restore_at_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        say(panic);
    }));
}

/// Whether the terminal on stdin listens to our process group. True where there is no job control: stdin is then not our controlling
/// terminal.
pub fn in_foreground() -> bool {
    tcgetpgrp(stdin()).map_or(true, |foreground| foreground == getpgrp())
}

/// Every byte passes; output processing, speed and parity stay as they are.
fn raw(found: &Termios) -> Termios {
    use termios::{
        BRKINT, ECHO, ECHONL, ICANON, ICRNL, IEXTEN, IGNBRK, IGNCR, INLCR, INPCK, ISIG, ISTRIP,
        IXANY, IXOFF, IXON, PARMRK, VMIN, VTIME,
    };
    let mut raw = *found;
    raw.c_iflag &=
        !(IGNBRK | BRKINT | PARMRK | INPCK | ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXOFF | IXANY);
    raw.c_lflag &= !(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    raw
}

/// Sets at once (TCSANOW): waiting for output would wait for ever on a stopped terminal.
fn set(settings: &Termios) -> io::Result<()> {
    // From the background it would stop us with SIGTTOU; with that blocked it goes through.
    let mut background_write = SigSet::empty();
    background_write.add(Signal::SIGTTOU);
    let before = background_write.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let result = tcsetattr(stdin().as_raw_fd(), termios::TCSANOW, settings);
    if let Ok(before) = before {
        // Cannot fail: the mask was valid a moment ago.
        let _ = before.thread_set_mask();
    }
    result
}
