//! Finds a queue that stands on the path because the window is larger than what the path carries. No I/O and no clock.
//!
//! Bursts make queues that drain again, and jitter comes and goes. A queue that shows even in the shortest round trip of an interval
//! does not drain (CoDel, RFC 8289). All that is sent behind it is late, so the window shrinks to what fits on the path and a little
//! more. When the round trip does not become shorter by that, there is no queue: the path itself has become longer.

use std::time::{Duration, Instant};

/// An interval lasts this long and one round trip more, and has at least so many samples.
const INTERVAL: Duration = Duration::from_millis(100);
const SAMPLES: u32 = 8;
/// A queue counts when it is longer than half of the path's own delay and this together.
const ALLOWANCE: Duration = Duration::from_millis(8);
/// The path has become longer when the window has shrunk so many times in a row without effect.
const IN_VAIN: u32 = 2;

/// A round trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundTrip {
    pub(super) sent_at: Instant,
    pub(super) rtt: Duration,
    /// Messages in flight when it began, its own among them.
    pub(super) flight: usize,
}

/// What an interval showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Finding {
    /// A queue stands.
    Queue(Queue),
    /// There is no queue, and `delay` is the path's own delay now. `flight` messages were in flight before the window shrank for nothing.
    LongerPath { delay: Duration, flight: usize },
}

/// So many messages in flight take `rtt`, and should take no more than `target`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Queue {
    pub(super) flight: usize,
    pub(super) rtt: Duration,
    pub(super) target: Duration,
}

/// Looks for a standing queue.
#[derive(Debug, Default)]
pub(super) struct StandingQueue {
    /// Only what was sent since then counts.
    since: Option<Instant>,
    samples: u32,
    shortest: Option<RoundTrip>,
    /// The queue for which the window shrank last.
    last: Option<Queue>,
    /// How often in a row the round trip did not become shorter by that, and how many messages were in flight before.
    in_vain: (u32, usize),
}

impl StandingQueue {
    /// Takes a sample of a path whose own delay is `delay`; `least` messages in flight are never too many.
    pub(super) fn sample(
        &mut self,
        sample: RoundTrip,
        delay: Duration,
        least: usize,
        now: Instant,
    ) -> Option<Finding> {
        let since = *self.since.get_or_insert(sample.sent_at);
        if sample.sent_at < since {
            return None;
        }
        self.samples += 1;
        let shortest = match self.shortest {
            Some(shortest) if shortest.rtt <= sample.rtt => shortest,
            _ => sample,
        };
        self.shortest = Some(shortest);
        let lasted = now.saturating_duration_since(since);
        if self.samples < SAMPLES || lasted < INTERVAL + shortest.rtt {
            return None;
        }
        self.since = Some(now);
        self.samples = 0;
        self.shortest = None;
        self.judge(shortest, delay, least)
    }

    fn judge(&mut self, shortest: RoundTrip, delay: Duration, least: usize) -> Option<Finding> {
        let RoundTrip { rtt, flight, .. } = shortest;
        let last = self.last.take();
        if rtt <= delay * 3 / 2 + ALLOWANCE {
            self.in_vain = (0, 0);
            return None;
        }
        // A queue would have become shorter with the window. One that has become longer is that of a path that carries less now.
        let in_vain = last.filter(|last| {
            flight < last.flight * 9 / 10
                && rtt > (last.rtt + last.target) / 2
                && rtt < last.rtt * 5 / 4
        });
        self.in_vain = match in_vain {
            Some(last) => (self.in_vain.0 + 1, self.in_vain.1.max(last.flight)),
            None => (0, 0),
        };
        if self.in_vain.0 >= IN_VAIN {
            let (_, flight) = std::mem::take(&mut self.in_vain);
            return Some(Finding::LongerPath { delay: rtt, flight });
        }
        if flight <= least {
            // The window shrinks no further. If it has shrunk in vain, the next interval shows so again.
            self.last = in_vain;
            return None;
        }
        let queue = Queue {
            flight,
            rtt,
            target: delay * 5 / 4 + ALLOWANCE / 2,
        };
        self.last = Some(queue);
        Some(Finding::Queue(queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// An interval of samples, each 10 ms; what it showed.
    fn interval(
        queue: &mut StandingQueue,
        begin: Instant,
        flight: usize,
        rtt: impl Fn(u64) -> Duration,
    ) -> (Option<Finding>, Instant) {
        for step in 0..200 {
            let sent_at = begin + ms(step * 10);
            let sample = RoundTrip {
                sent_at,
                rtt: rtt(step),
                flight,
            };
            let now = sent_at + sample.rtt;
            let was_open = queue.samples;
            let finding = queue.sample(sample, ms(40), 8, now);
            if finding.is_some() || queue.samples < was_open {
                return (finding, now);
            }
        }
        panic!("an interval without an end");
    }

    #[test]
    fn what_even_the_shortest_shows_is_a_queue_and_jitter_is_none() {
        let mut queue = StandingQueue::default();
        let begin = Instant::now();
        let (jitter, end) = interval(&mut queue, begin, 100, |step| ms(45 + step % 5 * 60));
        assert_eq!(jitter, None);
        let (standing, _) = interval(&mut queue, end, 100, |step| ms(100 + step % 5 * 60));
        assert_eq!(
            standing,
            Some(Finding::Queue(Queue {
                flight: 100,
                rtt: ms(100),
                target: ms(54)
            }))
        );
    }

    #[test]
    fn a_path_that_has_become_longer_is_no_queue() {
        let mut queue = StandingQueue::default();
        let mut now = Instant::now();
        for flight in [100, 27, 20] {
            let (finding, end) = interval(&mut queue, now, flight, |_| ms(200));
            let longer = Finding::LongerPath {
                delay: ms(200),
                flight: 100,
            };
            assert_eq!(finding == Some(longer), flight == 20, "{finding:?}");
            now = end;
        }
    }

    #[test]
    fn a_path_that_takes_less_than_before_is_no_longer_path() {
        let mut queue = StandingQueue::default();
        let mut now = Instant::now();
        for (flight, rtt) in [(100, 200), (80, 400), (60, 1500), (40, 3000), (30, 6000)] {
            let (finding, end) = interval(&mut queue, now, flight, |_| ms(rtt));
            assert!(matches!(finding, Some(Finding::Queue(_))), "{finding:?}");
            now = end;
        }
    }

    #[test]
    fn few_messages_are_no_queue() {
        let mut queue = StandingQueue::default();
        let (finding, _) = interval(&mut queue, Instant::now(), 8, |_| ms(900));
        assert_eq!(finding, None);
    }
}
