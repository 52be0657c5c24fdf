//! Which session carries which connection, and when another one is asked for.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::Token;

use super::{
    ForwardReport, INTEREST, Owner, PortRoute, PortThread, ROOM_TIME, RouteId, WaitingConnection,
};
use crate::client::forward::socks::SocksReply;
use crate::session::port::Unread;

/// A session for one of several destinations, or beyond the first of a forward, ends when it has had no connection for so long.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Sessions for destinations of SOCKS at a time.
const SOCKS_SESSIONS: usize = 20;

impl PortThread {
    /// A session could not be started: the connection that waited for it goes through another one, if there is one.
    pub(super) fn give_up_one(&mut self, route: RouteId, now: Instant) {
        if let Some(index) = self.least_busy(route) {
            if let Some(waiting) = self.routes[route].waiting.pop_front() {
                self.connect(index, waiting, now);
            }
        } else if self.routes[route].starting == 0 {
            while let Some(waiting) = self.routes[route].waiting.pop_front() {
                self.turn_away(waiting);
            }
        }
    }

    /// A connection that has said where it goes.
    pub(super) fn wait_for_session(
        &mut self,
        route: RouteId,
        waiting: WaitingConnection,
        now: Instant,
    ) {
        self.owners.insert(waiting.token, Owner::Waiting(route));
        self.routes[route].waiting.push_back(waiting);
        self.dispatch(route, now);
    }

    /// Something happened to a connection that waits: its peer may be gone (P75).
    pub(super) fn look_at_waiting(&mut self, route: RouteId, token: Token) {
        let PortRoute {
            waiting,
            ended_early,
            ..
        } = &mut self.routes[route];
        let at = |token| waiting.iter().position(|waiting| waiting.token == token);
        let gone = at(token).and_then(|index| match waiting[index].socket.peek() {
            Unread::Nothing | Unread::Data => None,
            Unread::Failure => Some(index),
            Unread::End => ended_early.add(token).and_then(at),
        });
        if let Some(gone) = gone.and_then(|index| waiting.remove(index)) {
            self.owners.remove(&gone.token);
        }
    }

    /// A connection for which there is no session.
    fn turn_away(&mut self, mut waiting: WaitingConnection) {
        self.owners.remove(&waiting.token);
        if waiting.is_socks {
            let _ = waiting
                .socket
                .write_vectored(&[IoSlice::new(&SocksReply::Failure.bytes())]);
            waiting.socket.finish();
        } else {
            waiting.socket.reset();
        }
    }

    /// Hands waiting connections to sessions: to one that has none, or to a new one, or else to the least busy.
    pub(super) fn dispatch(&mut self, route: RouteId, now: Instant) {
        loop {
            let of_route = self
                .sessions
                .iter()
                .filter(|session| session.route == route)
                .count();
            let PortRoute {
                waiting,
                starting,
                most,
                ..
            } = &self.routes[route];
            if waiting.is_empty() {
                return;
            }
            let (wants_more, may_start) = (waiting.len() > *starting, of_route + starting < *most);
            let least_busy = self.least_busy(route);
            let is_idle =
                least_busy.is_some_and(|index| self.sessions[index].multiplexer.len() == 0);
            if wants_more && may_start && !is_idle {
                if !self.make_room(route) {
                    // Until there is some, or it has waited for too long.
                    return;
                }
                self.ask(route);
            } else if (wants_more || is_idle)
                && let Some(index) = least_busy
                && let Some(waiting) = self.routes[route].waiting.pop_front()
            {
                self.connect(index, waiting, now);
            } else {
                return;
            }
        }
    }

    /// Asks for a session.
    pub(super) fn ask(&mut self, route: RouteId) {
        self.routes[route].starting += 1;
        let destination = self.routes[route].destination.clone();
        self.report(ForwardReport::Start { route, destination });
    }

    /// Whether another session may be started: of those for SOCKS the longest unused one gives way.
    fn make_room(&mut self, route: RouteId) -> bool {
        if !self.routes[route].is_socks {
            return true;
        }
        let starting: usize = self
            .routes
            .iter()
            .filter(|route| route.is_socks)
            .map(|route| route.starting)
            .sum();
        let standing = self
            .sessions
            .iter()
            .filter(|session| session.is_expendable)
            .count();
        if starting + standing < SOCKS_SESSIONS {
            return true;
        }
        let unused = self
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, session)| session.is_expendable);
        let longest = unused
            .filter_map(|(index, session)| Some((session.idle_since?, index)))
            .min();
        if let Some((_, index)) = longest {
            self.release(index);
        }
        longest.is_some()
    }

    fn least_busy(&self, route: RouteId) -> Option<usize> {
        let of_route = self
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, session)| session.route == route);
        // A session whose connection is broken makes local connections wait.
        of_route
            .min_by_key(|(_, session)| {
                let multiplexer = &session.multiplexer;
                (!multiplexer.is_connected(), multiplexer.len())
            })
            .map(|(index, _)| index)
    }

    fn connect(&mut self, index: usize, mut waiting: WaitingConnection, now: Instant) {
        let token = waiting.token;
        let is_gone = waiting.socket.peek() == Unread::Failure;
        let granted = SocksReply::Succeeded.bytes();
        let granted = [IoSlice::new(&granted)];
        if is_gone || waiting.is_socks && waiting.socket.write_vectored(&granted).is_err() {
            // The client has left.
            self.owners.remove(&token);
            return;
        }
        let session = &mut self.sessions[index];
        let registry = self.poll.registry();
        let opened = session
            .multiplexer
            .connect(waiting.socket, waiting.peer, now, |socket, _| {
                // Registered anew, so that what happened while it waited, such as its end, is reported again.
                registry.reregister(socket, token, INTEREST)
            });
        let Some(id) = opened else {
            self.owners.remove(&token);
            return;
        };
        let peer = waiting.peer.name();
        let key = session.begin(id, waiting.forward, peer.clone(), token);
        self.owners.insert(token, Owner::Stream(key, id));
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.report(ForwardReport::Opened {
            key,
            forward: waiting.forward,
            peer,
        });
    }

    /// Ends a session that carries nothing.
    pub(super) fn release(&mut self, index: usize) {
        let session = self.sessions.swap_remove(index);
        self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
        self.report(ForwardReport::Released { key: session.key });
    }

    /// When a session has been without connections for too long, if it may be ended for that.
    pub(super) fn released_at(&self, index: usize) -> Option<Instant> {
        let session = &self.sessions[index];
        let is_alone = || {
            self.sessions
                .iter()
                .filter(|other| other.route == session.route)
                .count()
                == 1
        };
        let since = session
            .idle_since
            .filter(|_| session.is_expendable || !is_alone())?;
        Some(since + IDLE_TIME)
    }

    /// Tries again those that wait because all sessions for SOCKS were in use.
    pub(super) fn dispatch_stuck(&mut self, route: RouteId, now: Instant) {
        if self.routes[route].starting > 0 || self.routes[route].waiting.is_empty() {
            return;
        }
        self.dispatch(route, now);
        while self.routes[route].starting == 0
            && let Some(first) = self.routes[route].waiting.front()
            && first.since + ROOM_TIME <= now
            && let Some(first) = self.routes[route].waiting.pop_front()
        {
            self.turn_away(first);
        }
    }
}
