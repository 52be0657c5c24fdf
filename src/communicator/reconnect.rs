//! When to try again, and when to stop. No I/O and no clock.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::DialError;
use crate::network::ConnectError;

/// The first wait is somewhere below this.
const SHORTEST: Duration = Duration::from_millis(100);
/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(20);
/// A session that stood is worth an hour of trying: laptops sleep, networks come back.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// One that never stood is not: somebody waits for the first prompt.
const PATIENCE_AT_START: Duration = Duration::from_secs(30);
/// Being refused once may be a token that has just expired; twice is an answer.
const REFUSALS: u32 = 2;
/// So many connections in a row that end before a word was heard are an answer, too, where nothing was ever heard or the service says no.
const FRUITLESS: u32 = 3;

/// One outage, from the break to the next connection that stands.
#[derive(Debug)]
pub struct Outage {
    /// When trying ends.
    until: Instant,
    tries: u32,
    refusals: u32,
    /// What went wrong last.
    reason: String,
}

/// Why a session that broke is not going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// In words for the user.
    pub reason: String,
}

impl Outage {
    /// Begins with what broke the connection; `stood` says whether the session ever did, `tries` how many connections in a row were
    /// in vain: a service that accepts and hangs up must not be asked without pause.
    pub fn new(reason: String, stood: bool, tries: u32, now: Instant) -> Self {
        let patience = if stood { PATIENCE } else { PATIENCE_AT_START };
        Self {
            until: now + patience,
            tries,
            refusals: 0,
            reason,
        }
    }

    /// How long to wait before the next try: anything up to a bound that doubles (full jitter: many clients that lose the same
    /// gateway must not come back in step). `chance` is from 0 to 1.
    ///
    /// # Errors
    /// When trying has lasted long enough.
    pub fn next_try(&mut self, chance: f64, now: Instant) -> Result<Duration, GaveUp> {
        if now >= self.until {
            return Err(GaveUp {
                reason: format!("{}; gave up after trying for long enough", self.reason),
            });
        }
        let bound = SHORTEST
            .saturating_mul(2_u32.saturating_pow(self.tries))
            .min(LONGEST);
        self.tries += 1;
        Ok(bound.mul_f64(chance.clamp(0.0, 1.0)))
    }

    /// When trying ends.
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// The service could not be asked for a token; the next try may.
    pub fn resume_failed(&mut self, reason: String) {
        self.reason = reason;
    }

    /// No connection was made.
    ///
    /// # Errors
    /// When another try would end the same.
    pub fn dial_failed(&mut self, error: &DialError) -> Result<(), GaveUp> {
        self.reason = error.to_string();
        let is_refusal = matches!(error, DialError::Refused { status, .. } if is_answer(*status));
        self.refusals = if is_refusal { self.refusals + 1 } else { 0 };
        let is_final = self.refusals >= REFUSALS
            || matches!(
                error,
                DialError::Connect(ConnectError::Trust(_) | ConnectError::Cancelled)
            );
        if is_final {
            Err(GaveUp {
                reason: self.reason.clone(),
            })
        } else {
            Ok(())
        }
    }
}

/// Whether a first connection that failed may be tried again at once: the service was reached, and had trouble of its own.
pub fn is_trouble_of_the_service(error: &DialError) -> bool {
    matches!(error, DialError::Refused { status, .. } if !is_answer(*status))
}

/// A status that says no, in contrast to one that says later.
fn is_answer(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Counts connections that end before anything was heard.
#[derive(Debug, Default)]
pub struct Fruitless(u32);

impl Fruitless {
    /// A connection ended; `heard` says whether anything came over it.
    pub const fn ended(&mut self, heard: bool) {
        self.0 = if heard { 0 } else { self.0 + 1 };
    }

    /// Whether they are enough to be an answer.
    pub const fn is_an_answer(&self) -> bool {
        self.0 >= FRUITLESS
    }

    /// How many they are by now.
    pub const fn count(&self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> DialError {
        DialError::Refused {
            host: "gateway".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            text: String::new(),
            date: None,
        }
    }

    #[test]
    fn p20_waits_double_up_to_twenty_seconds() {
        let now = Instant::now();
        let mut outage = Outage::new("broken".to_owned(), true, 0, now);
        let waits: Vec<_> = (0..10)
            .map(|_| outage.next_try(1.0, now).unwrap().as_millis())
            .collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 20_000, 20_000]
        );
        assert_eq!(outage.next_try(0.0, now), Ok(Duration::ZERO));
    }

    #[test]
    fn p20_trying_ends_after_an_hour_or_at_the_start_after_half_a_minute() {
        let now = Instant::now();
        let mut stood = Outage::new("broken".to_owned(), true, 0, now);
        assert!(stood.next_try(0.5, now + Duration::from_secs(3599)).is_ok());
        assert!(
            stood
                .next_try(0.5, now + Duration::from_secs(3600))
                .is_err()
        );
        let mut new = Outage::new("broken".to_owned(), false, 0, now);
        assert!(new.next_try(0.5, now + Duration::from_secs(30)).is_err());
    }

    #[test]
    fn p20_two_refusals_in_a_row_are_an_answer() {
        let now = Instant::now();
        let mut outage = Outage::new("broken".to_owned(), true, 0, now);
        assert_eq!(outage.dial_failed(&refused(403)), Ok(()));
        assert_eq!(outage.dial_failed(&refused(503)), Ok(()));
        assert_eq!(outage.dial_failed(&refused(403)), Ok(()));
        let reason = refused(403).to_string();
        assert_eq!(outage.dial_failed(&refused(403)), Err(GaveUp { reason }));
    }

    #[test]
    fn p20_trouble_of_the_network_or_service_is_no_answer() {
        let mut outage = Outage::new("broken".to_owned(), true, 0, Instant::now());
        let unreachable = DialError::Connect(ConnectError::Refused {
            to: "gateway:443".to_owned(),
        });
        for error in [
            refused(500),
            refused(503),
            refused(429),
            refused(408),
            unreachable,
        ]
        .iter()
        .cycle()
        .take(50)
        {
            assert_eq!(outage.dial_failed(error), Ok(()));
        }
    }
}
