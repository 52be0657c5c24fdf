//! A target that can be reached: found and connected, now or after a while.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Target, TargetError, TargetName};
use crate::aws::ApiError;
use crate::client::Client;
use crate::network::Limit;

/// Look-ups and StartSession with all their retries and the search for credentials, which may run a program that asks somewhere.
const ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// How long after one look the next follows.
pub(in crate::client) const INTERVAL: Duration = Duration::from_secs(2);

impl Client {
    /// Looks a target up and does with it what `start` does. With `wait`, again and again while the target is not there, not connected, or
    /// its task does not run; the user is told once.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub(crate) fn reach<T>(
        &self,
        name: &TargetName,
        wait: Option<Duration>,
        mut start: impl FnMut(&Target, &Limit) -> Result<T, ApiError>,
    ) -> Result<(Target, T), TargetError> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        loop {
            let limit = self.cancelled_too(Limit::within(ATTEMPT_TIME));
            let attempt = name.resolve(self.api(), &limit).and_then(|target| {
                let started = start(&target, &limit)?;
                Ok((target, started))
            });
            let error = match attempt {
                Ok(reached) => return Ok(reached),
                Err(error) => error,
            };
            let is_time_left = deadline.is_some_and(|deadline| Instant::now() < deadline);
            if !error.is_temporary() || !is_time_left {
                return Err(error);
            }
            self.tell_waiting(name, wait.unwrap_or_default());
            log::info!("{error}");
            if limit.pause(INTERVAL).is_err() {
                return Err(error);
            }
        }
    }

    /// Tells the user, once, that a target is waited for.
    pub(in crate::client) fn tell_waiting(&self, target: &dyn fmt::Display, wait: Duration) {
        let seconds = wait.as_secs();
        self.remarks().once(&format!(
            "{target} is not connected yet: waiting for it, up to {seconds} s"
        ));
    }
}
