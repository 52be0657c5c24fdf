//! What the program writes, and waiting for it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::{TIMEOUT, lock};

/// What came on one descriptor so far.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<Came>, Condvar)>);

#[derive(Default)]
struct Came {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    pub(super) fn read_or_end(&self, source: Option<OwnedFd>) {
        match source {
            Some(source) => self.read(File::from(source)),
            None => self.end(),
        }
    }

    pub(super) fn read(&self, mut source: impl Read + Send + 'static) {
        let output = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            // A terminal that nobody has open any more answers with EIO.
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                lock(&output.0.0).bytes.extend_from_slice(&buffer[..count]);
                output.0.1.notify_all();
            }
            output.end();
        });
    }

    fn end(&self) {
        lock(&self.0.0).ended = true;
        self.0.1.notify_all();
    }

    /// All that came.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.0.0).bytes.clone()
    }

    /// All that came, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0.0).bytes).into_owned()
    }

    /// Waits until what came holds this text.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_count(text, 1);
    }

    /// Waits until what came holds this text so many times.
    pub fn wait_for_count(&self, text: &str, count: usize) {
        let what = format!("{count} times {text:?}");
        self.wait_until(&what, |bytes| {
            String::from_utf8_lossy(bytes).matches(text).count() >= count
        });
    }

    /// Waits until what came pleases.
    pub fn wait_until(&self, what: &str, pleases: impl Fn(&[u8]) -> bool) {
        let (came, changed) = &*self.0;
        let mut came = lock(came);
        let deadline = Instant::now() + TIMEOUT;
        while !pleases(&came.bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !came.ended && !left.is_zero(),
                "did not see {what} in {:?}",
                tail(&String::from_utf8_lossy(&came.bytes))
            );
            came = changed
                .wait_timeout(came, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(super) fn wait_for_end(&self) {
        let (came, changed) = &*self.0;
        let result = changed
            .wait_timeout_while(lock(came), TIMEOUT, |came| !came.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!result.1.timed_out(), "another process still has it open");
    }
}

/// The end of a text, where the interesting part is.
pub(super) fn tail(text: &str) -> String {
    const SHOWN: usize = 2000;
    let skipped = text.chars().count().saturating_sub(SHOWN);
    let end: String = text.chars().skip(skipped).collect();
    if skipped == 0 {
        end
    } else {
        format!("({skipped} characters …){end}")
    }
}
