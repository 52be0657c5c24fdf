//! The agent's pause, and a pause of our own reading.

use super::*;

#[test]
fn p10_a_pause_lets_one_probe_a_timeout_through_and_its_acknowledgement_ends_it() {
    let mut harness = Harness::new();
    harness.push(Urgency::Bulk);
    harness.push(Urgency::Bulk);
    let now = harness.at(0);
    harness.window.pause(now);
    assert_eq!(harness.transmit(0), [0; 0]);
    assert_eq!(
        harness.window.timer(),
        Some((Timer::PauseProbe, harness.at(1000)))
    );
    assert_eq!(
        harness.transmit(1000),
        [0],
        "the next one, as there is no unacknowledged one"
    );
    assert_eq!(harness.transmit(1500), [0; 0]);
    assert_eq!(harness.transmit(2000), [0], "the oldest unacknowledged one");
    assert!(harness.acknowledge(0, 2100));
    assert_eq!(harness.transmit(2100), [1], "the pause is over");
}

#[test]
fn p10_control_is_not_paused_and_start_publication_ends_it() {
    let mut harness = Harness::new();
    let now = harness.at(0);
    harness.window.pause(now);
    harness.push(Urgency::Control);
    harness.push(Urgency::Bulk);
    assert_eq!(harness.transmit(0), [0]);
    harness.window.resume(now);
    assert_eq!(harness.transmit(0), [1]);
}

#[test]
fn p61_while_nothing_is_read_the_timer_stands_still() {
    let mut harness = Harness::new();
    harness.push(Urgency::Bulk);
    harness.transmit(0);
    let (closed, opened) = (harness.at(500), harness.at(60_000));
    harness.window.set_reading_paused(true, closed);
    harness.expire(30_000);
    assert_eq!(harness.transmit(30_000), [0; 0]);
    harness.window.set_reading_paused(false, opened);
    assert_eq!(
        harness.window.timer(),
        Some((Timer::Retransmission, harness.at(61_000)))
    );
    assert_eq!(harness.window.size(), INITIAL_WINDOW);
}
