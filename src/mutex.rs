//! Locks a mutex whose holder may have panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for it. No value is ever left half changed: who panicked while holding it (only where panics do not abort) spoiled nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
