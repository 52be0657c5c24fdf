//! Programs that run for us, none of which outlives the wait for it, or this process.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::mutex::lock;
use crate::signal_mask;

/// How long a program may take to end when it is asked to: it may have to set the terminal right at which it asks its user.
const END_TIME: Duration = Duration::from_millis(500);
/// How often it is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

type SharedChild = Arc<Mutex<Child>>;

/// Those that run now; none once this process ends. They belong to the process, as its children do.
static RUNNING: Mutex<Option<Vec<Weak<Mutex<Child>>>>> = Mutex::new(Some(Vec::new()));

/// A program that does not outlive the wait for it.
///
/// It is in our process group, as it may ask at the terminal: Ctrl-C reaches it there by itself.
pub(super) struct RunningProgram(SharedChild);

impl RunningProgram {
    /// Starts it, with the signal mask that this process got.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        // Under the lock, so that the end of this process does not come in between.
        let mut running = lock(&RUNNING);
        let Some(running) = &mut *running else {
            return Err(io::Error::other("this program is about to end"));
        };
        let child = signal_mask::with_inherited(|| command.spawn())?;
        let child = Arc::new(Mutex::new(child));
        running.retain(|other| other.strong_count() > 0);
        running.push(Arc::downgrade(&child));
        Ok(Self(child))
    }

    /// For its pipes.
    pub(super) fn child(&self) -> MutexGuard<'_, Child> {
        lock(&self.0)
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        end(&[Arc::clone(&self.0)]);
    }
}

/// Ends all programs that run for this process, before it ends itself. They are asked to end, and killed half a second later. What they
/// have started themselves, and leave behind, is not known here.
pub(crate) fn end_programs() {
    let running = lock(&RUNNING).take().unwrap_or_default();
    let running: Vec<_> = running.iter().filter_map(Weak::upgrade).collect();
    end(&running);
}

fn end(programs: &[SharedChild]) {
    let are_over = || {
        let mut programs = programs.iter();
        // One of which nothing is known cannot be waited for.
        programs.all(|program| !matches!(lock(program).try_wait(), Ok(None)))
    };
    if are_over() {
        return;
    }
    for program in programs {
        let mut program = lock(program);
        // Its number is its own as long as it was not waited for.
        if let (Ok(None), Ok(pid)) = (program.try_wait(), i32::try_from(program.id()))
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let until = Instant::now() + END_TIME;
    while !are_over() {
        if Instant::now() >= until {
            for program in programs {
                // Nothing to be done about failures; one that has ended already is no failure.
                let mut program = lock(program);
                let _ = program.kill();
                let _ = program.wait();
            }
            return;
        }
        thread::sleep(LOOK_INTERVAL);
    }
}
