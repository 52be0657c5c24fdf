//! Many connections over one stream: the server's side of smux, version 1.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use session_manager_plugin::internals::message::{Flag, PayloadType};
use session_manager_plugin::internals::smux::frame::{self, FrameDecoder, MAX_DATA};
use session_manager_plugin::internals::smux::{Frame, StreamId};

use super::Destination;
use super::streams::{Outlet, Streams};
use crate::agent::output::Pump;
use crate::agent::stream::HandlerError;
use crate::agent::wait::{Stop, Waiter, waiter};
use crate::agent::{Agent, Plugin, Signal};
use crate::threads::lock;

/// After so many intervals without anything from the client the session is closed.
const KEEPALIVE_INTERVALS: u32 = 3;

/// The multiplexer.
pub(super) struct Mux {
    agent: Arc<Agent>,
    destination: Destination,
    decoder: Mutex<FrameDecoder>,
    streams: Streams,
    outlet: Outlet,
    /// Streams that wait to be dialled for, one after another.
    opened: Mutex<Option<mpsc::Sender<StreamId>>>,
    /// Something came since the last look.
    heard: AtomicBool,
    stops: Vec<Stop>,
}

impl Mux {
    /// Starts the threads that send and that dial.
    pub(super) fn start(
        agent: &Arc<Agent>,
        destination: Destination,
        keepalive: bool,
    ) -> Result<Arc<Self>, String> {
        let (opened, to_dial) = mpsc::channel();
        let (stop_sending, sending) = waiter().map_err(|error| error.to_string())?;
        let (stop_keeping, keeping) = waiter().map_err(|error| error.to_string())?;
        let mux = Arc::new(Self {
            agent: Arc::clone(agent),
            destination,
            decoder: Mutex::default(),
            streams: Streams::default(),
            outlet: Outlet::default(),
            opened: Mutex::new(Some(opened)),
            heard: AtomicBool::new(false),
            stops: vec![stop_sending, stop_keeping],
        });
        let threads = &agent.shared.threads;
        let sender = Arc::clone(&mux);
        threads.spawn("agent-mux-send", move || sender.send(&sending));
        let dialler = Arc::clone(&mux);
        threads.spawn("agent-mux-dial", move || {
            while let Ok(stream) = to_dial.recv() {
                dialler.dial(stream);
            }
        });
        if keepalive {
            let keeper = Arc::clone(&mux);
            threads.spawn("agent-mux-keep", move || keeper.keep_alive(&keeping));
        }
        Ok(mux)
    }

    /// The byte stream to the client.
    fn send(&self, waiter: &Waiter) {
        let mut pump = Pump::raw(&self.agent.channel);
        let mut bytes = Vec::new();
        while self.outlet.take(&mut bytes) {
            if pump.send(&bytes, waiter).is_err() {
                break;
            }
        }
        self.agent.signal(Signal::Finished(Ok(())));
    }

    /// Connects a stream, and carries its bytes.
    fn dial(self: &Arc<Self>, stream: StreamId) {
        let connection = match self.destination.dial() {
            Ok(connection) => connection,
            Err(error) => {
                self.agent
                    .session()
                    .note_agent(format!("stream {stream}: {error}"));
                let flag = Flag::ConnectToPortError.to_bytes();
                let _ = self.agent.channel.send(PayloadType::Flag, &flag);
                self.close_stream(stream);
                return;
            }
        };
        let (Ok(reader), Ok(handle)) = (connection.try_clone(), connection.try_clone()) else {
            self.close_stream(stream);
            return;
        };
        if !self.streams.connect(stream, handle) {
            return;
        }
        let threads = &self.agent.shared.threads;
        let mux = Arc::clone(self);
        threads.spawn("agent-mux-in", move || {
            mux.carry_to_port(stream, connection)
        });
        let mux = Arc::clone(self);
        threads.spawn("agent-mux-out", move || mux.carry_to_client(stream, reader));
    }

    /// Ends when the client has said FIN, or the connection takes no more; either closes both directions.
    fn carry_to_port(&self, stream: StreamId, mut connection: TcpStream) {
        while let Some(data) = self.streams.pop(stream) {
            if connection.write_all(&data).is_err() {
                break;
            }
        }
        let _ = connection.shutdown(std::net::Shutdown::Both);
    }

    /// Ends when the connection does; says FIN.
    fn carry_to_client(&self, stream: StreamId, mut connection: TcpStream) {
        let mut buffer = vec![0; MAX_DATA];
        loop {
            match connection.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let length = u16::try_from(count).unwrap_or(u16::MAX);
                    if !self
                        .outlet
                        .push(&frame::push(stream, length), &buffer[..count])
                    {
                        break;
                    }
                }
            }
        }
        self.close_stream(stream);
    }

    fn close_stream(&self, stream: StreamId) {
        self.streams.remove(stream);
        self.outlet.push(&frame::fin(stream), &[]);
    }

    fn keep_alive(&self, waiter: &Waiter) {
        let interval = self.agent.session().config.agent.smux_keepalive;
        let mut silent = 0;
        while waiter.sleep(interval) {
            silent = if self.heard.swap(false, Ordering::SeqCst) {
                0
            } else {
                silent + 1
            };
            if silent >= KEEPALIVE_INTERVALS {
                self.fail("smux: nothing came for three keepalives");
                return;
            }
            self.outlet.push(&frame::nop(), &[]);
        }
    }

    /// The multiplexer is broken, and with it the session.
    fn fail(&self, why: &str) {
        self.agent.session().note_agent(why);
        self.agent.signal(Signal::Finished(Err(String::new())));
    }

    /// Client to ports. Blocks while nobody takes the bytes of one stream and the budget is used up.
    fn take(&self, payload: &[u8]) -> Result<(), String> {
        self.heard.store(true, Ordering::SeqCst);
        let mut input = Bytes::copy_from_slice(payload);
        let mut decoder = lock(&self.decoder);
        loop {
            match decoder.next(&mut input) {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Syn(stream))) => {
                    if self.streams.open(stream)
                        && let Some(opened) = &*lock(&self.opened)
                    {
                        let _ = opened.send(stream);
                    }
                }
                Ok(Some(Frame::Fin(stream))) => self.streams.finish(stream),
                Ok(Some(Frame::Data(stream, data))) => {
                    if !self.streams.push(stream, data) {
                        return Err("the session is over".into());
                    }
                }
                Ok(Some(Frame::Nop)) => {}
                Err(error) => {
                    self.fail(&format!("smux: {error}"));
                    return Err(error.to_string());
                }
            }
        }
    }
}

impl Plugin for Mux {
    fn handle(&self, payload_type: u32, payload: &[u8]) -> Result<(), HandlerError> {
        match PayloadType::try_from(payload_type) {
            Ok(PayloadType::Output) => self.take(payload).map_err(HandlerError::Failed),
            Ok(PayloadType::Flag) => {
                if Flag::from_bytes(payload) == Some(Flag::TerminateSession) {
                    self.agent.signal(Signal::Cancelled);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stop(&self) {
        *lock(&self.opened) = None;
        self.streams.close();
        self.outlet.close();
        for stop in &self.stops {
            stop.stop();
        }
    }
}
