//! Standard_Stream and InteractiveCommands: a process on a real pty.

use std::io::{self, Read, Write};
use std::process::Child;
use std::sync::{Arc, Mutex};

use pty_process::blocking::{Command, Pty, open};
use rustix::process::{Pid, Signal as UnixSignal, kill_process, kill_process_group};
use session_manager_plugin::internals::message::PayloadType;
use session_manager_plugin::internals::message::content::Size;

use super::channel::Channel;
use super::output::Pump;
use super::stream::HandlerError;
use super::wait::{Stop, Waiter, waiter};
use super::{Agent, Plugin, Signal};
use crate::threads::lock;

/// A process on a pty.
pub(super) struct Shell {
    pty: Arc<Pty>,
    child: Mutex<Child>,
    stops: [Stop; 2],
    input: Waiter,
}

/// What is read from a pty at once: more than the kernel ever hands out.
const READ: usize = 16 << 10;

impl Shell {
    /// Starts the shell, or a command in it.
    pub(super) fn start(agent: &Arc<Agent>, command: Option<&str>) -> Result<Arc<Self>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("Unable to start command: {error}");
        let (pty, pts) = open().map_err(|error| failed(&error))?;
        let config = &agent.session().config.agent;
        let mut builder = Command::new(&config.shell)
            .env("TERM", "xterm-256color")
            .envs(config.environment.iter().map(|(key, value)| (key, value)));
        if std::env::var_os("LANG").is_none() {
            builder = builder.env("LANG", "C.UTF-8");
        }
        if let Some(command) = command {
            builder = builder.args(["-c", command]);
        }
        let child = builder.spawn(pts).map_err(|error| failed(&error))?;
        rustix::io::ioctl_fionbio(&pty, true).map_err(|error| failed(&error))?;
        let (stop_input, input) = waiter().map_err(|error| failed(&error))?;
        let (stop_output, output) = waiter().map_err(|error| failed(&error))?;
        let shell = Arc::new(Self {
            pty: Arc::new(pty),
            child: Mutex::new(child),
            stops: [stop_input, stop_output],
            input,
        });
        let pty = Arc::clone(&shell.pty);
        let pumped = Arc::clone(agent);
        agent.shared.threads.spawn("agent-pty", move || {
            let delay = pumped.session().config.agent.start_delay;
            if output.sleep(delay) {
                pump(&pty, &output, &pumped.channel);
            }
            pumped.signal(Signal::Finished(Ok(())));
        });
        Ok(shell)
    }

    fn write(&self, mut payload: &[u8]) -> io::Result<()> {
        while !payload.is_empty() {
            match (&*self.pty).write(payload) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => payload = &payload[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.input.writable(&self.pty) {
                        return Err(io::Error::other("the session is over"));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Sends what the pty says, until nobody is there to say more.
fn pump(pty: &Pty, waiter: &Waiter, channel: &Channel) {
    let mut pump = Pump::new(channel, PayloadType::Output);
    let mut buffer = vec![0; READ];
    while waiter.readable(&pty) {
        let mut terminal = pty;
        match terminal.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if pump.send(&buffer[..count], waiter).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // EIO: the process and its children have let go of the pty.
            Err(_) => return,
        }
    }
}

impl Plugin for Shell {
    fn handle(&self, payload_type: u32, payload: &[u8]) -> Result<(), HandlerError> {
        let failed = |error: String| HandlerError::Failed(error);
        match PayloadType::try_from(payload_type) {
            Ok(PayloadType::Output) => self
                .write(payload)
                .map_err(|error| failed(error.to_string())),
            Ok(PayloadType::Size) => {
                let size: Size =
                    serde_json::from_slice(payload).map_err(|error| failed(error.to_string()))?;
                self.pty
                    .resize(pty_process::Size::new(size.rows, size.cols))
                    .map_err(|error| failed(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn stop(&self) {
        let mut child = lock(&self.child);
        // Its own process group, as the leader of its session.
        end(&mut child, UnixSignal::HUP);
        for stop in &self.stops {
            stop.stop();
        }
    }
}

/// Ends a process that leads a group, and waits for it.
pub(super) fn end(child: &mut Child, gently: UnixSignal) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, gently);
        let _ = kill_process(pid, UnixSignal::KILL);
    }
    let _ = child.wait();
}
