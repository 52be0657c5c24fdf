use std::time::Duration;

use super::*;

/// What befalls a session that carries a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    /// It ends after this share of the range, in percent.
    Early(u64),
    /// More comes than was asked for.
    TooMuch,
    /// Nothing comes.
    Nothing,
}

fn fate(random: &mut fastrand::Rng, trouble: u32) -> Fate {
    match random.u32(0..100) {
        chance if chance >= trouble => Fate::Whole,
        chance => match chance % 4 {
            0 => Fate::Nothing,
            1 => Fate::TooMuch,
            _ => Fate::Early(random.u64(0..100)),
        },
    }
}

/// Carries a file with several sessions at a time, all chance from the seed. Whether it was carried.
fn carry(seed: u64, trouble: u32) -> bool {
    let mut random = fastrand::Rng::with_seed(seed);
    let size = random.u64(0..40 * 1024 * 1024);
    let good: Vec<bool> = (0..size.div_ceil(HASHED)).map(|_| random.bool()).collect();
    let mut there = vec![false; usize::try_from(size.div_ceil(BLOCK)).unwrap()];
    for (index, _) in good.iter().enumerate().filter(|(_, good)| **good) {
        let first = index * 128;
        let end = (first + 128).min(there.len());
        there[first..end].fill(true);
    }
    let longest = random.u64(1..200) * BLOCK;
    let mut plan = Plan::new(size, longest, &good);
    let mut running: Vec<(Ticket, Range)> = Vec::new();
    loop {
        while running.len() < 4
            && let Some((ticket, range)) = plan.take()
        {
            assert!(range.start.is_multiple_of(BLOCK) && range.end <= size && range.len() > 0);
            assert!(range.len() <= longest);
            running.push((ticket, range));
        }
        if running.is_empty() {
            break;
        }
        let (ticket, range) = running.swap_remove(random.usize(0..running.len()));
        let came = match fate(&mut random, trouble) {
            Fate::Whole => range.len(),
            Fate::Early(percent) => range.len() * percent / 100,
            Fate::Nothing => 0,
            Fate::TooMuch => {
                plan.advance(ticket, range.len()).unwrap();
                assert_eq!(plan.advance(ticket, 1), Err(TooMuch));
                range.len()
            }
        };
        if came < range.len() || !plan.is_carried(ticket) {
            plan.advance(ticket, came).unwrap();
        }
        // A block counts when all of it came.
        let blocks = if came == range.len() {
            came.div_ceil(BLOCK)
        } else {
            came / BLOCK
        };
        for index in range.start / BLOCK..range.start / BLOCK + blocks {
            there[usize::try_from(index).unwrap()] = true;
        }
        if plan.is_carried(ticket) {
            plan.finish(ticket);
        } else if plan.fail(ticket) == Next::GiveUp {
            return false;
        }
    }
    assert!(plan.is_complete());
    assert_eq!(plan.left(), 0);
    assert!(there.iter().all(|there| *there), "seed {seed}");
    true
}

#[test]
fn every_block_is_carried_whatever_befalls_the_sessions() {
    for seed in 0..2_000 {
        assert!(carry(seed, 0));
        carry(seed, 40);
    }
}

#[test]
fn it_gives_up_where_nothing_ever_comes_and_not_where_something_does() {
    let mut plan = Plan::new(10 * BLOCK, 10 * BLOCK, &[]);
    let mut waits = Vec::new();
    loop {
        let (ticket, _) = plan.take().unwrap();
        match plan.fail(ticket) {
            Next::After(wait) => waits.push(wait),
            Next::GiveUp => break,
        }
    }
    assert_eq!(waits.len(), 3);
    assert!(waits.is_sorted());
    let mut plan = Plan::new(10 * BLOCK, 10 * BLOCK, &[]);
    for _ in 0..9 {
        let (ticket, range) = plan.take().unwrap();
        plan.advance(ticket, BLOCK + 7).unwrap();
        assert_eq!(plan.fail(ticket), Next::After(Duration::ZERO));
        assert_eq!(plan.left(), range.len() - BLOCK);
    }
}

#[test]
fn an_empty_file_has_no_ranges() {
    let mut plan = Plan::new(0, BLOCK, &[]);
    assert!(plan.is_complete() && plan.take().is_none());
}

#[test]
fn what_comes_no_further_twice_is_stuck_and_what_was_there_before_is_no_progress() {
    let mut plan = Plan::new(3 * BLOCK, 3 * BLOCK, &[]);
    for (bytes, is_stuck) in [(100, false), (100, false), (100, true), (101, false)] {
        let (ticket, range) = plan.take().expect("a range");
        assert_eq!(range.start, 0);
        plan.advance(ticket, bytes).expect("room");
        assert_eq!(plan.is_stuck(ticket), is_stuck, "{bytes}");
        plan.fail(ticket);
    }
    // Without an end it was tried again for ever.
    let mut waits = 0;
    loop {
        let (ticket, _) = plan.take().expect("a range");
        plan.advance(ticket, 101).expect("room");
        match plan.fail(ticket) {
            Next::After(_) => waits += 1,
            Next::GiveUp => break,
        }
        assert!(waits < 20, "for ever");
    }
}

#[test]
fn a_size_that_no_file_has_takes_no_memory() {
    let mut plan = Plan::new(u64::MAX, 4 * BLOCK, &[true, false, true]);
    assert_eq!(plan.left(), u64::MAX - 2 * HASHED);
    assert!(plan.waiting() > 1 << 40);
    let mut next = || {
        let (_, range) = plan.take().expect("a range");
        (range.start, range.len())
    };
    for index in 0..HASHED / BLOCK / 4 {
        assert_eq!(next(), (HASHED + index * 4 * BLOCK, 4 * BLOCK));
    }
    assert_eq!(next(), (3 * HASHED, 4 * BLOCK));
}
