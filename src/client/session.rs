//! A session that was started: its data channel, and its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::failure::ClientError;
use super::idle::GoingOn;
use crate::aws::{Api, StartedSession};
use crate::communicator::{Dialer, StreamUrl};
use crate::datachannel::{
    Config, DataChannel, Delivery, Notice, Reconnector, SessionType, Started,
};
use crate::error::Error;
use crate::message::Flag;
use crate::network::{Limit, Network};
use crate::remarks::Remarks;
use crate::session_api::{self, SessionApi, TerminateSession};
use crate::settings::Settings;

/// How long the TerminateSession flag and all before it may take to be acknowledged.
const FLAG_TIMEOUT: Duration = Duration::from_secs(1);
/// How long ending a session may take that could not begin.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call whose time is over waits for the end of its session. Then that goes on in the background.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How often a wait for the agent checks whether the session is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A session. When it is dropped its data channel is closed; the remote session goes on until it is [terminated](Self::terminate) or has
/// been idle for its time.
pub(crate) struct RawSession {
    id: String,
    channel: DataChannel,
    notices: Receiver<Notice>,
    terminate: Option<Arc<TerminateSession>>,
    /// For who waits until nothing of the client goes on.
    going_on: Option<GoingOn>,
}

/// What a session is opened with.
#[derive(Debug)]
pub(crate) struct SessionOpening<'a> {
    /// What StartSession answered.
    pub started: &'a StartedSession,
    /// The node or task, if it is known.
    pub target: Option<&'a str>,
    /// For signatures, resuming, data keys and the end; without it the token must do.
    pub api: Option<&'a Api>,
    /// How the gateway is reached.
    pub network: &'a Network,
    /// The `SSM_PLUGIN_*` variables.
    pub settings: &'a Arc<Settings>,
    /// Where the user is told what takes its time.
    pub remarks: &'a Remarks,
    /// Where notices go, if not to the session's own receiver.
    pub notices: Option<&'a Sender<Notice>>,
    /// Whether the caller is too old for encrypted sessions.
    pub is_legacy: bool,
}

impl RawSession {
    /// Begins to open the data channel.
    pub(crate) fn open(opening: SessionOpening<'_>) -> Result<Self, Error> {
        let SessionOpening {
            started, settings, ..
        } = opening;
        let stream_url = StreamUrl::parse(&started.stream_url, settings)?;
        let service = opening.api.map(|api| {
            let api = api.for_session(opening.target, stream_url.service_host());
            SessionApi::new(api, &started.session_id, settings)
        });
        let is_presigned = stream_url.is_presigned();
        let for_connection = service.as_ref().filter(|_| !is_presigned);
        let without_api = if settings.skip_client_configure {
            "SSM_PLUGIN_SKIP_CLIENT_CONFIGURE is set"
        } else {
            "no region is known"
        };
        let unresumable = if is_presigned {
            "its StreamUrl carries a signature of its own"
        } else {
            without_api
        };
        let make_key = match &service {
            Some(service) => Some(service.make_key(opening.is_legacy)),
            // A caller that is too old for it gets that as the reason.
            None if opening.is_legacy => None,
            None => Some(session_api::no_key(without_api)),
        };
        let (sender, notices) = unbounded();
        let sender = opening.notices.cloned().unwrap_or(sender);
        let channel = DataChannel::open(
            Config {
                reconnector: Reconnector {
                    stream_url,
                    token: started.token.clone(),
                    dialer: Dialer {
                        network: opening.network.clone(),
                        remarks: opening.remarks.clone(),
                    },
                    sign: for_connection.map(SessionApi::sign),
                    resume: for_connection.map(SessionApi::resume).ok_or(unresumable),
                },
                payload_size: settings.payload_size,
                require_encryption: settings.require_encryption,
                make_key,
            },
            sender,
        )?;
        Ok(Self {
            id: started.session_id.clone(),
            channel,
            notices,
            terminate: service.as_ref().map(SessionApi::terminate),
            going_on: None,
        })
    }

    /// The same, which goes on until it is dropped.
    pub(super) fn counted(mut self, going_on: GoingOn) -> Self {
        self.going_on = Some(going_on);
        self
    }

    /// Its name, as the service gave it. It comes from outside: sanitise it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The stream.
    pub(crate) fn channel(&self) -> &DataChannel {
        &self.channel
    }

    /// What the user is to know of the channel.
    pub(crate) fn notices(&self) -> &Receiver<Notice> {
        &self.notices
    }

    /// Ends the remote session by the API. Nothing where there are no credentials to do it with.
    pub(crate) fn terminate(&self) -> Option<&Arc<TerminateSession>> {
        self.terminate.as_ref()
    }

    /// Ends the remote session: the agent is told in the stream, and the service is where the agent does not acknowledge that within a
    /// second.
    ///
    /// # Errors
    /// When neither worked by the deadline. The session then ends when it has been idle for its time.
    pub(crate) fn end(&self, deadline: Instant) -> Result<(), Error> {
        self.channel.send_flag(Flag::TerminateSession);
        let flag_deadline = deadline.min(Instant::now() + FLAG_TIMEOUT);
        let is_done = self.channel.wait_acknowledged(flag_deadline);
        match &self.terminate {
            Some(terminate) if !is_done && !self.channel.has_ended() => terminate(deadline),
            _ => Ok(()),
        }
    }

    /// The same in a thread of its own, within so long.
    pub(crate) fn end_in_background(self, timeout: Duration) {
        let work = move || {
            if let Err(error) = self.end(Instant::now() + timeout) {
                log::info!("the remote session could not be ended: {error}");
            }
        };
        // Without a thread it ends when it has been idle for its time.
        let _ = std::thread::Builder::new()
            .name("terminate".to_owned())
            .spawn(work);
    }

    /// Ends the remote session, of whatever type: agents take the flag in sessions to ports, and others are ended by the service. Without
    /// credentials for that the agent is told all the same.
    ///
    /// # Errors
    /// When it did not work by the deadline.
    pub(super) fn end_of_type(&self, kind: SessionType, deadline: Instant) -> Result<(), Error> {
        match &self.terminate {
            _ if self.channel.has_ended() => Ok(()),
            Some(terminate) if kind != SessionType::Port => terminate(deadline),
            _ => self.end(deadline),
        }
    }

    /// Ends a session that could not begin, in the background; that is waited for no longer than a second: who called has waited long
    /// enough, and the service may not answer.
    pub(super) fn give_up(self) {
        with_grace(move || {
            let end_by = Instant::now() + END_TIMEOUT;
            // Of whatever type it was to be, the service ends it.
            if let Err(error) = self.end_of_type(SessionType::StandardStream, end_by) {
                log::info!("the remote session could not be ended: {error}");
            }
        });
    }

    /// Waits until the session is established, as its first use: nobody else may receive from the channel meanwhile.
    ///
    /// # Errors
    /// How it ended instead; that the limit came first.
    pub(super) fn wait_within(&self, limit: &Limit) -> Result<Started, ClientError> {
        loop {
            match self.channel.receive(Some(Instant::now() + LOOK)) {
                Some(Delivery::Started(started)) => return Ok(started),
                Some(Delivery::Ended(end)) => return Err(ClientError::of_end(&end)),
                Some(Delivery::Payload(..)) => {}
                None => {
                    if let Err(stop) = limit.remaining() {
                        return Err(ClientError::stopped(stop, "waiting for the target"));
                    }
                }
            }
        }
    }
}

impl Drop for RawSession {
    fn drop(&mut self) {
        self.channel.close();
    }
}

/// Ends something in a thread of its own, and waits for that no longer than a second.
pub(super) fn with_grace(end: impl FnOnce() + Send + 'static) {
    let (alive, done) = bounded::<()>(0);
    let work = move || {
        end();
        drop(alive);
    };
    // Without a thread the session ends when it has been idle for its time.
    let _ = std::thread::Builder::new()
        .name("terminate".to_owned())
        .spawn(work);
    let _ = done.recv_timeout(GRACE);
}

// By hand, for the closure.
impl std::fmt::Debug for RawSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RawSession({})", self.id)
    }
}
