//! What the user sees of an outage: on a terminal one line that is kept up to date and goes with the outage, elsewhere a line each for its
//! beginning and its end.

use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::datachannel::{ChannelStatus, DataChannel, Notice};
use crate::mutex::lock;
use crate::sanitise;
use crate::terminal::{print, status_line};

/// How often the line is drawn.
const EVERY: Duration = Duration::from_secs(1);

/// The line, while there is an outage.
#[derive(Debug, Default)]
pub(crate) struct OutageLine(Mutex<Option<Drawing>>);

#[derive(Debug)]
struct Drawing {
    /// Dropped when it is over.
    _going: Sender<()>,
    thread: JoinHandle<()>,
}

impl OutageLine {
    pub(super) fn start(&self, channel: &DataChannel, reason: &str, how_to_leave: &str) -> bool {
        let (going, over) = bounded(0);
        let channel = channel.clone();
        let (reason, how_to_leave) = (sanitise::line(reason), how_to_leave.to_owned());
        let drawn = thread::Builder::new()
            .name("outage".to_owned())
            .spawn(move || {
                loop {
                    status_line::show(&line(
                        &channel.status(),
                        &reason,
                        &how_to_leave,
                        Instant::now(),
                    ));
                    if over.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
        let Ok(thread) = drawn else {
            return false;
        };
        let drawing = Drawing {
            _going: going,
            thread,
        };
        *lock(&self.0) = Some(drawing);
        true
    }

    /// Removes the line; whether it was there.
    pub(super) fn stop(&self) -> bool {
        let drawing = lock(&self.0).take();
        let Some(Drawing { _going, thread }) = drawing else {
            return false;
        };
        drop(_going);
        // It draws, which takes a second at most, or waits for this.
        let _ = thread.join();
        drop(status_line::hide());
        true
    }
}

/// One line on stderr about the connection.
pub(super) fn tell(notice: &Notice, how_to_leave: &str) {
    match notice {
        Notice::Silent => print::notice(format!(
            "the target has not said anything for 15 seconds; still waiting ({how_to_leave})"
        )),
        Notice::Unacknowledged => print::notice(
            "what was sent 60 seconds ago has not been acknowledged by the target yet; still trying",
        ),
        Notice::Reconnecting { reason } => print::notice(format!(
            "the connection is broken ({}); reconnecting ({how_to_leave})",
            sanitise::line(reason)
        )),
        Notice::Reconnected => print::notice("the connection is back"),
    }
}

fn line(status: &ChannelStatus, reason: &str, how_to_leave: &str, now: Instant) -> String {
    let next = outage(status, now).unwrap_or_else(|| "reconnecting".to_owned());
    format!("{next}, {how_to_leave} ({reason})")
}

/// How an outage stands; none where there is a connection.
fn outage(status: &ChannelStatus, now: Instant) -> Option<String> {
    let outage = status.outage?;
    let age = now.saturating_duration_since(outage.began).as_secs();
    let next = match outage.next_try {
        Some(at) if at > now => {
            // It counts down to 1.
            let wait = (at - now).as_nanos().div_ceil(1_000_000_000);
            format!("next try in {wait} s")
        }
        _ => "trying now".to_owned(),
    };
    Some(format!("reconnecting, {age} s, {next}"))
}

/// What `~s` shows, its lines ended as a raw terminal needs them.
pub(super) fn describe(
    status: &ChannelStatus,
    session_id: &str,
    agent_version: &str,
    now: Instant,
) -> String {
    let state = outage(status, now).unwrap_or_else(|| "connected".to_owned());
    let round_trip = status.round_trip.map_or_else(
        || "not measured yet".to_owned(),
        |time| format!("{:.1} ms", time.as_secs_f64() * 1000.0),
    );
    let (messages, bytes) = status.unacknowledged;
    let agent = match sanitise::line(agent_version) {
        agent if agent.is_empty() => "unknown".to_owned(),
        agent => agent,
    };
    let session = sanitise::line(session_id);
    let reconnects = status.reconnects;
    format!(
        "\r\nSession {session}:\r\n \
         connection      {state}\r\n \
         round trip      {round_trip}\r\n \
         unacknowledged  {messages} messages, {bytes} bytes\r\n \
         reconnects      {reconnects}\r\n \
         agent           {agent}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datachannel::OutageStatus;

    fn status(outage: Option<OutageStatus>) -> ChannelStatus {
        ChannelStatus {
            outage,
            round_trip: Some(Duration::from_micros(23_450)),
            unacknowledged: (3, 3411),
            reconnects: 2,
        }
    }

    #[test]
    fn p72_an_outage_is_told_with_its_age_and_the_next_try() {
        let now = Instant::now();
        let began = now;
        let now = began + Duration::from_millis(12_300);
        let outage = |next_try| status(Some(OutageStatus { began, next_try }));
        let next = Some(now + Duration::from_millis(3200));
        assert_eq!(
            line(&outage(next), "why", "~. leaves", now),
            "reconnecting, 12 s, next try in 4 s, ~. leaves (why)"
        );
        for next in [None, Some(now)] {
            let line = line(&outage(next), "why", "~. leaves", now);
            assert_eq!(line, "reconnecting, 12 s, trying now, ~. leaves (why)");
        }
    }

    #[test]
    fn p72_the_state_is_described_without_control_characters_of_others() {
        let text = describe(&status(None), "a\x1b[2Jb", "3.3\x07.0", Instant::now());
        assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
        for part in [
            "connected",
            "23.4 ms",
            "3 messages, 3411 bytes",
            "reconnects      2",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let text = describe(&status(None), "a", "", Instant::now());
        assert!(text.contains("unknown"), "{text}");
    }
}
