//! Destinations over there that take less than they are given: what they take on average is all that they are given. No I/O and no clock.
//!
//! The socket that the agent writes to is full at some time, and a socket that is full takes nothing until a third of it is free: at
//! 100 kB/s and 2.5 MB that is 8 s, in which the agent reads nothing, no message of another connection and no pong (P73). Whatever it is
//! given after that is taken at once, until the next time. The window sees neither: acknowledgements come quickly, or not at all.
//!
//! So a silence of a full window is a hold-up, and what was acknowledged from the end of one to that of the next is what the
//! destination takes, if the one follows hard on the other: a path that stands still now and then is most of the time no such thing. Given
//! a little less than that the socket is never full. Whether it takes more by now shows only by giving it more, carefully at first: the
//! next hold-up comes after nine times as long. When it has taken twice of what it had room for, it is slow no more. And a hold-up of one
//! that was given too little for that has another reason: then nothing is held back, either.

use std::time::{Duration, Instant};

/// A silence is no hold-up before this and the path's own delay.
const SILENCE: Duration = Duration::from_secs(1);
/// What a destination is given at first of what it takes. It loses nothing: what its socket holds becomes less, and no measure is exact.
const SHARE: f64 = 0.75;
/// A measure is so good.
const MEASURED: f64 = 0.9;
/// The length of a hold-up, so many times, is how long it takes until a destination is given twice as much; the bounds of it.
const DOUBLED_AFTER: f64 = 8.0;
const DOUBLED_AFTER_BOUNDS: (f64, f64) = (5.0, 120.0);
/// When it has taken so many times of what it had room for beyond what it takes by the measure, that is no measure any more.
const ROOMS: f64 = 2.0;
/// The least that anything is given, bytes a second.
const LEAST_RATE: f64 = 20_000.0;
/// What may go out in one piece: what is taken in this time, and so many bytes at least.
const PIECE: (f64, f64) = (0.1, 8.0 * 1024.0);
/// What may wait in the send window beside it: what is taken in this time. Another connection's bytes wait behind it.
const UNSENT: f64 = 0.2;

/// Watches the silences of the other side.
#[derive(Debug, Default)]
pub(super) struct HoldUps {
    /// Since when something is in flight and nothing was acknowledged.
    silent_since: Option<Instant>,
    last: Option<HoldUp>,
    meter: Option<Meter>,
}

/// A time in which nothing was acknowledged.
#[derive(Debug, Clone, Copy)]
struct HoldUp {
    ended: Instant,
    /// The bytes that had been acknowledged before.
    delivered: u64,
}

/// What the destination is given.
#[derive(Debug)]
struct Meter {
    /// What it takes, bytes a second.
    taken: f64,
    since: Instant,
    /// Seconds until it is given twice as much.
    doubled_after: f64,
    /// What it had room for when the hold-up was over, and what it was given since, bytes.
    room: f64,
    given: f64,
    /// What may go out, bytes, as of then; negative after a piece.
    credit: f64,
    counted_at: Instant,
    /// When the next piece may go; none while this one may.
    opens_at: Option<Instant>,
}

impl HoldUps {
    /// Something goes out, and nothing else is in flight; or it may be acknowledged from now on only.
    pub(super) const fn listens(&mut self, now: Instant) {
        self.silent_since = Some(now);
    }

    /// Something was acknowledged. `delivered`: the bytes that had been before. `delay`: the path's own. `is_full`: whether the sender
    /// wished to send more. `is_last`: nothing is in flight any more.
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
        // From end to end: the first hold-up may have begun when the socket was full for long, behind all that smux keeps.
        let apart = now - last.ended;
        let taken = delivered.wrapping_sub(last.delivered) as f64 / apart.as_secs_f64();
        let is_slow = match self.meter.take() {
            Some(meter) => taken >= meter.taken * MEASURED,
            None => began.saturating_duration_since(last.ended) <= now - began,
        };
        if !is_slow {
            return;
        }
        log::info!("the other side is held up again: it takes {taken:.0} bytes a second");
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

    /// Whether more may go out.
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

    /// When more may go out, if nothing may now.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.meter.as_ref()?.opens_at
    }

    /// More may go out, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(meter) = &mut self.meter {
            meter.opens_at = meter.opens_at.filter(|at| *at > now);
        }
    }

    /// Bytes that may be in the window and not sent, where that is bounded.
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
    /// What it is given, bytes a second.
    fn rate(&self, now: Instant) -> f64 {
        (self.taken * (SHARE + self.growth(now))).max(LEAST_RATE)
    }

    /// Slow as long as it is likely that nothing has changed, then ever faster.
    fn growth(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.since).as_secs_f64();
        (age / self.doubled_after).powi(3)
    }

    fn is_over(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since).as_secs_f64();
        self.given > self.taken * age + self.room.max(PIECE.1) * ROOMS
    }

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
