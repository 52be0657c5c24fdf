//! Outages of random weather: dials are paced, no session ends early, and none late.

use super::*;

/// How the world behaves for a while.
#[derive(Debug, Clone, Copy)]
enum Weather {
    /// Everything works.
    Good,
    /// Nothing is reached, and tries end at their time limit.
    Nothing,
    /// Nothing listens.
    Refused,
    /// ResumeSession fails so fast.
    Api,
    /// No credentials, and unsigned dials are refused.
    Credentials,
    /// The gateway accepts, says so many words and closes after so long.
    Talks(bool, Duration),
    /// The gateway refuses with a status of its own trouble.
    Trouble,
}

impl Weather {
    fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(..6) {
            0 => Self::Nothing,
            1 => Self::Refused,
            2 => Self::Api,
            3 => Self::Credentials,
            4 => Self::Talks(random.bool(), Duration::from_millis(random.u64(..9900))),
            _ => Self::Trouble,
        }
    }
}

/// One outage of random weather, which ends at a random time or never.
struct Storm {
    random: fastrand::Rng,
    start: Instant,
    now: Instant,
    good_at: Duration,
    weather: Weather,
    changes_at: Instant,
    recovery: Recovery,
    dials: Vec<Duration>,
    calls: Vec<Duration>,
    notices: Vec<Notice>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let good_at = match random.u8(..3) {
            0 => second(random.u64(..60)),
            1 => second(random.u64(..3500)),
            _ => second(1 << 30),
        };
        Self {
            weather: Weather::random(&mut random),
            random,
            start,
            now: start,
            good_at,
            changes_at: start,
            recovery: broken(start),
            dials: Vec::new(),
            calls: Vec::new(),
            notices: Vec::new(),
        }
    }

    fn weather(&mut self) -> Weather {
        if self.now >= self.start + self.good_at {
            return Weather::Good;
        }
        if self.now >= self.changes_at {
            self.weather = Weather::random(&mut self.random);
            self.changes_at = self.now + second(self.random.u64(1..600));
        }
        self.weather
    }

    /// Lets time pass, with its timers.
    fn pass(&mut self, until: Instant) {
        while let Some(at) = self.recovery.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.recovery.handle_timeout(self.now);
            self.notices
                .extend(std::iter::from_fn(|| self.recovery.poll_notice()));
        }
        self.now = self.now.max(until);
    }

    /// Until a connection lasts, or it is given up.
    fn run(&mut self) -> Result<(), GaveUp> {
        loop {
            let at = self.recovery.next_try(self.random.f64(), self.now);
            self.pass(at);
            let limit = self.recovery.begin_try(self.now)?;
            let age = self.now - self.start;
            self.calls.push(age);
            match self.weather() {
                Weather::Good => {
                    self.dials.push(age);
                    self.recovery.connected(self.now);
                    self.recovery.message();
                    self.pass(self.now + second(11));
                    return Ok(());
                }
                Weather::Nothing => {
                    self.dials.push(age);
                    self.pass(self.now + limit);
                    self.recovery.dial_failed(&unreachable(), self.now)?;
                }
                Weather::Refused => {
                    self.dials.push(age);
                    self.recovery.dial_failed(&unreachable(), self.now)?;
                }
                Weather::Api => self.recovery.resume_failed(&bye(), self.now)?,
                Weather::Credentials => {
                    self.dials.push(age);
                    self.recovery.excuse_try();
                    self.recovery.dial_failed(&denied(), self.now)?;
                }
                Weather::Talks(has_message, time) => {
                    self.dials.push(age);
                    self.recovery.connected(self.now);
                    self.recovery.sign();
                    if has_message {
                        self.recovery.message();
                    }
                    self.pass(self.now + time);
                    self.recovery.disconnected(&bye(), true, self.now)?;
                }
                Weather::Trouble => {
                    self.dials.push(age);
                    self.recovery.dial_failed(&bye(), self.now)?;
                }
            }
        }
    }
}

#[test]
fn p65_p66_no_storm_no_early_end_no_late_end() {
    for seed in 0..3000 {
        let mut storm = Storm::new(seed);
        let ended = storm.run();
        let age = storm.now - storm.start;
        assert_paced(&storm.dials, second(0));
        assert_paced(&storm.calls, age);
        for pair in storm.calls.windows(2) {
            assert!(pair[1] - pair[0] <= second(25), "{seed}: {pair:?}");
        }
        match ended {
            Ok(()) => assert!(age <= storm.good_at + second(25 + 11), "{seed}: {age:?}"),
            Err(gave_up) => {
                assert!(
                    storm.good_at > second(3500),
                    "{seed}: {gave_up:?} after {age:?}"
                );
                assert!(
                    (second(3600)..second(3610)).contains(&age),
                    "{seed}: {age:?}"
                );
            }
        }
        // Told in turn, beginning with the outage, and few lines however long it lasts.
        for (number, notice) in storm.notices.iter().enumerate() {
            let is_return = *notice == Notice::Reconnected;
            assert_eq!(is_return, number % 2 == 1, "{seed}: {:?}", storm.notices);
        }
        assert!(storm.notices.len() <= 4, "{seed}: {:?}", storm.notices);
    }
}
