//! What every command has around it, and what those that run a session share.

use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::Sender;

use super::signal_guard::SignalGuard;
use crate::cli::Account;
use crate::client::{Cancel, Client, ClientOptions, Notice, RawSession};
use crate::error::Error;
use crate::mutex::lock;
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::session::announce::Announcer;
use crate::session::{Caller, OutageLine, SessionContext, out_of_resources};
use crate::settings::{Environment, Settings};
use crate::terminal::raw;
use crate::terminal::signals::{Parent, Signals};

/// What every command has around it.
pub(super) struct Surroundings {
    pub(super) settings: Settings,
    pub(super) environment: Environment,
    pub(super) remarks: Remarks,
    pub(super) redactor: Redactor,
    guard: Mutex<Option<SignalGuard>>,
}

impl Surroundings {
    /// From here on signals end what runs for this program, and what [`interruptible`](Self::interruptible) work has begun.
    pub(super) fn new(
        settings: Settings,
        environment: Environment,
        remarks: &Remarks,
        redactor: &Redactor,
    ) -> Result<Self, Error> {
        let around = Self {
            settings,
            environment,
            remarks: remarks.clone(),
            redactor: redactor.clone(),
            guard: Mutex::default(),
        };
        *around.guard() = Some(SignalGuard::start(around.signals()?)?);
        Ok(around)
    }

    /// The client for an account.
    pub(super) fn client(&self, account: &Account) -> Result<Client, Error> {
        self.client_with(account, None)
    }

    /// The same for a command with several sessions, whose notices come together.
    pub(super) fn client_telling(
        &self,
        account: &Account,
        notices: Sender<Notice>,
    ) -> Result<Client, Error> {
        self.client_with(account, Some(notices))
    }

    fn client_with(
        &self,
        account: &Account,
        notices: Option<Sender<Notice>>,
    ) -> Result<Client, Error> {
        let options = ClientOptions {
            profile: account.profile.clone(),
            region: account.region.clone(),
            endpoint: account.endpoint_url.clone(),
            remarks: self.remarks.clone(),
            redactor: self.redactor.clone(),
            notices,
        };
        Client::new(options, &self.environment, self.settings.clone())
    }

    /// Does work that starts a session. A signal cancels it; `undo` then ends the session, where there is one, and the process ends.
    ///
    /// # Errors
    /// No descriptor or thread.
    pub(super) fn interruptible<T>(
        &self,
        work: impl FnOnce(&Cancel) -> T,
        undo: impl FnOnce(T),
    ) -> Result<T, Error> {
        let cancel = Cancel::new().map_err(|error| out_of_resources(&error))?;
        let mut guard = self.guard();
        let guard = match &mut *guard {
            Some(guard) => guard,
            // Another command has handled signals before this one.
            none => none.insert(SignalGuard::start(self.signals()?)?),
        };
        guard.run(&cancel, || work(&cancel), undo)
    }

    /// The caller handles signals from here on, and the end of the process that SSM_PLUGIN_PARENT names. Others that start us may go.
    pub(super) fn catch_signals(&self) -> Result<Signals, Error> {
        match self.guard().take() {
            Some(guard) => Ok(guard.hand_over()),
            None => self.signals(),
        }
    }

    fn signals(&self) -> Result<Signals, Error> {
        catch_signals(self.settings.parent.map_or(Parent::MayGo, Parent::WaitsAs))
    }

    fn guard(&self) -> MutexGuard<'_, Option<SignalGuard>> {
        lock(&self.guard)
    }
}

/// Catches signals, and restores the terminal whatever happens from here on.
pub(crate) fn catch_signals(parent: Parent) -> Result<Signals, Error> {
    raw::restore_at_panic();
    Signals::start(parent).map_err(|error| out_of_resources(&error))
}

/// What runs a session to its end.
pub(crate) fn context(
    session: &RawSession,
    signals: Signals,
    caller: Caller,
    announcer: &Arc<Announcer>,
    settings: &Arc<Settings>,
    environment: Environment,
) -> SessionContext {
    SessionContext {
        channel: session.channel().clone(),
        notices: session.notices().clone(),
        signals,
        announcer: Arc::clone(announcer),
        settings: Arc::clone(settings),
        environment: Arc::new(environment),
        caller,
        terminate: session.terminate().cloned(),
        outage: OutageLine::default(),
    }
}
