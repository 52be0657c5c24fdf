//! What counts as lost, and what is sent again.

use super::*;

#[test]
fn p02_a_lost_message_is_resent_once_a_timeout_not_every_tick() {
    let mut harness = Harness::new();
    harness.push(Urgency::Bulk);
    assert_eq!(harness.transmit(0), [0]);
    for tick in 1..10 {
        harness.expire(tick * 100);
        assert_eq!(
            harness.transmit(tick * 100),
            [0; 0],
            "the first timeout is a second"
        );
    }
    harness.expire(1000);
    assert_eq!(harness.transmit(1000), [0]);
    for tick in 11..30 {
        harness.expire(tick * 100);
        assert_eq!(harness.transmit(tick * 100), [0; 0], "then it is two");
    }
    harness.expire(3000);
    assert_eq!(harness.transmit(3000), [0]);
}

#[test]
fn p03_an_acknowledgement_always_finds_its_message() {
    let mut harness = Harness::new();
    harness.push(Urgency::Bulk);
    assert!(
        !harness.acknowledge(0, 0),
        "never sent, so nobody can have received it"
    );
    assert_eq!(harness.transmit(0), [0]);
    assert!(harness.acknowledge(0, 0));
    assert!(!harness.acknowledge(0, 0));
    assert!(
        !harness.acknowledge(-1, 0)
            && !harness.acknowledge(i64::MAX, 0)
            && !harness.acknowledge(i64::MIN, 0)
    );
    assert!(harness.window.is_empty());
    assert_eq!(harness.window.timer(), None);
}

#[test]
fn three_newer_acknowledgements_are_a_loss() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    harness.transmit(0);
    harness.acknowledge(1, 10);
    harness.acknowledge(2, 10);
    assert_eq!(harness.transmit(10), [0; 0]);
    harness.acknowledge(3, 10);
    assert_eq!(harness.transmit(10), [0]);
}

#[test]
fn a_message_that_is_much_too_late_is_lost_when_one_newer_is_acknowledged() {
    let mut harness = Harness::new();
    harness.push(Urgency::Bulk);
    harness.transmit(0);
    harness.acknowledge(0, 10);
    harness.push(Urgency::Bulk);
    harness.push(Urgency::Bulk);
    harness.transmit(20);
    harness.push(Urgency::Bulk);
    harness.transmit(60);
    harness.acknowledge(3, 70);
    assert_eq!(
        harness.transmit(70),
        [1, 2],
        "sent 50 ms ago where 10 ms are usual"
    );
}

#[test]
fn an_acknowledgement_of_the_first_copy_condemns_nobody_and_raises_the_bar() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    harness.transmit(0);
    for number in 1..=3 {
        harness.acknowledge(number, 20);
    }
    harness.push(Urgency::Bulk);
    assert_eq!(harness.transmit(20), [0, 32]);
    assert!(harness.acknowledge(0, 21));
    assert_eq!(harness.transmit(21), [0; 0]);
    assert_eq!(harness.window.loss_detection.threshold(), 4);
}

#[test]
fn an_acknowledgement_long_after_the_first_copy_is_for_the_second() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    harness.transmit(0);
    harness.acknowledge(0, 20);
    harness.expire(240);
    assert_eq!(harness.transmit(240), [1]);
    harness.acknowledge(1, 241);
    assert_eq!(
        harness.transmit(241),
        (2..32).collect::<Vec<_>>(),
        "all that was sent with it is as late"
    );
}

#[test]
fn reordering_raises_the_bar() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    harness.transmit(0);
    for number in 1..4 {
        harness.acknowledge(number, 10);
    }
    assert!(harness.acknowledge(0, 10), "it was only late");
    for number in 5..8 {
        harness.acknowledge(number, 10);
    }
    assert_eq!(harness.transmit(10), [0; 0]);
    harness.acknowledge(8, 10);
    assert_eq!(harness.transmit(10), [4]);
}

#[test]
fn an_early_acknowledgement_of_a_resent_message_condemns_nobody() {
    let mut harness = Harness::new();
    harness.fill(Urgency::Bulk);
    harness.transmit(0);
    harness.acknowledge(31, 100);
    harness.acknowledge(30, 100);
    harness.acknowledge(29, 100);
    let resent = harness.transmit(100);
    assert_eq!(resent, (0..29).collect::<Vec<_>>());
    harness.push(Urgency::Control);
    for number in 0..17 {
        assert!(harness.acknowledge(number, 101));
    }
    assert_eq!(harness.transmit(101), [32]);
    assert!(harness.acknowledge(28, 102));
    assert_eq!(harness.transmit(102), [0; 0]);
}
