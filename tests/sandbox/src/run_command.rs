//! Run Command's engine: commands on many nodes at the rate that was asked for. Scripts are really run.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::target::{RunBehaviour, Target, TargetState};
use crate::threads::{Threads, lock};

/// How many scripts run at the same time, however many nodes a command may use at once.
const WORKERS: usize = 8;

/// A command that was sent.
pub(crate) struct SentCommand {
    pub(crate) id: String,
    pub(crate) document: String,
    pub(crate) comment: String,
    pub(crate) order: Order,
    pub(crate) requested: SystemTime,
    pub(crate) invocations: Vec<Mutex<Invocation>>,
    cancelled: AtomicBool,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Lines for `sh`.
    pub(crate) script: String,
    /// Where it runs.
    pub(crate) working_directory: Option<String>,
    /// How long the script may take.
    pub(crate) execution_timeout: Duration,
    /// How long a node may take to fetch it.
    pub(crate) delivery_timeout: Duration,
    /// On how many nodes at once.
    pub(crate) concurrency: usize,
    /// After more failures than this no further node gets it.
    pub(crate) max_errors: usize,
}

/// A command on one node.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) target: Target,
    pub(crate) state: State,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    since: Instant,
}

/// The state of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    InProgress,
    /// With its exit code.
    Ended(i32),
    DeliveryTimedOut,
    ExecutionTimedOut,
    Cancelled,
    /// More errors than allowed, elsewhere.
    Terminated,
}

impl State {
    /// Status and StatusDetails.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Pending => ("Pending", "Pending"),
            Self::InProgress => ("InProgress", "InProgress"),
            Self::Ended(0) => ("Success", "Success"),
            Self::Ended(_) => ("Failed", "Failed"),
            Self::DeliveryTimedOut => ("TimedOut", "DeliveryTimedOut"),
            Self::ExecutionTimedOut => ("TimedOut", "ExecutionTimedOut"),
            Self::Cancelled => ("Cancelled", "Cancelled"),
            Self::Terminated => ("Cancelled", "Terminated"),
        }
    }

    /// Whether nothing more happens.
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }

    fn is_error(self) -> bool {
        matches!(self, Self::DeliveryTimedOut | Self::ExecutionTimedOut)
            || matches!(self, Self::Ended(code) if code != 0)
    }

    /// ResponseCode: -1 where there is none.
    pub(crate) fn response_code(self) -> i32 {
        match self {
            Self::Ended(code) => code,
            _ => -1,
        }
    }
}

impl SentCommand {
    /// Sends a command: threads of the sandbox carry it out.
    pub(crate) fn send(
        id: String,
        document: String,
        comment: String,
        order: Order,
        targets: Vec<Target>,
        threads: &Threads,
    ) -> Arc<Self> {
        let invocations = targets.into_iter().map(|target| {
            Mutex::new(Invocation {
                target,
                state: State::Pending,
                stdout: Vec::new(),
                stderr: Vec::new(),
                since: Instant::now(),
            })
        });
        let command = Arc::new(Self {
            id,
            document,
            comment,
            order,
            requested: SystemTime::now(),
            invocations: invocations.collect(),
            cancelled: AtomicBool::new(false),
        });
        let next = Arc::new(Mutex::new(0));
        for _ in 0..command.order.concurrency.clamp(1, WORKERS) {
            let (command, next, threads_again) =
                (Arc::clone(&command), Arc::clone(&next), threads.clone());
            threads.spawn("run-command", move || command.work(&next, &threads_again));
        }
        command
    }

    /// Cancels it, on these nodes or on all.
    pub(crate) fn cancel(&self, nodes: &[&str]) {
        if nodes.is_empty() {
            self.cancelled.store(true, Ordering::SeqCst);
        }
        for invocation in &self.invocations {
            let mut invocation = lock(invocation);
            let is_meant = nodes.is_empty() || nodes.contains(&invocation.target.id.as_str());
            if is_meant && !invocation.state.is_final() {
                invocation.state = State::Cancelled;
            }
        }
    }

    /// Whether it was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Ends what has waited for its time for a node that is offline, or for a script that hangs.
    pub(crate) fn expire(&self) {
        for invocation in &self.invocations {
            let mut invocation = lock(invocation);
            let age = invocation.since.elapsed();
            match invocation.state {
                State::Pending
                    if invocation.target.state != TargetState::Online
                        && age >= self.order.delivery_timeout =>
                {
                    invocation.state = State::DeliveryTimedOut;
                }
                State::InProgress
                    if invocation.target.run == RunBehaviour::Hang
                        && age >= self.order.execution_timeout =>
                {
                    invocation.state = State::ExecutionTimedOut;
                }
                _ => {}
            }
        }
    }

    fn errors(&self) -> usize {
        let errors = self
            .invocations
            .iter()
            .filter(|one| lock(one).state.is_error());
        errors.count()
    }

    fn work(&self, next: &Mutex<usize>, threads: &Threads) {
        loop {
            let index = {
                let mut next = lock(next);
                *next += 1;
                *next - 1
            };
            let Some(invocation) = self.invocations.get(index) else {
                return;
            };
            if threads.is_stopping() {
                return;
            }
            let is_too_much = self.errors() > self.order.max_errors;
            let behaviour = {
                let mut invocation = lock(invocation);
                if invocation.state != State::Pending {
                    continue;
                }
                if is_too_much {
                    invocation.state = State::Terminated;
                    continue;
                }
                // It stays pending until the delivery's time is over.
                if invocation.target.state != TargetState::Online {
                    continue;
                }
                invocation.state = State::InProgress;
                invocation.since = Instant::now();
                invocation.target.run
            };
            match behaviour {
                RunBehaviour::Run => self.run(invocation, threads),
                RunBehaviour::Fail(code) => lock(invocation).state = State::Ended(code),
                // Holds its place in the rate no longer than it takes to look at it: a test must not wait for it.
                RunBehaviour::Hang => {}
            }
        }
    }

    fn run(&self, invocation: &Mutex<Invocation>, threads: &Threads) {
        let node = lock(invocation).target.clone();
        let result = self.run_script(&node, invocation, threads);
        let mut invocation = lock(invocation);
        match result {
            Ok((state, stdout, stderr)) => {
                if !invocation.state.is_final() {
                    invocation.state = state;
                }
                invocation.stdout = stdout;
                invocation.stderr = stderr;
            }
            Err(error) => {
                invocation.state = State::Ended(1);
                invocation.stderr = format!("cannot run: {error}").into_bytes();
            }
        }
    }

    fn run_script(
        &self,
        node: &Target,
        invocation: &Mutex<Invocation>,
        threads: &Threads,
    ) -> io::Result<(State, Vec<u8>, Vec<u8>)> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.order.script])
            .env("SSM_INSTANCE_ID", &node.id)
            .env("SSM_COMPUTER_NAME", &node.computer_name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(folder) = &self.order.working_directory {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let kill = move || {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
        };
        let _hook = threads.on_stop(kill);
        let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let (sender, ended) = mpsc::channel();
        let waiter = std::thread::spawn(move || sender.send(child.wait()));
        let deadline = Instant::now() + self.order.execution_timeout;
        let state = loop {
            match ended.recv_timeout(Duration::from_millis(20)) {
                Ok(status) => {
                    let status = status?;
                    let code = status
                        .code()
                        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                    break State::Ended(code);
                }
                Err(RecvTimeoutError::Timeout) if lock(invocation).state.is_final() => {
                    kill();
                    break State::Cancelled;
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    kill();
                    break State::ExecutionTimedOut;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break State::Ended(1),
            }
        };
        let _ = waiter.join();
        let of = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
        Ok((state, of(stdout), of(stderr)))
    }
}

fn reader(source: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut output = Vec::new();
        if let Some(mut source) = source {
            let _ = source.read_to_end(&mut output);
        }
        output
    })
}
