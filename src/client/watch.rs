//! Ends something at a deadline, or when its caller cancels it.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::network::{Cancel, Limit, Stop};

/// Longer than any wait, and short enough to be added to a clock.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A time that can be added to a clock.
pub(super) fn bounded(time: Duration) -> Duration {
    time.min(FAR)
}

/// What is watched goes on. When this is dropped nothing is watched any more.
#[derive(Debug)]
pub(super) struct Watch(Cancel);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Calls `stop`, once, when the deadline has passed or the caller has cancelled. Nothing is started where neither can be.
///
/// # Errors
/// When the system gives no thread or descriptor.
pub(super) fn watch(
    deadline: Option<Instant>,
    cancel: Option<&Cancel>,
    stop: impl FnOnce(Stop) + Send + 'static,
) -> io::Result<Option<Watch>> {
    if deadline.is_none() && cancel.is_none() {
        return Ok(None);
    }
    let over = Cancel::new()?;
    let deadline = deadline.unwrap_or_else(|| Instant::now() + FAR);
    let limit = Limit::until(deadline).or_cancelled(&over);
    let cancel = cancel.cloned();
    std::thread::Builder::new()
        .name("deadline".to_owned())
        .spawn(move || {
            let ended = match &cancel {
                Some(cancel) => limit.wait(cancel.as_fd(), PollFlags::IN),
                None => limit.pause(FAR).map_err(io::Error::from),
            };
            match ended {
                Ok(()) => stop(Stop::Cancelled),
                Err(error) if Stop::of(&error) == Some(Stop::Cancelled) => {}
                // The deadline has passed; or waiting fails, and nothing may go on without a watch.
                Err(_) => stop(Stop::TimedOut),
            }
        })?;
    Ok(Some(Watch(over)))
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_deadline_the_caller_and_the_end_are_told_apart() {
        let (sender, stops) = bounded(1);
        let tell = || {
            let sender = sender.clone();
            move |stop| sender.send(stop).unwrap()
        };
        assert!(watch(None, None, tell()).unwrap().is_none());

        let now = Instant::now();
        let _timed_out = watch(Some(now), None, tell()).unwrap();
        assert_eq!(stops.recv_timeout(LONG), Ok(Stop::TimedOut));

        let cancel = Cancel::new().unwrap();
        let _cancelled = watch(Some(now + LONG), Some(&cancel), tell()).unwrap();
        cancel.cancel();
        assert_eq!(stops.recv_timeout(LONG), Ok(Stop::Cancelled));

        let cancel = Cancel::new().unwrap();
        let over = watch(None, Some(&cancel), tell()).unwrap();
        drop(over);
        drop(sender);
        // Its thread has ended without a call of `stop`.
        assert!(stops.recv_timeout(LONG).is_err());
    }
}
