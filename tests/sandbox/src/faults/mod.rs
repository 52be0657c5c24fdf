//! What can go wrong on the way, seeded and so repeatable. A [`Link`] is one direction of one session's path: no I/O, no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_manager_plugin::internals::message::HEADER_SIZE;

/// Faults of one direction. The default has none, and holds 1 MiB.
///
/// Chances are between 0 and 1, for each frame, of whatever type.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Chance that a frame is lost.
    pub lose: f64,
    /// Chance that a frame comes twice.
    pub duplicate: f64,
    /// Chance that a frame comes behind up to [`MAX_REORDERING`] that were sent after it.
    pub reorder: f64,
    /// Chance that one byte of the payload is changed (the header has no check: nobody could notice).
    pub corrupt: f64,
    /// How long a frame is on its way: half of the round-trip time, if the other direction has the same.
    pub delay: Duration,
    /// Up to so much is added to it. Order is kept.
    pub jitter: Duration,
    /// A token bucket.
    pub bandwidth: Option<Bandwidth>,
    /// How many bytes wait in front of the token bucket.
    pub queue: usize,
    /// What happens to more than that.
    pub when_full: WhenFull,
    /// Where the connection is cut; each counts from the one before.
    pub cuts: VecDeque<Cut>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            lose: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            queue: 1 << 20,
            when_full: WhenFull::Wait,
            cuts: VecDeque::new(),
        }
    }
}

/// How fast a path is.
#[derive(Debug, Clone, Copy)]
pub struct Bandwidth {
    /// In the long run.
    pub bytes_per_second: u64,
    /// What may pass at once after a silence.
    pub burst: u64,
}

/// What happens to a frame for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Its sender waits.
    Wait,
    /// It is lost.
    Drop,
}

/// A place where the connection is cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Where.
    pub after: After,
    /// How many frames of this direction are taken from their sender and lost before the connection ends. When they do not come within
    /// 100 ms, it ends without them.
    pub lose: u32,
    /// How the client sees it.
    pub ending: Ending,
}

/// A count since the connection, or the cut before.
#[derive(Debug, Clone, Copy)]
pub enum After {
    /// So many frames.
    Frames(u64),
    /// So many bytes of frames.
    Bytes(u64),
}

/// How a connection ends, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A close frame.
    Close {
        /// Its code.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// RST.
    Reset,
    /// FIN, without a close frame.
    Eof,
    /// Nothing at all: open, but neither read nor written.
    Silence,
}

impl Ending {
    /// What the service does about once an hour.
    pub fn bye() -> Self {
        Self::Close {
            code: 1000,
            reason: "Bye".into(),
        }
    }
}

/// How many later frames may come before a reordered one.
pub const MAX_REORDERING: u64 = 8;
/// A reordered frame comes after this time even if nothing else comes.
const REORDERED_AT_LATEST: Duration = Duration::from_millis(20);
/// How long a cut waits for the frames that it is to lose.
const CUT_AT_LATEST: Duration = Duration::from_millis(100);
/// What may be on its way at most, whatever the delay.
const MAX_IN_FLIGHT: usize = 64 << 20;

/// What happened on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Frames that came out.
    pub passed: u64,
    /// Frames lost by chance, for want of room, or in a cut.
    pub lost: u64,
    /// Frames that came out twice.
    pub duplicated: u64,
    /// Frames that came behind later ones.
    pub reordered: u64,
    /// Frames that were changed.
    pub corrupted: u64,
}

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    faults: Faults,
    random: fastrand::Rng,
    /// On their way, in the order of their arrival.
    in_flight: VecDeque<(Instant, Bytes)>,
    in_flight_bytes: usize,
    /// Held back until later ones have passed.
    held: Vec<Held>,
    /// Frames that were put in.
    count: u64,
    /// When the token bucket has let through all that was put in.
    busy_until: Option<Instant>,
    /// Frames and bytes since the last cut.
    since_cut: (u64, u64),
    losing: Option<Losing>,
    /// A cut was taken: the connection is about to end, and nothing counts towards the next one until it has.
    is_cut: bool,
    statistics: LinkStatistics,
}

#[derive(Debug)]
struct Held {
    behind: u64,
    at_latest: Instant,
    frame: Bytes,
}

#[derive(Debug)]
struct Losing {
    left: u32,
    at_latest: Instant,
    ending: Ending,
}

impl Link {
    /// A link; two with the same seed and the same frames at the same times do the same.
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            random: fastrand::Rng::with_seed(seed),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            held: Vec::new(),
            count: 0,
            busy_until: None,
            since_cut: (0, 0),
            losing: None,
            is_cut: false,
            statistics: LinkStatistics::default(),
        }
    }

    /// Other faults from now on. What is on its way stays.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Whether a frame may be put in; if not, its sender waits. None may when a cut has lost what it was to lose.
    pub fn has_room(&self, now: Instant) -> bool {
        if self.losing.as_ref().is_some_and(|losing| losing.left == 0) {
            return false;
        }
        (self.faults.when_full == WhenFull::Drop || self.backlog(now) < self.faults.queue as u64)
            && self.in_flight_bytes < MAX_IN_FLIGHT
    }

    /// Bytes in front of the token bucket.
    fn backlog(&self, now: Instant) -> u64 {
        let (Some(bandwidth), Some(busy_until)) = (self.faults.bandwidth, self.busy_until) else {
            return 0;
        };
        let wait = busy_until.saturating_duration_since(now);
        (wait.as_secs_f64() * bandwidth.bytes_per_second as f64) as u64
    }

    /// Puts a frame in.
    pub fn push(&mut self, frame: Bytes, now: Instant) {
        if let Some(losing) = &mut self.losing {
            losing.left = losing.left.saturating_sub(1);
            self.statistics.lost += 1;
            return;
        }
        self.note_cut(frame.len(), now);
        self.count += 1;
        let full = self.faults.when_full == WhenFull::Drop
            && self.backlog(now) + frame.len() as u64 > self.faults.queue as u64;
        if full || self.chance(self.faults.lose) {
            self.statistics.lost += 1;
            self.release_reordered(now);
            return;
        }
        let frame = if self.chance(self.faults.corrupt) {
            self.corrupt(frame)
        } else {
            frame
        };
        if self.chance(self.faults.duplicate) {
            self.statistics.duplicated += 1;
            self.depart(frame.clone(), now);
        }
        if self.chance(self.faults.reorder) {
            self.statistics.reordered += 1;
            self.held.push(Held {
                behind: self.count + self.random.u64(1..=MAX_REORDERING),
                at_latest: now + self.faults.delay + REORDERED_AT_LATEST,
                frame,
            });
        } else {
            self.depart(frame, now);
        }
        self.release_reordered(now);
    }

    fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.random.f64() < chance
    }

    fn corrupt(&mut self, frame: Bytes) -> Bytes {
        if frame.len() <= HEADER_SIZE {
            return frame;
        }
        self.statistics.corrupted += 1;
        let mut changed = frame.to_vec();
        let position = self.random.usize(HEADER_SIZE..changed.len());
        changed[position] ^= self.random.u8(1..);
        changed.into()
    }

    /// Counts towards the next cut; the frame that fills the count still passes.
    fn note_cut(&mut self, length: usize, now: Instant) {
        if self.is_cut {
            return;
        }
        self.since_cut.0 += 1;
        self.since_cut.1 += length as u64;
        let reached = match self.faults.cuts.front().map(|cut| cut.after) {
            Some(After::Frames(frames)) => self.since_cut.0 >= frames,
            Some(After::Bytes(bytes)) => self.since_cut.1 >= bytes,
            None => false,
        };
        if reached && let Some(cut) = self.faults.cuts.pop_front() {
            self.losing = Some(Losing {
                left: cut.lose,
                at_latest: now + CUT_AT_LATEST,
                ending: cut.ending,
            });
        }
    }

    fn release_reordered(&mut self, now: Instant) {
        let count = self.count;
        while let Some(index) = self.held.iter().position(|held| held.behind <= count) {
            let held = self.held.remove(index);
            self.depart(held.frame, now);
        }
    }

    /// Through the token bucket and on its way.
    fn depart(&mut self, frame: Bytes, now: Instant) {
        let mut arrival = now;
        if let Some(bandwidth) = self.faults.bandwidth {
            let rate = bandwidth.bytes_per_second.max(1) as f64;
            let burst = Duration::from_secs_f64(bandwidth.burst as f64 / rate);
            let from = self
                .busy_until
                .unwrap_or(now)
                .max(now.checked_sub(burst).unwrap_or(now));
            let until = from + Duration::from_secs_f64(frame.len() as f64 / rate);
            self.busy_until = Some(until);
            arrival = arrival.max(until);
        }
        arrival += self.faults.delay;
        if !self.faults.jitter.is_zero() {
            arrival += self.faults.jitter.mul_f64(self.random.f64());
        }
        if let Some((last, _)) = self.in_flight.back() {
            arrival = arrival.max(*last);
        }
        self.in_flight_bytes += frame.len();
        self.in_flight.push_back((arrival, frame));
    }

    /// The next frame that has arrived.
    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        while let Some(index) = self.held.iter().position(|held| held.at_latest <= now) {
            let held = self.held.remove(index);
            self.in_flight_bytes += held.frame.len();
            self.in_flight.push_front((now, held.frame));
        }
        let (arrival, _) = self.in_flight.front()?;
        if *arrival > now {
            return None;
        }
        let (_, frame) = self.in_flight.pop_front()?;
        self.in_flight_bytes -= frame.len();
        self.statistics.passed += 1;
        Some(frame)
    }

    /// Whether [`pop`](Self::pop) would give one.
    pub fn has_arrived(&self, now: Instant) -> bool {
        let first = self.in_flight.front();
        first.is_some_and(|(arrival, _)| *arrival <= now)
    }

    /// When there is something to be done: a frame arrives, a sender that waits may go on, a cut is due.
    pub fn next_time(&self, now: Instant) -> Option<Instant> {
        let room = (!self.has_room(now) && self.in_flight_bytes < MAX_IN_FLIGHT)
            .then_some(self.busy_until)
            .flatten()
            .map(|busy_until| {
                let rate = self.faults.bandwidth.map_or(1, |it| it.bytes_per_second);
                let queue = Duration::from_secs_f64(self.faults.queue as f64 / rate.max(1) as f64);
                busy_until.checked_sub(queue).unwrap_or(now).max(now)
            });
        let arrival = self.in_flight.front().map(|(arrival, _)| *arrival);
        let held = self.held.iter().map(|held| held.at_latest).min();
        let cut = self.losing.as_ref().map(|losing| match losing.left {
            0 => now,
            _ => losing.at_latest,
        });
        [room, arrival, held, cut].into_iter().flatten().min()
    }

    /// Says that the connection is to be cut now, and how. What was put in before the cut is to be popped first.
    pub fn take_cut(&mut self, now: Instant) -> Option<Ending> {
        let cut = self
            .losing
            .take_if(|losing| losing.left == 0 || losing.at_latest <= now)?;
        self.is_cut = true;
        Some(cut.ending)
    }

    /// The connection is gone, and all that was on its way. Hands back how many frames that were.
    pub fn disconnect(&mut self) -> u64 {
        let lost = (self.in_flight.len() + self.held.len()) as u64;
        self.statistics.lost += lost;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.held.clear();
        self.busy_until = None;
        self.losing = None;
        self.is_cut = false;
        self.since_cut = (0, 0);
        lost
    }

    /// What happened so far.
    pub fn statistics(&self) -> LinkStatistics {
        self.statistics
    }
}

#[cfg(test)]
mod tests;
