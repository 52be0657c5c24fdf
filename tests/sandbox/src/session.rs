//! One session: its tokens, the path between client and agent, and what a test can do to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_manager_plugin::internals::message::{Message, MessageType, PayloadType};
use session_manager_plugin::internals::waker::Waker;
use uuid::Uuid;

use crate::agent::Agent;
use crate::config::{SessionConfig, Upgrade, WhileAway};
use crate::faults::{Ending, Faults, Link, LinkStatistics};
use crate::queue::Queue;
use crate::record::{Event, Frame, Journal, Recorder};
use crate::threads::lock;

/// One session, from StartSession to its end. What happens to it is in [`frames`](Self::frames) and in the sandbox's
/// [`events`](crate::Sandbox::events).
pub struct Session {
    id: String,
    pub(crate) config: SessionConfig,
    pub(crate) journal: Arc<Journal>,
    pub(crate) recorder: Recorder,
    pub(crate) to_agent: Queue,
    pub(crate) to_client: Queue,
    links: Mutex<Links>,
    tokens: Mutex<Vec<Token>>,
    upgrades: Mutex<VecDeque<Upgrade>>,
    attached: Mutex<Attached>,
    attachment_changed: Condvar,
    /// What the client is told at the end.
    ended: Mutex<Option<String>>,
    terminated: AtomicBool,
    touched: AtomicBool,
    /// When data last went through it.
    used_at: Mutex<Instant>,
    /// Pongs that the agent read, and connections that it lost for want of one.
    pub(crate) pongs: AtomicUsize,
    pub(crate) agent_breaks: AtomicUsize,
    pub(crate) agent: Mutex<Option<Arc<Agent>>>,
}

/// What the client is told when the service ends a session by itself. The real words are not known to us; clients must not depend on them.
const IDLE_TIMEOUT: &str = "Session ended: it was idle for too long.";
const MAXIMUM_DURATION: &str = "Session ended: it has reached its maximum duration.";

/// Both directions of the path.
pub(crate) struct Links {
    pub(crate) to_agent: Link,
    pub(crate) to_client: Link,
}

struct Token {
    value: String,
    expires: Option<Instant>,
}

#[derive(Default)]
struct Attached {
    current: Option<(Attachment, Waker)>,
    count: u64,
}

/// The connection that the session goes through now.
#[derive(Clone)]
pub(crate) struct Attachment {
    id: u64,
    commands: Arc<Mutex<Vec<Command>>>,
}

impl Attachment {
    pub(crate) fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut *lock(&self.commands))
    }
}

/// What a connection is told to do.
pub(crate) enum Command {
    End(Ending),
    Frame(Vec<u8>),
    Text(String),
    Raw(Vec<u8>),
    StopReading(bool),
    StopWriting(bool),
}

impl Session {
    pub(crate) fn new(id: String, config: SessionConfig, seed: u64, journal: Arc<Journal>) -> Self {
        let queue = config.gateway.queue;
        Self {
            recorder: Recorder::new(config.record),
            to_agent: Queue::new(queue),
            to_client: Queue::new(queue),
            links: Mutex::new(Links {
                to_agent: Link::new(config.to_agent.clone(), seed.wrapping_mul(2)),
                to_client: Link::new(config.to_client.clone(), seed.wrapping_mul(2) + 1),
            }),
            tokens: Mutex::default(),
            upgrades: Mutex::new(config.gateway.upgrades.clone()),
            attached: Mutex::default(),
            attachment_changed: Condvar::new(),
            ended: Mutex::new(None),
            terminated: AtomicBool::new(false),
            touched: AtomicBool::new(false),
            used_at: Mutex::new(Instant::now()),
            pongs: AtomicUsize::new(0),
            agent_breaks: AtomicUsize::new(0),
            agent: Mutex::new(None),
            id,
            config,
            journal,
        }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it was set up.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// All frames that the agent received or sent, in the order in which it did.
    pub fn frames(&self) -> Vec<Frame> {
        self.recorder.frames.entries()
    }

    /// Forgets the frames so far.
    pub fn clear_frames(&self) {
        self.recorder.frames.clear();
    }

    /// Waits until the frames please; `false` when they do not within `timeout`.
    pub fn wait_for_frames(
        &self,
        timeout: Duration,
        pleases: impl FnMut(&[Frame]) -> bool,
    ) -> bool {
        self.recorder.frames.wait(timeout, pleases)
    }

    /// Whether a client is connected, and its token was right.
    pub fn is_connected(&self) -> bool {
        lock(&self.attached).current.is_some()
    }

    /// How many connections there were with a right token.
    pub fn connections(&self) -> u64 {
        lock(&self.attached).count
    }

    /// Waits until so many connections were made, and the last one is open; `false` when that is not so within `timeout`.
    pub fn wait_for_connection(&self, count: u64, timeout: Duration) -> bool {
        let attached = lock(&self.attached);
        let missing = |it: &mut Attached| it.count < count || it.current.is_none();
        let waited = self
            .attachment_changed
            .wait_timeout_while(attached, timeout, missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits until no client is connected; `false` when one still is after `timeout`.
    pub fn wait_for_disconnection(&self, timeout: Duration) -> bool {
        let attached = lock(&self.attached);
        let waited = self
            .attachment_changed
            .wait_timeout_while(attached, timeout, |it| it.current.is_some());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What the client was told at the end; nothing while the session goes on.
    pub fn ended(&self) -> Option<String> {
        lock(&self.ended).clone()
    }

    // What a test can do.

    /// Ends the connection at hand; `false` when there is none. See [`wait_for_connection`](Self::wait_for_connection): a client that has
    /// just been started has none yet.
    pub fn end_connection(&self, ending: Ending) -> bool {
        self.command(Command::End(ending))
    }

    /// The gateway stops (or goes on) reading from the client's connection. Over when the connection is.
    pub fn stop_reading(&self, stop: bool) {
        let _ = self.command(Command::StopReading(stop));
    }

    /// The gateway stops (or goes on) writing to the client's connection. Over when the connection is.
    pub fn stop_writing(&self, stop: bool) {
        let _ = self.command(Command::StopWriting(stop));
    }

    /// Sends a binary frame to the client, past all faults, whatever it holds.
    pub fn inject_frame(&self, frame: &[u8]) {
        self.command(Command::Frame(frame.to_vec()));
    }

    /// Sends a text frame to the client.
    pub fn inject_text(&self, text: &str) {
        self.command(Command::Text(text.to_owned()));
    }

    /// Writes bytes to the client's connection that need not be a websocket frame.
    pub fn inject_raw(&self, bytes: &[u8]) {
        self.command(Command::Raw(bytes.to_vec()));
    }

    /// Sends `pause_publication` to the client.
    pub fn pause_client(&self) {
        self.inject_frame(&Message::control(MessageType::PausePublication, b"").encode());
    }

    /// Sends `pause_publication` to the agent.
    pub fn pause_agent(&self) {
        let frame = Message::control(MessageType::PausePublication, b"").encode();
        let _ = self.to_agent.push_now(frame.into());
    }

    /// Has the agent send a message, in its stream, whatever the session is.
    pub fn send_from_agent(&self, payload_type: PayloadType, payload: &[u8]) {
        let agent = lock(&self.agent).clone();
        if let Some(agent) = agent {
            let _ = agent.channel.send(payload_type, payload);
        }
    }

    /// Ends the session as TerminateSession or a timeout of the service does: agent and client are told.
    pub fn terminate(&self, output: &str) {
        self.terminated.store(true, Ordering::SeqCst);
        // The reason first: an agent that is told may end the session before us, and without one.
        self.end(output);
        let closed = Message::control(MessageType::ChannelClosed, b"{}").encode();
        let _ = self.to_agent.push_now(closed.into());
    }

    /// Whether [`terminate`](Self::terminate) or the API ended it.
    pub fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::SeqCst)
    }

    /// How many pongs the agent has read.
    pub fn agent_pongs(&self) -> usize {
        self.pongs.load(Ordering::SeqCst)
    }

    /// How often the agent lost its own connection because it read no pong in time.
    pub fn agent_breaks(&self) -> usize {
        self.agent_breaks.load(Ordering::SeqCst)
    }

    /// The agent is gone without a word, as after a SIGKILL: nothing is acknowledged or sent any more.
    pub fn kill_agent(&self) {
        let agent = lock(&self.agent).clone();
        if let Some(agent) = agent {
            agent.kill();
        }
    }

    /// Data goes through it.
    pub(crate) fn note_use(&self) {
        *lock(&self.used_at) = Instant::now();
    }

    /// When the service ends it if nothing goes through it any more, and what it says then.
    pub(crate) fn time_is_up(&self, started: Instant) -> Option<(Instant, &'static str)> {
        let gateway = &self.config.gateway;
        let idle = gateway
            .idle_timeout
            .map(|time| (*lock(&self.used_at) + time, IDLE_TIMEOUT));
        let longest = gateway
            .maximum_duration
            .map(|time| (started + time, MAXIMUM_DURATION));
        idle.into_iter().chain(longest).min()
    }

    /// Other faults from now on.
    pub fn set_faults(&self, to_agent: Faults, to_client: Faults) {
        let mut links = self.links();
        links.to_agent.set_faults(to_agent);
        links.to_client.set_faults(to_client);
        drop(links);
        self.wake();
    }

    /// What the faults did: client to agent, agent to client.
    pub fn statistics(&self) -> (LinkStatistics, LinkStatistics) {
        let links = self.links();
        (links.to_agent.statistics(), links.to_client.statistics())
    }

    /// What happens at the next dials.
    pub fn set_upgrades(&self, upgrades: impl IntoIterator<Item = Upgrade>) {
        *lock(&self.upgrades) = upgrades.into_iter().collect();
    }

    /// A token that opens the data channel, as ResumeSession gives.
    pub fn new_token(&self, lifetime: Option<Duration>) -> String {
        let token = format!(
            "sandbox-token-{}{}",
            Uuid::new_v4().simple(),
            Uuid::new_v4().simple()
        );
        lock(&self.tokens).push(Token {
            value: token.clone(),
            expires: lifetime.map(|lifetime| Instant::now() + lifetime),
        });
        token
    }

    /// No token that was given out so far is good any longer.
    pub fn expire_tokens(&self) {
        let now = Instant::now();
        for token in lock(&self.tokens).iter_mut() {
            token.expires = Some(now);
        }
    }

    /// All tokens that were given out: for looking whether one is where it must not be.
    pub fn tokens(&self) -> Vec<String> {
        lock(&self.tokens)
            .iter()
            .map(|it| it.value.clone())
            .collect()
    }

    // What the gateway and the agent do.

    fn command(&self, command: Command) -> bool {
        let attached = lock(&self.attached);
        if let Some((attachment, waker)) = &attached.current {
            lock(&attachment.commands).push(command);
            waker.wake();
        }
        attached.current.is_some()
    }

    fn wake(&self) {
        if let Some((_, waker)) = &lock(&self.attached).current {
            waker.wake();
        }
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        lock(&self.links)
    }

    pub(crate) fn next_upgrade(&self) -> Upgrade {
        lock(&self.upgrades).pop_front().unwrap_or(Upgrade::Accept)
    }

    pub(crate) fn check_token(&self, value: &str, now: Instant) -> Result<(), String> {
        let tokens = lock(&self.tokens);
        match tokens.iter().find(|token| token.value == value) {
            None => Err("token is not valid".into()),
            Some(token) if token.expires.is_some_and(|expires| expires <= now) => {
                Err("token has expired".into())
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether no client came yet; from now on one did.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.touched.swap(true, Ordering::SeqCst)
    }

    /// A connection takes the session over; one that has it is ended.
    pub(crate) fn attach(&self, waker: Waker) -> Attachment {
        let mut links = self.links();
        let mut attached = lock(&self.attached);
        if let Some((_, waker)) = attached.current.take() {
            links.to_client.disconnect();
            links.to_agent.disconnect();
            waker.wake();
        }
        attached.count += 1;
        let attachment = Attachment {
            id: attached.count,
            commands: Arc::default(),
        };
        attached.current = Some((attachment.clone(), waker.clone()));
        self.attachment_changed.notify_all();
        self.to_client.discard(false);
        self.to_client.set_reader(Some(waker.clone()));
        self.to_agent.set_writer(Some(waker));
        attachment
    }

    pub(crate) fn is_attached(&self, attachment: &Attachment) -> bool {
        lock(&self.attached)
            .current
            .as_ref()
            .is_some_and(|(current, _)| current.id == attachment.id)
    }

    /// A connection is gone; what it had taken and not put on its way is put back. Hands back how many frames on their way are lost.
    pub(crate) fn detach(&self, attachment: &Attachment, batch: VecDeque<Bytes>) -> u64 {
        let mut links = self.links();
        self.to_client.put_back(batch);
        if !self.is_attached(attachment) {
            return 0;
        }
        lock(&self.attached).current = None;
        self.attachment_changed.notify_all();
        self.to_client.set_reader(None);
        self.to_agent.set_writer(None);
        if self.config.gateway.while_away == WhileAway::Lose {
            self.to_client.discard(true);
        }
        links.to_client.disconnect() + links.to_agent.disconnect()
    }

    /// The session is over: the client is told when all before it has been sent.
    pub(crate) fn end(&self, output: &str) {
        {
            let mut ended = lock(&self.ended);
            if ended.is_some() {
                return;
            }
            *ended = Some(output.to_owned());
        }
        self.journal.note(Event::SessionEnded {
            session: self.id.clone(),
            output: output.to_owned(),
        });
        self.wake();
    }

    pub(crate) fn note_agent(&self, what: impl Into<String>) {
        self.journal.note(Event::Agent {
            session: self.id.clone(),
            what: what.into(),
        });
    }
}
