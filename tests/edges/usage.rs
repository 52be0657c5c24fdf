//! What the program uses while the other side does its worst, and how much of it is too much.

use std::thread;
use std::time::Duration;

use crate::support::{Running, Usage};

/// What no test of a hostile other side may make the program use, bytes.
pub const MOST_MEMORY: usize = 40 << 20;

/// Prints what was used, and fails if it was too much.
pub fn assert_modest(what: &str, usage: Usage) {
    eprintln!(
        "{what}: peak {:.1} MB, {} threads, {} descriptors",
        usage.peak as f64 / 1e6,
        usage.threads,
        usage.descriptors
    );
    assert!(usage.peak > 0, "{what}: it has ended");
    assert!(usage.peak < MOST_MEMORY, "{what}: {usage:?}");
    assert!(usage.threads < 16, "{what}: {usage:?}");
    assert!(usage.descriptors < 40, "{what}: {usage:?}");
}

/// Waits for the program's end: the most that it used until then. Fails as soon as it uses too much memory.
pub fn watch(plugin: &Running) -> Usage {
    let mut most = plugin.usage();
    while plugin.try_wait().is_none() {
        let now = plugin.usage();
        most.peak = most.peak.max(now.peak);
        most.threads = most.threads.max(now.threads);
        most.descriptors = most.descriptors.max(now.descriptors);
        assert!(most.peak < MOST_MEMORY, "{most:?}");
        thread::sleep(Duration::from_millis(2));
    }
    most
}
