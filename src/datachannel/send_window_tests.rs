use super::*;
use crate::datachannel::congestion::INITIAL_WINDOW;
use crate::datachannel::delivery_rate::{MAXIMUM_BYTES, USUAL_BYTES};
use proptest::prelude::*;

#[path = "send_window_hold_up_tests.rs"]
mod hold_up;
#[path = "send_window_loss_tests.rs"]
mod loss;
#[path = "send_window_pause_tests.rs"]
mod pause;
/// The largest window where the path carries little.
const USUAL_WINDOW: usize = USUAL_BYTES / MESSAGE_COST;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A window whose frames hold nothing but their number.
struct Harness {
    window: SendWindow,
    start: Instant,
}

impl Harness {
    fn new() -> Self {
        Self {
            window: SendWindow::default(),
            start: Instant::now(),
        }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + ms(milliseconds)
    }

    fn push(&mut self, urgency: Urgency) -> bool {
        self.push_frame(8, urgency)
    }

    /// A frame of so many bytes, which begins with its number.
    fn push_frame(&mut self, bytes: usize, urgency: Urgency) -> bool {
        let Some(reservation) = self.window.reserve(bytes, urgency) else {
            return false;
        };
        let mut frame = self.window.next_number().to_be_bytes().to_vec();
        frame.resize(bytes, 0);
        self.window.store(reservation, Bytes::from(frame));
        true
    }

    fn fill(&mut self, urgency: Urgency) -> usize {
        (0..).take_while(|_| self.push(urgency)).count()
    }

    fn transmit(&mut self, milliseconds: u64) -> Vec<i64> {
        let now = self.at(milliseconds);
        std::iter::from_fn(|| self.window.poll_transmit(now))
            .map(|frame| i64::from_be_bytes(frame.as_ref().try_into().unwrap()))
            .collect()
    }

    fn acknowledge(&mut self, number: i64, milliseconds: u64) -> bool {
        let now = self.at(milliseconds);
        self.window.acknowledge(number, now)
    }

    fn expire(&mut self, milliseconds: u64) {
        let now = self.at(milliseconds);
        self.window.handle_timeout(now);
    }
}

#[test]
fn p04_a_full_window_makes_senders_wait_and_drops_nothing() {
    let mut harness = Harness::new();
    assert_eq!(harness.fill(Urgency::Bulk), INITIAL_WINDOW);
    assert_eq!(harness.transmit(0), (0..32).collect::<Vec<_>>());
    assert!(!harness.push(Urgency::Bulk));
    assert!(harness.acknowledge(0, 1));
    assert!(harness.push(Urgency::Bulk));
    assert_eq!(harness.transmit(2), [32]);
}

#[test]
fn interactive_input_has_a_reserve_and_control_is_never_refused() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    assert_eq!(harness.fill(Urgency::Interactive), INTERACTIVE_RESERVE);
    assert!(harness.push(Urgency::Control));
    assert_eq!(
        harness.transmit(0).len(),
        INITIAL_WINDOW + INTERACTIVE_RESERVE + 1
    );
}

#[test]
fn the_window_is_bounded_in_bytes_and_so_is_what_waits_for_the_socket() {
    let mut window = SendWindow {
        congestion: Congestion::with_window(USUAL_WINDOW),
        ..SendWindow::default()
    };
    let frame = 32_768 + 120;
    let mut kept = 0;
    loop {
        let mut stored = 0;
        while let Some(reservation) = window.reserve(frame, Urgency::Bulk) {
            window.store(reservation, Bytes::from(vec![0; frame]));
            stored += 1;
        }
        // The last one may begin just below the bound.
        assert!(stored <= MAXIMUM_UNSENT / frame + 1, "{stored}");
        if stored == 0 {
            break;
        }
        kept += stored;
        while window.poll_transmit(Instant::now()).is_some() {}
    }
    assert_eq!(kept, USUAL_BYTES / frame);
}

#[test]
fn grows_on_a_quick_path_and_holds_when_a_queue_builds() {
    let mut harness = Harness::new();
    let mut now = 0;
    for _ in 0..12 {
        harness.fill(Urgency::Bulk);
        let sent = harness.transmit(now);
        now += 10;
        for number in sent {
            harness.acknowledge(number, now);
        }
    }
    assert_eq!(harness.window.size(), USUAL_WINDOW);
    let mut slow = Harness::new();
    slow.push(Urgency::Bulk);
    slow.transmit(0);
    slow.acknowledge(0, 10);
    for _ in 0..50 {
        slow.fill(Urgency::Bulk);
        let sent = slow.transmit(now);
        now += 60;
        for number in sent {
            slow.acknowledge(number, now);
        }
    }
    assert!(slow.window.size() < 80, "{}", slow.window.size());
}

#[test]
fn halves_at_most_once_a_timeout_and_never_below_eight() {
    let mut harness = Harness::new();
    let mut sizes = Vec::new();
    let mut now = 0;
    for _ in 0..6 {
        harness.fill(Urgency::Bulk);
        harness.transmit(now);
        now += 6000;
        harness.expire(now);
        harness.expire(now);
        sizes.push(harness.window.size());
    }
    assert_eq!(
        sizes,
        [32, 16, 8, 8, 8, 8],
        "the first expiry alone says nothing"
    );
}

#[test]
fn a_bad_line_does_not_halve_the_window() {
    let mut harness = Harness::new();
    let mut now = 0;
    for _ in 0..200 {
        harness.fill(Urgency::Bulk);
        let sent = harness.transmit(now);
        now += 10;
        for number in sent {
            if number % 100 != 50
                || harness
                    .window
                    .messages
                    .get(harness.window.messages.first())
                    .unwrap()
                    .transmissions
                    > 1
            {
                harness.acknowledge(number, now);
            }
        }
    }
    assert!(harness.window.size() > 1000, "{}", harness.window.size());
}

#[test]
fn after_a_reconnect_the_oldest_go_first_through_a_small_window() {
    let mut harness = Harness::new();
    harness.window.congestion = Congestion::with_window(100);
    harness.fill(Urgency::Bulk);
    assert_eq!(harness.transmit(0).len(), 100);
    for number in 10..20 {
        harness.acknowledge(number, 5);
    }
    harness.transmit(5);
    let now = harness.at(50);
    harness.window.reconnected(now);
    let sent = harness.transmit(50);
    assert_eq!(sent, (0..10).chain(20..42).collect::<Vec<_>>());
    assert!(harness.acknowledge(0, 51));
    assert_eq!(harness.transmit(51), [42, 43]);
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Transmit,
    Acknowledge(u8),
    Wait(u16),
    Reconnect,
    Pause,
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8).prop_map(Step::Push),
        4 => Just(Step::Transmit),
        6 => any::<u8>().prop_map(Step::Acknowledge),
        2 => (0..3000_u16).prop_map(Step::Wait),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn whatever_happens_every_message_is_sent_until_it_is_acknowledged(steps in steps()) {
        let mut harness = Harness::new();
        let mut now = 0;
        let mut pushed = 0;
        let mut sent = BTreeSet::new();
        for step in steps {
            match step {
                Step::Push(urgency) => {
                    let urgency = [Urgency::Bulk, Urgency::Interactive, Urgency::Control][usize::from(urgency)];
                    pushed += i64::from(harness.push(urgency));
                }
                Step::Transmit => sent.extend(harness.transmit(now)),
                Step::Acknowledge(choice) => {
                    if let Some(number) = sent.iter().copied().nth(usize::from(choice) % sent.len().max(1)) {
                        harness.acknowledge(number, now);
                    }
                }
                Step::Wait(time) => {
                    now += u64::from(time);
                    harness.expire(now);
                }
                Step::Reconnect => {
                    let at = harness.at(now);
                    harness.window.reconnected(at);
                }
                Step::Pause => {
                    let at = harness.at(now);
                    harness.window.pause(at);
                }
                Step::Resume => {
                    let at = harness.at(now);
                    harness.window.resume(at);
                }
            }
            let in_flight = harness.window.messages.iter().filter(|message| matches!(message.state, MessageState::InFlight { .. })).count();
            prop_assert_eq!(in_flight, harness.window.in_flight);
            let unacknowledged = harness.window.messages.iter().filter(|message| message.state != MessageState::Acknowledged).count();
            prop_assert_eq!(unacknowledged, harness.window.unacknowledged);
            prop_assert!(harness.window.size() >= MINIMUM_WINDOW && harness.window.size() <= USUAL_WINDOW);
            // What is on its way has a timer, or a pause has the probe's, or the probe is to go.
            let is_due = harness.window.can_transmit(harness.at(now));
            prop_assert!(in_flight == 0 || is_due || harness.window.timer().is_some());
        }
        // The path heals: everything arrives.
        let at = harness.at(now);
        harness.window.resume(at);
        for _ in 0..2000 {
            if harness.window.is_empty() {
                break;
            }
            for number in harness.transmit(now) {
                sent.insert(number);
                harness.acknowledge(number, now + 1);
            }
            now += 5000;
            harness.expire(now);
        }
        prop_assert!(harness.window.is_empty());
        prop_assert_eq!(sent, (0..pushed).collect::<BTreeSet<_>>());
    }
}

#[test]
fn a_queue_of_our_own_does_not_make_the_window_grow() {
    let mut harness = Harness::new();
    // The socket takes eight messages a round trip, whatever there is to send.
    let mut next = 0;
    for round in 0..2000 {
        harness.fill(Urgency::Bulk);
        let now = harness.at(round);
        for _ in 0..8 {
            assert!(harness.window.poll_transmit(now).is_some());
        }
        for _ in 0..8 {
            assert!(harness.acknowledge(next, round + 1));
            next += 1;
        }
    }
    assert!(
        harness.window.size() < 2 * INITIAL_WINDOW,
        "{} messages wait",
        harness.window.size()
    );
}

/// A frame with 1 KiB of data.
const FRAME: usize = 1144;

/// A path with a delay of its own and one queue, whose consumer takes a message in a given time.
struct Path {
    harness: Harness,
    delay: Duration,
    now: Instant,
    busy_until: Instant,
    /// Acknowledgements on their way: when, whose, and when that was sent.
    coming: std::collections::VecDeque<(Instant, i64, Instant)>,
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
            coming: std::collections::VecDeque::new(),
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
