//! The sending half of the stream: what is numbered, on its way, lost, acknowledged. No I/O and no clock.
//!
//! Nothing is ever dropped from it: when it is full, senders wait.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::congestion::{Congestion, MINIMUM_WINDOW};
use super::delivery_rate::DeliveryRate;
use super::hold_up::HoldUps;
use super::loss_detection::LossDetection;
use super::pause::Pause;
use super::rtt::RttEstimator;
use super::sent_message::{MessageState, Reservation, SentMessage, SentMessages, Urgency};
use super::standing_queue::{Finding, RoundTrip, StandingQueue};
use super::timers::Timer;

/// The least that a message counts in the window's bound, bytes: what is kept of one besides its data.
const MESSAGE_COST: usize = 1024;
/// What interactive input may use beyond a closed window, in messages.
const INTERACTIVE_RESERVE: usize = 64;
/// Control messages that may be unacknowledged, and the bytes of their frames: they never wait, so they must not pile up.
pub(super) const MAXIMUM_CONTROL: (usize, usize) = (64, 1024 * 1024);
/// How far numbers may run ahead of the oldest missing acknowledgement, in messages. The agent buffers 100,000.
const MAXIMUM_SPAN: usize = 16_384;
/// A sender that waits for room is woken when a quarter of the window is free, or so many messages, and at least so many bytes.
const WORTH_WAKING: usize = 16;
const WORTH_WAKING_BYTES: usize = 64 * 1024;
/// What may wait for the socket, bytes: another connection's bytes wait behind it, and more of it makes nothing faster.
const MAXIMUM_UNSENT: usize = 256 * 1024;

/// Numbers messages, keeps them until they are acknowledged, and decides when each is sent (again).
#[derive(Debug, Default)]
pub struct SendWindow {
    /// Every message from the oldest unacknowledged one on.
    messages: SentMessages,
    /// How many of `messages` were sent at least once: a prefix.
    sent: usize,
    /// How many of `messages` are not acknowledged.
    unacknowledged: usize,
    /// The bytes of their frames.
    bytes: usize,
    /// Messages promised to senders that are still encoding them, and their bytes.
    reserved: (usize, usize),
    /// Unacknowledged control messages, and the bytes of their frames.
    control: (usize, usize),
    loss_detection: LossDetection,
    /// How many of `messages` are on their way.
    in_flight: usize,
    /// What is to be sent again, lowest number first.
    lost: BTreeSet<i64>,
    congestion: Congestion,
    /// Messages below this number were sent, or held back, while the window was full: only their acknowledgements let it grow.
    limited_below: i64,
    rtt: RttEstimator,
    delivery_rate: DeliveryRate,
    standing_queue: StandingQueue,
    hold_ups: HoldUps,
    /// The last new acknowledgement, expiry or reconnect: the timer runs from here.
    progress_at: Option<Instant>,
    /// Set while the service asks for a pause.
    pause: Option<Pause>,
    /// While nothing is read, no acknowledgement can come, and the timer does not run.
    reading_paused: bool,
    /// When reading began again: what was sent before says nothing of the path's delay.
    read_since: Option<Instant>,
    /// When new data went out last.
    input_at: Option<Instant>,
}

impl SendWindow {
    /// Promises room for a frame of so many bytes, or says that there is none now. Encoding then happens without any lock.
    pub fn reserve(&mut self, bytes: usize, urgency: Urgency) -> Option<Reservation> {
        let messages = self.unacknowledged + self.reserved.0;
        let has_room = match urgency {
            Urgency::Bulk => {
                messages < self.size()
                    && self.bytes + self.reserved.1 + bytes <= self.bound()
                    && self.unsent_fits(1)
            }
            // A reserve in messages; their bytes are bounded by it.
            Urgency::Interactive => messages < self.size() + INTERACTIVE_RESERVE,
            Urgency::Control => {
                self.control.0 < MAXIMUM_CONTROL.0
                    && self.control.1.saturating_add(bytes) <= MAXIMUM_CONTROL.1
            }
        };
        if messages + 1 >= self.size() || !self.unsent_fits(1) {
            let next = self.next_number();
            self.limited_below = next.saturating_add_unsigned(self.reserved.0 as u64 + 1);
        }
        if !has_room || (urgency != Urgency::Control && self.messages.len() >= MAXIMUM_SPAN) {
            return None;
        }
        self.reserved.0 += 1;
        self.reserved.1 += bytes;
        Some(Reservation::new(bytes, urgency))
    }

    /// Whether there is enough room to wake a sender that waits for it.
    pub fn has_room(&self) -> bool {
        let worth = (self.size() / 4).clamp(1, WORTH_WAKING);
        self.unacknowledged == 0
            || (self.unacknowledged + worth <= self.size()
                && self.bytes + WORTH_WAKING_BYTES <= self.bound()
                && self.unsent_fits(2))
    }

    /// Whether `times` as much as is not sent yet is within its bound, which is lower for a slow destination.
    fn unsent_fits(&self, times: usize) -> bool {
        let mean = self.bytes / self.unacknowledged.max(1);
        let unsent = (self.messages.len() - self.sent) * mean + self.reserved.1;
        unsent * times <= self.hold_ups.unsent_bound().unwrap_or(MAXIMUM_UNSENT)
    }

    /// The number that the next message gets.
    pub fn next_number(&self) -> i64 {
        self.messages.next_number()
    }

    /// Stores a frame under [`next_number`](Self::next_number), which it must already carry.
    pub fn store(&mut self, reservation: Reservation, frame: Bytes) {
        self.reserved.0 -= 1;
        self.reserved.1 -= reservation.bytes();
        self.unacknowledged += 1;
        self.bytes += frame.len();
        if reservation.urgency() == Urgency::Control {
            self.control.0 += 1;
            self.control.1 += frame.len();
        }
        self.messages.push(SentMessage::new(frame, &reservation));
    }

    /// The next frame to hand to the socket, now: what is lost first, oldest first. Its clock starts with this call.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        let number = self.next_to_send(now)?;
        let sent = self.messages.older_than(number)? + 1;
        let message = self.messages.get_mut(number)?;
        message.sent_before = message.last_sent;
        message.last_sent = Some(now);
        match message.state {
            MessageState::Unsent => {
                self.sent = sent;
                if message.urgency != Urgency::Control {
                    self.input_at = Some(now);
                }
            }
            MessageState::Lost => {
                self.lost.remove(&number);
            }
            // A probe of something still on its way.
            MessageState::InFlight { .. } => self.in_flight -= 1,
            MessageState::Acknowledged => return None,
        }
        message.state = MessageState::InFlight {
            order: self.loss_detection.sent(number),
            sent_at: now,
            newer_acked: 0,
        };
        message.transmissions += 1;
        message.first_sent.get_or_insert(now);
        if self.in_flight == 0 {
            self.progress_at = Some(now);
            self.hold_ups.listens(now);
        }
        if message.transmissions == 1 {
            self.hold_ups.sends(message.frame.len(), now);
        }
        self.in_flight += 1;
        message.flight = self.in_flight;
        message.delivered = self.delivery_rate.delivered();
        let frame = message.frame.clone();
        Some(frame)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would give something.
    pub fn can_transmit(&self, now: Instant) -> bool {
        match self.pause {
            Some(pause) => {
                pause.is_due(now) && self.unacknowledged > 0 || self.unsent_control().is_some()
            }
            None => self.next_unpaused(now).is_some(),
        }
    }

    fn next_to_send(&mut self, now: Instant) -> Option<i64> {
        let Some(pause) = self.pause else {
            return self.next_unpaused(now);
        };
        if let Some(control) = self.unsent_control() {
            return Some(control);
        }
        if !pause.is_due(now) || self.unacknowledged == 0 {
            return None;
        }
        if pause.probe.is_some() {
            self.rtt.expired();
        }
        let oldest = self.messages.first();
        self.pause = Some(Pause {
            probe_at: Some(now + self.rtt.timeout()),
            probe: Some(oldest),
        });
        Some(oldest)
    }

    fn next_unpaused(&self, now: Instant) -> Option<i64> {
        // The head is what the agent waits for: it goes even through a window that has just been halved.
        if let Some(lost) = self
            .lost
            .first()
            .filter(|lost| **lost == self.messages.first() || self.in_flight < self.size())
        {
            return Some(*lost);
        }
        let next = self.messages.number_at(self.sent);
        let allowed = match self.messages.get(next)?.urgency {
            Urgency::Bulk if self.hold_ups.may_send(now) => self.size(),
            Urgency::Bulk => 0,
            Urgency::Interactive => self.size() + INTERACTIVE_RESERVE,
            Urgency::Control => usize::MAX,
        };
        (self.in_flight < allowed).then_some(next)
    }

    /// During a pause only the very next message may be control: numbers go out in order.
    fn unsent_control(&self) -> Option<i64> {
        let next = self.messages.number_at(self.sent);
        let is_control = self.messages.get(next)?.urgency == Urgency::Control;
        is_control.then_some(next)
    }

    /// A message was acknowledged. Whether that was news.
    pub fn acknowledge(&mut self, number: i64, now: Instant) -> bool {
        let Some(message) = self.messages.get_mut(number) else {
            return false;
        };
        let (order, sent_at, newer_acked) = match message.state {
            MessageState::InFlight {
                order,
                sent_at,
                newer_acked,
            } => (Some(order), Some(sent_at), newer_acked),
            // Given up too early: the path reorders more than thought.
            MessageState::Lost => (None, None, self.loss_detection.threshold()),
            // It was never sent, so the acknowledgement is made up.
            MessageState::Unsent | MessageState::Acknowledged => return false,
        };
        let sent_once = message.transmissions == 1;
        let (sent_before, flight) = (message.sent_before, message.flight);
        let delivered = message.delivered;
        message.state = MessageState::Acknowledged;
        let delivered_before = self.delivery_rate.delivered();
        self.bytes -= message.frame.len();
        self.delivery_rate.acknowledged(message.frame.len());
        if message.urgency == Urgency::Control {
            self.control.0 -= 1;
            self.control.1 -= message.frame.len();
        }
        message.frame = Bytes::new();
        self.unacknowledged -= 1;
        self.lost.remove(&number);
        self.progress_at = Some(now);
        self.rtt.acknowledged();
        if sent_once {
            self.loss_detection.reordered(newer_acked);
        }
        let is_last = self.in_flight == usize::from(order.is_some());
        let (is_full, delay) = (number < self.limited_below, self.rtt.delay());
        self.hold_ups
            .acknowledged(delivered_before, delay, (is_full, is_last), now);
        if let (Some(order), Some(sent_at)) = (order, sent_at) {
            let rtt = now.saturating_duration_since(sent_at);
            self.in_flight -= 1;
            if sent_once {
                self.rtt.sample(rtt);
                let is_measured = self.read_since.is_none_or(|since| since <= sent_at);
                if is_measured {
                    let sample = RoundTrip {
                        sent_at,
                        rtt,
                        flight,
                    };
                    self.measured(sample, delivered, now);
                }
            }
            let rtt_before = sent_before.map(|before| now.saturating_duration_since(before));
            if rtt_before.is_none_or(|before| self.rtt.is_for_later(before, rtt)) {
                self.detect_losses(order, now);
            } else {
                // It was for an earlier copy: says nothing about what was sent between the two, but that this one was given up too
                // early.
                self.loss_detection.given_up_too_early();
            }
        }
        // What waits for the socket in our own queue is no measure of the path: a larger window would only make that queue longer.
        let unsent = self.messages.len() - self.sent;
        let may_grow =
            number < self.limited_below && !self.rtt.is_queueing() && unsent * 2 <= self.in_flight;
        self.congestion
            .acknowledged(may_grow, self.rtt.is_filling(), self.bound() / MESSAGE_COST);
        if self.pause.is_some_and(|pause| pause.probe == Some(number)) {
            self.pause = None;
        }
        self.sent -= self.messages.forget_acknowledged();
        self.loss_detection.forget_landed(&self.messages);
        true
    }

    /// A message that was sent once came back, and nothing but the path has held it up.
    fn measured(&mut self, sample: RoundTrip, delivered: u64, now: Instant) {
        let (Some(minimum), Some(delay)) = (self.rtt.minimum(), self.rtt.delay()) else {
            return;
        };
        let RoundTrip { rtt, flight, .. } = sample;
        self.congestion.bound_delay(flight, rtt, minimum);
        self.delivery_rate.sample(delivered, rtt, delay, now);
        let finding = self
            .standing_queue
            .sample(sample, delay, MINIMUM_WINDOW, now);
        match finding {
            None => {}
            Some(Finding::Queue(queue)) => self.congestion.drain(queue),
            Some(Finding::LongerPath { delay, flight }) => {
                self.rtt.set_delay(delay);
                self.congestion.restore(flight);
            }
        }
    }

    /// Gives up what is lost by this acknowledgement of what was sent as `order`.
    fn detect_losses(&mut self, order: u64, now: Instant) {
        let loss_delay = self.rtt.loss_delay();
        let lost = self
            .loss_detection
            .detect(order, loss_delay, &mut self.messages, now);
        for number in lost {
            self.in_flight -= 1;
            self.lost.insert(number);
            self.congestion.lost(now, self.rtt.timeout());
        }
    }

    /// What expires next, and when [`handle_timeout`](Self::handle_timeout) has to be called for it.
    pub fn timer(&self) -> Option<(Timer, Instant)> {
        if let Some(pause) = self.pause {
            let probe_at = pause.probe_at.filter(|_| self.unacknowledged > 0)?;
            return Some((Timer::PauseProbe, probe_at));
        }
        if self.reading_paused {
            return None;
        }
        let message = self.messages.get(self.loss_detection.oldest()?)?;
        let MessageState::InFlight { sent_at, .. } = message.state else {
            return None;
        };
        let since = self
            .progress_at
            .map_or(sent_at, |progress| progress.max(sent_at));
        Some((Timer::Retransmission, since + self.rtt.timeout()))
    }

    /// When new data may go to a slow destination again; none if it may now, or if there is none.
    pub fn hold_up_timer(&self) -> Option<Instant> {
        let is_waiting = self.sent < self.messages.len() && self.pause.is_none();
        self.hold_ups.opens_at().filter(|_| is_waiting)
    }

    /// Lets new data go to a slow destination again, if it is time.
    pub fn handle_hold_up(&mut self, now: Instant) {
        self.hold_ups.handle_timeout(now);
    }

    /// When its time is over, lets the oldest message be sent again; one an expiry.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timer().is_none_or(|(_, at)| at > now) {
            return;
        }
        if let Some(pause) = &mut self.pause {
            pause.probe_at = None;
            return;
        }
        self.progress_at = Some(now);
        let oldest = self.messages.first();
        if let Some(message) = self.messages.get_mut(oldest)
            && let MessageState::InFlight { .. } = message.state
        {
            message.state = MessageState::Lost;
            self.lost.insert(oldest);
            self.in_flight -= 1;
            self.congestion.lost(now, self.rtt.timeout());
            // The first may be the end of a burst on a bad line; one after the other is a path that takes nothing.
            let timeout = self.rtt.timeout();
            if self.rtt.expired() > 1 {
                self.congestion.halve(now, timeout);
            }
        }
        self.loss_detection.forget_landed(&self.messages);
    }

    /// The connection is a new one: all that is unacknowledged goes again, oldest first, through a window of the starting size.
    pub fn reconnected(&mut self, now: Instant) {
        for (number, message) in self.messages.iter_mut() {
            if matches!(message.state, MessageState::InFlight { .. }) {
                message.state = MessageState::Lost;
                self.lost.insert(number);
            }
        }
        self.loss_detection.clear();
        self.in_flight = 0;
        self.congestion = Congestion::default();
        self.rtt = RttEstimator::default();
        self.delivery_rate = DeliveryRate::default();
        self.standing_queue = StandingQueue::default();
        self.hold_ups = HoldUps::default();
        self.progress_at = Some(now);
        self.pause = None;
        self.reading_paused = false;
    }

    /// The service asks for a pause: new data waits, and one message a timeout goes out as a probe.
    pub fn pause(&mut self, now: Instant) {
        if self.pause.is_none() {
            self.pause = Some(Pause {
                probe_at: Some(now + self.rtt.timeout()),
                probe: None,
            });
        }
    }

    /// The service ends the pause.
    pub fn resume(&mut self, now: Instant) {
        if self.pause.take().is_some() {
            self.progress_at = Some(now);
            self.read_since = Some(now);
            self.hold_ups.listens(now);
        }
    }

    /// Says whether anything is read at all at the moment.
    pub fn set_reading_paused(&mut self, reading_paused: bool, now: Instant) {
        if self.reading_paused && !reading_paused {
            self.progress_at = Some(now);
            self.read_since = Some(now);
            self.hold_ups.listens(now);
        }
        self.reading_paused = reading_paused;
    }

    /// Whether everything that was given or promised room is acknowledged.
    pub const fn is_empty(&self) -> bool {
        self.unacknowledged == 0 && self.reserved.0 == 0
    }

    /// Whether the message of this number is acknowledged.
    pub const fn is_acknowledged(&self, number: i64) -> bool {
        number < self.messages.first()
    }

    /// When the oldest unacknowledged message first went out.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.messages.get(self.messages.first())?.first_sent
    }

    /// When new data went out last.
    pub const fn input_at(&self) -> Option<Instant> {
        self.input_at
    }

    /// Messages that may be on their way.
    pub const fn size(&self) -> usize {
        self.congestion.window()
    }

    /// What may be kept, bytes of frames: it follows what the path carries.
    pub fn bound(&self) -> usize {
        self.delivery_rate.bound(self.rtt.delay())
    }

    /// Messages and bytes that are kept.
    pub const fn kept(&self) -> (usize, usize) {
        (self.unacknowledged, self.bytes)
    }

    /// The smoothed round trip, once it was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// The current timeout.
    pub fn timeout(&self) -> Duration {
        self.rtt.timeout()
    }
}

#[cfg(test)]
#[path = "send_window_tests.rs"]
mod tests;
