//! Signals that end the process without a word put the terminal back before they do (P100): those of a crash, an allocation that fails and
//! a stack overflow among them, and all others that nobody catches.
//!
//! INT, QUIT, TERM and HUP are not among them: they end the session in order, see [`super::signals`].
#![allow(
    unsafe_code,
    reason = "no safe call sets a handler for the signals of a crash; this one does nothing but tcsetattr(3) and raise(3), which may be \
              called there"
)]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use nix::libc;

/// Those that do not end a process by themselves, and those that [`super::signals`] catches.
const OTHERS: [c_int; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGCONT,
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGWINCH,
    // Does not end a process on every system, and Rust ignores it.
    libc::SIGPIPE,
];

/// What puts the terminal back.
static RESTORE: OnceLock<fn()> = OnceLock::new();

/// From now on signals that would end the process call `restore` first, which may take neither a lock nor memory. Those that were inherited
/// ignored stay so.
pub(super) fn restore_before_signals(restore: fn()) {
    // A second call names the same function.
    let _ = RESTORE.set(restore);
    for signal in (1..=last_signal()).filter(|signal| !OTHERS.contains(signal)) {
        let mut found = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: the pointers are good, and a null one asks for no change. Fails for signals that the C library keeps to itself.
        let is_known = unsafe { libc::sigaction(signal, ptr::null(), found.as_mut_ptr()) } == 0;
        // SAFETY: the call above has filled it.
        if !is_known || unsafe { found.assume_init_ref() }.sa_sigaction == libc::SIG_IGN {
            continue;
        }
        // SAFETY: all fields of a sigaction may be zero; the handler has the type that is called without SA_SIGINFO, and keeps to what may
        // be done there.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = restore_and_raise as extern "C" fn(c_int) as libc::sighandler_t;
            // After a stack overflow there is no other; Rust gives one to each of its threads.
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigfillset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

extern "C" fn restore_and_raise(signal: c_int) {
    if let Some(restore) = RESTORE.get() {
        restore();
    }
    // SAFETY: both may be called in a handler. All signals are blocked until it returns, and then this one does what it would have done.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

#[cfg(target_os = "linux")]
fn last_signal() -> c_int {
    libc::SIGRTMAX()
}

/// Systems without real-time signals.
#[cfg(not(target_os = "linux"))]
fn last_signal() -> c_int {
    31
}
