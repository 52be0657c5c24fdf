//! From nothing to a connection, and from a broken one to the next. When, and whether at all, [`Recovery`] decides.

use std::time::{Duration, Instant};

use http::header::{HeaderName, HeaderValue};
use rustix::event::{PollFd, PollFlags};

use super::End;
use super::outage::GaveUp;
use super::reconnect::{FirstTries, Recovery};
use super::shared::ChannelState;
use crate::communicator::{Broken, Connection, DialError, Dialer, StreamUrl};
use crate::error::{Error, Failure, Meaning};
use crate::network::{Cancel, ConnectError, Limit, PathWatch};
use crate::random;
use crate::secret::Secret;
use crate::waker::WakeReceiver;

/// The first signature: looking for credentials may ask somebody, and every source has its own limit, of 60 s at most. It is no part of
/// the time for connecting, which would be over before the first dial.
const SIGN_TIMEOUT: Duration = Duration::from_secs(90);
/// All tries of the first connection together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// What a signed upgrade that was forbidden most likely lacks.
const NEEDED_ACTION: &str = "; if the session's token is not too old, these credentials must be allowed the action \
                             ssmmessages:OpenDataChannel";

/// Headers that sign the upgrade, or why there are none. The text is the server's clock, where a signature was refused that may have
/// been right by ours; nothing comes back when it was not for that.
pub type Sign = dyn Fn(&StreamUrl, Option<&str>, &Limit) -> Result<Option<Headers>, Failure> + Send;

/// Headers of a request.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Asks the service to let the session go on.
pub type Resume = dyn Fn(&ResumeTry<'_>) -> Result<Resumed, ResumeError> + Send;

/// One of the times that the service is asked.
#[derive(Debug)]
pub struct ResumeTry<'a> {
    /// Whether the last connection was refused, though it was signed: there may be better credentials by now.
    pub was_denied: bool,
    /// How long the call may take. Looking for credentials before it has its own limits: it may ask somebody.
    pub time: Duration,
    /// The end of all tries.
    pub limit: &'a Limit,
}

/// What the session goes on with.
#[derive(Debug)]
pub struct Resumed {
    /// Opens the next connection.
    pub token: Secret,
    /// Where to, if not where it was.
    pub stream_url: Option<StreamUrl>,
}

/// Why the service gives no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeError {
    /// It answered, without one: the session's time is over.
    TimedOut,
    /// It could not be asked, for want of credentials. The token at hand may still be good.
    NoCredentials(Failure),
    /// It refused, or did not answer.
    Failed(Failure),
}

/// How connections are made.
pub struct Reconnector {
    /// Where to.
    pub stream_url: StreamUrl,
    /// What opens it.
    pub token: Secret,
    /// Proxies and roots.
    pub dialer: Dialer,
    /// None where the URL carries its own signature, or the user wants none.
    pub sign: Option<Box<Sign>>,
    /// Why not, where a broken connection is the end.
    pub resume: Result<Box<Resume>, &'static str>,
}

// By hand, for the closures.
impl std::fmt::Debug for Reconnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reconnector")
            .field("stream_url", &self.stream_url)
            .finish_non_exhaustive()
    }
}

/// A dial, and what it lacked.
struct Dialled {
    result: Result<Connection, DialError>,
    /// A signature, for this reason.
    unsigned: Option<Failure>,
    /// Its signature was refused, and the next one is made by the server's clock.
    has_new_clock: bool,
}

impl Dialled {
    /// Whether a refusal is no answer: the next try may have what this one lacked.
    fn is_excused(&self) -> bool {
        let is_temporary = |failure: &Failure| failure.meaning == Meaning::Temporary;
        self.has_new_clock || self.unsigned.as_ref().is_some_and(is_temporary)
    }
}

impl Reconnector {
    /// The first connection.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub(super) fn connect(&self, cancel: &Cancel) -> Result<Connection, Error> {
        let mut signed = self.sign(None, &Limit::within(SIGN_TIMEOUT).or_cancelled(cancel));
        let limit = Limit::within(CONNECT_TIMEOUT).or_cancelled(cancel);
        let mut tries = FirstTries::default();
        let mut may_have_new_clock = true;
        loop {
            let dialled = self.dial(signed, &limit);
            let is_excused = dialled.is_excused();
            let error = match dialled.result {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if !(dialled.has_new_clock && std::mem::take(&mut may_have_new_clock)) {
                let failure = error.failure();
                let is_cut_off = limit.remaining().is_err();
                let wait = tries.failed(&failure, is_excused, random::share());
                if wait.is_none_or(|wait| limit.pause(wait).is_err()) {
                    let reason = tries.reason(&failure, is_cut_off);
                    return Err(Error::Start(reason + self.stream_url.origin()));
                }
                log::info!("{error}; trying again");
            }
            signed = self.sign(None, &limit);
        }
    }

    /// Dials, with a signature or the reason why there is none.
    fn dial(&self, signed: Result<Option<Headers>, Failure>, limit: &Limit) -> Dialled {
        let (headers, unsigned) = match signed {
            Ok(headers) => (headers.unwrap_or_default(), None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let mut result = self.dialer.dial(&self.stream_url, &headers, limit);
        let mut has_new_clock = false;
        if let Err(DialError::Refused {
            status, text, date, ..
        }) = &mut result
        {
            if let Some(failure) = &unsigned {
                text.push_str("; the connection was not signed: ");
                text.push_str(&failure.reason);
            } else if *status == http::StatusCode::FORBIDDEN
                && let Some(date) = date
                && let Ok(Some(_)) = self.sign(Some(date), limit)
            {
                log::info!("the signature was refused; the next one is made by the server's clock");
                has_new_clock = true;
            } else if *status == http::StatusCode::FORBIDDEN && !headers.is_empty() {
                text.push_str(NEEDED_ACTION);
            }
        }
        Dialled {
            result,
            unsigned,
            has_new_clock,
        }
    }

    fn sign(&self, clock: Option<&str>, limit: &Limit) -> Result<Option<Headers>, Failure> {
        self.sign
            .as_ref()
            .map_or(Ok(None), |sign| sign(&self.stream_url, clock, limit))
    }

    /// The next connection after one that broke. None when the session is being left meanwhile. What waits on a path that has changed
    /// (where `path` is watched) begins afresh.
    ///
    /// # Errors
    /// How the session ends instead.
    pub(super) fn reconnect(
        &mut self,
        broken: &Broken,
        shared: &ChannelState,
        wake_receiver: &WakeReceiver,
        path: Option<&PathWatch>,
    ) -> Result<Option<Connection>, End> {
        let failure = broken.failure();
        if let Err(why) = &self.resume {
            let reason = format!("{}; the session cannot be resumed: {why}", failure.reason);
            return Err(shared.failed(reason));
        }
        // From here on the retransmit thread runs the clock of the outage.
        let broke = shared.change(|sequence| sequence.disconnected(&failure, Instant::now()));
        shared.or_end(broke)?;
        let mut was_denied = false;
        loop {
            let limit = shared.wait_for_try(wake_receiver, path);
            if shared.cancel.is_cancelled() {
                return Ok(None);
            }
            let begun = shared.with_recovery(|recovery| recovery.begin_try(Instant::now()));
            let time = shared.or_end(begun)? / 2;
            let ask = ResumeTry {
                was_denied: std::mem::take(&mut was_denied),
                time,
                limit: &limit,
            };
            if !self.renew(&ask, shared)? {
                continue;
            }
            let limit = limit.at_most(time);
            let dialled = self.dial(self.sign(None, &limit), &limit);
            if dialled.is_excused() {
                shared.with_recovery(Recovery::excuse_try);
            }
            match dialled.result {
                Ok(connection) => return Ok(Some(connection)),
                Err(DialError::Connect(ConnectError::Cancelled)) => return Ok(None),
                Err(error) => {
                    log::info!("no connection: {error}");
                    let failure = error.failure();
                    was_denied = failure.meaning == Meaning::Denied && dialled.unsigned.is_none();
                    let failed = shared
                        .with_recovery(|recovery| recovery.dial_failed(&failure, Instant::now()));
                    shared.or_end(failed)?;
                }
            }
        }
    }

    /// A fresh token, and the URL if it has changed. Whether it is worth dialling now.
    fn renew(&mut self, ask: &ResumeTry<'_>, shared: &ChannelState) -> Result<bool, End> {
        let Ok(resume) = &self.resume else {
            return Ok(true);
        };
        let failure = match resume(ask) {
            Ok(resumed) => {
                self.token = resumed.token;
                if let Some(stream_url) = resumed.stream_url {
                    self.stream_url = stream_url;
                }
                return Ok(true);
            }
            Err(ResumeError::TimedOut) => return Err(End::TimedOut),
            Err(ResumeError::NoCredentials(failure)) => {
                log::warn!("{}; dialling with the token at hand", failure.reason);
                return Ok(true);
            }
            Err(ResumeError::Failed(failure)) => failure,
        };
        if failure.meaning == Meaning::Denied {
            log::warn!(
                "no fresh token: {}; dialling with the one at hand",
                failure.reason
            );
            return Ok(true);
        }
        log::info!("no fresh token: {}", failure.reason);
        let failed =
            shared.with_recovery(|recovery| recovery.resume_failed(&failure, Instant::now()));
        shared.or_end(failed).map(|()| false)
    }
}

impl ChannelState {
    /// Sleeps until the next try begins: when its time has come, or the user wants it. The end of all tries.
    fn wait_for_try(&self, wake_receiver: &WakeReceiver, path: Option<&PathWatch>) -> Limit {
        loop {
            let now = Instant::now();
            let has_path_changed = path.is_some_and(PathWatch::take_change);
            let (at, until) = {
                // Nobody needs to be told of this.
                let mut sequence = self.sequence();
                let recovery = sequence.recovery();
                let planned = recovery.next_try(random::share(), now);
                if has_path_changed {
                    recovery.path_changed(now);
                }
                let at = recovery.next_try(random::share(), now);
                if at < planned {
                    log::info!("routes or addresses have changed: the next try begins at once");
                }
                (at, recovery.ends_at().unwrap_or(at))
            };
            let limit = Limit::until(until).or_cancelled(&self.cancel);
            if at <= now || self.cancel.is_cancelled() {
                return limit.or_path_gone(path);
            }
            if wake_receiver.arm() {
                let mut woken = vec![PollFd::new(wake_receiver, PollFlags::IN)];
                woken.extend(path.map(|path| PollFd::new(path, PollFlags::IN)));
                let ended = limit.poll(&mut woken, Some(at - now)).is_err();
                wake_receiver.disarm();
                if ended {
                    return limit;
                }
            }
        }
    }

    fn with_recovery<T>(&self, decide: impl FnOnce(&mut Recovery) -> T) -> T {
        self.change(|sequence| decide(sequence.recovery()))
    }

    fn or_end<T>(&self, decided: Result<T, GaveUp>) -> Result<T, End> {
        decided.map_err(|gave_up| self.failed(gave_up.reason))
    }

    /// How the session ends, for this reason.
    fn failed(&self, reason: String) -> End {
        End::Failed(if self.sequence().has_started() {
            Error::Lost(reason)
        } else {
            Error::Start(reason)
        })
    }
}
