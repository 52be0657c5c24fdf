//! `run`: a command on a fleet, by Run Command. The service carries it out; we send it and tell what comes of it.
//!
//! | file | what it is |
//! |---|---|
//! | `send.rs` | which commands are sent |
//! | `watch.rs`, `pace.rs`, `ended.rs` | what is known, what to ask next, and when: no I/O |
//! | `call.rs` | the threads that ask |
//! | `show.rs` | what the user sees |
//!
//! It needs `ssm:SendCommand`, `ssm:ListCommands`, `ssm:ListCommandInvocations`, `ssm:GetCommandInvocation`, to know who runs Windows
//! `ssm:DescribeInstanceInformation`, and to cancel `ssm:CancelCommand`.

mod call;
mod ended;
mod pace;
mod send;
mod show;
mod watch;
mod watched_command;

use std::io::BufRead;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, at, bounded, never, select};
use rustix::termios::isatty;

use super::Surroundings;
use super::output::Unwritten;
use crate::cli::Run;
use crate::cli::run::RunOrder;
use crate::client::Client;
use crate::client::Limit;
use crate::error::Error;
use crate::remarks::Remarks;
use crate::session::out_of_resources;
use crate::terminal::signals::{Signal, Signals};
use crate::terminal::unread::{self, UnreadInput};
use crate::terminal::{print, raw};
use call::{CallAnswer, Calls};
use send::CommandPlan;
use show::RunShow;
use watch::{RunWatch, WatchOptions, WatchStep};

/// All look-ups and calls before the first node can begin, the search for credentials included.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);
/// A call for the end of a command.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the progress may stay as it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What is followed.
struct Commands {
    ids: Vec<String>,
    options: WatchOptions,
}

/// How following the commands ended.
enum RunOutcome {
    /// Everything is known.
    Over(u8),
    /// The commands go on, and nobody follows them.
    Left(u8),
}

/// Runs `run` and returns the exit code.
pub(super) fn run(run: &Run, around: &Surroundings) -> u8 {
    carry_out(run, around).unwrap_or_else(|error| {
        show::failed(run.json, &error);
        error.exit_code()
    })
}

/// An error says that nothing was sent, or that it cannot be followed to its end.
fn carry_out(run: &Run, around: &Surroundings) -> Result<u8, Error> {
    let order = run.order(&around.environment)?;
    if matches!(order, RunOrder::Send(_)) && unread::look(Instant::now()) == UnreadInput::Data {
        return Err(Error::Usage(
            "there is data on stdin, but run does not read stdin and the command would not get it: \
             add </dev/null if it is not for the command"
                .to_owned(),
        ));
    }
    let client = around.client(&run.account)?;
    let plan = match &order {
        // Signals end the program meanwhile: nothing was sent.
        RunOrder::Send(send) => send::plan(client.api(), send, &Limit::within(SEND_TIMEOUT))?,
        RunOrder::Attach(_) => CommandPlan::default(),
    };
    let signals = around.catch_signals()?;
    let mut show = RunShow::new(run.json, &signals, around.environment.get("TERM"));
    let (commands, trouble) = match order {
        RunOrder::Send(_) => send(&client, &plan, &mut show),
        RunOrder::Attach(ids) => attach(ids, &mut show),
    };
    if commands.ids.is_empty()
        && let Some(trouble) = trouble
    {
        return Err(trouble);
    }
    // From here on commands run, and the user must be told how to attach to them again.
    let outcome = follow(&client, &commands, &signals, &mut show, &around.remarks);
    let come_back = |what: &str| {
        if commands.ids.is_empty() {
            return;
        }
        let ids: Vec<String> = commands
            .ids
            .iter()
            .map(|id| format!("--attach {id}"))
            .collect();
        print::complaint(format!(
            "{what}; come back with `session-manager-plugin run {}`",
            ids.join(" ")
        ));
    };
    match (outcome, trouble) {
        (Ok(RunOutcome::Over(_)), Some(trouble)) => Err(trouble),
        (Ok(RunOutcome::Over(code)), None) => Ok(code),
        (Ok(RunOutcome::Left(code)), _) => {
            come_back("the command goes on");
            Ok(code)
        }
        (Err(error), _) => {
            // Who has just come back knows how, and the command may be none.
            if commands.options.is_new {
                come_back("the command may go on");
            }
            Err(error)
        }
    }
}

/// Sends what is planned. A command that cannot be sent does not end those before it; it is told at the end.
fn send(client: &Client, plan: &CommandPlan, show: &mut RunShow) -> (Commands, Option<Error>) {
    let mut commands = Commands {
        ids: Vec::new(),
        options: WatchOptions {
            is_new: true,
            is_mixed: plan.is_mixed,
        },
    };
    if plan.commands.len() > 1 {
        print::complaint(format!(
            "{} commands are sent, one for each platform; the rate is that of each",
            plan.commands.len()
        ));
    }
    for command in &plan.commands {
        match send::send(client.api(), command, &Limit::within(SEND_TIMEOUT)) {
            Ok(id) => {
                // What cannot be shown now is shown with the line that says how to attach again.
                let _ = show.command(&id, Some(command.document_name));
                commands.ids.push(id);
            }
            Err(error) => return (commands, Some(error)),
        }
    }
    for left in &plan.left {
        let _ = show.left(left);
    }
    (commands, None)
}

fn attach(ids: Vec<String>, show: &mut RunShow) -> (Commands, Option<Error>) {
    for id in &ids {
        let _ = show.command(id, None);
    }
    let options = WatchOptions {
        is_new: false,
        is_mixed: ids.len() > 1,
    };
    (Commands { ids, options }, None)
}

/// Tells of each node as it ends, until all have.
fn follow(
    client: &Client,
    commands: &Commands,
    signals: &Signals,
    show: &mut RunShow,
    remarks: &Remarks,
) -> Result<RunOutcome, Error> {
    let lost = Error::Lost;
    let calls =
        Calls::start(client.api(), &commands.ids).map_err(|error| out_of_resources(&error))?;
    let mut watch = RunWatch::new(commands.ids.len(), commands.options, Instant::now());
    let mut question = Question::default();
    loop {
        let until = loop {
            match watch.next(Instant::now()) {
                WatchStep::Ask(ask) => calls.make(ask),
                WatchStep::Wait(until) => break until,
                WatchStep::Over => return Ok(over(&watch, show)),
            }
        };
        if !question.is_open() {
            show.progress(watch.counts());
        }
        let time = until.map_or_else(|| after(PROGRESS_INTERVAL), at);
        select! {
            recv(calls.answers()) -> answer => {
                let answer = answer.map_err(|_| lost("the threads that call are gone".to_owned()))?;
                take(&mut watch, answer, remarks).map_err(lost)?;
            }
            recv(signals.incoming()) -> signal => {
                let Ok(signal) = signal else { continue };
                show.clear_progress();
                if signal != Signal::Interrupt || !question.ask() {
                    return Ok(RunOutcome::Left(code_of(signal)));
                }
            }
            recv(question.answer()) -> answer => {
                question.close();
                if answer != Ok(true) {
                    return Ok(RunOutcome::Left(code_of(Signal::Interrupt)));
                }
                cancel(client, commands);
                watch.look_soon(Instant::now());
            }
            recv(time) -> _ => {}
        }
        while let Some(ended) = watch.take_ended() {
            if show.ended(&ended) == Err(Unwritten) {
                let signal = signals.incoming().try_recv().ok();
                return Ok(RunOutcome::Left(signal.map_or(1, code_of)));
            }
        }
    }
}

/// The exit code after a signal.
fn code_of(signal: Signal) -> u8 {
    Error::Signal(signal.number()).exit_code()
}

fn take(watch: &mut RunWatch, answer: CallAnswer, remarks: &Remarks) -> Result<(), String> {
    let now = Instant::now();
    match answer {
        CallAnswer::Summary { part, summary } => watch.summary(part, summary, now),
        CallAnswer::Page { part, page } => watch.page(part, page, now),
        CallAnswer::Output { part, node, output } => {
            watch.output(part, &node, output);
            Ok(())
        }
        CallAnswer::Failed { ask, trouble } => {
            if let watch::Trouble::Temporary(why) = &trouble {
                remarks.once(&format!("{why}; it is tried again"));
            }
            watch.failed(ask, trouble, now)
        }
    }
}

fn over(watch: &RunWatch, show: &mut RunShow) -> RunOutcome {
    if let Some((count, details)) = watch.untold() {
        show.untold(count, &details);
    } else if watch.counts().all == 0 && show.none_meant() == Err(Unwritten) {
        return RunOutcome::Over(1);
    }
    match show.end() {
        Ok(code) => RunOutcome::Over(code),
        Err(Unwritten) => RunOutcome::Over(1),
    }
}

/// Cancels all commands. The result shows in their states, which are followed.
fn cancel(client: &Client, commands: &Commands) {
    for id in &commands.ids {
        let limit = Limit::within(CANCEL_TIMEOUT);
        match client.api().cancel_command(id, &limit) {
            Ok(()) => print::complaint(format!("command {id} is being cancelled")),
            Err(error) => print::complaint(error.into_error()),
        }
    }
}

/// The question at Ctrl-C: asked once, and only on a terminal.
#[derive(Default)]
struct Question {
    answer: Option<Receiver<bool>>,
    was_asked: bool,
}

impl Question {
    fn is_open(&self) -> bool {
        self.answer.is_some()
    }

    fn answer(&self) -> Receiver<bool> {
        self.answer.clone().unwrap_or_else(never)
    }

    fn close(&mut self) {
        self.answer = None;
    }

    /// Asks; false where there is nobody to ask, or it was asked before. Who asks in the background is stopped by the system.
    fn ask(&mut self) -> bool {
        let is_terminal = isatty(rustix::stdio::stdin()) && isatty(rustix::stdio::stderr());
        if self.was_asked || !is_terminal || !raw::in_foreground() {
            return false;
        }
        self.was_asked = true;
        print::to_stderr(
            "\nCancel the command on the nodes where it has not ended? [y/N: leave it running] ",
        );
        let (sender, answer) = bounded(1);
        // It ends with the process where nothing is typed.
        let thread = std::thread::Builder::new().name("question".to_owned());
        let asked = thread.spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            let is_yes = matches!(line.trim(), "y" | "Y" | "yes");
            let _ = sender.send(read.is_ok() && is_yes);
        });
        self.answer = Some(answer);
        asked.is_ok()
    }
}
