use super::*;

struct Harness {
    liveness: Liveness,
    start: (Instant, SystemTime),
    now: Duration,
    slept: Duration,
}

impl Harness {
    fn new() -> Self {
        let start = (Instant::now(), SystemTime::now());
        Self {
            liveness: Liveness::new(start.0, start.1),
            start,
            now: Duration::ZERO,
            slept: Duration::ZERO,
        }
    }

    fn now(&self) -> Instant {
        self.start.0 + self.now
    }

    fn check_now(&mut self, reading_paused: bool) -> LivenessAction {
        let wall = self.start.1 + self.now + self.slept;
        self.liveness.check(self.now(), wall, reading_paused)
    }

    /// As the websocket thread does, which sleeps until the next check: what happens up to this second, and when.
    fn run_until(&mut self, second: u64, reading_paused: bool) -> Vec<(u64, LivenessAction)> {
        let mut happened = Vec::new();
        let end = Duration::from_secs(second);
        loop {
            match self.check_now(reading_paused) {
                LivenessAction::Fine => {}
                check => happened.push((self.now.as_secs(), check)),
            }
            if happened
                .last()
                .is_some_and(|(_, check)| *check == LivenessAction::Lost)
            {
                return happened;
            }
            let next = self.liveness.next_check(reading_paused);
            assert!(next > self.now(), "it would spin");
            self.now = next.duration_since(self.start.0);
            if self.now > end {
                self.now = end;
                return happened;
            }
        }
    }

    fn pong(&mut self) {
        let now = self.now();
        self.liveness.received(true, now);
    }

    fn frame(&mut self) {
        let now = self.now();
        self.liveness.received(false, now);
    }

    fn set_awaited(&mut self, is_awaited: bool) {
        let now = self.now();
        self.liveness.set_awaited(is_awaited, now);
    }

    fn path_changed(&mut self) {
        let now = self.now();
        self.liveness.path_changed(now);
    }

    /// A connection whose first ping was answered.
    fn standing() -> Self {
        let mut harness = Self::new();
        assert_eq!(harness.run_until(1, false), [(0, LivenessAction::Ping)]);
        harness.pong();
        harness
    }
}

#[test]
fn p72_idle_a_dead_path_is_noticed_after_45_seconds() {
    let mut harness = Harness::standing();
    assert_eq!(harness.run_until(33, false), [(31, LivenessAction::Ping)]);
    harness.pong();
    let dead = [(63, LivenessAction::Ping), (78, LivenessAction::Lost)];
    assert_eq!(harness.run_until(200, false), dead);
}

#[test]
fn p72_under_traffic_after_20_seconds_from_the_last_sign_or_from_the_first_that_waits() {
    let mut harness = Harness::standing();
    harness.set_awaited(true);
    assert_eq!(harness.run_until(10, false), []);
    // Any frame is a sign, and that something else is awaited now changes nothing.
    harness.frame();
    harness.set_awaited(true);
    let dead = [(20, LivenessAction::Ping), (30, LivenessAction::Lost)];
    assert_eq!(harness.run_until(200, false), dead);

    let mut harness = Harness::standing();
    assert_eq!(harness.run_until(25, false), []);
    harness.set_awaited(true);
    let dead = [(31, LivenessAction::Ping), (41, LivenessAction::Lost)];
    assert_eq!(
        harness.run_until(200, false),
        dead,
        "the idle one, which comes sooner"
    );
}

#[test]
fn p72_what_is_awaited_no_more_is_idle_again() {
    let mut harness = Harness::standing();
    harness.set_awaited(true);
    assert_eq!(harness.run_until(11, false), [(11, LivenessAction::Ping)]);
    harness.pong();
    harness.set_awaited(false);
    assert_eq!(harness.run_until(40, false), []);
    assert_eq!(harness.run_until(41, false), [(41, LivenessAction::Ping)]);
}

#[test]
fn p72_a_connection_that_never_says_anything_is_dead_after_20_seconds() {
    let mut harness = Harness::new();
    harness.set_awaited(true);
    let dead = [(0, LivenessAction::Ping), (20, LivenessAction::Lost)];
    assert_eq!(harness.run_until(200, false), dead);
}

#[test]
fn p72_a_change_of_the_path_is_answered_in_three_seconds_and_a_burst_is_one_ping() {
    let mut harness = Harness::standing();
    assert_eq!(harness.run_until(10, false), []);
    for _ in 0..5 {
        harness.path_changed();
        harness.check_now(false);
    }
    // What was under way when the path went is no answer.
    harness.frame();
    // The others of the burst are one more, later, if the first was answered.
    assert_eq!(harness.run_until(100, false), [(13, LivenessAction::Lost)]);

    let mut harness = Harness::standing();
    harness.path_changed();
    assert_eq!(harness.run_until(1, false), [(1, LivenessAction::Ping)]);
    harness.path_changed();
    harness.path_changed();
    harness.pong();
    assert_eq!(harness.run_until(4, false), [(4, LivenessAction::Ping)]);
    harness.pong();
    assert_eq!(harness.run_until(30, false), []);
    harness.path_changed();
    assert_eq!(harness.run_until(31, false), [(30, LivenessAction::Ping)]);
    // Data that came later than what can have been under way.
    harness.frame();
    assert_eq!(harness.run_until(60, false), []);
}

#[test]
fn p72_where_new_connections_go_elsewhere_the_answer_is_due_sooner() {
    let mut harness = Harness::standing();
    harness.path_changed();
    assert_eq!(harness.check_now(false), LivenessAction::Ping);
    // One change is many, and only the last may say so. The answer to the ping before is none to this.
    let moved = harness.now();
    harness.liveness.path_moved(moved);
    harness.pong();
    let end = moved.duration_since(harness.start.0).as_secs() + 30;
    harness.run_until(end, false);
    assert!(harness.now() <= moved + Duration::from_millis(1200));
}

#[test]
fn p24_p72_after_a_sleep_the_answer_is_due_in_three_seconds() {
    let mut harness = Harness::standing();
    assert_eq!(harness.run_until(10, false), []);
    harness.slept = Duration::from_secs(3600);
    let dead = [(10, LivenessAction::Ping), (13, LivenessAction::Lost)];
    assert_eq!(harness.run_until(100, false), dead);
    harness.pong();
    assert_eq!(harness.check_now(false), LivenessAction::Fine);
}

#[test]
fn p72_a_process_that_stood_still_asks_before_it_gives_up() {
    let mut harness = Harness::standing();
    assert_eq!(harness.run_until(32, false), [(31, LivenessAction::Ping)]);
    harness.now = Duration::from_secs(3000);
    let dead = [(3000, LivenessAction::Ping), (3003, LivenessAction::Lost)];
    assert_eq!(harness.run_until(4000, false), dead);
}

#[test]
fn p61_what_cannot_be_heard_is_not_dead() {
    let mut harness = Harness::standing();
    harness.set_awaited(true);
    let pings = [31, 61, 91].map(|second| (second, LivenessAction::Ping));
    assert_eq!(harness.run_until(100, true), pings);
    let now = harness.now();
    harness.liveness.resume_reading(now);
    let dead = [(100, LivenessAction::Ping), (115, LivenessAction::Lost)];
    assert_eq!(harness.run_until(200, false), dead);
}
