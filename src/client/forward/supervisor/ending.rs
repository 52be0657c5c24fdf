//! The end of one session, and of all.

use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::{
    Finish, ForwardEvent, ForwardOrder, ForwardReport, STOP_TIMEOUT, SessionNumber, Supervised,
    Supervisor,
};
use crate::client::RawSession;
use crate::client::failure::{ClientError, ErrorKind};
use crate::datachannel::End;
use crate::sanitise;

/// A first session that ends so soon, with a reason and before anybody has connected, could not be started.
const COULD_NOT_START: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn handle_end(
        &mut self,
        key: SessionNumber,
        end: End,
        was_of_use: bool,
        now: Instant,
    ) -> Option<Finish> {
        let supervised = self.sessions.remove(&key)?;
        if let Some(route) = self.routes.get_mut(&supervised.route) {
            if was_of_use {
                route.pace.was_of_use();
            } else {
                route.pace.failed(now);
            }
        }
        let is_unproven = self
            .routes
            .get(&supervised.route)
            .is_some_and(|route| route.is_unproven);
        if let End::Closed { output } = &end
            && !output.trim().is_empty()
            && is_unproven
            && now.saturating_duration_since(supervised.since) < COULD_NOT_START
        {
            // The agent could not start it, and the next one would end in the same way.
            let error = ClientError::of_end(&end);
            return Some(Finish::Over(Err(ClientError::new(
                ErrorKind::Remote,
                error.to_string(),
            ))));
        }
        let reason = match &end {
            End::Closed { output } if !output.trim().is_empty() => sanitise::line(output.trim()),
            End::Closed { .. } => "it was ended over there".to_owned(),
            End::TimedOut => "it timed out".to_owned(),
            End::Failed(error) => sanitise::line(&error.to_string()),
        };
        self.tell_end(&supervised, reason);
        let result = match end {
            End::Failed(error) => {
                // It may still run, and is not used any more.
                supervised.session.end_in_background(STOP_TIMEOUT);
                Err(ClientError::of(ErrorKind::SessionLost, &error))
            }
            End::Closed { .. } | End::TimedOut => Ok(()),
        };
        self.options.once.then_some(Finish::Over(result))
    }

    pub(super) fn tell_end(&self, supervised: &Supervised, reason: String) {
        self.tell(ForwardEvent::SessionEnded {
            session: supervised.name.clone(),
            target: supervised.target.clone(),
            reason,
        });
    }

    /// Closes everything here, then ends the sessions, side by side.
    pub(super) fn finish(mut self, finish: Finish) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        self.port.post(ForwardOrder::Stop);
        self.cancel.cancel();
        let (alive, all_ended) = bounded::<()>(0);
        let end = |session: RawSession| {
            let alive = alive.clone();
            let work = move || {
                let _alive = alive;
                if let Err(error) = session.end(deadline) {
                    log::info!("the remote session could not be ended: {error}");
                }
            };
            // Without a thread it ends when it has been idle for its time.
            let _ = std::thread::Builder::new()
                .name("terminate".to_owned())
                .spawn(work);
        };
        // The port thread ends first: what it has taken from local connections goes out before the end.
        while let Ok(report) = self.reports.recv_deadline(deadline) {
            if let ForwardReport::Ended { key, .. } = report {
                self.sessions.remove(&key);
            }
        }
        for (_, supervised) in self.sessions.drain() {
            end(supervised.session);
        }
        while self.starting > 0
            && let Ok(answer) = self.answers.1.recv_deadline(deadline)
        {
            self.starting -= 1;
            if let Ok(ready) = answer.result {
                end(ready.session);
            }
        }
        drop(alive);
        let _ = all_ended.recv_deadline(deadline);
        let result = match finish {
            Finish::Stopped => Ok(()),
            Finish::Over(result) => result,
        };
        // Without a receiver there is nobody to tell.
        let _ = self.events.send(ForwardEvent::Ended(result));
    }
}
