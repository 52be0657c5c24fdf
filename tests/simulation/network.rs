//! The way between client and agent: two links of the sandbox, a connection that is up or not, and sockets that fill up.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox::faults::{Faults, Link};
use session_manager_plugin::internals::encryption::DATA_KEY_SIZE;
use zeroize::Zeroizing;

/// One direction.
#[derive(Debug)]
pub struct Way {
    link: Link,
    /// How many frames the sockets on the way hold before their sender is blocked.
    capacity: u64,
    entered: u64,
}

impl Way {
    fn new(faults: Faults, capacity: u64, seed: u64) -> Self {
        Self {
            link: Link::new(faults, seed),
            capacity,
            entered: 0,
        }
    }

    /// Frames that were put in and have neither come out nor been lost.
    fn on_the_way(&self) -> u64 {
        let statistics = self.link.statistics();
        (self.entered + statistics.duplicated).saturating_sub(statistics.lost + statistics.passed)
    }

    pub fn has_room(&self, now: Instant) -> bool {
        self.on_the_way() < self.capacity && self.link.has_room(now)
    }

    pub fn push(&mut self, frame: Bytes, now: Instant) {
        self.entered += 1;
        self.link.push(frame, now);
    }

    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        self.link.pop(now)
    }

    pub fn set_faults(&mut self, faults: Faults) {
        self.link.set_faults(faults);
    }

    pub fn lost(&self) -> u64 {
        self.link.statistics().lost
    }

    fn next_time(&self, now: Instant) -> Option<Instant> {
        let next = self.link.next_time(now)?;
        // The link reckons its room in floating point: at the very moment there may be none yet.
        let is_early = next <= now && !self.link.has_room(now);
        Some(if is_early {
            now + Duration::from_micros(100)
        } else {
            next
        })
    }
}

/// Both directions.
#[derive(Debug)]
pub struct Network {
    pub up: Way,
    pub down: Way,
    /// When a broken connection is up again; None while it is up.
    pub back_at: Option<Instant>,
}

impl Network {
    /// `faults` of the direction to the agent, then of the one to the client.
    pub fn new([up, down]: [Faults; 2], capacity: u64, seed: u64) -> Self {
        Self {
            up: Way::new(up, capacity, seed.wrapping_mul(2)),
            down: Way::new(down, capacity, seed.wrapping_mul(2) + 1),
            back_at: None,
        }
    }

    pub const fn is_connected(&self) -> bool {
        self.back_at.is_none()
    }

    /// The connection breaks, with all that is on its way; it is back after so long.
    pub fn disconnect(&mut self, now: Instant, outage: Duration) {
        self.up.link.disconnect();
        self.down.link.disconnect();
        self.back_at = Some(now + outage);
    }

    /// Whether a cut of one of the links is due now.
    pub fn takes_cut(&mut self, now: Instant) -> bool {
        self.up.link.take_cut(now).is_some() | self.down.link.take_cut(now).is_some()
    }

    /// In short, for messages.
    pub fn describe(&self, now: Instant) -> String {
        let way = |way: &Way| {
            format!(
                "{} frames on the way, room {}, {:?}",
                way.on_the_way(),
                way.has_room(now),
                way.link.statistics()
            )
        };
        format!(
            "to the agent: {}; to the client: {}",
            way(&self.up),
            way(&self.down)
        )
    }

    /// When something happens by itself.
    pub fn times(&self, now: Instant) -> [Option<Instant>; 3] {
        [
            self.up.next_time(now),
            self.down.next_time(now),
            self.back_at,
        ]
    }
}

/// Bytes that everybody can check by their position.
#[derive(Debug)]
pub struct Content(Vec<u8>);

/// A prime: shifted content shows.
const PERIOD: usize = 65_521;
/// The longest piece.
pub const LONGEST: usize = 32_768;

impl Content {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(PERIOD)
            .collect();
        bytes.extend_from_within(..LONGEST);
        Self(bytes)
    }

    pub fn at(&self, position: usize, length: usize) -> &[u8] {
        let start = position % PERIOD;
        &self.0[start..start + length]
    }
}

/// The data key of both ends. The agent's half of it comes first, as the client sees it.
pub fn data_key(is_agent: bool) -> Zeroizing<[u8; DATA_KEY_SIZE]> {
    let mut key = [0; DATA_KEY_SIZE];
    for (byte, number) in key.iter_mut().zip(0..) {
        *byte = number;
    }
    if is_agent {
        key.rotate_left(DATA_KEY_SIZE / 2);
    }
    Zeroizing::new(key)
}
