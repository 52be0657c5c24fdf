//! NonInteractiveCommands: a process without pty and without stdin.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::process::{Pid, Signal as UnixSignal, kill_process};
use session_manager_plugin::internals::message::PayloadType;

use super::output::Pump;
use super::stream::HandlerError;
use super::wait::{Stop, Waiter, waiter};
use super::{Agent, Plugin, Signal};
use crate::config::Document;
use crate::threads::lock;

/// What is read at once.
const READ: usize = 64 << 10;
/// The bytes among the client's that are signals; all others are thrown away.
const SIGNALS: [(u8, UnixSignal); 2] = [(0x03, UnixSignal::INT), (0x1c, UnixSignal::QUIT)];

/// A running command.
pub(super) struct Command {
    pid: Option<Pid>,
    /// Set once it has been waited for.
    exited: Mutex<bool>,
    exit: Condvar,
    stops: Mutex<Vec<Stop>>,
}

impl Command {
    /// Starts it; it is not run by a shell. A command that cannot be started tells the client why, on stderr.
    pub(super) fn start(agent: &Arc<Agent>) -> Result<Arc<Self>, String> {
        let Document::NonInteractive {
            command,
            separate_output,
            stdout_prefix,
            stderr_prefix,
        } = &agent.session().config.document
        else {
            return Err("not a command".into());
        };
        let mut builder = build(agent, command)?;
        let started = if *separate_output {
            Self::start_separate(agent, &mut builder, [stdout_prefix, stderr_prefix])
        } else {
            Self::start_together(agent, &mut builder)
        };
        started.or_else(|error| {
            let text = format!("Error occurred starting the command: {error}\n");
            if *separate_output {
                let _ = agent.channel.send(PayloadType::ExitCode, b"EXIT_CODE: 1");
            }
            let _ = agent.channel.send(PayloadType::StdErr, text.as_bytes());
            agent.signal(Signal::Finished(Ok(())));
            Ok(Arc::new(Self::new(None)))
        })
    }

    fn new(child: Option<&Child>) -> Self {
        Self {
            pid: child
                .and_then(|child| i32::try_from(child.id()).ok())
                .and_then(Pid::from_raw),
            exited: Mutex::new(child.is_none()),
            exit: Condvar::new(),
            stops: Mutex::default(),
        }
    }

    /// stdout, stderr and the exit code apart, as they come, never paced.
    fn start_separate(
        agent: &Arc<Agent>,
        builder: &mut process::Command,
        prefixes: [&String; 2],
    ) -> io::Result<Arc<Self>> {
        let mut child = builder
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let command = Arc::new(Self::new(Some(&child)));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let stdout = command.stop_with()?;
        let stderr = command.stop_with()?;
        let (running, pumped) = (Arc::clone(&command), Arc::clone(agent));
        let prefix = prefixes[1].clone();
        let errors = move || pump_pipe(err, &pumped, PayloadType::StdErr, &prefix, &stderr);
        let (done, errors_done) = std::sync::mpsc::channel::<()>();
        agent.shared.threads.spawn("agent-stderr", move || {
            errors();
            drop(done);
        });
        let pumped = Arc::clone(agent);
        let prefix = prefixes[0].clone();
        agent.shared.threads.spawn("agent-stdout", move || {
            pump_pipe(out, &pumped, PayloadType::Output, &prefix, &stdout);
            let _ = errors_done.recv();
            let code = exit_code(child.wait());
            running.note_exit();
            let text = format!("EXIT_CODE: {code}");
            let _ = pumped.channel.send(PayloadType::ExitCode, text.as_bytes());
            pumped.signal(Signal::Finished(Ok(())));
        });
        Ok(command)
    }

    /// Both into one file, which is sent when the command is done.
    fn start_together(agent: &Arc<Agent>, builder: &mut process::Command) -> io::Result<Arc<Self>> {
        let mut file = tempfile::tempfile()?;
        let mut child = builder
            .stdout(file.try_clone()?)
            .stderr(file.try_clone()?)
            .spawn()?;
        let command = Arc::new(Self::new(Some(&child)));
        let waiter = command.stop_with()?;
        let (running, pumped) = (Arc::clone(&command), Arc::clone(agent));
        agent.shared.threads.spawn("agent-command", move || {
            let _ = child.wait();
            running.note_exit();
            if file.rewind().is_ok() {
                pump_file(&mut file, &pumped, &waiter);
            }
            pumped.signal(Signal::Finished(Ok(())));
        });
        Ok(command)
    }

    fn stop_with(&self) -> io::Result<Waiter> {
        let (stop, waiter) = waiter()?;
        lock(&self.stops).push(stop);
        Ok(waiter)
    }

    fn note_exit(&self) {
        *lock(&self.exited) = true;
        self.exit.notify_all();
    }

    fn kill(&self, signal: UnixSignal) -> Result<(), HandlerError> {
        let exited = lock(&self.exited);
        match self.pid {
            Some(pid) if !*exited => {
                kill_process(pid, signal).map_err(|error| HandlerError::Failed(error.to_string()))
            }
            _ => Err(HandlerError::Failed("os: process already finished".into())),
        }
    }
}

fn build(agent: &Agent, command: &str) -> Result<process::Command, String> {
    let words = shlex::split(command).ok_or("Failed to parse commands input")?;
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let mut builder = process::Command::new(program);
    builder
        .args(arguments)
        .env("TERM", "xterm-256color")
        .envs(agent.session().config.agent.environment.iter().cloned())
        .stdin(Stdio::null())
        .process_group(0);
    Ok(builder)
}

/// As Go counts: a signal is -1.
fn exit_code(status: io::Result<ExitStatus>) -> i32 {
    status.map_or(1, |status| status.code().unwrap_or(-1))
}

fn pump_pipe(
    pipe: Option<impl Read + AsFd>,
    agent: &Agent,
    payload_type: PayloadType,
    prefix: &str,
    waiter: &Waiter,
) {
    let Some(mut pipe) = pipe else {
        return;
    };
    let mut pump = Pump::new(&agent.channel, payload_type).unpaced();
    let mut buffer = vec![0; READ];
    let mut at_line_start = true;
    while waiter.readable(&pipe) {
        let count = match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        // A prefix is where what was read before ended with a line: not before every line.
        let read = if at_line_start && !prefix.is_empty() {
            [prefix.as_bytes(), &buffer[..count]].concat()
        } else {
            buffer[..count].to_vec()
        };
        at_line_start = read.ends_with(b"\n");
        if pump.send(&read, waiter).is_err() {
            return;
        }
    }
}

fn pump_file(file: &mut File, agent: &Agent, waiter: &Waiter) {
    let mut pump = Pump::new(&agent.channel, PayloadType::Output);
    let mut buffer = vec![0; READ];
    while let Ok(count) = file.read(&mut buffer) {
        if count == 0 || pump.send(&buffer[..count], waiter).is_err() {
            return;
        }
    }
}

impl Plugin for Command {
    fn handle(&self, payload_type: u32, payload: &[u8]) -> Result<(), HandlerError> {
        if payload_type != u32::from(PayloadType::Output) {
            return Ok(());
        }
        let signal = payload.iter().find_map(|byte| {
            let known = SIGNALS.iter().find(|(signal, _)| signal == byte);
            known.map(|(_, signal)| *signal)
        });
        if let Some(signal) = signal {
            self.kill(signal)?;
            // The real one's reader waits for the process here, however long that takes.
            let mut exited = lock(&self.exited);
            while !*exited {
                exited = self
                    .exit
                    .wait(exited)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        Ok(())
    }

    fn stop(&self) {
        {
            let exited = lock(&self.exited);
            if let (false, Some(pid)) = (*exited, self.pid) {
                let _ = rustix::process::kill_process_group(pid, UnixSignal::KILL);
            }
        }
        for stop in lock(&self.stops).iter() {
            stop.stop();
        }
    }
}
