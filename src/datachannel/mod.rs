//! An ordered, reliable, optionally encrypted stream in both directions.
//!
//! [`SequenceState`] holds all of its rules, without I/O or clock. Three threads drive it, and [`DataChannel`] is the handle that sessions
//! hold:
//!
//! - **websocket** (`websocket.rs`) owns the connection: it applies what comes, delivers, sends what may go, and sleeps in poll(2). While
//!   it sleeps it lends the connection (`lent.rs`): who has one message to send then writes it, and nobody needs to be woken.
//! - **acknowledge** (`acknowledge.rs`) gathers what was accepted, and encodes the acknowledgements.
//! - **retransmit** (`retransmit.rs`) runs the timers, those of an outage as well.
//!
//! ```text
//!  session ── reserve, commit ──┐                                  ┌── deliveries (crossbeam, bounded by the gate) ──► session
//!                               ▼                                  │
//!                      Mutex<SequenceState> ◄── apply, pull ── websocket ◄── wake ── all others
//!                               ▲                                  │  ▲
//!        retransmit ── timeouts ┘                Vec<Received> ≤ 64│  │Vec<Bytes> ≤ 64
//!             ▲                                    bounded(256)    ▼  │bounded(64), and a wake-up
//!             └── token, bounded(1) ── whoever makes a timer earlier  acknowledge
//! ```
//!
//! # Why no wake-up is lost
//!
//! What threads share is under the lock of [`SequenceState`], or goes through a crossbeam channel. The lock is never held over
//! anything that blocks: under it, channels are only tried or have no bound, and the waker's write(2) never waits.
//!
//! - **Anybody to the websocket thread.** The change comes first, under the lock or into the channel; then [`Waker::wake`]. The thread
//!   looks at all of it, then calls [`arm`](crate::waker::WakeReceiver::arm), which fails when somebody woke it since it began to look;
//!   only then it sleeps, and a wake-up from there on ends its poll(2) ([`waker`](mod@crate::waker) has the details). What it looks at: the
//!   sequence state (something to transmit, the end), the frames that came back from the acknowledge thread, [`close`](DataChannel::close),
//!   the gate.
//! - **A sender that writes itself.** It stores its message under the lock, takes all that may go, and writes that to the connection that
//!   it was lent. It wakes the websocket thread when there was none, when more may go, or when the socket took less. A timer that begins
//!   with the message is told as always; when it expires the websocket thread is woken, and begins to watch the path. What is lent is not
//!   blocked and is being read, so an answer ends the poll(2).
//! - **To the retransmit thread.** It notes under the lock until when it will sleep ([`arm`](SequenceState::arm)). Whoever holds the lock
//!   after it and makes the next timeout earlier finds that note too late ([`must_rearm`](SequenceState::must_rearm)) and sends a token,
//!   before the lock is given back. The channel takes one token; when it is full one is pending, and the thread looks at the state after
//!   it has taken that. So it does not matter whether the thread already waits. An acknowledgement that makes a timeout later calls nobody:
//!   the thread wakes once for nothing, at most once a timeout.
//! - **To the acknowledge thread.** Batches go into the channel, then the thread is unparked if it is idle, or the batch is urgent or fills
//!   one; an unpark that comes before the park ends that at once. It says that it is idle, looks at the channel again, and only then parks:
//!   who has not seen it idle has put in a batch that it finds. While it gathers, the time ends its sleep. When the websocket thread drops
//!   its end of the channel, it unparks it after that.
//! - **From the acknowledge thread back.** Frames go into the channel, then the websocket thread is woken, unless it has said that it wakes
//!   within a few milliseconds by itself: it takes that back before it looks for frames, so what it was not woken for it finds. When the
//!   channel is full the thread blocks; the websocket thread takes frames in each round in which the socket takes bytes. It never waits for
//!   the acknowledge thread, so no circle can close.
//! - **To senders without room.** A sender that finds none leaves a mark under the lock. Room comes from acknowledgements (websocket), from
//!   the end of the handshake (retransmit) and from the end; each thread looks at the mark before it gives the lock back, in `tell`. So a
//!   mark that is set before the look is seen by it, and one that is set later was set by somebody who saw what had been freed.
//! - **To the receiver.** Deliveries go into the channel, then its waker is woken. Who waits without a waker waits in `recv`.
//! - **To a receiver that sleeps** ([`Recipient`]). The websocket thread tries its lock after the deliveries are in the channel. Has it got
//!   it, it receives all there is itself; else the receiver works, or the receiver is needed: it is woken, as above. A receiver that gives
//!   its lock back only after it has seen the channel empty, and arms its waker after that, so misses nothing.
//! - **From the receiver, when the gate opens.** The count of bytes and the flag of the gate are atomic, in one order for all. The
//!   websocket thread closes the gate and looks at the count again; the receiver lowers the count and looks at the gate after that. One of
//!   them sees the other: it is either not closed, or opened by the receiver, who wakes the websocket thread.
//! - **To who waits for all to be acknowledged.** A token, and a wake-up for who polls, after the change; the waiter looks before it waits,
//!   and passes the token on.
//! - **The end.** A thread that ends drops its sender, and [`join`](DataChannel::join) waits until all are dropped. The websocket thread's
//!   end ends the session and sends the retransmit thread a token; the acknowledge thread sees its channels disconnected.
//! - Wakers are registered first and woken then, so what happens in between is looked at once too often rather than never.
//!
//! Deliveries are taken from the sequence state by the websocket thread alone: if two took them, the end could overtake a payload. Notices
//! go to their channel under the lock, which orders them, whoever holds it.
//!
//! `tests/threads.rs` tries it with many threads and no time limits, also under ThreadSanitizer; `tests/simulation` tries the rules, with
//! acknowledgements and timers driven in one thread.
//!
//! # Bounds
//!
//! | what | at most | then |
//! |---|---|---|
//! | messages sent and not acknowledged | the window: 8 messages to 2 MiB of frames, or twice what the path carries, at most 16 MiB; a message counts 1 KiB at least; keystrokes 64 messages more | senders wait |
//! | of these, what is sent whatever the window says: handshake, challenge, sizes, flags | 64 messages, 1 MiB; one size | the session ends; the newest size wins |
//! | how far numbers run ahead of the oldest unacknowledged message | 16,384 | senders wait |
//! | flags and sizes kept until the session has begun | one of each kind | the newest wins |
//! | acknowledgements that wait to be sent | 256 batches of 64 to the acknowledge thread, 64 batches of frames back, and 1,024 that are repeated | not acknowledged now, the agent sends it again |
//! | messages that came too early | 20 MiB, each counted as 1 KiB at least and with 200 bytes on top; 131,072 numbers ahead | neither kept nor acknowledged |
//! | a part of the handshake; the text of the end | 64 KiB | the session ends; cut off |
//! | data keys asked of KMS | one | other requests are ignored |
//! | output that the session has not taken | 4 MiB (128 KiB where `cp` copies), and what one round reads (64 frames), or what the missing head of the stream lets go at once (the row above) | nothing is read until half of it is taken |
//! | buffers that are alive for a part of what was read | 64 KiB of output or of multiplexed data that waits, and one large frame | payloads are copied |
//! | one frame from the network, or one message in fragments | 1 MiB; 2 MiB with all that its fragments take | the connection is broken |
//! | what one round reads | 64 frames, 256 KiB, empty fragments included | the rest is for the next round |
//! | frames between the sequence state and the socket | 64 KiB and one frame; 512 KiB in any case | they stay in the window |
//! | pongs that wait for a socket that takes nothing | one | the newest wins |
//! | what the kernel takes and has not sent | 128 KiB (`TCP_NOTSENT_LOWAT`) | the socket is blocked |
//! | data of multiplexed connections that nobody reads | 8 MiB for all ([`RECEIVE_BUDGET`](crate::smux::RECEIVE_BUDGET)) | nothing is taken from here, so the rows above fill |
//! | an answer of AWS's API, of a proxy, of a credential process | 1 MiB, 16 KiB, 256 KiB | an error |
//! | the log | two files of 8 MiB | the older is overwritten |
//! | tokens and orders between threads | one token each; orders are as many as the user gives | |
//! | threads | websocket, acknowledge, retransmit, signals, one that watches the parent; input and output, or port; while they last one each for the start, the data key, a name's look-up, an outage's line, the end of the session | |

mod ack_loss;
mod ack_watchdog;
mod acknowledge;
mod acknowledgements;
mod challenge;
mod congestion;
mod decode_failures;
mod delivery;
mod delivery_rate;
mod handshake;
mod hold_up;
mod inbox;
mod lent;
mod loss_detection;
mod opening;
mod outage;
mod pause;
mod payloads;
mod read_pace;
mod reconnect;
mod reconnector;
mod reorder;
mod retransmit;
mod rtt;
mod send_window;
mod sent_message;
mod sequence_state;
mod session_type;
mod shared;
mod standing_queue;
mod status;
mod timeouts;
mod timers;
mod websocket;

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use bytes::BytesMut;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

pub use acknowledgements::{Acknowledgements, Received};
pub use delivery::{Delivery, End, Notice, Started};
pub use delivery_rate::MAXIMUM_BYTES;
pub use handshake::ENCRYPTION_UNSUPPORTED;
pub use inbox::{GATE_CLOSES, Recipient};
pub use outage::GaveUp;
pub use reconnect::{FirstTries, Recovery};
pub use reconnector::{Headers, Reconnector, Resume, ResumeError, ResumeTry, Resumed, Sign};
pub use reorder::REORDER_LIMIT;
pub use sent_message::Urgency;
pub use sequence_state::{SequenceState, SessionKey};
pub use session_type::{SessionType, UnknownSessionType};
pub use status::{ChannelStatus, OutageStatus};
pub use timers::{Timer, TimerTable};
pub use websocket::{Config, MakeKey};

use crate::encryption::{self, Encrypter};
use crate::error::Error;
use crate::message::content::Size;
use crate::message::{Flag, HEADER_SIZE, Message, MessageType, PayloadType};
use crate::mutex::lock;
use crate::network::Cancel;
use crate::waker::{Waker, waker};
use acknowledge::AcknowledgeLink;
use inbox::Inbox;
use lent::Lent;
use sent_message::Reservation;
use shared::{ChannelState, ThreadGuard};

/// Messages that are encoded before the websocket thread is told of them, and their bytes of data.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 64 * 1024;
/// What a sender writes to the socket by itself at most, bytes: up to this a hand-over to the websocket thread costs more than TLS does.
const LARGEST_DIRECT: usize = 4096;

/// The session is over: nothing can be sent any more. What has come can still be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Ended;

/// A handle to the stream. Cheap to clone; every method may be called from any thread.
#[derive(Debug, Clone)]
pub struct DataChannel(Arc<ChannelState>);

impl DataChannel {
    /// Starts the three threads of the channel; that of the websocket dials. How that went is delivered.
    ///
    /// # Errors
    /// When the system gives no descriptor or thread.
    pub fn open(config: Config, notices: Sender<Notice>) -> Result<Self, Error> {
        Self::start(config, notices).map_err(|error| {
            Error::Start(format!(
                "the system gives no thread or descriptor ({error})"
            ))
        })
    }

    fn start(config: Config, notices: Sender<Notice>) -> io::Result<Self> {
        let (websocket, wake_receiver) = waker()?;
        let (rearm, rearmed) = bounded(1);
        let (alive, threads) = bounded(0);
        let shared = Arc::new(ChannelState {
            sequence: Mutex::new(SequenceState::new(crate::VERSION)),
            inbox: Inbox::new(websocket.clone()),
            lent: Lent::default(),
            websocket: websocket.clone(),
            rearm,
            drained: bounded(1),
            writable: Mutex::default(),
            acknowledged: Mutex::default(),
            notices,
            cancel: Cancel::new()?,
            threads,
            payload_size: config.payload_size,
        });
        if config.require_encryption {
            shared.sequence().require_encryption();
        }
        let guard = |name| ThreadGuard {
            name,
            shared: Arc::clone(&shared),
            _alive: alive.clone(),
        };
        let acknowledge = AcknowledgeLink::start(guard("acknowledge"), websocket)?;
        let driver =
            websocket::Driver::new(config, Arc::clone(&shared), wake_receiver, acknowledge);
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        // Before the thread that ends it.
        let websocket_guard = guard("websocket");
        let retransmit = (Arc::clone(&shared), guard("retransmit"));
        spawn("retransmit")
            .spawn(move || retransmit::run(&retransmit.0, &rearmed, retransmit.1))?;
        spawn("websocket").spawn(move || driver.run(websocket_guard))?;
        Ok(Self(shared))
    }

    /// Takes as many bytes as the window takes, and says how many. Never blocks; 0 means that there is no room now, and that the
    /// waker of [`on_writable`](Self::on_writable) is woken when there is.
    ///
    /// # Errors
    /// [`Ended`] when nothing can be sent any more.
    pub fn send(&self, data: &[u8], urgency: Urgency) -> Result<usize, Ended> {
        self.take(data, urgency, false)
    }

    /// The same, for the thread that handles the answers, too: a single message is written to the socket by this thread, if the websocket
    /// thread sleeps. Others should not: on a busy machine an answer would wait until a thread has run that is of no use for it any more.
    /// A large one most likely is one of many, which two threads encode and encrypt faster than one.
    ///
    /// # Errors
    /// [`Ended`] when nothing can be sent any more.
    pub fn send_directly(&self, data: &[u8], urgency: Urgency) -> Result<usize, Ended> {
        self.take(
            data,
            urgency,
            data.len() <= self.0.payload_size.min(LARGEST_DIRECT),
        )
    }

    fn take(&self, data: &[u8], urgency: Urgency, is_direct: bool) -> Result<usize, Ended> {
        let payload_size = self.0.payload_size;
        let mut taken = 0;
        while taken < data.len() {
            let chunks = || data[taken..].chunks(payload_size);
            let (room, encrypter) = self.reserve(chunks(), urgency)?;
            if room.is_empty() {
                break;
            }
            // Encrypted, hashed and encoded without the lock, into one piece of memory.
            let bytes = room.iter().map(Reservation::bytes).sum();
            let mut frames = BytesMut::with_capacity(bytes);
            let mut count = 0;
            for chunk in chunks().take(room.len()) {
                let sealed = encrypter.as_ref().map(|encrypter| encrypter.seal(chunk));
                let payload = sealed.as_deref().unwrap_or(chunk);
                Message::stream(MessageType::InputStreamData, PayloadType::Output, payload)
                    .encode_to(&mut frames);
                count += chunk.len();
            }
            let commit = |sequence: &mut SequenceState| {
                for reservation in room {
                    let frame = frames.split_to(reservation.bytes());
                    sequence.commit(reservation, frame);
                }
            };
            if is_direct {
                self.0.change_and_write(commit);
            } else {
                self.0.change(commit);
            }
            taken += count;
        }
        Ok(taken)
    }

    /// Room for as many of these as there is now, up to a batch, and what they are to be encrypted with.
    fn reserve<'a>(
        &self,
        chunks: impl Iterator<Item = &'a [u8]>,
        urgency: Urgency,
    ) -> Result<(Vec<Reservation>, Option<Arc<Encrypter>>), Ended> {
        let most = (BATCH_BYTES / self.0.payload_size).clamp(1, BATCH);
        let mut sequence = self.0.sequence();
        if sequence.has_ended() {
            return Err(Ended);
        }
        let encrypter = sequence.encrypter();
        let overhead = HEADER_SIZE + encrypter.as_ref().map_or(0, |_| encryption::OVERHEAD);
        let room = chunks
            .take(most)
            .map_while(|chunk| sequence.reserve(overhead + chunk.len(), urgency));
        Ok((room.collect(), encrypter))
    }

    /// Tells the agent the terminal's size as soon as it can use it. Never blocks; the newest wins.
    pub fn resize(&self, size: Size) {
        self.0.change(|sequence| sequence.resize(size));
    }

    /// Sends a flag, in order with the data already taken. Never blocks.
    pub fn send_flag(&self, flag: Flag) {
        self.0.change(|sequence| sequence.send_flag(flag));
    }

    /// How the connection is at the moment.
    pub fn status(&self) -> ChannelStatus {
        self.0.sequence().status()
    }

    /// Makes another connection at once, whether there is one or not.
    pub fn reconnect(&self) {
        self.0.change(|sequence| sequence.recovery().hurry());
    }

    /// Whether all that was taken is acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.0.sequence().is_acknowledged()
    }

    /// Whether the session is over: nothing can be sent any more.
    pub fn has_ended(&self) -> bool {
        self.0.sequence().has_ended()
    }

    /// Waits until all that was taken is acknowledged; false at the deadline, or when the session is over before that.
    pub fn wait_acknowledged(&self, deadline: Instant) -> bool {
        let (drained, token) = &self.0.drained;
        loop {
            let (is_acknowledged, has_ended) = {
                let sequence = self.0.sequence();
                (sequence.is_acknowledged(), sequence.has_ended())
            };
            if is_acknowledged || has_ended {
                // Others may wait, too.
                let _ = drained.try_send(());
                return is_acknowledged;
            }
            if token.recv_deadline(deadline).is_err() {
                return self.is_acknowledged();
            }
        }
    }

    /// Wakes this one when there is room again after [`send`](Self::send) took nothing, and at the end.
    pub fn on_writable(&self, waker: Waker) {
        // In this order: what happens in between must wake it.
        *lock(&self.0.writable) = Some(waker.clone());
        waker.wake();
    }

    /// Wakes this one whenever all that was taken [is acknowledged](Self::is_acknowledged), and at the end. That is once for each
    /// keystroke: for who acts upon it.
    pub fn on_acknowledged(&self, waker: Waker) {
        *lock(&self.0.acknowledged) = Some(waker.clone());
        waker.wake();
    }

    /// Wakes this one when something can be received.
    pub fn on_readable(&self, waker: Waker) {
        self.0.inbox.on_readable(waker);
    }

    /// Has the websocket thread hand a few bytes of output over to this one at once, instead of waking somebody for them. The first one
    /// stays.
    pub fn set_recipient(&self, recipient: Weak<dyn Recipient>) {
        self.0.inbox.set_recipient(recipient);
    }

    /// How many bytes may wait to be received before nothing more is read from the connection; [`GATE_CLOSES`] without this. Who has
    /// several channels at a time and takes what comes at once needs less.
    pub fn limit_waiting(&self, bytes: usize) {
        self.0.inbox.limit(bytes);
    }

    /// The next delivery, if there is one.
    pub fn try_receive(&self) -> Option<Delivery> {
        self.0.inbox.try_receive()
    }

    /// Waits for the next delivery; None at the deadline.
    pub fn receive(&self, deadline: Option<Instant>) -> Option<Delivery> {
        self.0.inbox.receive(deadline)
    }

    /// Ends the connection. What was handed to the socket by then still goes out if the socket takes it at once.
    pub fn close(&self) {
        self.0.cancel.cancel();
        self.0.websocket.wake();
    }

    /// Waits for the threads of the channel; false when not all had ended at the deadline.
    pub fn join(&self, deadline: Instant) -> bool {
        self.0.threads.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }
}
