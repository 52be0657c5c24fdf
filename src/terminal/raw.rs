//! The terminal passes every byte while a session uses it, and is as it was found afterwards.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError, TryLockError};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{isatty, tcgetpgrp};
use termios::{Termios, tcsetattr};

/// What is to be put back, if the terminal is raw now. Here, and not in the guard, so that the panic hook finds it.
static TO_RESTORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Puts the terminal back when it goes.
#[derive(Debug)]
pub struct RawMode {
    found: Termios,
}

impl RawMode {
    /// Makes the terminal on stdin raw, now if we are in the foreground, otherwise at the next [`refresh`](Self::refresh). Nothing when stdin is no terminal.
    ///
    /// # Errors
    /// When the terminal does not tell its settings.
    pub fn enter() -> io::Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let found = Termios::from_fd(stdin().as_raw_fd())?;
        let mode = Self { found };
        mode.refresh();
        Ok(Some(mode))
    }

    /// After SIGCONT: raw again, if we are in the foreground. Says whether we are.
    ///
    /// In the background the terminal is another program's, and whoever put us there has already set it as he likes.
    pub fn refresh(&self) -> bool {
        let is_ours = in_foreground();
        let mut to_restore = TO_RESTORE.lock().unwrap_or_else(PoisonError::into_inner);
        if is_ours && set(&raw(&self.found)).is_ok() {
            *to_restore = Some(self.found);
        } else if !is_ours {
            *to_restore = None;
        }
        is_ours
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back, if it is raw.
pub fn restore() {
    let mut to_restore = match TO_RESTORE.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // A panic between setting and noting, or another thread that is at it.
        Err(TryLockError::WouldBlock) => return,
    };
    if let Some(found) = to_restore.take() {
        // A terminal that is gone needs no settings.
        let _ = set(&found);
    }
}

/// Whether the terminal is raw now.
pub fn is_raw() -> bool {
    TO_RESTORE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some()
}

/// From now on a panic puts the terminal back before it says what happened.
pub fn restore_at_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        say(panic);
    }));
}

/// Whether the terminal on stdin listens to our process group. True where there is no job control: stdin is then not our controlling terminal.
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
