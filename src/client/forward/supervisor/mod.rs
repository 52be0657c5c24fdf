//! Starts sessions when the port thread asks for them, learns of their ends, and tells what happens.

mod ending;
mod hear;
mod starting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::event::ForwardEvent;
use super::messages::{ForwardOrder, ForwardReport};
use super::options::ForwardOptions;
use super::route::ForwardRoute;
use super::standing::{RouteId, SessionNumber};
use super::start::{Ready, StartFailure};
use crate::client::failure::{ClientError, ErrorKind};
use crate::client::{Client, RawSession};
use crate::datachannel::Notice;
use crate::network::Cancel;
use crate::sanitise;
use crate::waker::Mailbox;

/// The most events that wait to be read. Further ones are dropped: a caller that does not read so many does not read more. The channel has
/// no bound of its own, as a bounded channel allocates all of its memory at the beginning.
const MOST_EVENTS: usize = 4096;
/// How long ending everything, or one session, may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// An established session.
struct Supervised {
    session: RawSession,
    /// As they may be shown.
    name: String,
    target: String,
    route: RouteId,
    since: Instant,
    /// Since when its connection is known to be broken.
    broken_since: Option<Instant>,
}

/// The answer of a thread that started a session.
struct StartAnswer {
    route: RouteId,
    result: Result<Ready, StartFailure>,
}

/// An event for the supervisor.
enum SupervisorEvent {
    Stop,
    Report(ForwardReport),
    Answer(StartAnswer),
    Notice(SessionNumber, Notice),
    Due,
}

/// Why the supervisor ends.
enum Finish {
    /// It was asked to.
    Stopped,
    /// Something ended it.
    Over(Result<(), ClientError>),
}

/// The thread's state.
pub(super) struct Supervisor {
    client: Client,
    options: Arc<ForwardOptions>,
    port: Mailbox<ForwardOrder>,
    reports: Receiver<ForwardReport>,
    stop: Receiver<()>,
    events: Sender<ForwardEvent>,
    answers: (Sender<StartAnswer>, Receiver<StartAnswer>),
    cancel: Cancel,
    routes: HashMap<RouteId, ForwardRoute>,
    sessions: HashMap<SessionNumber, Supervised>,
    next_key: SessionNumber,
    /// Starts that wait for their time.
    due: Vec<(Instant, RouteId)>,
    starting: usize,
    /// Until when the first sessions may fail because the target is not there yet.
    waits_until: Option<Instant>,
    has_told_waiting: bool,
}

impl Supervisor {
    pub(super) fn new(
        client: Client,
        options: ForwardOptions,
        (port, reports): (Mailbox<ForwardOrder>, Receiver<ForwardReport>),
        stop: Receiver<()>,
        events: Sender<ForwardEvent>,
        cancel: Cancel,
    ) -> Self {
        // The port thread numbers destinations in the same order.
        let routes = options.forwards.iter().enumerate();
        let routes = routes.filter_map(|(index, forward)| {
            ForwardRoute::of_forward(index, forward, options.on_demand)
        });
        let routes = routes.enumerate().collect();
        Self {
            waits_until: options.wait.map(|wait| Instant::now() + wait),
            has_told_waiting: false,
            client,
            options: Arc::new(options),
            port,
            reports,
            stop,
            events,
            answers: unbounded(),
            cancel,
            routes,
            sessions: HashMap::new(),
            next_key: 0,
            due: Vec::new(),
            starting: 0,
        }
    }

    /// Works until it is stopped, or something ends it for good.
    pub(super) fn run(mut self) {
        self.tell_ready_ones();
        let finish = loop {
            let heard = self.hear();
            if let Some(finish) = self.handle(heard) {
                break finish;
            }
        };
        self.finish(finish);
    }

    /// Those that wait for no session.
    fn tell_ready_ones(&mut self) {
        for index in 0..self.options.forwards.len() {
            if self.options.on_demand || self.options.forwards[index].remote.is_none() {
                self.tell(ForwardEvent::Ready {
                    forward: index,
                    target: None,
                    session: None,
                });
            }
        }
        if self.options.on_demand {
            for route in self.routes.values_mut() {
                route.unready.clear();
            }
        }
    }

    fn tell(&self, event: ForwardEvent) {
        if self.events.len() < MOST_EVENTS {
            // Without a receiver there is nobody to tell.
            let _ = self.events.send(event);
        }
    }

    fn handle(&mut self, heard: SupervisorEvent) -> Option<Finish> {
        match heard {
            SupervisorEvent::Stop => return Some(Finish::Stopped),
            SupervisorEvent::Report(report) => return self.handle_report(report),
            SupervisorEvent::Answer(answer) => return self.handle_answer(answer),
            SupervisorEvent::Notice(key, notice) => self.handle_notice(key, notice),
            SupervisorEvent::Due => {}
        }
        self.start_due();
        None
    }

    fn name(&self, key: SessionNumber) -> String {
        let session = self.sessions.get(&key);
        session
            .map(|session| session.name.clone())
            .unwrap_or_default()
    }

    fn handle_report(&mut self, report: ForwardReport) -> Option<Finish> {
        let now = Instant::now();
        match report {
            ForwardReport::Start { route, destination } => self.ask(route, destination, now),
            ForwardReport::Opened { key, forward, peer } => {
                let session = self.name(key);
                let route = self.sessions.get(&key).map(|session| session.route);
                if let Some(route) = route.and_then(|route| self.routes.get_mut(&route)) {
                    route.is_unproven = false;
                }
                self.tell(ForwardEvent::Opened {
                    forward,
                    session,
                    peer,
                });
            }
            ForwardReport::Closed {
                key,
                forward,
                peer,
                sent,
                received,
            } => {
                let session = self.name(key);
                self.tell(ForwardEvent::Closed {
                    forward,
                    session,
                    peer,
                    sent,
                    received,
                });
            }
            ForwardReport::Refused { key } => {
                let route = self.sessions.get(&key).map(|session| session.route);
                if let Some(route) = route.and_then(|route| self.routes.get(&route)) {
                    self.tell(ForwardEvent::Refused {
                        session: self.name(key),
                        destination: route.destination.clone(),
                    });
                }
            }
            ForwardReport::Released { key } => {
                if let Some(supervised) = self.sessions.remove(&key) {
                    self.tell_end(&supervised, "it was not used any more".to_owned());
                    supervised.session.end_in_background(STOP_TIMEOUT);
                }
            }
            ForwardReport::Ended {
                key,
                end,
                was_of_use,
            } => return self.handle_end(key, end, was_of_use, now),
            ForwardReport::Complaint(line) => self.tell(ForwardEvent::Warning(line)),
            ForwardReport::Broken(error) => {
                return Some(Finish::Over(Err(ClientError::new(
                    ErrorKind::Local,
                    format!("cannot go on with the local connections: {error}"),
                ))));
            }
        }
        None
    }

    fn handle_notice(&mut self, key: SessionNumber, notice: Notice) {
        let Some(supervised) = self.sessions.get_mut(&key) else {
            return;
        };
        let session = supervised.name.clone();
        let event = match notice {
            Notice::Reconnecting { reason } => {
                supervised.broken_since.get_or_insert_with(Instant::now);
                self.port.post(ForwardOrder::SetConnected {
                    key,
                    is_connected: false,
                });
                ForwardEvent::Reconnecting {
                    session,
                    reason: sanitise::line(&reason),
                }
            }
            Notice::Reconnected => {
                let since = supervised.broken_since.take();
                self.port.post(ForwardOrder::SetConnected {
                    key,
                    is_connected: true,
                });
                ForwardEvent::Reconnected {
                    session,
                    after: since.map_or(Duration::ZERO, |since| since.elapsed()),
                }
            }
            Notice::Silent => ForwardEvent::Warning(format!(
                "the target of session {session} has not said anything for 15 seconds; still waiting"
            )),
            Notice::Unacknowledged => ForwardEvent::Warning(format!(
                "what was sent 60 seconds ago in session {session} has not been acknowledged by the target yet; still trying"
            )),
        };
        self.tell(event);
    }
}
