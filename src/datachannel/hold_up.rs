//! Slow destinations of ports: measures what a destination takes, and sends it a little less than that. No I/O and no clock.
//!
//! The agent writes a port's data to a socket. Once the socket's buffer is full, the kernel takes nothing more until a third of it is
//! free. With a destination of 100 kB/s and a buffer of 2.5 MB that lasts for 8 s, and in this time the agent reads nothing: no message
//! for another connection, and no pong (P73). After that the buffer takes all that comes, until it is full again. The send window does
//! not help here, because acknowledgements come either at once or not at all.
//!
//! A *hold-up* is a time in which the window is full and nothing is acknowledged. When one hold-up follows soon after another, what was
//! acknowledged from the end of the first to the end of the second is what the destination took in that time, and the quotient is its
//! rate. (A path that fails now and then carries data most of the time, so its hold-ups are far apart.) From then on a [`Meter`] lets
//! through 75 % of that rate, and the buffer does not fill up.
//!
//! Whether the destination has become faster shows only when it is sent more. So the meter raises its rate, slowly at first: if the
//! destination is as slow as before, the next hold-up comes about nine times as long after this one as this one lasted. The meter is
//! removed in two cases:
//! - the destination has taken much more than its rate and its buffer can explain: it is no longer slow;
//! - a hold-up comes although less was sent than the destination takes: then something else holds the agent up.

use std::time::{Duration, Instant};

/// A hold-up lasts at least this long, and the path's own delay.
const SILENCE: Duration = Duration::from_secs(1);
/// The meter's first rate, as a share of what the destination takes. It must be less than 1, as no measurement is exact. The destination
/// loses nothing by that: its socket still holds enough.
const SHARE: f64 = 0.75;
/// Two measurements of the same rate differ by no more than this factor.
const MEASURED: f64 = 0.9;
/// The meter's rate has grown by all of what the destination takes after the length of the hold-up times this; and the least and the most
/// that this may be, in seconds.
const DOUBLED_AFTER: f64 = 8.0;
const DOUBLED_AFTER_BOUNDS: (f64, f64) = (5.0, 120.0);
/// A destination is no longer slow when it has taken, beyond its measured rate, the free room of its socket's buffer times this.
const ROOMS: f64 = 2.0;
/// The lowest rate of a meter, in bytes a second.
const LEAST_RATE: f64 = 20_000.0;
/// What may go out in one piece: what the meter lets through in this time, in seconds, and at least so many bytes.
const PIECE: (f64, f64) = (0.1, 8.0 * 1024.0);
/// What may wait in the send window for the meter: what it lets through in this time, in seconds. The data of other connections waits
/// behind it.
const UNSENT: f64 = 0.2;

/// Watches for hold-ups, and holds the meter while the destination is slow.
#[derive(Debug, Default)]
pub(super) struct HoldUps {
    /// Since when something has been in flight and nothing was acknowledged.
    silent_since: Option<Instant>,
    /// The latest hold-up.
    last: Option<HoldUp>,
    /// Present while the destination is slow.
    meter: Option<Meter>,
}

/// The end of a time in which nothing was acknowledged.
#[derive(Debug, Clone, Copy)]
struct HoldUp {
    ended: Instant,
    /// The bytes that had been acknowledged in all before it ended.
    delivered: u64,
}

/// Limits the rate at which new messages go out.
#[derive(Debug)]
struct Meter {
    /// What the destination takes, in bytes a second.
    taken: f64,
    /// The end of the hold-up that this rests on.
    since: Instant,
    /// Seconds until the rate has grown by all of `taken`.
    doubled_after: f64,
    /// The free room of the socket's buffer at the end of the hold-up, in bytes.
    room: f64,
    /// What went out since then, in bytes.
    given: f64,
    /// What may go out as of `counted_at`, in bytes; negative after a piece.
    credit: f64,
    counted_at: Instant,
    /// When the next piece may go out; none while the present one may.
    opens_at: Option<Instant>,
}

impl HoldUps {
    /// From now on an acknowledgement is due. Something goes out while nothing else is in flight, or a pause is over: one in reading, or
    /// one that the service asked for.
    pub(super) const fn listens(&mut self, now: Instant) {
        self.silent_since = Some(now);
    }

    /// Something was acknowledged.
    ///
    /// `delivered` are the bytes that had been acknowledged in all before it, and `delay` is the path's own delay. `is_full` says whether
    /// more was waiting to be sent, and `is_last` whether nothing is in flight any more.
    pub(super) fn acknowledged(
        &mut self,
        delivered: u64,
        delay: Option<Duration>,
        (is_full, is_last): (bool, bool),
        now: Instant,
    ) {
        let since = std::mem::replace(&mut self.silent_since, (!is_last).then_some(now));
        let Some(since) = since else { return };
        let silence = SILENCE + delay.unwrap_or_default();
        if is_full && now.saturating_duration_since(since) >= silence {
            self.held_up(since, delivered, now);
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "what is delivered between two hold-ups is far less"
    )]
    fn held_up(&mut self, began: Instant, delivered: u64, now: Instant) {
        let this = HoldUp {
            ended: now,
            delivered,
        };
        let Some(last) = self.last.replace(this) else {
            return;
        };
        // From end to end, as the beginning of the first says little: the socket may have been full for long, while the agent's smux
        // still took data.
        let apart = now - last.ended;
        let taken = delivered.wrapping_sub(last.delivered) as f64 / apart.as_secs_f64();
        let is_slow = match self.meter.take() {
            Some(meter) => taken >= meter.taken * MEASURED,
            None => began.saturating_duration_since(last.ended) <= now - began,
        };
        if !is_slow {
            return;
        }
        log::info!("the destination holds the agent up again: it takes {taken:.0} bytes a second");
        let (least, most) = DOUBLED_AFTER_BOUNDS;
        let lasted = (now - began).as_secs_f64();
        self.meter = Some(Meter {
            taken,
            since: now,
            doubled_after: (lasted * DOUBLED_AFTER).clamp(least, most),
            room: taken * lasted,
            given: 0.0,
            credit: 0.0,
            counted_at: now,
            opens_at: Some(now + SILENCE / 4),
        });
    }

    /// Whether a new message may go out.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        let opens_at = self.meter.as_ref().and_then(|meter| meter.opens_at);
        opens_at.is_none_or(|at| at <= now)
    }

    /// A message goes out for the first time.
    pub(super) fn sends(&mut self, bytes: usize, now: Instant) {
        if self.meter.as_ref().is_some_and(|meter| meter.is_over(now)) {
            self.meter = None;
            self.last = None;
        }
        if let Some(meter) = &mut self.meter {
            meter.spend(bytes, now);
        }
    }

    /// When new messages may go out again; none if they may now.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.meter.as_ref()?.opens_at
    }

    /// Lets new messages go out again, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(meter) = &mut self.meter {
            meter.opens_at = meter.opens_at.filter(|at| *at > now);
        }
    }

    /// How many bytes may wait in the window unsent; none where the meter sets no bound.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and cut where it is too much"
    )]
    pub(super) fn unsent_bound(&self) -> Option<usize> {
        let meter = self.meter.as_ref()?;
        Some((meter.rate(meter.counted_at) * UNSENT).max(PIECE.1) as usize)
    }
}

impl Meter {
    /// The rate at which messages may go out, in bytes a second.
    fn rate(&self, now: Instant) -> f64 {
        (self.taken * (SHARE + self.growth(now))).max(LEAST_RATE)
    }

    /// How much the rate has grown, as a share of `taken`: little while it is likely that nothing has changed, then ever faster.
    fn growth(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.since).as_secs_f64();
        (age / self.doubled_after).powi(3)
    }

    /// Whether the destination has taken more than a slow one could.
    fn is_over(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since).as_secs_f64();
        self.given > self.taken * age + self.room.max(PIECE.1) * ROOMS
    }

    /// Takes a message off the credit, and closes when that is used up.
    fn spend(&mut self, bytes: usize, now: Instant) {
        let rate = self.rate(now);
        let (time, least) = PIECE;
        let piece = (rate * time).max(least);
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a message")]
        let bytes = bytes as f64;
        self.given += bytes;
        self.credit = ((self.credit + rate * passed).min(piece) - bytes).max(-piece);
        self.counted_at = now;
        self.opens_at = (self.credit <= 0.0)
            .then(|| now + Duration::from_secs_f64((piece / 2.0 - self.credit) / rate));
    }
}
