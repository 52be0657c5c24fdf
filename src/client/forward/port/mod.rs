//! The one thread of all local sockets: listeners that outlive sessions, connections that wait for one, and those that a session carries.
//!
//! It waits for nothing but readiness. Sessions are started by the supervisor: each one is asked for here, and each request is answered.

mod dispatch;
mod negotiate;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::{Events, Interest, Token};

use super::destination::Destination;
use super::messages::{ForwardOrder, ForwardReport};
use super::socks::Negotiation;
use super::standing::{ForwardSession, RouteId, SessionNumber};
use super::statistics::Counters;
use crate::session::port::{
    Acceptor, EndedEarly, Listener, MuxEvent, Peer, PortPoll, Socket, Unread, WAKER,
};
use crate::smux::StreamId;
use crate::waker::{MailboxReceiver, Waker};

const FIRST_LISTENER: usize = 1;
/// Sockets of one listener: no host has more addresses here.
const LISTENER_SOCKETS: usize = 64;
/// How many connections are accepted before other events are handled.
const ACCEPT_ROUND: usize = 64;
/// Connections without a session. More stay in the system's queue.
const MOST_WAITING: usize = 1024;
/// How long a connection waits for another destination's session to become unused.
const ROOM_TIME: Duration = Duration::from_secs(15);

/// What is to be told of a connection.
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Where a listener's connections go.
#[derive(Debug, Clone, Copy)]
enum ListenerKind {
    PortRoute(RouteId),
    Socks,
}

struct ListeningPort {
    acceptor: Acceptor,
    kind: ListenerKind,
}

/// A connection without a session.
struct WaitingConnection {
    socket: Socket,
    peer: Peer,
    forward: usize,
    since: Instant,
    /// What the system knows it by.
    token: Token,
    /// Whether it has spoken SOCKS, and is to be answered.
    is_socks: bool,
}

struct PortRoute {
    destination: Destination,
    is_socks: bool,
    /// Sessions at a time.
    most: usize,
    /// Asked for, and not answered.
    starting: usize,
    waiting: VecDeque<WaitingConnection>,
    ended_early: EndedEarly<Token>,
}

struct SocksClient {
    waiting: WaitingConnection,
    negotiation: Negotiation,
    deadline: Instant,
}

/// What a token stands for.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Negotiating,
    Waiting(RouteId),
    Stream(SessionNumber, StreamId),
}

/// The thread's state.
pub(super) struct PortThread {
    poll: PortPoll<ForwardOrder>,
    waker: Waker,
    locals: Vec<ListeningPort>,
    routes: Vec<PortRoute>,
    socks_routes: HashMap<Destination, RouteId>,
    sessions: Vec<ForwardSession>,
    clients: HashMap<Token, SocksClient>,
    owners: HashMap<Token, Owner>,
    next_token: usize,
    reports: Sender<ForwardReport>,
    counters: Arc<Counters>,
    is_stopped: bool,
}

impl PortThread {
    /// `locals`: each listener with its destination; nothing for SOCKS. `most`: sessions for each destination.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(super) fn new(
        locals: Vec<(Listener, Option<Destination>)>,
        most: usize,
        (orders, waker): (MailboxReceiver<ForwardOrder>, Waker),
        reports: Sender<ForwardReport>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let poll = PortPoll::new(orders)?;
        let mut routes = Vec::new();
        let mut accepting = Vec::new();
        for (index, (mut listener, destination)) in locals.into_iter().enumerate() {
            let first = FIRST_LISTENER + index * LISTENER_SOCKETS;
            listener.register(poll.registry(), |socket| {
                Token(first + socket.min(LISTENER_SOCKETS - 1))
            })?;
            let kind = match destination {
                None => ListenerKind::Socks,
                Some(destination) => {
                    routes.push(PortRoute::new(destination, false, most));
                    ListenerKind::PortRoute(routes.len() - 1)
                }
            };
            accepting.push(ListeningPort {
                acceptor: Acceptor::new(listener),
                kind,
            });
        }
        Ok(Self {
            next_token: FIRST_LISTENER + accepting.len() * LISTENER_SOCKETS,
            poll,
            waker,
            locals: accepting,
            routes,
            socks_routes: HashMap::new(),
            sessions: Vec::new(),
            clients: HashMap::new(),
            owners: HashMap::new(),
            reports,
            counters,
            is_stopped: false,
        })
    }

    /// Works until it is stopped. `on_demand`: no session is asked for before somebody connects.
    pub(super) fn run(mut self, on_demand: bool) {
        if !on_demand {
            for route in 0..self.routes.len() {
                self.ask(route);
            }
        }
        if let Err(error) = self.serve() {
            self.report(ForwardReport::Broken(error));
        }
        // Listeners are closed, and a socket's file is removed, before connections are closed.
        self.locals.clear();
        for session in &mut self.sessions {
            session.multiplexer.reset_unwritten();
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut polled = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            self.carry_out_orders(now);
            if self.is_stopped {
                return Ok(());
            }
            let mut is_busy = self.accept(now);
            is_busy |= self.work(now);
            self.handle_timeouts(now);
            let until = self.next_timeout();
            self.poll.wait(&mut polled, is_busy, until)?;
            self.note(&polled);
        }
    }

    fn report(&self, report: ForwardReport) {
        // The receiver is gone when the supervisor has ended.
        let _ = self.reports.send(report);
    }

    fn note(&mut self, polled: &Events) {
        let now = Instant::now();
        for readiness in polled {
            let token = readiness.token();
            if token == WAKER {
                continue;
            }
            let at = token.0 - FIRST_LISTENER;
            if let Some(local) = self.locals.get_mut(at / LISTENER_SOCKETS) {
                local.acceptor.set_ready(at % LISTENER_SOCKETS);
                continue;
            }
            match self.owners.get(&token) {
                Some(Owner::Negotiating) => self.negotiate(token, now),
                Some(Owner::Waiting(route)) => self.look_at_waiting(*route, token),
                Some(Owner::Stream(key, id)) => {
                    let (key, id) = (*key, *id);
                    if let Some(session) = self.session(key) {
                        session.multiplexer.note(id, readiness, now);
                    }
                }
                None => {}
            }
        }
    }

    fn session(&mut self, key: SessionNumber) -> Option<&mut ForwardSession> {
        self.sessions.iter_mut().find(|session| session.key == key)
    }

    fn carry_out_orders(&mut self, now: Instant) {
        let orders: Vec<_> = self.poll.orders().collect();
        for order in orders {
            match order {
                ForwardOrder::Stop => self.is_stopped = true,
                ForwardOrder::SetConnected { key, is_connected } => {
                    if let Some(session) = self.session(key) {
                        session.multiplexer.set_connected(is_connected);
                    }
                }
                ForwardOrder::Begin {
                    route,
                    key,
                    channel,
                    keepalive,
                    message,
                } => {
                    channel.on_readable(self.waker.clone());
                    channel.on_writable(self.waker.clone());
                    let is_expendable = self.routes[route].is_socks;
                    self.sessions.push(ForwardSession::new(
                        key,
                        route,
                        channel,
                        (keepalive, message),
                        is_expendable,
                        now,
                    ));
                    self.counters.sessions.fetch_add(1, Ordering::Relaxed);
                    self.routes[route].starting -= 1;
                    self.dispatch(route, now);
                }
                ForwardOrder::Failed { route } => {
                    self.routes[route].starting -= 1;
                    self.give_up_one(route, now);
                }
            }
        }
    }

    /// Takes local connections; whether there may be more.
    fn accept(&mut self, now: Instant) -> bool {
        let mut is_busy = false;
        for forward in 0..self.locals.len() {
            let mut accepted = 0;
            while self.waiting() < MOST_WAITING {
                if accepted == ACCEPT_ROUND {
                    is_busy = true;
                    break;
                }
                accepted += 1;
                let local = &mut self.locals[forward];
                let (socket, peer) = match local.acceptor.next(now) {
                    Ok(Some(connection)) => connection,
                    Ok(None) => break,
                    Err(complaint) => {
                        self.report(ForwardReport::Complaint(complaint));
                        break;
                    }
                };
                if socket.peek() == Unread::Failure {
                    // Reset before it was accepted.
                    continue;
                }
                self.begin(forward, socket, peer, now);
            }
        }
        is_busy
    }

    /// A connection that has just been accepted.
    fn begin(&mut self, forward: usize, mut socket: Socket, peer: Peer, now: Instant) {
        let token = self.new_token();
        if let Err(error) = self.poll.registry().register(&mut socket, token, INTEREST) {
            self.report(ForwardReport::Complaint(format!(
                "cannot wait for {peer}: {error}"
            )));
            return;
        }
        let waiting = WaitingConnection {
            socket,
            peer,
            forward,
            since: now,
            token,
            is_socks: false,
        };
        match self.locals[forward].kind {
            ListenerKind::PortRoute(route) => self.wait_for_session(route, waiting, now),
            ListenerKind::Socks => self.begin_negotiation(waiting, now),
        }
    }

    fn waiting(&self) -> usize {
        self.clients.len()
            + self
                .routes
                .iter()
                .map(|route| route.waiting.len())
                .sum::<usize>()
    }

    fn new_token(&mut self) -> Token {
        let first = FIRST_LISTENER + self.locals.len() * LISTENER_SOCKETS;
        loop {
            let token = Token(self.next_token);
            self.next_token = self.next_token.checked_add(1).unwrap_or(first);
            if !self.owners.contains_key(&token) {
                return token;
            }
        }
    }

    /// Lets each session do what it can; whether one has more.
    fn work(&mut self, now: Instant) -> bool {
        let mut is_busy = false;
        let mut index = 0;
        while index < self.sessions.len() {
            is_busy |= self.sessions[index].multiplexer.work(now);
            let end = self.sessions[index].multiplexer.ended().cloned();
            if end.is_some() {
                self.sessions[index].multiplexer.reset_all();
            }
            self.tell(index, now);
            match end {
                None => index += 1,
                Some(end) => {
                    let session = self.sessions.swap_remove(index);
                    self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
                    self.report(ForwardReport::Ended {
                        key: session.key,
                        end,
                        was_of_use: session.multiplexer.has_spoken(),
                    });
                }
            }
        }
        is_busy
    }

    /// Passes on what happened in a session.
    fn tell(&mut self, index: usize, now: Instant) {
        let session = &mut self.sessions[index];
        let (sent, received) = session.moved();
        self.counters.sent.fetch_add(sent, Ordering::Relaxed);
        self.counters
            .received
            .fetch_add(received, Ordering::Relaxed);
        let key = session.key;
        while let Some(event) = self.sessions[index].multiplexer.poll_event() {
            match event {
                MuxEvent::Refused => self.report(ForwardReport::Refused { key }),
                MuxEvent::Complaint(line) => self.report(ForwardReport::Complaint(line)),
                MuxEvent::Closed { id, sent, received } => {
                    let Some(connection) = self.sessions[index].end(id, now) else {
                        continue;
                    };
                    self.owners.remove(&connection.token);
                    self.counters.connections.fetch_sub(1, Ordering::Relaxed);
                    self.report(ForwardReport::Closed {
                        key,
                        forward: connection.forward,
                        peer: connection.peer,
                        sent,
                        received,
                    });
                }
            }
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.sessions.len() {
            if self.released_at(index).is_some_and(|at| at <= now) {
                self.release(index);
            } else {
                index += 1;
            }
        }
        for route in 0..self.routes.len() {
            self.dispatch_stuck(route, now);
        }
        let owners = &mut self.owners;
        self.clients.retain(|token, client| {
            let is_in_time = client.deadline > now;
            if !is_in_time {
                owners.remove(token);
            }
            is_in_time
        });
    }

    fn next_timeout(&self) -> Option<Instant> {
        let of_sessions = (0..self.sessions.len()).flat_map(|index| {
            [
                self.sessions[index].multiplexer.next_timeout(),
                self.released_at(index),
            ]
        });
        let of_locals = self.locals.iter().map(|local| local.acceptor.retry_at());
        let of_clients = self.clients.values().map(|client| Some(client.deadline));
        let of_stuck = self.routes.iter().filter(|route| route.starting == 0);
        let of_stuck = of_stuck.map(|route| Some(route.waiting.front()?.since + ROOM_TIME));
        of_sessions
            .chain(of_locals)
            .chain(of_clients)
            .chain(of_stuck)
            .flatten()
            .min()
    }
}

impl PortRoute {
    fn new(destination: Destination, is_socks: bool, most: usize) -> Self {
        Self {
            destination,
            is_socks,
            most,
            starting: 0,
            waiting: VecDeque::new(),
            ended_early: EndedEarly::default(),
        }
    }
}
