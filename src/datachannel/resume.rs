//! From nothing to a connection, and from a broken one to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use http::header::{HeaderName, HeaderValue};

use super::{End, Notice};
use crate::communicator::{
    Connection, DialError, Dialer, Outage, StreamUrl, is_trouble_of_the_service,
};
use crate::error::Error;
use crate::network::{Cancel, ConnectError, Limit};
use crate::secret::Secret;

/// All tries of the first connection together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of the first connection, where the service answers that it has trouble.
const FIRST_TRIES: u32 = 3;
/// One try of a later connection, with all that belongs to it.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
/// An outage that is over sooner is not worth a line.
const UNNOTICED: Duration = Duration::from_secs(3);

/// Headers that sign the upgrade, or why there are none. The text is the server's clock, where a signature was refused that may have
/// been right by ours; nothing comes back when it was not for that.
pub type Sign = dyn Fn(&StreamUrl, Option<&str>, &Limit) -> Result<Option<Headers>, String> + Send;

/// Headers of a request.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Asks the service to let the session go on.
pub type Resume = dyn Fn(&Limit) -> Result<Resumed, ResumeError> + Send;

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
    /// The session does not exist any more, in the service's words.
    Gone(String),
    /// We may not ask, or have nothing to ask with. The token at hand may still be good.
    Denied(String),
    /// Trouble of the network or the service.
    Later(String),
}

/// How connections are made.
pub struct Link {
    /// Where to.
    pub stream_url: StreamUrl,
    /// What opens it.
    pub token: Secret,
    /// Proxies and roots.
    pub dialer: Dialer,
    /// None where the URL carries its own signature, or the user wants none.
    pub sign: Option<Box<Sign>>,
    /// None where a broken connection is the end.
    pub resume: Option<Box<Resume>>,
}

// By hand, for the closures.
impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Link")
            .field("stream_url", &self.stream_url)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// The first connection.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub(super) fn connect(&self, cancel: &Cancel) -> Result<Connection, Error> {
        let limit = Limit::within(CONNECT_TIMEOUT).or_cancelled(cancel);
        let mut outage = Outage::new(String::new(), false, 0, Instant::now());
        let mut tries = 1;
        loop {
            let error = match self.dial(&limit) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let wait = outage.next_try(chance(), Instant::now());
            match wait {
                Ok(wait)
                    if tries < FIRST_TRIES
                        && is_trouble_of_the_service(&error)
                        && limit.pause(wait).is_ok() =>
                {
                    log::info!("{error}; trying again");
                    tries += 1;
                }
                _ => return Err(Error::Start(error.to_string())),
            }
        }
    }

    /// Signs and dials; once more by the server's clock if that is why it refused.
    fn dial(&self, limit: &Limit) -> Result<Connection, DialError> {
        let (headers, unsigned) = match self.sign(None, limit) {
            Ok(headers) => (headers.unwrap_or_default(), None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let result = self.dialer.dial(&self.stream_url, &headers, limit);
        let Err(DialError::Refused {
            host,
            status,
            text,
            date,
        }) = result
        else {
            return result;
        };
        if let Some(reason) = unsigned {
            let text = format!("{text}; the connection was not signed: {reason}");
            return Err(DialError::Refused {
                host,
                status,
                text,
                date,
            });
        }
        if status == http::StatusCode::FORBIDDEN
            && let Some(date) = &date
            && let Ok(Some(headers)) = self.sign(Some(date), limit)
        {
            log::info!("the signature was refused; signed again by the server's clock");
            return self.dialer.dial(&self.stream_url, &headers, limit);
        }
        Err(DialError::Refused {
            host,
            status,
            text,
            date,
        })
    }

    fn sign(&self, clock: Option<&str>, limit: &Limit) -> Result<Option<Headers>, String> {
        self.sign
            .as_ref()
            .map_or(Ok(None), |sign| sign(&self.stream_url, clock, limit))
    }

    /// The next connection after one that broke. None when the session is being left meanwhile.
    ///
    /// # Errors
    /// How the session ends instead.
    pub(super) fn reconnect(
        &mut self,
        mut outage: Outage,
        stood: bool,
        cancel: &Cancel,
    ) -> Result<Option<Connection>, End> {
        let failed = |reason: String| {
            End::Failed(if stood {
                Error::Lost(reason)
            } else {
                Error::Start(reason)
            })
        };
        loop {
            let wait = outage
                .next_try(chance(), Instant::now())
                .map_err(|gave_up| failed(gave_up.reason))?;
            let limit = Limit::until(outage.until()).or_cancelled(cancel);
            if limit.pause(wait).is_err() && cancel.is_cancelled() {
                return Ok(None);
            }
            let limit = limit.at_most(TRY_TIMEOUT);
            if !self.renew(&mut outage, &limit).map_err(|end| match end {
                RenewError::TimedOut => End::TimedOut,
                RenewError::Gone(reason) => failed(reason),
            })? {
                continue;
            }
            match self.dial(&limit) {
                Ok(connection) => return Ok(Some(connection)),
                Err(DialError::Connect(ConnectError::Cancelled)) => return Ok(None),
                Err(error) => {
                    log::info!("no connection: {error}");
                    outage
                        .dial_failed(&error)
                        .map_err(|gave_up| failed(gave_up.reason))?;
                }
            }
        }
    }

    /// A fresh token, and the URL if it has changed. Whether it is worth dialling now.
    fn renew(&mut self, outage: &mut Outage, limit: &Limit) -> Result<bool, RenewError> {
        let Some(resume) = &self.resume else {
            return Ok(true);
        };
        match resume(limit) {
            Ok(resumed) => {
                self.token = resumed.token;
                if let Some(stream_url) = resumed.stream_url {
                    self.stream_url = stream_url;
                }
                Ok(true)
            }
            Err(ResumeError::TimedOut) => Err(RenewError::TimedOut),
            Err(ResumeError::Gone(reason)) => Err(RenewError::Gone(reason)),
            Err(ResumeError::Denied(reason)) => {
                log::warn!("no fresh token: {reason}; dialling with the one at hand");
                Ok(true)
            }
            Err(ResumeError::Later(reason)) => {
                log::info!("no fresh token yet: {reason}");
                outage.resume_failed(reason);
                Ok(false)
            }
        }
    }
}

enum RenewError {
    TimedOut,
    Gone(String),
}

/// Tells the user of an outage that lasts, and when it is over.
pub(super) struct OutageNotice {
    began: Instant,
    /// Dropped when the outage is over.
    over: Sender<()>,
    told: Arc<AtomicBool>,
    notices: Sender<Notice>,
}

impl OutageNotice {
    /// The connection just broke.
    pub(super) fn begin(reason: String, notices: &Sender<Notice>) -> Self {
        let (over, wait) = bounded::<()>(0);
        let told = Arc::new(AtomicBool::new(false));
        let notice = Self {
            began: Instant::now(),
            over,
            told: Arc::clone(&told),
            notices: notices.clone(),
        };
        let notices = notices.clone();
        let thread = std::thread::Builder::new().name("outage".to_owned());
        // Without the thread the line is missing, no more.
        let _ = thread.spawn(move || {
            if wait.recv_timeout(UNNOTICED) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                told.store(true, Ordering::SeqCst);
                let _ = notices.send(Notice::Reconnecting { reason });
            }
        });
        notice
    }

    /// The connection is back.
    pub(super) fn end(self) {
        drop(self.over);
        let was_told = self.told.load(Ordering::SeqCst);
        let _ = self.notices.send(Notice::Reconnected {
            after: self.began.elapsed(),
            was_told,
        });
    }
}

/// A random share of a wait.
fn chance() -> f64 {
    // Without randomness the longest wait is the right one.
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}
