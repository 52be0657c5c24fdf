//! What a user is told on the way: that something takes its time, or goes another way than was asked for.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::mutex::lock;

/// Nobody is told about what takes no longer.
const QUIET_TIME: Duration = Duration::from_secs(3);

/// Lines for the user, each shown once in the life of the program. The default shows none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Remarks(Option<Arc<RemarksState>>);

struct RemarksState {
    show: Box<dyn Fn(&str) + Send + Sync>,
    shown: Mutex<HashSet<String>>,
}

impl Remarks {
    /// Lines go to `show`, which may be called from any thread.
    pub fn new(show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(RemarksState {
            show: Box::new(show),
            shown: Mutex::default(),
        })))
    }

    /// Shows a line, unless it was shown before.
    pub fn once(&self, line: &str) {
        if let Some(shared) = &self.0 {
            shared.once(line);
        }
    }

    /// Says, once, that calls to this host are not encrypted (P94).
    pub fn unencrypted(&self, host: &str) {
        self.once(&format!(
            "what is asked of {host} goes out unencrypted (http://): whoever is on the way can read and change it"
        ));
    }

    /// Says what is waited for, and how long at most, if the wait that begins now is not over within 3 seconds. It ends when the answer is
    /// dropped.
    #[must_use = "the wait ends when this is dropped"]
    pub fn waiting(&self, what: &str, longest: Duration) -> Waiting {
        let seconds = longest.as_secs_f64().ceil();
        let line = format!("waiting for {what}, up to {seconds} s");
        let shared = self.0.as_ref().filter(|shared| !shared.was_shown(&line));
        let Some(shared) = shared.map(Arc::clone) else {
            return Waiting::default();
        };
        let is_over = Arc::new(Mutex::new(false));
        let (over, ends) = bounded::<()>(0);
        let thread = std::thread::Builder::new().name("waiting".to_owned());
        let seen = Arc::clone(&is_over);
        // Without a thread nothing is said, and the wait goes on.
        let _ = thread.spawn(move || {
            if ends.recv_timeout(QUIET_TIME) == Err(RecvTimeoutError::Timeout) {
                let is_over = lock(&seen);
                if !*is_over {
                    shared.once(&line);
                }
            }
        });
        Waiting(Some((over, is_over)))
    }
}

impl RemarksState {
    fn once(&self, line: &str) {
        let mut shown = lock(&self.shown);
        if shown.insert(line.to_owned()) {
            drop(shown);
            (self.show)(line);
        }
    }

    fn was_shown(&self, line: &str) -> bool {
        let shown = lock(&self.shown);
        shown.contains(line)
    }
}

impl fmt::Debug for Remarks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Remarks(…)")
    }
}

/// A wait that is going on: its thread ends when the sender is dropped, and says nothing once it is over.
#[derive(Debug, Default)]
pub struct Waiting(Option<(Sender<()>, Arc<Mutex<bool>>)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((_, is_over)) = &self.0 {
            // A line that is being shown is shown before what follows. The thread is not waited for: that took as long as a connection.
            *lock(is_over) = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn collecting() -> (Remarks, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        let remarks = Remarks::new(move |line| into.lock().unwrap().push(line.to_owned()));
        (remarks, lines)
    }

    #[test]
    fn a_line_is_shown_once() {
        let (remarks, lines) = collecting();
        for line in ["a", "b", "a"] {
            remarks.clone().once(line);
        }
        assert_eq!(*lines.lock().unwrap(), ["a", "b"]);
        Remarks::default().once("a");
    }

    #[test]
    fn p107_a_short_wait_is_not_told_and_ends_at_once() {
        let (remarks, lines) = collecting();
        let start = Instant::now();
        drop(remarks.waiting("it", Duration::from_secs(60)));
        assert!(start.elapsed() < QUIET_TIME);
        assert!(lines.lock().unwrap().is_empty());
    }
}
