//! What earlier looks for credentials have given, and when it is time for another. No I/O and no clock.
//!
//! Sources may ask their users, run programs or call services that are in trouble: they are asked once while what they gave is good (P108),
//! and in an outage, where every try wants credentials, not at every try (P69).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Credentials, CredentialsError};

/// Credentials that expire within this time are replaced (botocore's "mandatory" time is 10 minutes, the Go SDK's 5).
const EXPIRY_WINDOW: Duration = Duration::from_secs(5 * 60);
/// How long it is believed that there are none: looking where nothing answers takes seconds, and is done before every dial.
const MISSING_TIME: Duration = Duration::from_secs(5 * 60);
/// After a look that led to nothing new the next one waits so long, and twice as long each further time.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait after a look that failed: tries are rarer than that after a while.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The same where the source may have asked its user, and after a look that gave credentials that do not last.
const LONGEST_WAIT_ASKING: Duration = Duration::from_secs(60);
/// The longest wait after a look that gave what the service refuses: it is not the source's trouble, and sources may ask their users.
const LONGEST_WAIT_REFUSED: Duration = Duration::from_secs(5 * 60);

/// The newest credentials, and how the last look went.
#[derive(Debug, Default)]
pub(super) struct KeptCredentials {
    found: Option<Arc<Credentials>>,
    /// Whether the service refused them.
    is_refused: bool,
    last: Option<Look>,
    /// Looks in a row that led to nothing new.
    in_vain: u32,
}

#[derive(Debug)]
struct Look {
    /// When it ended.
    at: Instant,
    /// Before this there is no other.
    wait_until: Instant,
    error: Option<CredentialsError>,
}

/// What to do when credentials are wanted.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    /// These are good.
    Use(Arc<Credentials>),
    /// There are none, and it is too early to look again.
    Fail(CredentialsError),
    /// Ask the sources.
    Look,
}

impl KeptCredentials {
    /// What to do now.
    pub(super) fn choose(&self, for_resume: bool, now: Instant, wall: SystemTime) -> Choice {
        let lasting = |at_least| {
            let found = self.found.as_ref();
            found.filter(|found| lasts(found, at_least, wall))
        };
        if let Some(found) = lasting(EXPIRY_WINDOW)
            && !self.is_refused
        {
            return Choice::Use(Arc::clone(found));
        }
        let Some(last) = &self.last else {
            return Choice::Look;
        };
        let wait_until = match &last.error {
            Some(CredentialsError::NotFound) if !for_resume => last.at + MISSING_TIME,
            _ => last.wait_until,
        };
        if now >= wait_until {
            return Choice::Look;
        }
        match (lasting(Duration::ZERO), &last.error) {
            (Some(found), _) => Choice::Use(Arc::clone(found)),
            (None, Some(error)) => Choice::Fail(error.clone()),
            (None, None) => Choice::Look,
        }
    }

    /// The service refused what was found.
    pub(super) fn denied(&mut self) {
        self.is_refused = self.found.is_some();
        if self.in_vain == 0
            && let Some(last) = &mut self.last
        {
            last.wait_until = last.at;
        }
    }

    /// The service took what was found.
    pub(super) const fn accepted(&mut self) {
        self.is_refused = false;
    }

    /// A look has ended; what is to be used.
    pub(super) fn looked(
        &mut self,
        found: Result<Arc<Credentials>, CredentialsError>,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        let error = match found {
            Ok(found) => {
                let is_same = self
                    .found
                    .as_ref()
                    .is_some_and(|before| before.is_same_key(&found));
                self.is_refused &= is_same;
                let wait = if self.is_refused {
                    self.wait(LONGEST_WAIT_REFUSED)
                } else if lasts(&found, EXPIRY_WINDOW, wall) {
                    self.in_vain = 0;
                    Duration::ZERO
                } else if self.in_vain == 0 {
                    // Others may last; if they do not, it is not asked at every use.
                    self.in_vain = 1;
                    Duration::ZERO
                } else {
                    self.wait(LONGEST_WAIT_ASKING)
                };
                self.last = Some(Look {
                    at: now,
                    wait_until: now + wait,
                    error: None,
                });
                self.found = Some(Arc::clone(&found));
                return Ok(found);
            }
            Err(error) => error,
        };
        // Where there were some, it is a source that has trouble.
        let error = match error {
            CredentialsError::NotFound if self.found.is_some() => CredentialsError::Temporary {
                reason: "their source does not give any now, and did before".to_owned(),
                is_answer: false,
                may_ask: false,
            },
            error => error,
        };
        if error != CredentialsError::Cancelled {
            let longest = match error {
                CredentialsError::Temporary { may_ask: true, .. } => LONGEST_WAIT_ASKING,
                _ => LONGEST_WAIT,
            };
            self.last = Some(Look {
                at: now,
                wait_until: now + self.wait(longest),
                error: Some(error.clone()),
            });
        }
        match &self.found {
            Some(kept) if lasts(kept, Duration::ZERO, wall) => {
                log::warn!("{error}; those at hand are used");
                Ok(Arc::clone(kept))
            }
            _ => Err(error),
        }
    }

    /// How long to wait after one more look in vain.
    fn wait(&mut self, longest: Duration) -> Duration {
        let doubled = SHORTEST_WAIT.saturating_mul(2_u32.saturating_pow(self.in_vain));
        self.in_vain = self.in_vain.saturating_add(1);
        doubled.min(longest)
    }
}

fn lasts(credentials: &Credentials, at_least: Duration, wall: SystemTime) -> bool {
    let left = |expires: SystemTime| expires.duration_since(wall).unwrap_or_default();
    credentials
        .expires
        .is_none_or(|expires| left(expires) > at_least)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        kept: KeptCredentials,
        start: (Instant, SystemTime),
        looks: u32,
    }

    impl World {
        fn new() -> Self {
            Self {
                kept: KeptCredentials::default(),
                start: (Instant::now(), SystemTime::now()),
                looks: 0,
            }
        }

        /// Credentials are wanted for a try at this second, from a source that gives `found`: the key that is used.
        fn ask(
            &mut self,
            second: u64,
            found: Result<(&str, Option<u64>), CredentialsError>,
        ) -> Result<String, CredentialsError> {
            let now = self.start.0 + Duration::from_secs(second);
            let wall = self.start.1 + Duration::from_secs(second);
            let used = match self.kept.choose(true, now, wall) {
                Choice::Use(credentials) => Ok(credentials),
                Choice::Fail(error) => Err(error),
                Choice::Look => {
                    self.looks += 1;
                    let found = found.map(|(key, expires)| {
                        let expires = expires.map(|at| self.start.1 + Duration::from_secs(at));
                        let key = key.to_owned();
                        Arc::new(
                            Credentials::new(key, "secret".to_owned().into(), None, expires)
                                .unwrap(),
                        )
                    });
                    self.kept.looked(found, now, wall)
                }
            };
            used.map(|credentials| credentials.access_key_id.clone())
        }
    }

    fn failing(may_ask: bool) -> Result<(&'static str, Option<u64>), CredentialsError> {
        Err(CredentialsError::Temporary {
            reason: "busy".to_owned(),
            is_answer: true,
            may_ask,
        })
    }

    #[test]
    fn p69_credentials_in_hand_are_used_while_they_last() {
        let mut world = World::new();
        for second in (0..3000).step_by(5) {
            let source = Ok(("A", Some(3600)));
            assert_eq!(world.ask(second, source).as_deref(), Ok("A"));
        }
        assert_eq!(world.looks, 1);
        // Less than five minutes are left.
        assert_eq!(world.ask(3301, Ok(("B", Some(9000)))).as_deref(), Ok("B"));
        assert_eq!(world.looks, 2);
    }

    #[test]
    fn p69_a_denial_has_the_source_asked_once_more() {
        let mut world = World::new();
        assert_eq!(world.ask(0, Ok(("A", None))).as_deref(), Ok("A"));
        world.kept.denied();
        assert_eq!(world.ask(1, Ok(("B", None))).as_deref(), Ok("B"));
        assert_eq!(world.ask(2, Ok(("C", None))).as_deref(), Ok("B"));
        assert_eq!(world.looks, 2);
    }

    #[test]
    fn p69_a_source_of_short_lived_credentials_is_not_asked_at_every_try() {
        let mut world = World::new();
        for second in (0..600).step_by(5) {
            assert!(world.ask(second, Ok(("A", Some(second + 120)))).is_ok());
            if second == 0 {
                assert_eq!(world.ask(0, Ok(("B", Some(120)))).as_deref(), Ok("B"));
            }
        }
        assert!((10..25).contains(&world.looks), "{} looks", world.looks);
    }

    #[test]
    fn p69_what_is_accepted_again_is_used_again() {
        let mut world = World::new();
        assert_eq!(world.ask(0, Ok(("A", None))).as_deref(), Ok("A"));
        world.kept.denied();
        assert_eq!(world.ask(1, Ok(("A", None))).as_deref(), Ok("A"));
        world.kept.accepted();
        assert_eq!(world.ask(1000, Ok(("A", None))).as_deref(), Ok("A"));
        assert_eq!(world.looks, 2);
    }

    #[test]
    fn p69_a_source_that_keeps_giving_what_is_denied_is_asked_rarely() {
        let mut world = World::new();
        for second in (0..3600).step_by(5) {
            assert_eq!(world.ask(second, Ok(("A", None))).as_deref(), Ok("A"));
            world.kept.denied();
        }
        assert!((5..25).contains(&world.looks), "{} looks", world.looks);
    }

    #[test]
    fn p67_a_failing_source_is_asked_again_soon_and_not_always() {
        for (may_ask, looks, longest) in [(false, 20..28, 5), (true, 4..10, 60)] {
            let mut world = World::new();
            assert_eq!(world.ask(0, Ok(("A", Some(1)))).as_deref(), Ok("A"));
            for second in 2..120 {
                let error = world.ask(second, failing(may_ask)).unwrap_err();
                assert!(matches!(error, CredentialsError::Temporary { .. }));
            }
            assert!(looks.contains(&world.looks), "{} looks", world.looks);
            let back = (120..200).find(|second| world.ask(*second, Ok(("B", None))).is_ok());
            assert!(
                back.is_some_and(|second| second <= 120 + longest),
                "{back:?}"
            );
        }
    }

    #[test]
    fn p67_a_source_that_once_gave_credentials_is_only_in_trouble() {
        let mut world = World::new();
        assert_eq!(world.ask(0, Ok(("A", Some(1)))).as_deref(), Ok("A"));
        let error = world.ask(10, Err(CredentialsError::NotFound)).unwrap_err();
        assert!(matches!(error, CredentialsError::Temporary { .. }));
    }

    #[test]
    fn those_at_hand_are_used_where_the_source_fails_while_they_last() {
        let mut world = World::new();
        assert_eq!(world.ask(0, Ok(("A", Some(100)))).as_deref(), Ok("A"));
        assert_eq!(world.ask(50, failing(false)).as_deref(), Ok("A"));
        assert!(world.ask(101, failing(false)).is_err());
        assert!(world.looks >= 2);
    }
}
