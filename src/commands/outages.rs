//! Outages of commands that have several sessions, told as one.

use std::time::{Duration, Instant};

use crate::client::Notice;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;

/// An outage whose end nobody told, as that of a session that was given up, hides others no longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// What was told of outages.
#[derive(Debug)]
pub(super) struct Outages {
    redactor: Redactor,
    /// When the one was told that is not over.
    told: Option<Instant>,
}

impl Outages {
    pub(super) const fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            told: None,
        }
    }

    /// Tells on stderr what a session's notice says, if no other session's has said it.
    pub(super) fn tell(&mut self, notice: &Notice) {
        if let Some(line) = self.line(notice, Instant::now()) {
            print::notice(self.redactor.clean(&line));
        }
    }

    fn line(&mut self, notice: &Notice, now: Instant) -> Option<String> {
        match (notice, self.told) {
            (Notice::Reconnecting { .. }, Some(told))
                if now.saturating_duration_since(told) < LONGEST =>
            {
                None
            }
            (Notice::Reconnecting { reason }, _) => {
                self.told = Some(now);
                let reason = sanitise::line(reason);
                Some(format!("the connection is broken ({reason}); reconnecting"))
            }
            (Notice::Reconnected, Some(_)) => {
                self.told = None;
                Some("the connection is back".to_owned())
            }
            (Notice::Reconnected | Notice::Silent | Notice::Unacknowledged, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_sessions_say_is_told_once() {
        let mut outages = Outages::new(Redactor::default());
        let broken = Notice::Reconnecting {
            reason: "cut".to_owned(),
        };
        let start = Instant::now();
        for round in 0..2 {
            let now = start + Duration::from_secs(round);
            let told: Vec<bool> = [&broken, &broken, &Notice::Reconnected, &Notice::Reconnected]
                .map(|notice| outages.line(notice, now).is_some())
                .into();
            assert_eq!(told, [true, false, true, false]);
        }
        // A session that was given up never comes back.
        assert!(outages.line(&broken, start).is_some());
        assert!(outages.line(&broken, start + LONGEST).is_some());
    }
}
