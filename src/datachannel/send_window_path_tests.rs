//! Paths that are long, slow, or become so, in virtual time.

use std::collections::VecDeque;

use super::*;

/// A frame with 1 KiB of data.
const FRAME: usize = 1144;

/// A path with a delay of its own and one queue, whose consumer takes a message in a given time.
struct Path {
    harness: Harness,
    delay: Duration,
    now: Instant,
    busy_until: Instant,
    /// Acknowledgements on their way: when, whose, and when that was sent.
    coming: VecDeque<(Instant, i64, Instant)>,
}

impl Path {
    fn new(delay: Duration) -> Self {
        let harness = Harness::new();
        let now = harness.start;
        Self {
            harness,
            delay,
            now,
            busy_until: now,
            coming: VecDeque::new(),
        }
    }

    /// Sends as the window allows, until the next acknowledgement has come: what its message waited beyond the path's own delay.
    fn step(&mut self, service: impl Fn(i64) -> Duration) -> Duration {
        while self.harness.push_frame(FRAME, Urgency::Bulk) {}
        while let Some(frame) = self.harness.window.poll_transmit(self.now) {
            let number = i64::from_be_bytes(frame[..8].try_into().unwrap());
            let arrives = self.now + self.delay / 2;
            self.busy_until = self.busy_until.max(arrives) + service(number);
            self.coming
                .push_back((self.busy_until + self.delay / 2, number, self.now));
        }
        let (at, number, sent_at) = self.coming.pop_front().expect("something in flight");
        // A timer that fires before would send again, which this path does not need.
        let timeout = self.harness.window.timer().map(|(_, at)| at);
        assert!(
            timeout.is_none_or(|timeout| timeout >= at),
            "sent again without need"
        );
        self.now = at;
        assert!(self.harness.window.acknowledge(number, at));
        (at - sent_at).saturating_sub(self.delay)
    }

    /// So many messages a second for so long: the share of it that was used, and the waits, sorted.
    fn run(&mut self, rate: u32, time: Duration) -> (f64, Vec<Duration>) {
        let begin = self.now;
        let mut waited = Vec::new();
        while self.now < begin + time {
            waited.push(self.step(|_| Duration::from_secs(1) / rate));
        }
        let lasted = (self.now - begin).as_secs_f64();
        let share = waited.len() as f64 / lasted / f64::from(rate);
        waited.sort_unstable();
        (share, waited)
    }
}

/// Messages of 1 KiB that make so many bytes a second.
fn messages(bytes_a_second: usize) -> u32 {
    u32::try_from(bytes_a_second / FRAME).unwrap()
}

#[test]
fn a_long_fat_path_is_filled_and_its_memory_given_back() {
    let mut path = Path::new(ms(300));
    path.run(messages(20_000_000), ms(4000));
    let (share, _) = path.run(messages(20_000_000), ms(4000));
    let bound = path.harness.window.bound();
    eprintln!("{:.1} % used, {bound} bytes may be kept", share * 100.0);
    assert!(share >= 0.9, "{share}");
    assert!(bound <= MAXIMUM_BYTES);
    assert!(bound > USUAL_BYTES);
    // The path carries less, so less is kept for it.
    path.run(messages(1_000_000), ms(30_000));
    assert_eq!(path.harness.window.bound(), USUAL_BYTES);
    let (kept, bytes) = path.harness.window.kept();
    assert!(bytes <= USUAL_BYTES, "{kept} messages, {bytes} bytes");
}

#[test]
fn beside_an_upload_a_round_trip_takes_no_more_than_twice_the_path_s_own() {
    for (bytes, rtt) in [(2_000_000, 40), (2_000_000, 300), (20_000_000, 40)] {
        let mut path = Path::new(ms(rtt));
        path.run(messages(bytes), ms(4000));
        let (share, waited) = path.run(messages(bytes), ms(10_000));
        let (median, late) = (waited[waited.len() / 2], waited[waited.len() * 99 / 100]);
        eprintln!("{bytes} bytes/s, {rtt} ms: {share:.3} used, queue {median:.1?}, p99 {late:.1?}");
        assert!(share >= 0.97, "{share}");
        assert!(late <= ms(rtt), "{late:?}");
    }
}

#[test]
fn a_path_that_has_become_longer_is_still_filled() {
    for (rate, before, after) in [
        (2_000_000, 40, 200),
        (500_000, 40, 200),
        (2_000_000, 10, 100),
        (2_000_000, 1, 60),
        (200_000, 40, 150),
        (20_000_000, 1, 150),
    ] {
        let mut path = Path::new(ms(before));
        path.run(messages(rate), ms(3000));
        path.delay = ms(after);
        path.run(messages(rate), ms(6000));
        let (share, _) = path.run(messages(rate), ms(4000));
        eprintln!("{rate} bytes/s, {before} to {after} ms: {share:.3}");
        assert!(share >= 0.9, "{share}");
    }
}

#[test]
fn p73_what_waits_on_a_path_that_has_become_slow_shrinks_to_two_seconds() {
    // 40 MB/s for 20 MB, then 100 kB/s.
    for delay in [2, 40, 300] {
        let mut path = Path::new(ms(delay));
        let service = |number| match number {
            0..20_000 => Duration::from_micros(25),
            _ => ms(10),
        };
        let waited: Vec<_> = (0..34_000).map(|_| path.step(service)).collect();
        let most = waited.iter().max().unwrap();
        let last = &waited[waited.len() - 200..];
        let steady = last.iter().max().unwrap();
        eprintln!("{delay} ms: at most {most:.1?}, at last {steady:.1?}");
        assert!(*steady <= ms(2000), "{delay} ms: {steady:?}");
        assert!(
            *last.iter().min().unwrap() >= ms(20),
            "{delay} ms: the path is kept busy"
        );
    }
}

#[test]
fn p73_what_waits_for_a_destination_that_is_slow_from_the_start_drains_in_two_seconds() {
    for delay in [2, 40, 300] {
        let mut path = Path::new(ms(delay));
        let (_, waited) = path.run(messages(100_000), ms(60_000));
        let most = waited[waited.len() - 1];
        let (share, waited) = path.run(messages(100_000), ms(60_000));
        let late = waited[waited.len() * 99 / 100];
        eprintln!("{delay} ms: at most {most:.1?}, later p99 {late:.1?}, {share:.3} used");
        assert!(most <= ms(2000), "{delay} ms: {most:?}");
        assert!(share >= 0.97, "{delay} ms: {share}");
    }
}

#[test]
fn p73_a_moment_in_which_nothing_passes_does_not_close_the_window() {
    let mut congestion = Congestion::with_window(4000);
    for _ in 0..4000 {
        congestion.bound_delay(4000, ms(3300), ms(300));
    }
    assert!(congestion.window() >= 2000, "{}", congestion.window());
    // A keystroke that was late says nothing of how much the path takes.
    congestion.bound_delay(1, ms(9000), ms(300));
    assert!(congestion.window() >= 2000, "{}", congestion.window());
}

#[test]
fn p73_while_nothing_was_read_delay_says_nothing() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    harness.transmit(0);
    harness.acknowledge(0, 10);
    harness.push(Urgency::Bulk);
    let now = harness.at(20);
    harness.window.set_reading_paused(true, now);
    let now = harness.at(9_000);
    harness.window.set_reading_paused(false, now);
    for number in 1..32 {
        harness.acknowledge(number, 9_001);
    }
    assert!(
        harness.window.size() >= INITIAL_WINDOW,
        "{}",
        harness.window.size()
    );
}
