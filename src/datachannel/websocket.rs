//! The websocket thread owns the connection: it sends what the sequence state has to send, gives it what comes, and sleeps in between.
//!
//! Reading never depends on writing, and the thread never blocks on anything but poll(2): not on a queue, not on the session. When
//! the session does not take what has come, the gate closes: nothing more is read, and writing goes on.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::acknowledge::AcknowledgeLink;
use super::acknowledgements::Received;
use super::read_pace::ReadPace;
use super::reconnector::Reconnector;
use super::sequence_state::USUAL_DELIVERIES;
use super::shared::{ChannelState, ThreadGuard};
use super::{Delivery, ENCRYPTION_UNSUPPORTED, End, SequenceState, SessionKey};
use crate::communicator::{Broken, Connection, Incoming, Liveness, LivenessAction};
use crate::message::content::{KmsEncryptionParameters, OpenDataChannel, to_json};
use crate::message::{Message, MessageType};
use crate::network::{Limit, PathWatch, SocketPath};
use crate::waker::WakeReceiver;

/// The agent waits 15 s for the handshake's response.
const KEY_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that are written before the next read.
const WRITE_BUDGET: usize = 64 * 1024;
/// Messages that are handed to the acknowledge thread while there is more to read.
const MESSAGES_AT_ONCE: usize = 64;
/// While what comes is gathered, so many messages are acknowledged together: those of two reads, or three.
const MESSAGES_GATHERED: usize = 16;
/// Frames that are read before the next write, and their bytes.
const READ_BUDGET: usize = 64;
const READ_BUDGET_BYTES: usize = 256 * 1024;
/// Output that the recipient handles in this thread, bytes: less than a full message. More follows a full one, most likely, and one thread
/// decrypts it while another writes. What is gathered is all there is for some milliseconds.
const LARGEST_DIRECT: usize = 1000;
/// A payload that is a smaller part of its frame than one in so many is copied.
const COPIED_BELOW: usize = 4;

/// Asks KMS for a data key for this session; an error is told to the agent and to the user.
pub type MakeKey =
    dyn Fn(&KmsEncryptionParameters, &Limit) -> Result<SessionKey, String> + Send + Sync;

/// What a channel needs.
pub struct Config {
    /// How connections are made.
    pub reconnector: Reconnector,
    /// Bytes of data in a message.
    pub payload_size: usize,
    /// None for callers that cannot have encrypted sessions.
    pub make_key: Option<Arc<MakeKey>>,
    /// Whether a session that the agent does not encrypt is ended before anything is sent.
    pub require_encryption: bool,
}

/// The websocket thread's own.
pub(super) struct Driver {
    reconnector: Reconnector,
    make_key: Option<Arc<MakeKey>>,
    shared: Arc<ChannelState>,
    wake_receiver: WakeReceiver,
    acknowledge: AcknowledgeLink,
    /// The same in every OpenDataChannel of this process.
    client_id: Uuid,
    /// Whether what comes is read; closed while the session does not take it.
    gate_is_open: bool,
    /// Frames on their way from the sequence state to the socket, and deliveries to the inbox: kept for their memory.
    batch: Vec<Bytes>,
    /// Frames on their way from the socket to the sequence state.
    frames: Vec<Bytes>,
    deliveries: Vec<Delivery>,
    /// What came and is to be acknowledged.
    received: Vec<Received>,
    /// What was read for them, bytes.
    bytes_read: usize,
    pace: ReadPace,
    /// Tells of changes of routes and addresses, over all connections.
    path: Option<PathWatch>,
    /// Where the present connection's path led at the last change.
    socket_path: SocketPath,
}

/// Whether the session goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Goes,
    Over,
    /// On another connection.
    Breaks,
}

impl Driver {
    pub(super) fn new(
        config: Config,
        shared: Arc<ChannelState>,
        wake_receiver: WakeReceiver,
        acknowledge: AcknowledgeLink,
    ) -> Self {
        Self {
            reconnector: config.reconnector,
            make_key: config.make_key,
            shared,
            wake_receiver,
            acknowledge,
            client_id: Uuid::new_v4(),
            gate_is_open: true,
            batch: Vec::new(),
            frames: Vec::new(),
            deliveries: Vec::new(),
            received: Vec::new(),
            bytes_read: 0,
            pace: ReadPace::default(),
            path: None,
            socket_path: SocketPath::Same,
        }
    }

    pub(super) fn run(mut self, guard: ThreadGuard) {
        let _last = LastDeliveries {
            shared: Arc::clone(&self.shared),
            guard,
        };
        if let Err(end) = self.serve() {
            self.shared.change(|sequence| sequence.end(end));
        }
        self.dispatch(0);
    }

    /// Connects, and again whenever the connection breaks, until the session is over.
    fn serve(&mut self) -> Result<(), End> {
        let mut connection = self
            .reconnector
            .connect(&self.shared.cancel)
            .map_err(End::Failed)?;
        // None where the system does not tell.
        self.path = PathWatch::open();
        loop {
            let Err(broken) = self.drive(connection) else {
                return Ok(());
            };
            log::info!("{broken}");
            // What came before the break is delivered now, and the session's end may be among it.
            if self.dispatch(0) == Flow::Over {
                return Ok(());
            }
            let reconnected = self.reconnector.reconnect(
                &broken,
                &self.shared,
                &self.wake_receiver,
                self.path.as_ref(),
            )?;
            connection = match reconnected {
                Some(connection) => connection,
                None => return Ok(()),
            };
        }
    }

    /// Serves one connection until the session is over or the connection breaks.
    fn drive(&mut self, connection: Connection) -> Result<(), Broken> {
        let mut connection = Box::new(connection);
        let now = Instant::now();
        let open = OpenDataChannel::client(
            self.reconnector.token.expose(),
            self.client_id,
            crate::VERSION,
        );
        connection.write_text(String::from_utf8(to_json(&open)).unwrap_or_default())?;
        self.shared.change(|sequence| {
            sequence.connected(now);
            sequence.set_reading_paused(!self.gate_is_open, now);
        });
        let mut liveness = Liveness::new(now, SystemTime::now());
        // Of the time before, when there was no connection yet.
        self.socket_path = SocketPath::Same;
        if self.path.as_ref().is_some_and(PathWatch::take_change) {
            self.path_changed(&connection, &mut liveness)?;
        }
        // Whether it is worth a look: something may be there.
        let mut may_read = true;
        loop {
            let now = Instant::now();
            match liveness.check(now, SystemTime::now(), !self.gate_is_open) {
                LivenessAction::Fine => {}
                LivenessAction::Ping => connection.ping()?,
                LivenessAction::Lost => {
                    return Err(Broken::new("the other side does not answer any more"));
                }
            }
            let is_drained = if self.gate_is_open && may_read {
                self.receive(&mut connection, &mut liveness)?
            } else {
                true
            };
            // What has come is handed on first, then what is to be sent is written; whoever is woken for less comes last.
            let now = Instant::now();
            let before = self.received.len();
            // While there is more to read, others handle what has come.
            let direct = match (is_drained, self.pace.is_gathering()) {
                (false, _) => 0,
                (true, false) => LARGEST_DIRECT,
                (true, true) => READ_BUDGET_BYTES,
            };
            let flow = self.dispatch(direct);
            self.send(&mut connection, now)?;
            // While there is more to read, or more comes in a moment, a batch fills up. When the gate closes nothing more comes.
            let count = self.received.len();
            let is_gathered = self.pace.is_gathering() && self.shared.inbox.is_open();
            let fills_up = is_gathered && count > before && count < MESSAGES_GATHERED;
            if (is_drained && !fills_up) || count >= MESSAGES_AT_ONCE {
                self.acknowledge
                    .hand_over(std::mem::take(&mut self.received), is_gathered);
            }
            match flow {
                Flow::Goes => {}
                Flow::Over => {
                    connection.close();
                    return Ok(());
                }
                Flow::Breaks => {
                    connection.close();
                    return Err(Broken::new("another connection was asked for"));
                }
            }
            // What was in the buffers of TLS and of the websocket when the gate closed, poll(2) does not see.
            let has_opened = self.turn_gate(&mut liveness, now);
            may_read = if has_opened || !is_drained {
                true
            } else {
                let (returned, may_read) = self.sleep(connection, &mut liveness)?;
                connection = returned;
                may_read
            };
        }
    }

    /// Hands the socket what is to be sent, as far as it takes it.
    fn send(&mut self, connection: &mut Connection, now: Instant) -> Result<(), Broken> {
        if connection.is_blocked() {
            connection.flush()?;
        }
        self.acknowledge.collect();
        {
            let mut sequence = self.shared.sequence();
            let mut bytes = 0;
            while !connection.is_blocked() && bytes < WRITE_BUDGET {
                let message = if self.acknowledge.make_way() {
                    sequence.poll_transmit(now)
                } else {
                    None
                };
                if message.is_some() {
                    self.pace.disturb();
                }
                let Some(frame) = message.or_else(|| self.acknowledge.poll_transmit()) else {
                    break;
                };
                bytes += frame.len();
                self.batch.push(frame);
            }
        }
        for frame in self.batch.drain(..) {
            connection.write(frame)?;
        }
        connection.flush()
    }

    /// Takes in what has come, up to a budget; whether that was all.
    fn receive(
        &mut self,
        connection: &mut Connection,
        liveness: &mut Liveness,
    ) -> Result<bool, Broken> {
        let mut has_pong = false;
        let (count, outcome) = self.read(connection, &mut has_pong);
        self.bytes_read += connection.bytes_read();
        if count > 0 {
            let now = Instant::now();
            liveness.received(has_pong, now);
            // Decoded and hashed without the lock.
            let messages = self.frames.iter().map(|frame| Message::decode(frame));
            let messages: Vec<_> = messages.collect();
            let mut sequence = self.shared.sequence();
            sequence.sign();
            for (frame, message) in self.frames.iter().zip(messages) {
                match message {
                    Ok(message) => {
                        match message.message_type {
                            MessageType::OutputStreamData => {
                                self.pace.message(message.payload.len());
                            }
                            _ => self.pace.disturb(),
                        }
                        // A few bytes must not keep a large frame alive.
                        let payload = if message.payload.len() < frame.len() / COPIED_BELOW {
                            Bytes::copy_from_slice(message.payload)
                        } else {
                            frame.slice_ref(message.payload)
                        };
                        sequence.handle_message(&message, payload, now);
                    }
                    Err(error) => sequence.handle_decode_failure(error, now),
                }
            }
        }
        self.frames.clear();
        if matches!(outcome, Ok(true)) && count > 0 {
            self.pace.drained(Instant::now());
        }
        outcome
    }

    /// Reads frames, up to a budget: how many, and whether those were all, or the connection is gone after them.
    fn read(
        &mut self,
        connection: &mut Connection,
        has_pong: &mut bool,
    ) -> (usize, Result<bool, Broken>) {
        let mut bytes = 0;
        connection.refill();
        for count in 0..READ_BUDGET {
            match connection.read() {
                Ok(Some(Incoming::Frame(frame))) => {
                    bytes += frame.len();
                    self.frames.push(frame);
                }
                Ok(Some(Incoming::Ping)) => {}
                Ok(Some(Incoming::Pong)) => *has_pong = true,
                Ok(None) => return (count, Ok(!connection.is_used_up())),
                Err(broken) => return (count, Err(broken)),
            }
            if bytes >= READ_BUDGET_BYTES {
                return (count + 1, Ok(false));
            }
        }
        (READ_BUDGET, Ok(false))
    }

    /// Passes on what the sequence state has for others. Only this thread takes deliveries: if another did as well, the end could
    /// overtake a payload. Up to `direct` bytes of output may be handled within this call.
    fn dispatch(&mut self, direct: usize) -> Flow {
        let mut sequence = self.shared.sequence();
        let mut received = sequence.poll_received();
        if self.received.is_empty() {
            self.received = received;
        } else {
            self.received.append(&mut received);
        }
        self.deliveries
            .extend(std::iter::from_fn(|| sequence.poll_delivery()));
        if let Some(parameters) = sequence.poll_key_request() {
            self.request_key(&mut sequence, parameters);
        }
        self.shared.tell(&mut sequence);
        let is_over = sequence.has_ended() || self.shared.cancel.is_cancelled();
        let breaks = self.reconnector.resume.is_ok() && sequence.recovery().is_to_break();
        drop(sequence);
        let read = std::mem::take(&mut self.bytes_read);
        self.shared.inbox.push(&mut self.deliveries, read, direct);
        self.deliveries.shrink_to(USUAL_DELIVERIES);
        match (is_over, breaks) {
            (true, _) => Flow::Over,
            (false, true) => Flow::Breaks,
            (false, false) => Flow::Goes,
        }
    }

    /// Has a data key made by a thread of its own: KMS is asked over HTTP, and reading must go on.
    fn request_key(&self, sequence: &mut SequenceState, parameters: KmsEncryptionParameters) {
        let Some(make_key) = self.make_key.clone() else {
            let key = Err(ENCRYPTION_UNSUPPORTED.to_owned());
            return sequence.provide_key(key, Instant::now());
        };
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("data key".to_owned());
        let spawned = thread.spawn(move || {
            let limit = Limit::within(KEY_TIMEOUT).or_cancelled(&shared.cancel);
            let key = make_key(&parameters, &limit);
            shared.change(|sequence| sequence.provide_key(key, Instant::now()));
        });
        if let Err(error) = spawned {
            let key = Err(format!("the system gives no thread ({error})"));
            sequence.provide_key(key, Instant::now());
        }
    }

    /// Opens or closes the gate, if it is time to; whether it has just opened.
    fn turn_gate(&mut self, liveness: &mut Liveness, now: Instant) -> bool {
        let is_open = self.shared.inbox.is_open();
        let has_turned = is_open != self.gate_is_open;
        if has_turned {
            self.gate_is_open = is_open;
            self.shared
                .change(|sequence| sequence.set_reading_paused(!is_open, now));
            if is_open {
                liveness.resume_reading(now);
            }
        }
        has_turned && is_open
    }

    /// Sleeps unless there is something to do; whether the connection is to be read afterwards.
    fn sleep(
        &mut self,
        connection: Box<Connection>,
        liveness: &mut Liveness,
    ) -> Result<(Box<Connection>, bool), Broken> {
        let now = Instant::now();
        let is_future = |at: &Instant| self.gate_is_open && *at > now;
        let gather_until = self.pace.read_again_at().filter(is_future);
        // Before the look: acknowledgements of what was gathered go out with the next read, and nobody wakes this thread for them.
        self.acknowledge.set_quiet(gather_until.is_some());
        let has_acknowledgements = gather_until.is_none() && !self.acknowledge.is_empty();
        let has_work = {
            let mut sequence = self.shared.sequence();
            // What was transmitted has timers.
            self.shared.tell(&mut sequence);
            liveness.set_awaited(sequence.is_awaiting(now), now);
            let can_transmit = has_acknowledgements || sequence.can_transmit(now);
            sequence.has_ended() || (can_transmit && !connection.is_blocked())
        };
        // After the look: who has changed something since has woken this thread.
        if has_work || self.shared.cancel.is_cancelled() || !self.wake_receiver.arm() {
            return Ok((connection, true));
        }
        let check_at = liveness.next_check(!self.gate_is_open);
        let until = gather_until.map_or(check_at, |at| at.min(check_at));
        let reads = self.gate_is_open && gather_until.is_none();
        let socket = connection.socket();
        let is_blocked = connection.is_blocked();
        // Who writes while what comes is gathered would wait for the answer.
        let kept = if reads && !is_blocked {
            self.shared.lent.lend(connection);
            None
        } else {
            Some(connection)
        };
        let path = self.path.as_ref();
        let woken = socket.wait(&self.wake_receiver, path, reads, is_blocked, until);
        self.wake_receiver.disarm();
        let connection = kept.map_or_else(|| self.shared.lent.take_back(), Ok)?;
        let woken = woken.map_err(|error| {
            Broken::new(format!(
                "the system cannot wait for the connection ({error})"
            ))
        })?;
        if woken.by_routes {
            self.path_changed(&connection, liveness)?;
        }
        let may_read = woken.by_socket || gather_until.is_some_and(|at| at <= Instant::now());
        Ok((connection, may_read))
    }

    /// Routes or addresses have changed: whether the connection still has a path.
    fn path_changed(
        &mut self,
        connection: &Connection,
        liveness: &mut Liveness,
    ) -> Result<(), Broken> {
        let path = connection.path();
        let before = std::mem::replace(&mut self.socket_path, path);
        let now = Instant::now();
        match path {
            SocketPath::Gone => {
                return Err(Broken::new("this machine's address is another one now"));
            }
            SocketPath::Elsewhere if before != path => {
                log::info!(
                    "new connections would take another path: is the other side still there?"
                );
                liveness.path_moved(now);
            }
            SocketPath::Elsewhere | SocketPath::Same => {
                log::info!("routes or addresses have changed: is the other side still there?");
                liveness.path_changed(now);
            }
        }
        Ok(())
    }
}

/// Delivers the end of the session when the websocket thread ends, for whatever reason.
struct LastDeliveries {
    shared: Arc<ChannelState>,
    guard: ThreadGuard,
}

impl Drop for LastDeliveries {
    fn drop(&mut self) {
        self.guard.end_session();
        let mut sequence = self.shared.sequence();
        let mut last: Vec<_> = std::iter::from_fn(|| sequence.poll_delivery()).collect();
        drop(sequence);
        self.shared.inbox.push(&mut last, 0, 0);
    }
}
