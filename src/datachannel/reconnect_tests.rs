//! The rules of recovery one by one, and over thousands of random outages in virtual time.

use super::*;

#[path = "reconnect_storm_tests.rs"]
mod storm;

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn failure(meaning: Meaning, reason: &str) -> Failure {
    Failure {
        meaning,
        reason: reason.to_owned(),
        is_answer: true,
    }
}

fn bye() -> Failure {
    failure(Meaning::Temporary, "1000 Bye")
}

fn denied() -> Failure {
    failure(Meaning::Denied, "403 no")
}

fn unreachable() -> Failure {
    Failure {
        is_answer: false,
        ..failure(Meaning::Temporary, "no route")
    }
}

/// An established session whose connection, a good one, broke just now.
fn broken(now: Instant) -> Recovery {
    let mut recovery = Recovery::default();
    recovery.connected(now);
    recovery.message();
    recovery.disconnected(&bye(), true, now).unwrap();
    recovery
}

/// Tries until it gives up, each try failing at once: when they began, and why it gave up.
fn fail_on(
    recovery: &mut Recovery,
    start: Instant,
    mut fail: impl FnMut(&mut Recovery, Instant) -> Result<(), GaveUp>,
) -> (Vec<Duration>, String) {
    let mut now = start;
    let mut tries = Vec::new();
    loop {
        now = now.max(recovery.next_try(fastrand::f64(), now));
        let failed = recovery.begin_try(now).and_then(|_| {
            tries.push(now - start);
            fail(recovery, now)
        });
        if let Err(gave_up) = failed {
            return (tries, gave_up.reason);
        }
    }
}

fn assert_paced(dials: &[Duration], age_at_end: Duration) {
    let early = dials.iter().filter(|at| **at < second(10)).count();
    assert!(early <= 5, "{early} dials in the first 10 s: {dials:?}");
    for pair in dials.windows(2) {
        if pair[1] >= second(60) {
            let gap = pair[1] - pair[0];
            assert!(gap >= second(5), "{gap:?} before {:?}", pair[1]);
        }
    }
    // Whatever the minute.
    for window in dials.windows(25) {
        let time = window[24] - window[0];
        assert!(time > second(60), "25 dials in {time:?}");
    }
    assert!(age_at_end < second(2) || dials[0] <= second(2));
    assert!(age_at_end < second(12) || dials[1] <= second(12));
}

#[test]
fn p65_dials_are_paced_and_never_too_rare() {
    for _ in 0..500 {
        let now = Instant::now();
        let mut recovery = broken(now);
        let (tries, _) = fail_on(&mut recovery, now, |recovery, now| {
            recovery.dial_failed(&unreachable(), now)
        });
        assert_paced(&tries, second(3600));
        for pair in tries.windows(2) {
            assert!(pair[1] - pair[0] <= second(25), "{pair:?}");
        }
    }
}

/// An outage of so many tries that nobody answered, a long one since; and the moment after the last of them.
fn unanswered(tries: u32) -> (Recovery, Instant) {
    let mut now = Instant::now();
    let mut recovery = broken(now);
    for _ in 0..tries {
        now = now.max(recovery.next_try(1.0, now));
        recovery.begin_try(now).unwrap();
        recovery.resume_failed(&unreachable(), now).unwrap();
    }
    (recovery, now)
}

#[test]
fn p72_a_change_of_the_path_brings_the_next_try_forward() {
    let (mut recovery, mut now) = unanswered(20);
    now += second(1);
    assert!(recovery.next_try(1.0, now) > now + second(10));
    recovery.path_changed(now);
    let next = recovery.next_try(1.0, now);
    assert!(next <= now + second(1), "{:?}", next - now);
    // Where the service has answered, there is a path, and it wants time.
    recovery.begin_try(next).unwrap();
    recovery.resume_failed(&bye(), next).unwrap();
    let planned = recovery.next_try(1.0, next);
    recovery.path_changed(next);
    assert_eq!(recovery.next_try(1.0, next), planned);
}

/// When tries of an outage's second minute begin, which last so long and end so; and how far each begins after the end of the one before.
fn late_gaps(lasts: Duration, fail: &Failure) -> Vec<Duration> {
    let mut now = Instant::now();
    let mut recovery = broken(now);
    recovery.disconnected(fail, true, now).unwrap();
    let end = now + second(600);
    let mut gaps = Vec::new();
    while now < end {
        let next = now.max(recovery.next_try(fastrand::f64(), now));
        if recovery.begin_try(next).is_err() {
            break;
        }
        if next > end - second(500) {
            gaps.push(next - now);
        }
        now = next + lasts;
        recovery.resume_failed(fail, now).unwrap();
    }
    gaps
}

#[test]
fn p72_a_path_that_nobody_tells_of_is_watched_without_a_pause() {
    for lasts in [5, 12, 24] {
        let gaps = late_gaps(second(lasts), &unreachable());
        assert!(gaps.len() > 15, "{gaps:?}");
        let longest = gaps.iter().max().unwrap();
        assert!(*longest <= Duration::from_millis(500), "{longest:?}");
    }
    // Who refuses at once is there, and who answers wants time.
    for (lasts, failure) in [(1, unreachable()), (6, bye())] {
        let gaps = late_gaps(second(lasts), &failure);
        let longest = gaps.iter().max().unwrap();
        assert!(*longest > second(8), "{lasts}: {longest:?}");
    }
}

#[test]
fn p65_a_path_that_changes_all_the_time_makes_no_storm() {
    let (mut recovery, start) = unanswered(20);
    let mut now = start;
    let mut tries = 0;
    while now < start + second(600) {
        if recovery.next_try(1.0, now) <= now {
            recovery.begin_try(now).unwrap();
            recovery.resume_failed(&unreachable(), now).unwrap();
            tries += 1;
        }
        now += Duration::from_millis(50);
        recovery.next_try(1.0, now);
        recovery.path_changed(now);
    }
    assert!((100..=126).contains(&tries), "{tries} in ten minutes");
}

#[test]
fn p65_a_connection_that_answers_and_closes_changes_nothing() {
    for has_message in [false, true] {
        let now = Instant::now();
        let mut recovery = broken(now);
        let (tries, reason) = fail_on(&mut recovery, now, |recovery, now| {
            recovery.connected(now);
            recovery.sign();
            if has_message {
                recovery.message();
            }
            recovery.disconnected(&bye(), true, now + second(1))
        });
        assert_paced(&tries, second(3600));
        assert!(tries.len() > 100, "{}", tries.len());
        assert!(*tries.last().unwrap() > second(3500));
        assert!(reason.starts_with("1000 Bye; gave up after "), "{reason}");
    }
}

#[test]
fn a_connection_that_was_of_use_is_followed_soon_by_another() {
    let now = Instant::now();
    let mut recovery = broken(now);
    let (tries, _) = fail_on(&mut recovery, now, |recovery, now| {
        recovery.connected(now);
        for _ in 0..WORK {
            recovery.message();
        }
        recovery.disconnected(&bye(), true, now + Duration::from_millis(10))
    });
    let within = |seconds| tries.iter().filter(|at| **at < second(seconds)).count();
    assert!(within(10) <= 5, "{tries:?}");
    assert!((40..=55).contains(&within(60)), "{}", within(60));
    assert!((8..=12).contains(&(within(120) - within(60))), "{tries:?}");
}

#[test]
fn p65_a_connection_that_lasts_ends_the_outage() {
    let now = Instant::now();
    for (sign, message, lasted, is_new) in [
        (true, true, 11, true),
        (false, true, 11, true),
        (true, true, 9, false),
        (true, false, 11, false),
        (true, false, 61, true),
        (false, false, 61, false),
    ] {
        let mut recovery = broken(now);
        recovery.begin_try(now).unwrap();
        recovery.connected(now);
        if sign {
            recovery.sign();
        }
        if message {
            recovery.message();
        }
        let end = now + second(lasted);
        recovery.disconnected(&bye(), true, end).unwrap();
        assert_eq!(
            recovery.ends_at(),
            Some(if is_new { end } else { now } + LONGEST_OUTAGE),
            "{sign} {message} {lasted}"
        );
    }
}

#[test]
fn p66_the_hour_begins_once() {
    let start = Instant::now();
    let mut recovery = broken(start);
    let (tries, reason) = fail_on(&mut recovery, start, |recovery, now| {
        recovery.connected(now);
        recovery.disconnected(&unreachable(), true, now + second(2))
    });
    assert!(*tries.last().unwrap() < LONGEST_OUTAGE);
    assert!(reason.contains("no route"), "{reason}");
    assert!(reason.ends_with(" tries in 60 minutes"), "{reason}");
}

#[test]
fn p20_two_refusals_in_a_row_are_an_answer() {
    let now = Instant::now();
    let mut recovery = broken(now);
    recovery.begin_try(now).unwrap();
    assert_eq!(recovery.dial_failed(&denied(), now), Ok(()));
    assert_eq!(recovery.dial_failed(&bye(), now), Ok(()));
    assert_eq!(recovery.dial_failed(&denied(), now), Ok(()));
    let gave_up = recovery.dial_failed(&denied(), now).unwrap_err();
    assert_eq!(gave_up.reason, "403 no; gave up after one try in a second");
}

#[test]
fn p67_refusals_while_no_credentials_can_be_had_do_not_count() {
    let now = Instant::now();
    let mut recovery = broken(now);
    for _ in 0..50 {
        recovery.begin_try(now).unwrap();
        recovery.excuse_try();
        assert_eq!(recovery.dial_failed(&denied(), now), Ok(()));
    }
    for _ in 0..50 {
        recovery.begin_try(now).unwrap();
        recovery.excuse_try();
        recovery.connected(now);
        assert_eq!(recovery.disconnected(&denied(), true, now), Ok(()));
    }
    recovery.begin_try(now).unwrap();
    assert_eq!(recovery.dial_failed(&denied(), now), Ok(()));
    recovery.begin_try(now).unwrap();
    assert!(recovery.dial_failed(&denied(), now).is_err());
}

#[test]
fn p68_what_is_gone_is_told_in_the_services_words() {
    let now = Instant::now();
    let mut recovery = broken(now);
    recovery.begin_try(now).unwrap();
    let gone = failure(Meaning::Gone, "no such session");
    let gave_up = recovery.resume_failed(&gone, now).unwrap_err();
    assert_eq!(gave_up.reason, "no such session");
}

#[test]
fn silent_connections_are_an_answer_only_where_nothing_stood_or_the_service_says_no() {
    let now = Instant::now();
    for (had_started, failure, ends) in [
        (false, unreachable(), true),
        (false, bye(), true),
        (true, bye(), false),
        (true, denied(), true),
    ] {
        let mut recovery = Recovery::default();
        let mut ended = Ok(());
        for _ in 0..3 {
            assert_eq!(ended, Ok(()));
            recovery.connected(now);
            recovery.sign();
            ended = recovery.disconnected(&failure, had_started, now);
        }
        assert_eq!(ended.is_err(), ends, "{had_started} {failure:?}");
    }
}

#[test]
fn p70_what_the_user_is_told_is_in_order() {
    let start = Instant::now();
    let mut recovery = broken(start);
    assert_eq!(recovery.next_timeout(), Some(start + second(3)));
    recovery.handle_timeout(start + second(2));
    assert_eq!(recovery.poll_notice(), None);
    recovery.handle_timeout(start + second(3));
    let reason = "1000 Bye".to_owned();
    let reconnecting = Some(Notice::Reconnecting { reason });
    assert_eq!(recovery.poll_notice(), reconnecting);
    assert_eq!(recovery.next_timeout(), None);
    // A word, and it is back; but not for long.
    recovery.connected(start + second(4));
    recovery.message();
    assert_eq!(recovery.poll_notice(), Some(Notice::Reconnected));
    recovery
        .disconnected(&bye(), true, start + second(5))
        .unwrap();
    assert_eq!(recovery.next_timeout(), Some(start + second(8)));
    recovery.handle_timeout(start + second(8));
    assert_eq!(recovery.poll_notice(), reconnecting);
    // From now on a word is not enough.
    recovery.connected(start + second(9));
    recovery.message();
    assert_eq!(recovery.poll_notice(), None);
    assert_eq!(recovery.next_timeout(), Some(start + second(19)));
    recovery.handle_timeout(start + second(19));
    assert_eq!(recovery.poll_notice(), Some(Notice::Reconnected));
    assert_eq!(recovery.poll_notice(), None);
    assert_eq!(recovery.next_timeout(), None);
}

#[test]
fn p70_an_outage_that_is_over_soon_is_not_told() {
    let start = Instant::now();
    let mut recovery = broken(start);
    recovery.connected(start + second(2));
    recovery.message();
    recovery.handle_timeout(start + second(4));
    recovery.handle_timeout(start + second(100));
    assert_eq!(recovery.poll_notice(), None);
}

#[test]
fn p70_an_idle_session_is_told_to_be_back_by_its_pongs() {
    let start = Instant::now();
    let mut recovery = broken(start);
    recovery.handle_timeout(start + second(5));
    assert!(recovery.poll_notice().is_some());
    recovery.connected(start + second(6));
    recovery.sign();
    assert_eq!(recovery.next_timeout(), Some(start + second(9)));
    recovery.handle_timeout(start + second(9));
    assert_eq!(recovery.poll_notice(), Some(Notice::Reconnected));
}

#[test]
fn p119_the_reason_of_the_first_connection_is_the_last_answer_too() {
    let mut tries = FirstTries::default();
    assert!(tries.failed(&denied(), true, 0.0).is_some());
    let answer = denied().reason;
    assert_eq!(tries.reason(&denied(), false), answer);
    assert_eq!(tries.failed(&unreachable(), true, 0.0), None);
    assert_eq!(tries.reason(&unreachable(), true), answer);
    assert_eq!(tries.reason(&unreachable(), false), unreachable().reason);
}

#[test]
fn p119_the_reason_is_the_last_answer() {
    let now = Instant::now();
    let trouble = failure(Meaning::Temporary, "HTTP 500");
    let mut recovery = Recovery::default();
    recovery.connected(now);
    recovery.disconnected(&unreachable(), false, now).unwrap();
    let (tries, reason) = fail_on(&mut recovery, now, |recovery, now| {
        recovery.resume_failed(&trouble, now)?;
        // The one that the deadline cuts off.
        recovery.resume_failed(&unreachable(), now + second(30))
    });
    let count = tries.len();
    assert_eq!(
        reason,
        format!("HTTP 500; gave up after {count} tries in 30 seconds")
    );

    let mut recovery = broken(now);
    recovery.begin_try(now).unwrap();
    recovery.dial_failed(&trouble, now).unwrap();
    for _ in 0..2 {
        recovery.dial_failed(&unreachable(), now).unwrap();
    }
    let gave_up = recovery.begin_try(now + LONGEST_OUTAGE).unwrap_err();
    assert_eq!(
        gave_up.reason,
        "HTTP 500; since then: no route; gave up after one try in 60 minutes"
    );
}

#[test]
fn p25_the_first_connection_is_tried_again_only_where_the_service_has_trouble() {
    let trouble = failure(Meaning::Temporary, "503");
    for (failure, is_excused, tries) in [
        (&trouble, false, 3),
        (&unreachable(), false, 1),
        (&denied(), false, 1),
        (&denied(), true, 3),
    ] {
        let mut first = FirstTries::default();
        let mut count = 1;
        while first.failed(failure, is_excused, 0.5).is_some() {
            count += 1;
        }
        assert_eq!(count, tries, "{failure:?}");
    }
}
