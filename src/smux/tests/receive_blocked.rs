//! Streams that nobody reads: named, then reset where others wait for them (P17).

use super::*;

/// Fills the budget with a stream's data.
fn fill(session: &mut SmuxSession, id: StreamId, now: Instant) {
    while session.has_room() {
        session.handle_data(push(id, &[0; 32_768]), now).unwrap();
    }
    events(session);
}

#[test]
fn p17_a_stream_that_nobody_reads_is_named_and_then_reset() {
    let start = Instant::now();
    let mut session = session(2, start);
    fill(&mut session, 3, start);
    session.handle_timeout(start + 30 * SECOND, true);
    assert_eq!(events(&mut session), [SmuxEvent::Blocked(3)]);
    assert_eq!(session.next_timeout(), Some(start + 300 * SECOND));
    session.handle_timeout(start + 300 * SECOND, true);
    assert_eq!(events(&mut session), [SmuxEvent::Abandoned(3)]);
    assert!(session.has_room());
    assert_eq!(
        session.poll_transmit(),
        Some(Transmit::Control(frame::fin(3)))
    );
    assert_eq!(session.next_timeout(), None);
}

#[test]
fn p17_a_slow_stream_is_left_alone() {
    let start = Instant::now();
    let mut session = session(2, start);
    fill(&mut session, 3, start);
    for minute in 1..10 {
        let now = start + minute * 60 * SECOND;
        session.consume(3, 1, now - SECOND);
        session.handle_timeout(now, true);
        assert!(!session.has_room());
        assert!(
            !events(&mut session)
                .iter()
                .any(|event| matches!(event, SmuxEvent::Abandoned(_)))
        );
    }
}

#[test]
fn p17_a_stream_that_blocks_only_itself_is_never_reset() {
    let start = Instant::now();
    let mut session = session(1, start);
    fill(&mut session, 3, start);
    session.handle_timeout(start + 30 * SECOND, true);
    assert_eq!(events(&mut session), [SmuxEvent::Blocked(3)]);
    // Nothing to wake up for.
    assert_eq!(session.next_timeout(), None);
    session.open(start + 3600 * SECOND).unwrap();
    session.handle_timeout(start + 3600 * SECOND, true);
    assert_eq!(session.next_timeout(), Some(start + 3900 * SECOND));
    session.handle_timeout(start + 3900 * SECOND, true);
    assert_eq!(events(&mut session), [SmuxEvent::Abandoned(3)]);
}

#[test]
fn p17_one_after_the_other_is_reset_until_there_is_room() {
    let start = Instant::now();
    let mut session = session(64, start);
    let mut streams = (3..).step_by(2).take(64).cycle();
    let mut next = || push(streams.next().unwrap(), &[0; 32_768]);
    let budget = super::super::session::RECEIVE_BUDGET;
    for _ in 0..budget / 33_000 {
        session.handle_data(next(), start).unwrap();
    }
    assert!(session.has_room());
    // The longest message of an agent: more than any of the streams holds.
    let longest: Vec<u8> = (0..32).flat_map(|_| next()).collect();
    session.handle_data(longest.into(), start).unwrap();
    assert!(!session.has_room());
    let mut abandoned = 0;
    let mut now = start;
    while !session.has_room() {
        now = session.next_timeout().expect("a time to look again");
        session.handle_timeout(now, true);
        let is_reset = |event: &SmuxEvent| matches!(event, SmuxEvent::Abandoned(_));
        abandoned += events(&mut session).iter().filter(|e| is_reset(e)).count();
    }
    assert!((2..12).contains(&abandoned), "{abandoned}");
    assert_eq!(now, start + 300 * SECOND);
}
