//! What the handles of a session that is a stream share with its thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::failure::{ClientError, ErrorKind};
use super::session_event::{SessionEnd, SessionEvent};
use crate::datachannel::{End, Notice};
use crate::sanitise;
use crate::waker::Waker;

/// What the handles of a session and its thread share.
#[derive(Debug)]
pub(super) struct CarriedState {
    /// Why reading and writing fail, once the socket is closed.
    pub(super) failure: OnceLock<ClientError>,
    pub(super) end: OnceLock<SessionEnd>,
    pub(super) is_leaving: AtomicBool,
    pub(super) was_end_told: AtomicBool,
    pub(super) waker: Waker,
    pub(super) notices: Receiver<Notice>,
    /// Disconnected when the thread has ended.
    pub(super) done: Receiver<()>,
}

impl CarriedState {
    /// Why there is nothing more to read, where the remote has not ended its output itself.
    pub(super) fn failure(&self) -> Option<&ClientError> {
        self.failure.get()
    }

    /// The next event; nothing at the deadline, or after the end.
    pub(super) fn event(&self, deadline: Instant) -> Option<SessionEvent> {
        let left = deadline.saturating_duration_since(Instant::now());
        let notice = select! {
            recv(self.notices) -> notice => notice.ok(),
            // Earlier events come before the end.
            recv(self.done) -> _ => self.notices.try_recv().ok(),
            default(left) => return None,
        };
        match notice {
            Some(notice) => Some(match notice {
                Notice::Reconnecting { reason } => SessionEvent::Reconnecting {
                    reason: sanitise::line(&reason),
                },
                Notice::Reconnected => SessionEvent::Reconnected,
                Notice::Silent => SessionEvent::Warning(
                    "the target has not said anything for 15 seconds; still waiting".to_owned(),
                ),
                Notice::Unacknowledged => SessionEvent::Warning(
                    "what was sent 60 seconds ago has not been acknowledged by the target yet; still trying"
                        .to_owned(),
                ),
            }),
            None => {
                let end = self.wait(deadline)?;
                let is_told = self.was_end_told.swap(true, Ordering::SeqCst);
                (!is_told).then_some(SessionEvent::Ended(end))
            }
        }
    }

    /// Waits for the thread's end.
    pub(super) fn wait(&self, deadline: Instant) -> Option<SessionEnd> {
        match self.done.recv_deadline(deadline) {
            Err(RecvTimeoutError::Timeout) => None,
            _ => self.end.get().cloned(),
        }
    }

    /// Ends the session.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// How the session ended, for its user.
pub(super) fn session_end(end: &End, status: Option<i32>) -> SessionEnd {
    match end {
        End::Closed { output } => SessionEnd::Closed {
            status,
            message: sanitise::line(output.trim()),
        },
        End::TimedOut => SessionEnd::TimedOut,
        End::Failed(error) => SessionEnd::Failed(ClientError::of(ErrorKind::SessionLost, error)),
    }
}

pub(super) fn refused() -> ClientError {
    ClientError::new(
        ErrorKind::ConnectionRefused,
        "the agent could not reach the destination: does it listen, and may the target reach it?",
    )
}
