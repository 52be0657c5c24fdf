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
