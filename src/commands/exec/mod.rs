//! `exec` on several targets: all at once, each line with its target before it.

pub(super) mod fed;
mod lines;
mod report;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::Surroundings;
use super::outages::Outages;
use super::session::{STDIN_TIMEOUT, refuse_unread};
use crate::cli::ExecOptions;
use crate::client::TerminateSession;
use crate::client::exec::command_line;
use crate::client::target::TargetName;
use crate::client::{Cancel, Client, ClientError, Limit};
use crate::client::{DataChannel, Urgency};
use crate::error::Error;
use crate::mutex::lock;
use crate::session::out_of_resources;
use crate::terminal::signals::Signal;
use report::{ExecReport, TargetEvent};

/// How long a target may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long ending all sessions may take.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pieces of output that wait for stdout. When they are so many, the commands wait for its reader.
const QUEUE: usize = 64;

/// A session that runs, and how it is ended.
#[derive(Clone)]
struct RunningSession {
    channel: DataChannel,
    terminate: Option<Arc<TerminateSession>>,
}

/// What all threads share.
struct ExecState {
    client: Client,
    line: String,
    reason: Option<String>,
    wait: Option<Duration>,
    cancel: Cancel,
    /// Held by each thread that starts a session; none once no session is to be started.
    starting: Mutex<Option<Sender<()>>>,
    /// Disconnected when the last of them is done.
    all_started: Receiver<()>,
    /// By the targets' numbers.
    running: Mutex<HashMap<usize, RunningSession>>,
}

/// Runs the command; the highest exit code.
pub(super) fn run(exec: &ExecOptions, around: &Surroundings) -> Result<u8, Error> {
    let began = Instant::now();
    let targets = exec.targets(&around.environment)?;
    let (notices, heard) = unbounded();
    let cancel = Cancel::new().map_err(|error| out_of_resources(&error))?;
    let client = around
        .client_telling(&exec.starting.account, notices)?
        .with_cancel(&cancel);
    refuse_unread(began + STDIN_TIMEOUT)?;
    let signals = around.catch_signals()?;
    let (starting, all_started) = bounded(0);
    let shared = Arc::new(ExecState {
        client,
        cancel,
        starting: Mutex::new(Some(starting)),
        all_started,
        line: command_line(&exec.command),
        reason: exec.starting.reason.clone(),
        wait: exec.starting.wait(),
        running: Mutex::default(),
    });
    let (work, tasks) = unbounded();
    for task in targets.iter().cloned().enumerate() {
        // The receiver is alive.
        let _ = work.send(task);
    }
    drop(work);
    let (sender, events) = bounded(QUEUE);
    let parallel = usize::try_from(exec.parallel).unwrap_or(usize::MAX);
    for number in 0..parallel.min(tasks.len()) {
        let (shared, tasks, sender) = (Arc::clone(&shared), tasks.clone(), sender.clone());
        std::thread::Builder::new()
            .name(format!("exec-{number}"))
            .spawn(move || {
                for (number, target) in tasks {
                    shared.run_one(number, &target, &sender);
                }
            })
            .map_err(|error| out_of_resources(&error))?;
    }
    drop(sender);
    let report = ExecReport::new(exec, &targets, around.redactor.clone());
    let (alive, finished) = bounded::<()>(0);
    // On a thread of its own: signals are handled while a slow reader blocks the output.
    let report = std::thread::Builder::new()
        .name("report".to_owned())
        .spawn(move || {
            let written = write(report, &events);
            drop(alive);
            written
        })
        .map_err(|error| out_of_resources(&error))?;
    let mut was_interrupted = false;
    let mut outages = Outages::new(around.redactor.clone());
    loop {
        select! {
            recv(finished) -> _ => match report.join() {
                Ok(ReportWritten::All(code)) => return Ok(code),
                // The reader of stdout is gone.
                Ok(ReportWritten::ReaderGone) => {
                    shared.end_all();
                    return Ok(0);
                }
                Ok(ReportWritten::Failed(error)) => {
                    shared.end_all();
                    return Err(Error::Lost(format!("cannot write the output ({error})")));
                }
                Err(_) => return Err(Error::defect("the report thread")),
            },
            // The client holds a sender.
            recv(heard) -> notice => if let Ok(notice) = notice {
                outages.tell(&notice);
            },
            recv(signals.incoming()) -> signal => match signal {
                Ok(Signal::Interrupt) if !was_interrupted => {
                    was_interrupted = true;
                    drop_all(&tasks);
                    shared.start_no_more();
                    shared.interrupt_all();
                }
                Ok(Signal::Quit | Signal::Stop | Signal::WindowChange | Signal::Continue) => {}
                Ok(signal) => {
                    drop_all(&tasks);
                    shared.end_all();
                    return Err(Error::Signal(signal.number()));
                }
                Err(_) => return Err(Error::defect("the signal thread")),
            },
        }
    }
}

/// How writing ended.
enum ReportWritten {
    /// All of it is written; the exit code.
    All(u8),
    /// The reader is gone.
    ReaderGone,
    /// It could not be written.
    Failed(io::Error),
}

/// Writes what the threads send until all of them have ended.
fn write(mut report: ExecReport, events: &Receiver<(usize, TargetEvent)>) -> ReportWritten {
    for (number, event) in events {
        match report.take(number, event) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ReportWritten::ReaderGone;
            }
            Err(error) => return ReportWritten::Failed(error),
        }
    }
    ReportWritten::All(report.finish())
}

/// Nothing more is started.
fn drop_all(tasks: &Receiver<(usize, TargetName)>) {
    while tasks.try_recv().is_ok() {}
}

impl ExecState {
    /// Runs the command on one target.
    fn run_one(&self, number: usize, name: &TargetName, events: &Sender<(usize, TargetEvent)>) {
        // The receiver is gone once everything is being ended.
        let tell = |event| {
            let _ = events.send((number, event));
        };
        let Some(starting) = lock(&self.starting).clone() else {
            return;
        };
        let reached = self.client.reach(name, self.wait, |target, limit| {
            self.client
                .start_command(target, &self.line, self.reason.as_deref(), limit)
        });
        let (target, exec) = match reached {
            Ok(reached) => reached,
            Err(error) => {
                drop(starting);
                return tell(TargetEvent::Ended(Err(error.into_error())));
            }
        };
        let session = exec.session();
        let running = RunningSession {
            channel: session.channel().clone(),
            terminate: session.terminate().cloned(),
        };
        self.running().insert(number, running);
        drop(starting);
        tell(TargetEvent::Found(target.id().to_owned()));
        let result = exec
            .run(&Limit::within(BEGIN_TIMEOUT), |output| {
                tell(TargetEvent::Output(output))
            })
            .map_err(ClientError::into_error);
        self.running().remove(&number);
        tell(TargetEvent::Ended(result));
    }

    fn running(&self) -> MutexGuard<'_, HashMap<usize, RunningSession>> {
        lock(&self.running)
    }

    /// Sessions that are being started are not wanted any more.
    fn start_no_more(&self) {
        lock(&self.starting).take();
        self.cancel.cancel();
    }

    /// Sends the commands what Ctrl-C sends on a terminal.
    fn interrupt_all(&self) {
        for running in self.running().values() {
            // A command that has ended is not interrupted.
            let _ = running.channel.send(b"\x03", Urgency::Interactive);
        }
    }

    /// Ends all remote sessions at the same time.
    fn end_all(&self) {
        let deadline = Instant::now() + TERMINATE_TIMEOUT;
        self.start_no_more();
        let (done, is_done) = bounded::<()>(0);
        let all: Vec<RunningSession> = self.running().drain().map(|(_, running)| running).collect();
        for running in all {
            let done = done.clone();
            let spawned = std::thread::Builder::new()
                .name("terminate".to_owned())
                .spawn(move || {
                    if let Some(Err(error)) = running.terminate.map(|terminate| terminate(deadline))
                    {
                        log::info!("a remote session could not be ended: {error}");
                    }
                    running.channel.close();
                    drop(done);
                });
            if let Err(error) = spawned {
                log::info!("a remote session could not be ended: {error}");
            }
        }
        drop(done);
        // Disconnected when all are done.
        let _ = is_done.recv_deadline(deadline);
        // Each of these has ended what it started.
        let _ = self.all_started.recv_deadline(deadline);
    }
}
