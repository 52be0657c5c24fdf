//! The agent: what is on the instance, at the far end of the data channel.
//!
//! One thread runs the session, one reads (and blocks while a handler blocks), one resends, and a shell or port has its own.

mod channel;
mod command;
mod encryption;
mod handshake;
mod heartbeat;
mod output;
mod port;
mod shell;
pub mod stream;
mod wait;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_manager_plugin::internals::message::content::HandshakeResponse;
use session_manager_plugin::internals::message::{Message, PayloadType};

use self::channel::Channel;
use self::heartbeat::Heart;
use self::stream::{Handler, HandlerError, Incoming, Received};
use crate::config::{Document, SessionConfig};
use crate::record::Sender;
use crate::sandbox::Shared;
use crate::session::Session;
use crate::threads::lock;

/// The agent of one session.
pub(crate) struct Agent {
    pub(crate) channel: Channel,
    pub(crate) shared: Arc<Shared>,
    signals: mpsc::Sender<Signal>,
    plugin: Mutex<Option<Arc<dyn Plugin>>>,
    /// The handshake is over, or there is none: data is taken.
    taking_data: AtomicBool,
    killed: AtomicBool,
    heart: Heart,
    /// The level of the protocol that the client spoke of in the handshake.
    client_version: Mutex<String>,
    /// What the client must send back.
    expected_challenge: Mutex<Vec<u8>>,
}

/// What the thread that runs the session waits for.
pub(crate) enum Signal {
    /// The client answered the handshake request.
    Response(Box<Result<HandshakeResponse, String>>),
    /// The client answered the challenge.
    Challenge(Result<(), String>),
    /// Somebody ended the session.
    Cancelled,
    /// The shell, command or port is done; or failed, with a text for the service.
    Finished(Result<(), String>),
}

/// A shell, a command or a port.
pub(crate) trait Plugin: Send + Sync {
    /// Takes a message of the client.
    fn handle(&self, payload_type: u32, payload: &[u8]) -> Result<(), HandlerError>;
    /// Ends processes and connections, and makes whoever waits for them go on.
    fn stop(&self);
}

/// An agent that says nothing and takes everything.
struct Silent;

impl Plugin for Silent {
    fn handle(&self, _: u32, _: &[u8]) -> Result<(), HandlerError> {
        Ok(())
    }

    fn stop(&self) {}
}

/// Starts the session's agent.
pub(crate) fn start(session: &Arc<Session>, shared: &Arc<Shared>) {
    let (signals, receiver) = mpsc::channel();
    let (heart, waiter) = match Heart::new(session.config.agent.heartbeat) {
        Ok(pair) => pair,
        Err(error) => return session.note_agent(format!("cannot start: {error}")),
    };
    let agent = Arc::new(Agent {
        channel: Channel::new(Arc::clone(session)),
        shared: Arc::clone(shared),
        signals,
        plugin: Mutex::new(None),
        // The real one is there long before the client, and has left a handshake out by then.
        taking_data: AtomicBool::new(!needs_handshake(&session.config)),
        killed: AtomicBool::new(false),
        heart,
        client_version: Mutex::default(),
        expected_challenge: Mutex::default(),
    });
    *lock(&session.agent) = Some(Arc::clone(&agent));

    let reader = Arc::clone(&agent);
    shared.threads.spawn("agent-reader", move || reader.read());
    let beater = Arc::clone(&agent);
    shared
        .threads
        .spawn("agent-heartbeat", move || beater.beat(&waiter));
    let timer = Arc::clone(&agent);
    shared
        .threads
        .spawn("agent-resend", move || timer.channel.resend());
    shared.threads.spawn("agent", move || {
        let stopper = Arc::clone(&agent);
        let hook = agent.shared.threads.on_stop(move || stopper.kill());
        agent.run(&receiver);
        drop(hook);
        // Until somebody ends the sandbox, input is still acknowledged; then everything that refers to this goes.
        agent.channel.session.note_agent("gone");
        *lock(&agent.channel.session.agent) = None;
        agent.kill();
    });
}

fn needs_handshake(config: &SessionConfig) -> bool {
    let of_document = !matches!(
        config.document,
        Document::Shell | Document::Interactive { .. }
    );
    let agent = &config.agent;
    agent
        .handshake
        .unwrap_or(of_document || agent.kms.is_some())
        && !agent.silent
}

impl Agent {
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = self.signals.send(signal);
    }

    /// Ends it without a word.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        self.channel.close();
        self.heart.stop();
        self.stop_plugin();
        self.signal(Signal::Cancelled);
    }

    fn stop_plugin(&self) {
        let plugin = lock(&self.plugin).clone();
        if let Some(plugin) = plugin {
            plugin.stop();
        }
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    pub(crate) fn session(&self) -> &Session {
        &self.channel.session
    }

    pub(crate) fn client_version(&self) -> String {
        lock(&self.client_version).clone()
    }

    /// The one thread that reads.
    fn read(&self) {
        let mut incoming = Incoming::default();
        let mut frames = VecDeque::new();
        let session = &self.channel.session;
        while session.to_agent.pop_all(&mut frames) {
            let connection = self.heart.breaks();
            for frame in frames.drain(..) {
                if self.is_killed() {
                    return;
                }
                if self.heart.breaks() != connection {
                    break;
                }
                if self.takes_pong(&frame) {
                    continue;
                }
                session.recorder.note(Sender::Client, &frame);
                let received = incoming.handle_message(&frame, &mut { self }, &mut |message| {
                    self.channel.acknowledge(message);
                });
                self.channel.note(&received);
                match received {
                    Received::ChannelClosed(_) => self.signal(Signal::Cancelled),
                    Received::Stuck(number, error) => {
                        session.note_agent(format!("stuck for ever at message {number}: {error:?}"))
                    }
                    Received::Refused(number, HandlerError::Failed(error)) => {
                        session.note_agent(format!("cannot handle message {number}: {error}"));
                    }
                    Received::Invalid(error) => {
                        session.note_agent(format!("frame dropped: {error}"));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The session from its first message to its last.
    fn run(self: &Arc<Self>, signals: &Receiver<Signal>) {
        self.channel.send_state("Connected");
        let outcome = self.work(signals);
        if self.is_killed() {
            return;
        }
        if let Err(error) = &outcome {
            self.session().note_agent(format!("failed: {error}"));
        }
        self.stop_plugin();
        let timeout = self.session().config.agent.drain_timeout;
        if let Ok(Ending::Finished) = outcome {
            self.channel.drain(timeout);
            self.channel.send_state("Terminating");
        }
        self.channel.drain(timeout);
        self.session()
            .end(outcome.err().as_deref().unwrap_or_default());
    }

    fn work(self: &Arc<Self>, signals: &Receiver<Signal>) -> Result<Ending, String> {
        let config = &self.session().config.agent;
        if config.silent {
            *lock(&self.plugin) = Some(Arc::new(Silent));
            return self.wait(signals);
        }
        if needs_handshake(&self.session().config) {
            self.shake_hands(signals).map_err(|error| {
                format!("Encountered error while initiating handshake. {error}")
            })?;
            self.pause(signals, config.loses_input_after_handshake);
        }
        self.taking_data.store(true, Ordering::SeqCst);
        self.pause(signals, config.not_ready);
        if self.is_killed() {
            return Ok(Ending::Cancelled);
        }
        let plugin: Arc<dyn Plugin> = match &self.session().config.document {
            Document::Shell => shell::Shell::start(self, None)?,
            Document::Interactive { command } => shell::Shell::start(self, Some(command))?,
            Document::NonInteractive { .. } => command::Command::start(self)?,
            Document::Port { .. } | Document::Ssh { .. } | Document::Other { .. } => {
                port::start(self)?
            }
        };
        *lock(&self.plugin) = Some(plugin);
        if self.is_killed() {
            self.stop_plugin();
        }
        self.wait(signals)
    }

    /// Sleeps, but not through an end.
    fn pause(&self, signals: &Receiver<Signal>, duration: Duration) {
        if !duration.is_zero()
            && let Ok(signal) = signals.recv_timeout(duration)
        {
            self.signal(signal);
        }
    }

    fn wait(&self, signals: &Receiver<Signal>) -> Result<Ending, String> {
        loop {
            match signals.recv() {
                Ok(Signal::Finished(outcome)) => return outcome.map(|()| Ending::Finished),
                Ok(Signal::Cancelled) | Err(_) => return Ok(Ending::Cancelled),
                Ok(Signal::Response(_) | Signal::Challenge(_)) => {}
            }
        }
    }

    /// Waits for one kind of signal during the handshake.
    fn wait_for<T>(
        &self,
        signals: &Receiver<Signal>,
        too_late: &str,
        mut wanted: impl FnMut(Signal) -> Option<Result<T, String>>,
    ) -> Result<T, String> {
        let deadline = std::time::Instant::now() + self.session().config.agent.handshake_timeout;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match signals.recv_timeout(left) {
                Ok(Signal::Cancelled) | Err(RecvTimeoutError::Disconnected) => {
                    return Err("The session was cancelled".into());
                }
                Ok(signal) => {
                    if let Some(result) = wanted(signal) {
                        return result;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(too_late.into()),
            }
        }
    }
}

/// How a session ended that did not fail.
enum Ending {
    Finished,
    Cancelled,
}

impl Handler for &Agent {
    fn handle(&mut self, message: &Message<'_>) -> Result<(), HandlerError> {
        let mut payload = message.payload;
        let decrypted;
        if message.payload_type == u32::from(PayloadType::Output) && self.channel.is_encrypting() {
            decrypted = self
                .channel
                .decrypt(payload)
                .map_err(HandlerError::Failed)?;
            payload = &decrypted;
        }
        match PayloadType::try_from(message.payload_type) {
            Ok(PayloadType::HandshakeResponse) => self.take_response(payload),
            Ok(PayloadType::EncryptionChallengeResponse) => self.take_challenge(payload),
            _ if !self.taking_data.load(Ordering::SeqCst) => Ok(()),
            _ => {
                let plugin = lock(&self.plugin).clone();
                self.session().note_use();
                match plugin {
                    Some(plugin) => plugin.handle(message.payload_type, payload),
                    None => Err(HandlerError::NotReady),
                }
            }
        }
    }
}
