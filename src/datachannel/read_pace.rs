//! When to read again: a paced stream of full messages is read in pieces of some milliseconds. No I/O and no clock.
//!
//! The agent pauses for 1 ms after each message, so a download would wake two threads a thousand times a second, for 1 KiB each. A message
//! that is as long as those before it is one that the agent had to cut: more comes behind it, and nobody waits for this piece alone. So
//! after some of them in a row what comes is gathered. An acknowledgement, or anything that is sent from here ends that: somebody may wait
//! for an answer. So does a shorter message, the end of something; but the blocks of a download end too, and the next one follows at once.

use std::time::{Duration, Instant};

/// What comes is gathered for so long: each piece wakes three threads.
const GATHER: Duration = Duration::from_millis(10);
/// Reads in a row that found nothing but a few full messages, before that; and so many after a stumble.
const STEADY: u32 = 32;
const STEADY_AGAIN: u32 = 4;
/// A stream that pauses for longer stumbles.
const PAUSE: Duration = Duration::from_millis(20);
/// A short message after so many full ones in a row is the end of a block: the agent's smux cuts a download into blocks of 32 KiB.
const BLOCK: u32 = 16;
/// The least payload of a message that counts as full, bytes.
const FULL: usize = 1000;
/// More than this, and so many for each millisecond, come without pauses: they are read as they come, many at a time.
const FEW: usize = 16;
const FASTEST: usize = 2;

/// Watches what is read.
#[derive(Debug, Default)]
pub(super) struct ReadPace {
    /// The length of the last full message, bytes of payload.
    length: usize,
    /// Full messages in a row.
    run: u32,
    /// Reads in a row that found full messages only.
    steady: u32,
    /// Messages of this read.
    count: usize,
    /// Messages since the stream began to be steady, or since the read before while it is gathered; and when that was.
    seen: usize,
    since: Option<Instant>,
    /// The last read that found something.
    read_at: Option<Instant>,
}

impl ReadPace {
    /// A message of the stream was read, with so many bytes of payload.
    pub(super) const fn message(&mut self, length: usize) {
        self.count += 1;
        if length == self.length && length >= FULL {
            self.run = self.run.saturating_add(1);
            return;
        }
        if length < FULL && self.run >= BLOCK {
            self.stumbles();
        } else {
            self.length = length;
            self.steady = 0;
        }
        self.run = 0;
    }

    /// What is gathered is soon gathered again.
    const fn stumbles(&mut self) {
        if self.steady > STEADY - STEADY_AGAIN {
            self.steady = STEADY - STEADY_AGAIN;
        }
    }

    /// Something else was read, or something was sent: what comes next may be waited for.
    pub(super) const fn disturb(&mut self) {
        self.steady = 0;
    }

    /// All that was there is read.
    pub(super) fn drained(&mut self, now: Instant) {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        if self.steady == 0 || self.is_gathering() {
            self.since = self.read_at;
            self.seen = 0;
        }
        self.seen += count;
        let since = self.since.unwrap_or(now);
        let passed = now.saturating_duration_since(since).as_millis();
        let paced = usize::try_from(passed).map_or(usize::MAX, |passed| {
            passed.saturating_mul(FASTEST).saturating_add(FEW)
        });
        let is_late = |at| now.saturating_duration_since(at) > PAUSE;
        if self.seen > paced {
            self.steady = 0;
        } else if self.read_at.is_none_or(is_late) {
            self.stumbles();
        } else {
            self.steady = self.steady.saturating_add(1);
        }
        self.read_at = Some(now);
    }

    /// Whether what comes is gathered.
    pub(super) const fn is_gathering(&self) -> bool {
        self.steady >= STEADY
    }

    /// When to read again; none when it is to be at once.
    pub(super) fn read_again_at(&self) -> Option<Instant> {
        self.read_at
            .filter(|_| self.is_gathering())
            .map(|at| at + GATHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads of a message each, a millisecond apart: when the last of them was.
    fn stream(pace: &mut ReadPace, begin: Instant, reads: u32) -> Instant {
        let mut now = begin;
        for _ in 0..reads {
            now += Duration::from_millis(1);
            pace.message(1024);
            pace.drained(now);
        }
        now
    }

    #[test]
    fn a_paced_stream_is_read_every_ten_milliseconds() {
        let mut pace = ReadPace::default();
        let now = stream(&mut pace, Instant::now(), STEADY);
        assert_eq!(pace.read_again_at(), None);
        let now = stream(&mut pace, now, 1);
        assert_eq!(pace.read_again_at(), Some(now + GATHER));
        // A read for nothing changes nothing.
        pace.drained(now + GATHER);
        assert_eq!(pace.read_again_at(), Some(now + GATHER));
    }

    #[test]
    fn whatever_may_be_waited_for_is_read_at_once() {
        let streaming = || {
            let mut pace = ReadPace::default();
            let now = stream(&mut pace, Instant::now(), 2 * STEADY);
            assert!(pace.is_gathering());
            (pace, now)
        };
        let (mut pace, now) = streaming();
        pace.message(700);
        pace.drained(now);
        assert!(!pace.is_gathering(), "the end of something");
        stream(&mut pace, now, STEADY_AGAIN);
        assert!(pace.is_gathering(), "and the next of the same");
        pace.message(700);
        pace.drained(now);
        stream(&mut pace, now, STEADY - 1);
        assert!(!pace.is_gathering(), "the second of two short ones");
        let (mut pace, _) = streaming();
        pace.disturb();
        assert!(!pace.is_gathering(), "a question from here");
        let (mut pace, now) = streaming();
        stream(&mut pace, now + PAUSE, 1);
        assert!(!pace.is_gathering(), "after a pause");
        let (mut pace, now) = streaming();
        for _ in 0..=FEW {
            pace.message(1024);
        }
        pace.drained(now);
        assert!(!pace.is_gathering(), "a stream without pauses");
    }

    #[test]
    fn a_stream_that_stumbles_is_soon_gathered_again() {
        let mut pace = ReadPace::default();
        let now = stream(&mut pace, Instant::now(), 2 * STEADY);
        let now = stream(&mut pace, now + PAUSE, 1);
        let now = stream(&mut pace, now, STEADY_AGAIN - 1);
        assert!(!pace.is_gathering());
        stream(&mut pace, now, 1);
        assert!(pace.is_gathering());
        // One that was sent to in between is another.
        pace.disturb();
        stream(&mut pace, now, STEADY_AGAIN);
        assert!(!pace.is_gathering());
    }

    #[test]
    fn what_comes_without_pauses_is_never_gathered() {
        let mut pace = ReadPace::default();
        let mut now = Instant::now();
        for _ in 0..1000 {
            now += Duration::from_micros(100);
            pace.message(1024);
            pace.drained(now);
            assert!(!pace.is_gathering());
        }
        // What a busy machine reads late was paced nevertheless.
        let mut now = stream(&mut pace, now, 2 * STEADY);
        assert!(pace.is_gathering());
        now += Duration::from_millis(19);
        for _ in 0..19 {
            pace.message(1024);
        }
        pace.drained(now);
        assert!(pace.is_gathering());
    }

    #[test]
    fn keystrokes_and_their_echoes_are_never_gathered() {
        let mut pace = ReadPace::default();
        let mut now = Instant::now();
        for _ in 0..1000 {
            now += Duration::from_millis(1);
            pace.message(1);
            pace.drained(now);
            assert!(!pace.is_gathering());
        }
    }
}
