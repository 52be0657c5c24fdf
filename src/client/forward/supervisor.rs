//! Starts sessions when the port thread asks for them, learns of their ends, and tells what happens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, bounded, unbounded};

use super::destination::Destination;
use super::event::ForwardEvent;
use super::messages::{ForwardOrder, ForwardReport};
use super::options::ForwardOptions;
use super::pace::StartPace;
use super::standing::{RouteId, SessionNumber};
use super::start::{Ready, StartFailure, start};

use crate::client::{Client, Session};
use crate::datachannel::{End, Notice};
use crate::error::Error;
use crate::network::{Cancel, Limit};
use crate::random;
use crate::sanitise;
use crate::session::port::ListenAddress;
use crate::waker::Mailbox;

/// How long ending everything may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A first session that ends so soon, with a reason and before anybody has connected, could not be started.
const COULD_NOT_START: Duration = Duration::from_secs(1);
/// How often a target is looked for that is waited for.
const WAIT_INTERVAL: Duration = Duration::from_secs(5);
/// No limit of its own: each start has one.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// A session that stands.
struct Supervised {
    session: Session,
    /// As they may be shown.
    name: String,
    target: String,
    route: RouteId,
    since: Instant,
    /// Since when its connection is known to be broken.
    broken_since: Option<Instant>,
}

/// One destination.
struct ForwardRoute {
    destination: Destination,
    pace: StartPace,
    /// The forwards that are ready when its first session stands.
    unready: Vec<usize>,
    /// Whether no connection has been carried yet, by a session that was started before anybody connected.
    is_unproven: bool,
    /// What was asked for: 0 for any.
    local_port: u16,
}

/// The answer of a thread that started a session.
struct StartAnswer {
    route: RouteId,
    result: Result<Ready, StartFailure>,
}

/// What the supervisor hears.
enum SupervisorEvent {
    Stop,
    Report(ForwardReport),
    Answer(StartAnswer),
    Notice(SessionNumber, Notice),
    Due,
}

/// Why it ends.
enum Finish {
    /// It was asked to.
    Stopped,
    /// Something ended it.
    Over(Result<(), Error>),
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
        let mut routes = HashMap::new();
        for (index, forward) in options.forwards.iter().enumerate() {
            // The port thread numbers destinations in this order.
            if let Some(destination) = &forward.remote {
                routes.insert(
                    routes.len(),
                    ForwardRoute {
                        destination: destination.clone(),
                        pace: StartPace::default(),
                        unready: vec![index],
                        is_unproven: !options.on_demand,
                        local_port: match forward.local {
                            ListenAddress::Port(port, _) => port,
                            ListenAddress::Unix(_) => 0,
                        },
                    },
                );
            }
        }
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
        // See `EVENTS`.
        let _ = self.events.try_send(event);
    }

    fn hear(&self) -> SupervisorEvent {
        let mut select = Select::new();
        select.recv(&self.stop);
        select.recv(&self.reports);
        select.recv(&self.answers.1);
        let keys: Vec<_> = self.sessions.keys().copied().collect();
        // A data channel that has ended tells nothing more, for good; what its session became is reported.
        let notices = keys
            .iter()
            .filter_map(|key| Some((*key, self.sessions.get(key)?.session.notices())));
        let notices: Vec<_> = notices.filter(|(key, _)| !self.has_ended(*key)).collect();
        for (_, receiver) in &notices {
            select.recv(receiver);
        }
        let due = self.due.iter().map(|(at, _)| *at).min();
        let operation = match due {
            Some(at) => match select.select_deadline(at) {
                Ok(operation) => operation,
                Err(_) => return SupervisorEvent::Due,
            },
            None => select.select(),
        };
        match operation.index() {
            0 => {
                // The one who could stop it is gone as well.
                let _ = operation.recv(&self.stop);
                SupervisorEvent::Stop
            }
            1 => match operation.recv(&self.reports) {
                Ok(report) => SupervisorEvent::Report(report),
                Err(_) => SupervisorEvent::Report(ForwardReport::Broken(std::io::Error::other(
                    "its thread is gone",
                ))),
            },
            2 => match operation.recv(&self.answers.1) {
                Ok(answer) => SupervisorEvent::Answer(answer),
                Err(_) => SupervisorEvent::Due,
            },
            index => {
                let (key, receiver) = notices[index - 3];
                match operation.recv(receiver) {
                    Ok(notice) => SupervisorEvent::Notice(key, notice),
                    Err(_) => SupervisorEvent::Due,
                }
            }
        }
    }

    fn has_ended(&self, key: SessionNumber) -> bool {
        self.sessions
            .get(&key)
            .is_none_or(|session| session.session.channel().has_ended())
    }

    fn handle(&mut self, heard: SupervisorEvent) -> Option<Finish> {
        match heard {
            SupervisorEvent::Stop => return Some(Finish::Stopped),
            SupervisorEvent::Report(report) => return self.handle_report(report),
            SupervisorEvent::Answer(answer) => return self.handle_answer(answer),
            SupervisorEvent::Notice(key, notice) => self.handle_notice(key, notice),
            SupervisorEvent::Due => {}
        }
        let now = Instant::now();
        let (due, later) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = later;
        let due: Vec<(Instant, RouteId)> = due;
        for (_, route) in due {
            self.start(route);
        }
        None
    }

    fn handle_report(&mut self, report: ForwardReport) -> Option<Finish> {
        let now = Instant::now();
        let name = |sessions: &HashMap<SessionNumber, Supervised>, key| {
            sessions
                .get(&key)
                .map(|session: &Supervised| session.name.clone())
                .unwrap_or_default()
        };
        match report {
            ForwardReport::Start { route, destination } => self.ask(route, destination, now),
            ForwardReport::Opened { key, forward, peer } => {
                let session = name(&self.sessions, key);
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
                let session = name(&self.sessions, key);
                self.tell(ForwardEvent::Closed {
                    forward,
                    session,
                    peer,
                    sent,
                    received,
                });
            }
            ForwardReport::Refused { key } => {
                let session = name(&self.sessions, key);
                self.tell(ForwardEvent::Refused { session });
            }
            ForwardReport::Released { key } => {
                if let Some(supervised) = self.sessions.remove(&key) {
                    self.tell_end(&supervised, "it was not used any more".to_owned());
                    end_in_background(supervised.session);
                }
            }
            ForwardReport::Ended {
                key,
                end,
                was_of_use,
            } => return self.handle_end(key, end, was_of_use, now),
            ForwardReport::Complaint(line) => self.tell(ForwardEvent::Warning(line)),
            ForwardReport::Broken(error) => {
                return Some(Finish::Over(Err(Error::Lost(format!(
                    "cannot go on with the local connections: {error}"
                )))));
            }
        }
        None
    }

    fn handle_end(
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
            // The agent could not start it: there would be nothing else in the next one.
            let error = Error::Start(sanitise::line(output.trim()));
            return Some(Finish::Over(Err(error)));
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
                // It may still be there, and nobody will ever use it.
                end_in_background(supervised.session);
                Err(error)
            }
            End::Closed { .. } | End::TimedOut => Ok(()),
        };
        self.options.once.then_some(Finish::Over(result))
    }

    fn tell_end(&self, supervised: &Supervised, reason: String) {
        self.tell(ForwardEvent::SessionEnded {
            session: supervised.name.clone(),
            target: supervised.target.clone(),
            reason,
        });
    }

    /// The port thread wants a session.
    fn ask(&mut self, route: RouteId, destination: Destination, now: Instant) {
        let known = self
            .routes
            .entry(route)
            .or_insert_with(|| ForwardRoute::new(destination.clone()));
        if known.destination != destination {
            // The number is used for another one now.
            *known = ForwardRoute::new(destination);
        }
        let standing = self.sessions.values().any(|session| session.route == route);
        // Those that are wanted beside others that stand are no tries after a failure.
        let at = if standing {
            now
        } else {
            known.pace.next(now, random::share())
        };
        if at > now {
            self.due.push((at, route));
        } else {
            self.start(route);
        }
    }

    fn start(&mut self, id: RouteId) {
        let Some(route) = self.routes.get_mut(&id) else {
            return;
        };
        route.pace.started(Instant::now());
        self.starting += 1;
        let (client, options) = (self.client.clone(), Arc::clone(&self.options));
        let (destination, local_port) = (route.destination.clone(), route.local_port);
        let limit = Limit::within(FAR).or_cancelled(&self.cancel);
        let answers = self.answers.0.clone();
        let work = move || {
            let result = start(&client, &options, &destination, local_port, &limit);
            // When nobody listens any more the session is dropped.
            let _ = answers.send(StartAnswer { route: id, result });
        };
        if let Err(error) = std::thread::Builder::new()
            .name("start".to_owned())
            .spawn(work)
        {
            let error = crate::session::out_of_resources(&error);
            let result = Err(StartFailure {
                error,
                is_final: false,
            });
            let _ = self.answers.0.send(StartAnswer { route: id, result });
        }
    }

    fn handle_answer(&mut self, answer: StartAnswer) -> Option<Finish> {
        self.starting -= 1;
        let id = answer.route;
        let is_first = self
            .routes
            .get(&id)
            .is_some_and(|route| !route.unready.is_empty());
        match answer.result {
            Ok(ready) => self.begin(id, ready),
            Err(StartFailure { error, is_final }) => {
                if is_first && !is_final && self.waits_until.is_some_and(|at| Instant::now() < at) {
                    if !std::mem::replace(&mut self.has_told_waiting, true) {
                        self.tell(ForwardEvent::Warning(format!(
                            "waiting for the target: {error}"
                        )));
                    }
                    self.due.push((Instant::now() + WAIT_INTERVAL, id));
                    return None;
                }
                if is_final || is_first || self.options.once {
                    return Some(Finish::Over(Err(error)));
                }
                if let Some(route) = self.routes.get_mut(&id) {
                    route.pace.failed(Instant::now());
                    let line = format!("no session for {}: {error}", route.destination);
                    self.tell(ForwardEvent::Warning(line));
                }
                self.port.post(ForwardOrder::Failed { route: id });
            }
        }
        None
    }

    fn begin(&mut self, id: RouteId, ready: Ready) {
        let Ready {
            session,
            target,
            keepalive,
        } = ready;
        let key = self.next_key;
        self.next_key += 1;
        let supervised = Supervised {
            name: sanitise::line(session.id()),
            target: sanitise::line(&target),
            route: id,
            since: Instant::now(),
            broken_since: None,
            session,
        };
        self.tell(ForwardEvent::SessionStarted {
            session: supervised.name.clone(),
            target: supervised.target.clone(),
        });
        let unready = self
            .routes
            .get_mut(&id)
            .map(|route| std::mem::take(&mut route.unready));
        for forward in unready.unwrap_or_default() {
            self.tell(ForwardEvent::Ready {
                forward,
                target: Some(supervised.target.clone()),
                session: Some(supervised.name.clone()),
            });
        }
        let channel = supervised.session.channel().clone();
        self.sessions.insert(key, supervised);
        self.port.post(ForwardOrder::Begin {
            route: id,
            key,
            channel,
            keepalive,
            message: self.client.settings().payload_size,
        });
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

    /// Closes everything here, then ends the sessions, side by side.
    fn finish(mut self, finish: Finish) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        self.port.post(ForwardOrder::Stop);
        self.cancel.cancel();
        let (alive, all_ended) = bounded::<()>(0);
        let end = |session: Session| {
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
        // Whoever does not listen by now has gone.
        let _ = self
            .events
            .send_timeout(ForwardEvent::Ended(result), STOP_TIMEOUT);
    }
}

impl ForwardRoute {
    fn new(destination: Destination) -> Self {
        Self {
            destination,
            pace: StartPace::default(),
            unready: Vec::new(),
            is_unproven: false,
            local_port: 0,
        }
    }
}

fn end_in_background(session: Session) {
    let work = move || {
        if let Err(error) = session.end(Instant::now() + STOP_TIMEOUT) {
            log::info!("the remote session could not be ended: {error}");
        }
    };
    // Without a thread it ends when it has been idle for its time.
    let _ = std::thread::Builder::new()
        .name("terminate".to_owned())
        .spawn(work);
}
