//! Whether acknowledgements are lost: what the agent's repetitions say about it. No I/O and no clock.
//!
//! A message that comes again is mostly one whose acknowledgement was late: agents repeat the oldest unacknowledged message every 100 ms
//! whatever is on its way to them. It is a sign of loss when its acknowledgement went out more than a round trip before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many signs in a row mean loss.
const SIGNS: u32 = 3;
/// How often the time is noted, and how often at most: for some seconds.
const EVERY: Duration = Duration::from_millis(50);
const MARKS: usize = 128;
/// While new messages come, one acknowledgement is repeated for so many of them at most: 2 %.
const NEW_FOR_ONE: usize = 50;

/// Watches what comes again.
#[derive(Debug, Default)]
pub(super) struct AckLoss {
    /// The highest number that was acknowledged by a time; both grow.
    marks: VecDeque<(i64, Instant)>,
    highest: i64,
    /// When the last new message came.
    last: Option<Instant>,
    /// Whether a connection broke since the last repetition: what was on its way over it is lost.
    reconnected: bool,
    signs: u32,
    /// Whether a new message came since the first of `signs`.
    is_busy: bool,
    /// New messages that were not spent on repetitions yet.
    credit: usize,
}

impl AckLoss {
    /// The connection is another one.
    pub(super) fn reconnected(&mut self) {
        self.reconnected = !self.marks.is_empty();
        self.signs = 0;
    }

    /// A new message is acknowledged.
    pub(super) fn is_new(&mut self, number: i64, most: usize, now: Instant) {
        self.highest = self.highest.max(number);
        self.last = Some(now);
        self.is_busy = true;
        self.credit = (self.credit + 1).min(most.saturating_mul(NEW_FOR_ONE));
        let last = self.marks.back().map(|(_, at)| *at);
        if last.is_none_or(|at| now.saturating_duration_since(at) >= EVERY) {
            if self.marks.len() == MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back((self.highest, now));
        }
    }

    /// A message came again: how many later acknowledgements are to be repeated, at most.
    pub(super) fn came_again(&mut self, number: i64, round_trip: Duration, now: Instant) -> usize {
        if std::mem::take(&mut self.reconnected) {
            return usize::MAX;
        }
        let after = self.marks.partition_point(|(highest, _)| *highest < number);
        let acknowledged_by = self.marks.get(after).map(|(_, at)| *at).or(self.last);
        let is_sign =
            acknowledged_by.is_some_and(|at| now.saturating_duration_since(at) > round_trip);
        if !is_sign {
            self.signs = 0;
            return 0;
        }
        if self.signs == 0 {
            self.is_busy = false;
        }
        self.signs += 1;
        if self.signs < SIGNS {
            return 0;
        }
        self.signs = 0;
        if self.is_busy {
            let allowed = self.credit / NEW_FOR_ONE;
            self.credit = 0;
            allowed
        } else {
            usize::MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(200);

    /// A download of 1,000 messages a second for so many seconds, in which every 100 ms the message of `late` ago comes again. What was
    /// repeated, and how many messages there were.
    fn download(seconds: u64, late: Duration) -> (usize, usize) {
        let start = Instant::now();
        let mut loss = AckLoss::default();
        let mut repeated = 0;
        for number in 0..seconds * 1000 {
            let now = start + Duration::from_millis(number);
            loss.is_new(number as i64, 1024, now);
            if number % 100 == 99 {
                let old = number as i64 - late.as_millis() as i64;
                repeated += loss.came_again(old.max(0), ROUND_TRIP, now).min(1024);
            }
        }
        (repeated, seconds as usize * 1000)
    }

    #[test]
    fn p120_what_is_merely_late_repeats_nothing() {
        assert_eq!(download(30, Duration::from_millis(120)).0, 0);
    }

    #[test]
    fn p120_even_what_looks_like_loss_repeats_one_in_fifty_while_new_messages_come() {
        let (repeated, messages) = download(30, Duration::from_secs(2));
        assert!(repeated > 0);
        assert!(repeated * 50 <= messages, "{repeated} of {messages}");
    }

    #[test]
    fn p120_a_reconnect_and_duplicates_in_a_row_are_loss() {
        let start = Instant::now();
        let mut loss = AckLoss::default();
        for number in 0..100 {
            loss.is_new(number, 1024, start);
        }
        loss.reconnected();
        assert_eq!(loss.came_again(5, ROUND_TRIP, start), usize::MAX);
        assert_eq!(loss.came_again(6, ROUND_TRIP, start), 0, "once");
        let later = start + Duration::from_secs(1);
        assert_eq!(loss.came_again(0, ROUND_TRIP, later), 0);
        assert_eq!(loss.came_again(0, ROUND_TRIP, later), 0);
        assert_eq!(loss.came_again(0, ROUND_TRIP, later), usize::MAX);
    }
}
