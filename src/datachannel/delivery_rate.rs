//! How much the path carries, and so how much may be kept for it. No I/O and no clock.
//!
//! A message that is acknowledged says how many bytes were since it went out: the delivery rate (draft-cheng-iccrg-delivery-rate-
//! estimation). The fastest of the last seconds, times the path's own delay, is what fits on the path. Twice that may be unacknowledged,
//! so that a faster path shows in the next round trip; never less than most paths need, and never more than one process may take.

use std::time::{Duration, Instant};

/// What may be unacknowledged on any path, bytes of frames.
pub(super) const USUAL_BYTES: usize = 2 * 1024 * 1024;
/// The most on the longest and fastest path, bytes of frames.
pub const MAXIMUM_BYTES: usize = 16 * 1024 * 1024;
/// How much more than the path carries may be unacknowledged.
const GAIN: f64 = 2.0;
/// A rate counts for so long at least, and twice that at most; or for so many round trips.
const PERIOD: (Duration, u32) = (Duration::from_secs(1), 4);

/// The delivery rate of the path.
#[derive(Debug, Default)]
pub(super) struct DeliveryRate {
    /// Bytes of frames that were acknowledged so far.
    delivered: u64,
    /// The fastest of this period, and of the one before it, bytes a second.
    fastest: (f64, f64),
    period_ends: Option<Instant>,
}

impl DeliveryRate {
    /// Bytes of frames that were acknowledged so far: each message is to remember it when it goes out.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A frame of so many bytes was acknowledged.
    pub(super) const fn acknowledged(&mut self, bytes: usize) {
        self.delivered = self.delivered.wrapping_add(bytes as u64);
    }

    /// A message was acknowledged `rtt` after it went out, when `delivered` was so much. `delay`: the path's own.
    #[allow(
        clippy::cast_precision_loss,
        reason = "what is delivered in a round trip is no more than a window"
    )]
    pub(super) fn sample(&mut self, delivered: u64, rtt: Duration, delay: Duration, now: Instant) {
        // Acknowledgements that come in one piece do not make the path faster.
        let time = rtt.max(delay).as_secs_f64();
        if time <= 0.0 {
            return;
        }
        let rate = self.delivered.wrapping_sub(delivered) as f64 / time;
        if self.period_ends.is_none_or(|at| at <= now) {
            self.fastest = (0.0, self.fastest.0);
            let (least, round_trips) = PERIOD;
            self.period_ends = Some(now + least.max(rtt * round_trips));
        }
        self.fastest.0 = self.fastest.0.max(rate);
    }

    /// What may be unacknowledged, bytes of frames.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and bounded"
    )]
    pub(super) fn bound(&self, delay: Option<Duration>) -> usize {
        let rate = self.fastest.0.max(self.fastest.1);
        let carried = rate * delay.unwrap_or_default().as_secs_f64();
        ((carried * GAIN) as usize).clamp(USUAL_BYTES, MAXIMUM_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of so many bytes a second for so long: a sample each 10 ms.
    fn deliver(rate: &mut DeliveryRate, begin: Instant, seconds: u64, bytes_per_second: usize) {
        let delay = Duration::from_millis(300);
        for step in 0..seconds * 100 {
            rate.acknowledged(bytes_per_second / 100);
            let sent = rate
                .delivered()
                .saturating_sub(bytes_per_second as u64 * 3 / 10);
            rate.sample(sent, delay, delay, begin + Duration::from_millis(step * 10));
        }
    }

    #[test]
    fn the_bound_follows_what_the_path_carries_and_comes_down_again() {
        let delay = Some(Duration::from_millis(300));
        let begin = Instant::now();
        let mut rate = DeliveryRate::default();
        assert_eq!(rate.bound(None), USUAL_BYTES);
        deliver(&mut rate, begin, 3, 20_000_000);
        let bound = rate.bound(delay);
        assert!((11_900_000..12_100_000).contains(&bound), "{bound}");
        deliver(&mut rate, begin + Duration::from_secs(3), 5, 1_000_000);
        assert_eq!(rate.bound(delay), USUAL_BYTES);
        deliver(&mut rate, begin + Duration::from_secs(8), 3, 900_000_000);
        assert_eq!(rate.bound(delay), MAXIMUM_BYTES);
        // On a short path as much rate needs no more than any other.
        assert_eq!(rate.bound(Some(Duration::from_micros(100))), USUAL_BYTES);
    }

    #[test]
    fn acknowledgements_in_one_piece_do_not_make_a_path_faster() {
        let delay = Duration::from_millis(40);
        let mut rate = DeliveryRate::default();
        rate.acknowledged(1_000_000);
        rate.sample(0, Duration::ZERO, delay, Instant::now());
        assert_eq!(rate.bound(Some(delay)), USUAL_BYTES);
        rate.sample(0, Duration::ZERO, Duration::ZERO, Instant::now());
    }
}
