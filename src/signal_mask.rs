//! The signals that were blocked when the program started, which a parent's mask may have been (P117).
//!
//! What we handle is unblocked, or it would never be seen; a program that we start gets the mask that we got, as if we were not there.

use std::sync::OnceLock;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// What was blocked.
static INHERITED: OnceLock<SigSet> = OnceLock::new();

/// Unblocks these signals in this thread, and in those that it starts from now on.
pub(crate) fn unblock(signals: impl IntoIterator<Item = Signal>) {
    let wanted: SigSet = signals.into_iter().collect();
    // Fails for masks that are none only.
    if let Ok(found) = wanted.thread_swap_mask(SigmaskHow::SIG_UNBLOCK) {
        // The first one: it is the one that came from outside.
        let _ = INHERITED.set(found);
    }
}

/// Runs this, the start of another program, with the mask that this process got.
pub(crate) fn with_inherited<T>(run: impl FnOnce() -> T) -> T {
    let ours = INHERITED
        .get()
        .and_then(|inherited| inherited.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok());
    let result = run();
    if let Some(ours) = ours {
        // Cannot fail: the mask was valid a moment ago.
        let _ = ours.thread_set_mask();
    }
    result
}
