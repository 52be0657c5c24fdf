//! Signals as messages in a channel, and the end of the parent with them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, unbounded};
use rustix::process::Pid;
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::Cause;

use super::parent;
use crate::signal_mask;

/// The signals that mean something to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\.
    Quit,
    /// Ctrl-Z.
    Stop,
    /// `kill`.
    Terminate,
    /// The terminal is gone.
    HangUp,
    /// The terminal has another size.
    WindowChange,
    /// The process was stopped and goes on.
    Continue,
    /// No signal of the system's: the process is gone that started us and waited for us.
    ParentGone,
}

impl Signal {
    /// Its number, for handlers and exit codes.
    pub const fn number(self) -> i32 {
        match self {
            Self::Interrupt => SIGINT,
            Self::Quit => SIGQUIT,
            Self::Stop => SIGTSTP,
            Self::Terminate => SIGTERM,
            // As when the terminal is gone: nobody is there any more.
            Self::HangUp | Self::ParentGone => SIGHUP,
            Self::WindowChange => SIGWINCH,
            Self::Continue => SIGCONT,
        }
    }

    /// Does what the system does where nobody catches it: for all but TSTP, CONT and WINCH the end of this process.
    pub fn act(self) {
        // Fails for signals without a default action only.
        let _ = signal_hook::low_level::emulate_default_handler(self.number());
    }

    const ALL: [Self; 7] = [
        Self::Interrupt,
        Self::Quit,
        Self::Stop,
        Self::Terminate,
        Self::HangUp,
        Self::WindowChange,
        Self::Continue,
    ];
}

/// What the process that started us is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// It waits for our end, and nobody wants the session when it is gone.
    Waits,
    /// The same of this process, which may be gone already.
    WaitsAs(Pid),
    /// It may have started us to go on without it.
    MayGo,
}

/// Unblocks what this program handles, if the parent had it blocked: to be called before threads are started.
pub fn unblock() {
    let numbers = Signal::ALL.into_iter().map(Signal::number);
    signal_mask::unblock(numbers.filter_map(|number| number.try_into().ok()));
}

/// Makes sure that children can be waited for, also where SIGCHLD was inherited ignored: the system then forgets children as they end, and
/// nobody learns how. To be called before children are started.
pub fn learn_how_children_end() {
    if InheritedActions::at_start().has(SIGCHLD) {
        // A handler that only sets a flag: it is there so that the signal is not ignored, and goes when a child runs its program. Fails for
        // numbers that are no signal's.
        let _ = signal_hook::flag::register(SIGCHLD, Arc::default());
    }
}

/// Catches signals, in a thread that sleeps until one comes, and hands them on.
#[derive(Debug)]
pub struct Signals {
    handle: Handle,
    incoming: Receiver<Signal>,
    inherited: InheritedActions,
    is_typed: Arc<AtomicBool>,
    /// While it is here the parent is watched.
    _parent: Option<parent::ParentWatch>,
}

impl Signals {
    /// Catches INT, QUIT, TERM and HUP, even those that were inherited ignored (a child of the AWS CLI could not be stopped otherwise);
    /// only HUP stays ignored if it was, as `nohup` wants it. The end of the parent is told if that waits for us.
    ///
    /// # Errors
    /// When handlers or the threads cannot be set up.
    pub fn start(parent: Parent) -> io::Result<Self> {
        let inherited = InheritedActions::at_start();
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGQUIT, SIGTERM])?;
        let handle = signals.handle();
        if !inherited.ignores(Signal::HangUp) {
            handle.add_signal(SIGHUP)?;
        }
        let (sender, incoming) = unbounded();
        let expected = match parent {
            Parent::Waits => Some(None),
            Parent::WaitsAs(process) => Some(Some(process)),
            Parent::MayGo => None,
        };
        let parent = match expected {
            Some(expected) => {
                let sender = sender.clone();
                parent::watch(expected, move || {
                    // Nobody listens when the session is over.
                    let _ = sender.send(Signal::ParentGone);
                })?
            }
            None => None,
        };
        let is_typed = Arc::<AtomicBool>::default();
        let typed = Arc::clone(&is_typed);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for origin in &mut signals {
                    let signal = Signal::ALL
                        .into_iter()
                        .find(|signal| signal.number() == origin.signal);
                    typed.store(origin.cause == Cause::Kernel, Ordering::SeqCst);
                    if let Some(signal) = signal
                        && sender.send(signal).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            handle,
            incoming,
            inherited,
            is_typed,
            _parent: parent,
        })
    }

    /// Catches further signals.
    ///
    /// # Errors
    /// When a handler cannot be set up.
    pub fn catch(&self, signals: &[Signal]) -> io::Result<()> {
        signals
            .iter()
            .try_for_each(|signal| self.handle.add_signal(signal.number()))
    }

    /// Where they come out.
    pub fn incoming(&self) -> &Receiver<Signal> {
        &self.incoming
    }

    /// Whether the newest signal was made by the terminal, which sends it to all of its foreground group, and not by another process for
    /// us.
    pub fn is_typed(&self) -> bool {
        self.is_typed.load(Ordering::SeqCst)
    }

    /// Does with a caught signal what would have happened if it had not been caught: ignores it if that was inherited, else what the system
    /// does, which for INT and QUIT is the end of this process.
    ///
    /// The stdin/stdout mode of ports needs it: it shares a process group with ssh, and INT is caught only until the kind of session is
    /// known.
    pub fn act_as_inherited(&self, signal: Signal) {
        if !self.inherited.ignores(signal) {
            signal.act();
        }
    }

    /// What would have happened to signals.
    pub fn inherited(&self) -> InheritedActions {
        self.inherited
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The thread ends.
        self.handle.close();
    }
}

/// Which signals were ignored when the program started, one bit each, signal 1 the lowest.
#[derive(Debug, Clone, Copy)]
pub struct InheritedActions(u64);

impl InheritedActions {
    /// Must be called before handlers are set up.
    ///
    /// Asking the system takes an unsafe call. Linux tells it in a file as well; where there is none, nothing counts as ignored.
    fn at_start() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::from_status(&status).unwrap_or(Self(0))
    }

    fn from_status(status: &str) -> Option<Self> {
        let digits = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(digits.trim(), 16).ok().map(Self)
    }

    /// Whether it was ignored.
    pub fn ignores(self, signal: Signal) -> bool {
        self.has(signal.number())
    }

    fn has(self, number: i32) -> bool {
        u32::try_from(number - 1)
            .ok()
            .and_then(|bit| self.0.checked_shr(bit))
            .is_some_and(|bits| bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n";
        let ignored = InheritedActions::from_status(status).expect("a good status");
        assert!(ignored.ignores(Signal::HangUp));
        assert!(ignored.ignores(Signal::Interrupt));
        assert!(!ignored.ignores(Signal::Quit));
        assert!(!ignored.ignores(Signal::Stop));
        assert!(InheritedActions::from_status("").is_none());
        assert!(InheritedActions::from_status("SigIgn: x").is_none());
    }
}
