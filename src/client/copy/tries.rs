//! How often something that fails is tried again. No clock.

use std::time::Duration;

/// So many failures one after the other without a byte in between are the end: fewer where nothing ever worked.
const FAILURES: u32 = 8;
const FAILURES_AT_FIRST: u32 = 4;
/// The wait after the first of them; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Whether to try again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on, after a wait.
    After(Duration),
    /// There were too many failures.
    GiveUp,
}

/// Counts failures.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// In a row, without a byte in between.
    failures: u32,
    has_worked: bool,
}

impl Tries {
    /// Something worked.
    pub(super) const fn worked(&mut self) {
        self.failures = 0;
        self.has_worked = true;
    }

    /// Something failed; `has_progress`: bytes had come before.
    pub(super) fn failed(&mut self, has_progress: bool) -> Next {
        if has_progress {
            self.worked();
            return Next::After(Duration::ZERO);
        }
        self.failures += 1;
        let most = match self.has_worked {
            true => FAILURES,
            false => FAILURES_AT_FIRST,
        };
        if self.failures >= most {
            return Next::GiveUp;
        }
        Next::After(FIRST_WAIT * 2_u32.pow(self.failures - 1))
    }
}
