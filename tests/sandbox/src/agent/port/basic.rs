//! One connection at a time: SSH, and forwarding by old agents.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use session_manager_plugin::internals::message::{Flag, PayloadType};

use super::Destination;
use crate::agent::output::Pump;
use crate::agent::stream::HandlerError;
use crate::agent::wait::{Stop, Waiter, waiter};
use crate::agent::{Agent, Plugin, Signal};
use crate::threads::lock;

const READ: usize = 64 << 10;

/// A connection that is made again when data comes for it.
pub(super) struct Basic {
    agent: Arc<Agent>,
    destination: Destination,
    /// SSH ends with its connection; forwarding waits for data.
    forwarding: bool,
    /// Whether this agent knows the flag TerminateSession.
    terminates: bool,
    state: Mutex<State>,
    dialled: Condvar,
    stop: Stop,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<TcpStream>>,
    /// The reading thread has noticed that the connection is gone.
    gone: bool,
    stopped: bool,
}

impl Basic {
    /// Dials, and starts to read.
    pub(super) fn start(
        agent: &Arc<Agent>,
        destination: Destination,
        forwarding: bool,
        terminates: bool,
    ) -> Result<Arc<Self>, String> {
        let connection = dial(&destination)?;
        let (stop, waiter) = waiter().map_err(|error| error.to_string())?;
        let basic = Arc::new(Self {
            agent: Arc::clone(agent),
            destination,
            forwarding,
            terminates,
            state: Mutex::new(State {
                connection: Some(connection),
                ..State::default()
            }),
            dialled: Condvar::new(),
            stop,
        });
        let reader = Arc::clone(&basic);
        agent
            .shared
            .threads
            .spawn("agent-port", move || reader.pump(&waiter));
        Ok(basic)
    }

    /// Port to client.
    fn pump(&self, waiter: &Waiter) {
        let mut pump = Pump::raw(&self.agent.channel);
        let mut buffer = vec![0; READ];
        while let Some(connection) = self.connection() {
            let count = (&*connection).read(&mut buffer).unwrap_or(0);
            if count == 0 {
                if !self.forwarding {
                    break;
                }
                let mut state = lock(&self.state);
                let _ = connection.shutdown(Shutdown::Both);
                state.gone = true;
            } else if pump.send(&buffer[..count], waiter).is_err() {
                break;
            }
        }
        self.agent.signal(Signal::Finished(Ok(())));
    }

    /// The connection, once there is one that is open.
    fn connection(&self) -> Option<Arc<TcpStream>> {
        let mut state = lock(&self.state);
        while state.gone && !state.stopped {
            state = self
                .dialled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return None;
        }
        state.connection.clone()
    }

    /// Client to port.
    fn write(&self, payload: &[u8]) -> Result<(), String> {
        let connection = {
            let mut state = lock(&self.state);
            if state.gone && !state.stopped {
                // A failure ends the session: the reading thread gets it too.
                match dial(&self.destination) {
                    Ok(connection) => {
                        state.connection = Some(connection);
                        state.gone = false;
                    }
                    Err(error) => {
                        self.agent.signal(Signal::Finished(Err(error.clone())));
                        return Err(error);
                    }
                }
                self.dialled.notify_all();
            }
            state.connection.clone().ok_or("no connection")?
        };
        (&*connection)
            .write_all(payload)
            .map_err(|error| error.to_string())
    }

    fn disconnect(&self) {
        if let Some(connection) = &lock(&self.state).connection {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn dial(destination: &Destination) -> Result<Arc<TcpStream>, String> {
    destination
        .dial()
        .map(Arc::new)
        .map_err(|error| format!("Unable to connect to specified port: {error}"))
}

impl Plugin for Basic {
    fn handle(&self, payload_type: u32, payload: &[u8]) -> Result<(), HandlerError> {
        match PayloadType::try_from(payload_type) {
            Ok(PayloadType::Output) => self.write(payload).map_err(HandlerError::Failed),
            Ok(PayloadType::Flag) => {
                match Flag::from_bytes(payload) {
                    Some(Flag::DisconnectToPort) => self.disconnect(),
                    Some(Flag::TerminateSession) if self.terminates => {
                        self.agent.signal(Signal::Cancelled);
                    }
                    _ => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stop(&self) {
        lock(&self.state).stopped = true;
        self.disconnect();
        self.dialled.notify_all();
        self.stop.stop();
    }
}
