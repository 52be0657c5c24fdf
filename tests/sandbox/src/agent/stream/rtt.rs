//! The agent's estimate of the round-trip time, and the timeout that follows from it.

use std::time::Duration;

const INITIAL_RTT: f64 = 0.1;
const INITIAL_TIMEOUT: Duration = Duration::from_millis(200);
const MAX_TIMEOUT: Duration = Duration::from_secs(1);
/// Seconds.
const GRANULARITY: f64 = 0.01;

/// Not quite RFC 6298: it starts at a round-trip time of 100 ms without variation, measures from the **last** time a message was sent, and
/// takes acknowledgements of resent messages too.
#[derive(Debug, Clone)]
pub struct RttEstimator {
    /// Seconds.
    smoothed: f64,
    /// Seconds.
    variation: f64,
    timeout: Duration,
}

impl Default for RttEstimator {
    fn default() -> Self {
        Self {
            smoothed: INITIAL_RTT,
            variation: 0.0,
            timeout: INITIAL_TIMEOUT,
        }
    }
}

impl RttEstimator {
    /// Takes the time between sending a message and its acknowledgement.
    pub fn sample(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        self.variation = 0.75 * self.variation + 0.25 * (self.smoothed - time).abs();
        self.smoothed = 0.875 * self.smoothed + 0.125 * time;
        let seconds = self.smoothed + GRANULARITY.max(4.0 * self.variation);
        self.timeout = Duration::from_secs_f64(seconds.min(MAX_TIMEOUT.as_secs_f64()));
    }

    /// How long a message is waited for; at most 1 s.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}
