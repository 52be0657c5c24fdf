//! The retransmission timeout: RFC 6298's estimator with the bounds that this path needs.

use std::time::Duration;

/// Timeout before anything was measured (RFC 6298, 2.1).
const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The agent acknowledges from the one thread that also writes to its terminal: less would resend what is merely being worked on.
const MINIMUM_TIMEOUT: Duration = Duration::from_millis(200);
/// A path that answers at all answers within seconds; waiting longer only makes the user wait.
const MAXIMUM_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that are later than the smoothed round trip by less than this may just be late.
const GRANULARITY: Duration = Duration::from_millis(25);
/// The queue that sending may keep up on the path is this long, and half of the path's own delay.
const QUEUE_ALLOWANCE: Duration = Duration::from_millis(20);
/// The shortest of so many samples shows whether a queue begins to grow, as a single one may be late for other reasons (RFC 9406,
/// N_RTT_SAMPLE).
const ROUND: u32 = 8;
/// By how much it must exceed the path's own delay, at least and at most (RFC 9406: an eighth of it, between these two).
const QUEUE_BEGINS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(16));

/// Round-trip times, smoothed, and the timeout that follows from them.
#[derive(Debug, Clone, Default)]
pub(super) struct RttEstimator {
    /// None before the first sample.
    estimate: Option<Estimate>,
    /// How often the timeout was doubled since the last new acknowledgement.
    doublings: u32,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    smoothed: Duration,
    variation: Duration,
    /// The shortest of all.
    minimum: Duration,
    /// The path's own delay: the shortest round trip since the path last became longer.
    delay: Duration,
    /// The shortest of the samples of this round, and how many are still to come.
    round: (Duration, u32),
    /// The shortest of the round before.
    last_round: Duration,
}

impl RttEstimator {
    /// Takes a sample of a message that was sent once only (Karn's rule is the caller's: it knows how often it sent).
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.estimate = Some(match self.estimate {
            None => Estimate {
                smoothed: rtt,
                variation: rtt / 2,
                minimum: rtt,
                delay: rtt,
                round: (rtt, ROUND - 1),
                last_round: rtt,
            },
            Some(old) => {
                let (shortest, left) = match old.round {
                    (_, 0) => (rtt, ROUND - 1),
                    (shortest, left) => (shortest.min(rtt), left - 1),
                };
                Estimate {
                    variation: (old.variation * 3 + old.smoothed.abs_diff(rtt)) / 4,
                    smoothed: (old.smoothed * 7 + rtt) / 8,
                    minimum: old.minimum.min(rtt),
                    delay: old.delay.min(rtt),
                    round: (shortest, left),
                    last_round: if left == 0 { shortest } else { old.last_round },
                }
            }
        });
    }

    /// A new acknowledgement came: the timeout is the estimate again.
    pub(super) fn acknowledged(&mut self) {
        self.doublings = 0;
    }

    /// The timer fired. Returns how often it has since the last new acknowledgement.
    pub(super) fn expired(&mut self) -> u32 {
        self.doublings = (self.doublings + 1).min(8);
        self.doublings
    }

    /// The smoothed round trip, once it was measured.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate.smoothed)
    }

    /// The shortest round trip, once one was measured.
    pub(super) fn minimum(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate.minimum)
    }

    /// The path's own delay, once it was measured.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate.delay)
    }

    /// The path itself takes longer than it did.
    pub(super) fn set_delay(&mut self, delay: Duration) {
        if let Some(estimate) = &mut self.estimate {
            estimate.delay = delay;
        }
    }

    /// How long to wait for an acknowledgement.
    pub(super) fn timeout(&self) -> Duration {
        let base = self.estimate.map_or(INITIAL_TIMEOUT, |estimate| {
            (estimate.smoothed + estimate.variation * 4).max(MINIMUM_TIMEOUT)
        });
        (base * 2_u32.pow(self.doublings)).min(MAXIMUM_TIMEOUT)
    }

    /// Whether an acknowledgement is for the later of two copies of a message, by the times that have passed since both went out. One
    /// for the earlier copy mostly comes much sooner than a round trip after the later one.
    pub(super) fn is_for_later(&self, earlier: Duration, later: Duration) -> bool {
        self.estimate
            .is_none_or(|estimate| later >= estimate.smoothed / 2 || earlier > self.loss_delay())
    }

    /// A message counts as lost when it has been out for so long and at least one later message was acknowledged (RFC 9002, 6.1.2, with
    /// the variation in place of its eighth).
    pub(super) fn loss_delay(&self) -> Duration {
        self.estimate.map_or(INITIAL_TIMEOUT, |estimate| {
            estimate.smoothed + (estimate.variation * 4).max(GRANULARITY)
        })
    }

    /// Whether messages wait longer in the path's queues than the path itself takes: sending faster would only fill them.
    pub(super) fn is_queueing(&self) -> bool {
        self.estimate
            .is_some_and(|estimate| estimate.smoothed >= estimate.delay * 3 / 2 + QUEUE_ALLOWANCE)
    }

    /// Whether a queue begins to grow: what doubles each round trip would overshoot by as much before the smoothed time shows it.
    pub(super) fn is_filling(&self) -> bool {
        let (least, most) = QUEUE_BEGINS;
        self.estimate.is_some_and(|estimate| {
            estimate.last_round >= estimate.delay + (estimate.delay / 8).clamp(least, most)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn starts_at_one_second_and_follows_the_samples() {
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.timeout(), ms(1000));
        rtt.sample(ms(100));
        assert_eq!(rtt.timeout(), ms(300));
        for _ in 0..50 {
            rtt.sample(ms(100));
        }
        assert_eq!(rtt.timeout(), ms(200), "not below the minimum");
    }

    #[test]
    fn p02_doubles_to_at_most_five_seconds_and_comes_back() {
        let mut rtt = RttEstimator::default();
        rtt.sample(ms(200));
        let timeouts: Vec<_> = (0..5)
            .map(|_| {
                rtt.expired();
                rtt.timeout()
            })
            .collect();
        assert_eq!(timeouts, [ms(1200), ms(2400), ms(4800), ms(5000), ms(5000)]);
        rtt.acknowledged();
        assert_eq!(rtt.timeout(), ms(600));
    }

    #[test]
    fn sees_a_queue_begin_when_even_the_shortest_of_a_round_is_late() {
        let mut rtt = RttEstimator::default();
        for round in 0..3 {
            for sample in 0..8 {
                rtt.sample(ms(if sample == round { 10 } else { 30 }));
            }
            assert!(!rtt.is_filling());
        }
        for _ in 0..8 {
            assert!(!rtt.is_filling());
            rtt.sample(ms(14));
        }
        assert!(rtt.is_filling());
    }

    #[test]
    fn sees_a_queue_by_its_delay() {
        let mut rtt = RttEstimator::default();
        rtt.sample(ms(10));
        assert!(!rtt.is_queueing());
        for _ in 0..50 {
            rtt.sample(ms(45));
        }
        assert!(rtt.is_queueing());
    }
}
