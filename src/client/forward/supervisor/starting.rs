//! Which sessions are started, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Finish, ForwardEvent, ForwardOrder, ForwardRoute, Ready, RouteId, StartAnswer, StartFailure,
    Supervised, Supervisor,
};
use crate::client::failure::{ClientError, ErrorKind};
use crate::client::forward::destination::Destination;
use crate::client::forward::start::start;
use crate::client::target::reach::INTERVAL;

use crate::network::Limit;
use crate::{random, sanitise};

/// No limit of its own: each start has one.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

impl Supervisor {
    /// Starts what has waited for its time.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.due.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, route) in due {
            self.start(route);
        }
    }

    /// The port thread wants a session.
    pub(super) fn ask(&mut self, route: RouteId, destination: Destination, now: Instant) {
        let known = self
            .routes
            .entry(route)
            .or_insert_with(|| ForwardRoute::new(destination.clone()));
        if known.destination != destination {
            // The number is used for another one now.
            *known = ForwardRoute::new(destination);
        }
        // A further session beside established ones is no retry, and no connection depends on it.
        if self.sessions.values().any(|session| session.route == route) {
            if known.beside.has_failed() && known.beside.next(now, random::share()) > now {
                self.port.post(ForwardOrder::Failed { route });
            } else {
                self.start(route);
            }
            return;
        }
        let at = known.pace.next(now, random::share());
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
        let now = Instant::now();
        route.pace.started(now);
        route.beside.started(now);
        self.starting += 1;
        let (client, options) = (self.client.clone(), Arc::clone(&self.options));
        let (destination, local_port) = (route.destination.clone(), route.local_port);
        let limit = Limit::within(FAR).or_cancelled(&self.cancel);
        let answers = self.answers.0.clone();
        let work = move || {
            let result = start(&client, &options, &destination, local_port, &limit);
            // Without a receiver the session is dropped.
            let _ = answers.send(StartAnswer { route: id, result });
        };
        if let Err(error) = std::thread::Builder::new()
            .name("start-session".to_owned())
            .spawn(work)
        {
            let error = ClientError::resources(&error);
            let result = Err(StartFailure {
                error,
                is_final: false,
            });
            let _ = self.answers.0.send(StartAnswer { route: id, result });
        }
    }

    pub(super) fn handle_answer(&mut self, answer: StartAnswer) -> Option<Finish> {
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
                        let seconds = self.options.wait.unwrap_or_default().as_secs();
                        self.tell(ForwardEvent::Warning(format!(
                            "waiting for the target, up to {seconds} s: {error}"
                        )));
                    }
                    self.due.push((Instant::now() + INTERVAL, id));
                    return None;
                }
                // While a node is replaced, two nodes may have its name.
                let is_final = is_final && !matches!(error.kind(), ErrorKind::TargetAmbiguous);
                if is_final || is_first || self.options.once {
                    return Some(Finish::Over(Err(error)));
                }
                self.give_up(id, &error);
            }
        }
        None
    }

    /// No session could be started: the port thread is told.
    fn give_up(&mut self, id: RouteId, error: &ClientError) {
        let is_beside_others = self.sessions.values().any(|session| session.route == id);
        if let Some(route) = self.routes.get_mut(&id) {
            let pace = if is_beside_others {
                &mut route.beside
            } else {
                &mut route.pace
            };
            pace.failed(Instant::now());
            let line = format!("no session for {}: {error}", route.destination);
            self.tell(ForwardEvent::Warning(line));
        }
        self.port.post(ForwardOrder::Failed { route: id });
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
        let unready = self.routes.get_mut(&id).map(|route| {
            route.beside.was_of_use();
            std::mem::take(&mut route.unready)
        });
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
}
