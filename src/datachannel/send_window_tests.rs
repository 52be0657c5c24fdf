use super::*;
use crate::datachannel::congestion::INITIAL_WINDOW;
use crate::datachannel::delivery_rate::{MAXIMUM_BYTES, USUAL_BYTES};
use proptest::prelude::*;

#[path = "send_window_hold_up_tests.rs"]
mod hold_up;
#[path = "send_window_loss_tests.rs"]
mod loss;
#[path = "send_window_path_tests.rs"]
mod path;
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
