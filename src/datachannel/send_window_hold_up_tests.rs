//! An agent whose one reader is held up by a destination's full socket, in virtual time.

use std::collections::VecDeque;

use super::*;

/// Bytes of a frame with 1 KiB of data.
const FRAME: usize = 1160;
/// What the path carries a second.
const PATH_RATE: usize = 2_000_000;
/// How often the model looks at everything.
const STEP: Duration = Duration::from_millis(5);

/// A client that always has more to send, a path, an agent, and the socket that it writes to.
struct Model {
    harness: Harness,
    now: Instant,
    delay: Duration,
    /// What the socket holds before it takes nothing more, until a third of that is free (`sk_stream_write_space` of Linux).
    socket: usize,
    held: usize,
    is_blocked: bool,
    /// Numbers on their way to the agent, and when they are there; and their acknowledgements.
    to_agent: VecDeque<(Instant, i64)>,
    to_client: VecDeque<(Instant, i64)>,
    path_free_at: Instant,
    /// All that the agent has taken.
    taken: usize,
    /// What the destination could have taken by now and has not, bytes.
    drained: f64,
    blocked_since: Option<Instant>,
    /// When the reader was held up, and for how long.
    hold_ups: Vec<(Duration, Duration)>,
}

impl Model {
    fn new(delay: Duration, socket: usize) -> Self {
        let harness = Harness::new();
        let now = harness.start;
        Self {
            harness,
            now,
            delay,
            socket,
            held: 0,
            is_blocked: false,
            to_agent: VecDeque::new(),
            to_client: VecDeque::new(),
            path_free_at: now,
            taken: 0,
            drained: 0.0,
            blocked_since: None,
            hold_ups: Vec::new(),
        }
    }

    fn age(&self) -> Duration {
        self.now - self.harness.start
    }

    /// Goes on for so long with a destination that takes so many bytes a second; nothing passes the path while `is_still`.
    fn run(&mut self, time: Duration, rate: f64, is_still: impl Fn(Duration) -> bool) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.step(rate, is_still(self.age()));
        }
    }

    fn step(&mut self, rate: f64, is_still: bool) {
        let now = self.now;
        self.drained += rate * STEP.as_secs_f64();
        let drained = (self.drained as usize).min(self.held);
        self.held -= drained;
        self.drained = if self.held == 0 {
            0.0
        } else {
            self.drained - drained as f64
        };
        if self.is_blocked && self.held <= self.socket * 2 / 3 {
            self.is_blocked = false;
            let since = self.blocked_since.take().unwrap();
            self.hold_ups
                .push((since - self.harness.start, now - since));
        }
        if is_still {
            for (at, _) in self.to_agent.iter_mut().chain(&mut self.to_client) {
                *at += STEP;
            }
            self.path_free_at += STEP;
        }
        while let Some((_, number)) = self
            .to_agent
            .front()
            .filter(|(at, _)| *at <= now && !self.is_blocked)
        {
            if self.held >= self.socket {
                self.is_blocked = true;
                self.blocked_since = Some(now);
                break;
            }
            self.held += FRAME;
            self.taken += FRAME;
            self.to_client.push_back((now + self.delay / 2, *number));
            self.to_agent.pop_front();
        }
        while let Some((_, number)) = self.to_client.front().filter(|(at, _)| *at <= now) {
            self.harness.window.acknowledge(*number, now);
            self.to_client.pop_front();
        }
        let window = &mut self.harness.window;
        if window.timer().is_some_and(|(_, at)| at <= now) {
            window.handle_timeout(now);
        }
        if window.hold_up_timer().is_some_and(|at| at <= now) {
            window.handle_hold_up(now);
        }
        loop {
            while self.harness.push_frame(FRAME, Urgency::Bulk) {}
            let Some(frame) = self.harness.window.poll_transmit(now) else {
                return;
            };
            let number = i64::from_be_bytes(frame[..8].try_into().unwrap());
            self.path_free_at = self.path_free_at.max(now)
                + Duration::from_secs_f64(FRAME as f64 / PATH_RATE as f64);
            self.to_agent
                .push_back((self.path_free_at + self.delay / 2, number));
        }
    }

    /// What was taken in this time, bytes a second.
    fn rate(&mut self, time: Duration, rate: f64) -> f64 {
        let before = self.taken;
        self.run(time, rate, |_| false);
        (self.taken - before) as f64 / time.as_secs_f64()
    }

    /// The share of the time since then in which the agent read nothing.
    fn share_held_up(&self, from: Duration) -> f64 {
        let of = self.hold_ups.iter().filter(|(since, _)| *since >= from);
        let held_up: f64 = of.map(|(_, time)| time.as_secs_f64()).sum();
        held_up / (self.age() - from).as_secs_f64()
    }
}

/// What a destination takes that keeps no sender waiting, and one that does, bytes a second.
const FAST: f64 = 1e9;
const SLOW: f64 = 20_000.0;
/// What the socket before it holds: a third of it is 5 s of `SLOW`.
const SOCKET: usize = 300_000;

#[test]
fn p73_a_destination_that_has_become_slow_seldom_holds_the_agent_up() {
    for delay in [1, 40, 300] {
        let mut model = Model::new(ms(delay), SOCKET);
        model.run(Duration::from_secs(5), FAST, |_| false);
        model.run(Duration::from_secs(55), SLOW, |_| false);
        let from = model.age();
        let taken = model.rate(Duration::from_secs(200), SLOW);
        let share = model.share_held_up(from);
        assert!(
            share < 0.2,
            "{delay} ms: held up for {share:.2} of the time"
        );
        // It is given what it takes all the same: its socket is never empty.
        assert!(taken > SLOW * 0.9, "{delay} ms: {taken:.0}");
        assert!(model.held > 0, "{delay} ms");
        // And is fast again: that shows within some hold-ups.
        let begin = model.now;
        while model.rate(Duration::from_secs(1), FAST) < 1_000_000.0 {
            let waited = model.now - begin;
            assert!(waited < Duration::from_secs(60), "{delay} ms");
        }
    }
}

#[test]
fn a_path_that_stands_still_now_and_then_is_filled_in_between() {
    let mut model = Model::new(ms(40), SOCKET);
    let is_still = |age: Duration| age.as_secs_f64() % 10.0 < 1.5;
    model.run(Duration::from_secs(60), FAST, is_still);
    let share = model.taken as f64 / PATH_RATE as f64 / 60.0;
    assert!(share > 0.75, "{share:.2} of 0.85");
}
