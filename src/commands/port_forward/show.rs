//! What the user sees of forwards: a line when each is ready, notices, a status line on a terminal; or JSON.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::Surroundings;
use super::super::json::error as error_object;
use crate::cli::PortForward;
use crate::client::forward::{ForwardEvent, ForwardStatistics, LocalAddress, LocalForward};
use crate::error::Error;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;
use crate::terminal::progress_line::ProgressLine;

/// How long an object waits for its reader.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shows forwards on stdout and stderr.
pub(super) struct ForwardShow {
    json: bool,
    /// Neither notices nor a status line.
    is_quiet: bool,
    /// Whether stdout is the command's, or the user wants it left alone.
    leaves_stdout: bool,
    status: ProgressLine,
    /// The target as the user named it.
    label: String,
    remotes: Vec<String>,
    locals: Vec<LocalAddress>,
    redactor: Redactor,
    /// The last object was not taken by the reader of stdout.
    is_unread: bool,
    last: (Instant, u64),
    reconnects: u64,
    is_over: bool,
}

impl ForwardShow {
    pub(super) fn new(
        command: &PortForward,
        label: &str,
        forwards: &[LocalForward],
        around: &Surroundings,
    ) -> Self {
        let runs = !command.command.is_empty();
        let remote = |forward: &LocalForward| {
            let remote = forward.remote.as_ref();
            remote.map_or_else(|| "socks5".to_owned(), ToString::to_string)
        };
        Self {
            json: command.json,
            is_quiet: command.quiet,
            leaves_stdout: around.settings.quiet || runs,
            status: if command.quiet || runs {
                ProgressLine::none()
            } else {
                ProgressLine::new(around.environment.get("TERM"))
            },
            label: sanitise::line_within(label, 100),
            remotes: forwards.iter().map(remote).collect(),
            locals: Vec::new(),
            redactor: around.redactor.clone(),
            is_unread: false,
            last: (Instant::now(), 0),
            reconnects: 0,
            is_over: false,
        }
    }

    /// Where the forwards listen.
    pub(super) fn locals(&mut self, locals: &[LocalAddress]) {
        self.locals = locals.to_vec();
    }

    /// Shows what happened.
    pub(super) fn event(&mut self, event: &ForwardEvent) {
        if matches!(event, ForwardEvent::Reconnecting { .. }) {
            self.reconnects += 1;
        }
        if self.json {
            if let Some(object) = self.object(event) {
                self.print(&object);
            }
            return;
        }
        if let ForwardEvent::Ready {
            forward,
            target,
            session,
        } = event
        {
            self.ready(*forward, target.as_deref(), session.as_deref());
        } else if let Some(line) = notice(event)
            && !self.is_quiet
            && !self.is_over
        {
            self.status.clear();
            print::notice(self.redactor.clean(&line));
        }
    }

    fn ready(&mut self, forward: usize, target: Option<&str>, session: Option<&str>) {
        let (Some(local), Some(remote)) = (self.locals.get(forward), self.remotes.get(forward))
        else {
            return;
        };
        let how = match session {
            Some(session) => format!("session {session}"),
            None => "on demand".to_owned(),
        };
        let target = target.unwrap_or(&self.label);
        let line = format!("{local} -> {remote} ({target}, {how})\n");
        self.status.clear();
        if !self.leaves_stdout {
            print::to_stdout(&line);
        } else if !self.is_quiet {
            print::to_stderr(&line);
        }
    }

    fn object(&self, event: &ForwardEvent) -> Option<Value> {
        Some(match event {
            ForwardEvent::Ready {
                forward, target, ..
            } => {
                let local = self.locals.get(*forward)?;
                let mut object = json!({
                    "event": "ready",
                    "forward": forward + 1,
                    "local": local.to_string(),
                    "remote": self.remotes.get(*forward)?,
                    "target": target.as_ref().unwrap_or(&self.label),
                });
                if let Some(port) = local.port() {
                    object["port"] = json!(port);
                }
                object
            }
            ForwardEvent::SessionStarted { session, target } => {
                json!({ "event": "session", "session": session, "state": "started", "target": target })
            }
            ForwardEvent::SessionEnded {
                session,
                target,
                reason,
            } => {
                let reason = self.redactor.clean(reason);
                json!({ "event": "session", "session": session, "state": "ended", "target": target, "reason": reason })
            }
            ForwardEvent::Opened {
                forward,
                session,
                peer,
            } => json!({
                "event": "connection",
                "forward": forward + 1,
                "session": session,
                "peer": peer,
                "state": "opened",
                "sent": 0,
                "received": 0,
            }),
            ForwardEvent::Closed {
                forward,
                session,
                peer,
                sent,
                received,
            } => json!({
                "event": "connection",
                "forward": forward + 1,
                "session": session,
                "peer": peer,
                "state": "closed",
                "sent": sent,
                "received": received,
            }),
            ForwardEvent::Reconnecting { session, reason } => {
                let reason = self.redactor.clean(reason);
                json!({ "event": "reconnecting", "session": session, "reason": reason })
            }
            ForwardEvent::Reconnected { session, after } => {
                let seconds = (after.as_secs_f64() * 10.0).round() / 10.0;
                json!({ "event": "reconnected", "session": session, "seconds": seconds })
            }
            ForwardEvent::Refused { .. } | ForwardEvent::Warning(_) => {
                let message = notice(event)?;
                json!({ "event": "error", "message": self.redactor.clean(&message) })
            }
            ForwardEvent::Ended(_) => return None,
        })
    }

    /// Something went wrong.
    pub(super) fn error(&mut self, message: &str) {
        self.status.clear();
        let message = self.redactor.clean(message);
        if self.json {
            self.print(&json!({ "event": "error", "message": sanitise::text(&message) }));
        } else {
            print::complaint(message);
        }
    }

    /// The forwards could not start, or have ended with an error.
    pub(super) fn failed(&mut self, error: &Error) {
        if self.json {
            let message = error.to_string();
            let object = error_object(error, &self.redactor.clean(&message));
            self.print(&object);
        } else {
            self.error(&error.to_string());
        }
    }

    /// Everything is being ended: nothing more is shown.
    pub(super) fn stop(&mut self) {
        self.is_over = true;
        self.status.clear();
    }

    /// Shows the end.
    pub(super) fn end(&mut self, code: u8) {
        self.status.clear();
        if self.json {
            self.print(&json!({ "event": "end", "code": code }));
        }
    }

    /// Whether the status line is to be written every second.
    pub(super) const fn wants_status(&self) -> bool {
        self.status.is_possible() && !self.is_over
    }

    /// Writes the status line.
    pub(super) fn status(&mut self, statistics: &ForwardStatistics) {
        let (sent, received) = (statistics.sent, statistics.received);
        let total = sent.saturating_add(received);
        let now = Instant::now();
        let seconds = now
            .saturating_duration_since(self.last.0)
            .as_secs_f64()
            .max(0.1);
        let rate = bytes(as_f64(total.saturating_sub(self.last.1)) / seconds);
        self.last = (now, total);
        let line = format!(
            "connections {}, sent {}, received {}, {rate}/s, sessions {}, reconnects {}",
            statistics.connections,
            bytes(as_f64(sent)),
            bytes(as_f64(received)),
            statistics.sessions,
            self.reconnects
        );
        self.status.show(&line);
    }

    /// Forwards do not wait for who does not read: after a line that was not taken, the next are there only if there is room at once.
    fn print(&mut self, object: &Value) {
        let limit = if self.is_unread {
            Duration::ZERO
        } else {
            OBJECT_TIMEOUT
        };
        self.is_unread = !print::to_stdout_within(&format!("{object}\n"), limit);
    }
}

/// The line for an event; none for events that need none.
fn notice(event: &ForwardEvent) -> Option<String> {
    Some(match event {
        ForwardEvent::SessionEnded {
            session, reason, ..
        } => {
            format!("session {session} has ended ({reason}); the next connection starts another")
        }
        ForwardEvent::Refused {
            session,
            destination,
        } => {
            format!(
                "the agent could not reach {destination} for a connection (session {session}); its log says why"
            )
        }
        ForwardEvent::Reconnecting { session, reason } => {
            format!(
                "the connection of session {session} is broken ({reason}); reconnecting (Ctrl-C leaves)"
            )
        }
        ForwardEvent::Reconnected { session, .. } => {
            format!("the connection of session {session} is back")
        }
        ForwardEvent::Warning(line) => line.clone(),
        ForwardEvent::Ready { .. }
        | ForwardEvent::SessionStarted { .. }
        | ForwardEvent::Opened { .. }
        | ForwardEvent::Closed { .. }
        | ForwardEvent::Ended(_) => return None,
    })
}

/// Exact up to 2^53, which is enough to be shown.
#[allow(clippy::cast_precision_loss)]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

fn bytes(count: f64) -> String {
    match count {
        ..1e3 => format!("{count:.0} B"),
        ..1e6 => format!("{:.1} kB", count / 1e3),
        ..1e9 => format!("{:.1} MB", count / 1e6),
        _ => format!("{:.1} GB", count / 1e9),
    }
}
