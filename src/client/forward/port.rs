//! The one thread of all local sockets: listeners that outlive sessions, connections that wait for one, and those that a session carries.
//!
//! It never waits for anything but readiness. Sessions are started by the supervisor, who is asked for them here and answers each time.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use super::destination::Destination;
use super::socks::{Negotiation, SocksReply, SocksStep};
use super::standing::{ForwardSession, RouteId, SessionNumber};
use crate::datachannel::{DataChannel, End};
use crate::session::port::{Acceptor, Listener, MuxEvent, Peer, Socket, Unread};
use crate::smux::StreamId;
use crate::waker::{MailboxReceiver, Waker};

const WAKER: Token = Token(0);
const FIRST_LISTENER: usize = 1;
/// Sockets of one listener: no host has more addresses here.
const LISTENER_SOCKETS: usize = 64;
/// How many connections are accepted before the others get their turn.
const ACCEPT_ROUND: usize = 64;
/// Connections without a session. More stay in the system's queue.
const MOST_WAITING: usize = 1024;
/// How long a connection waits for another destination's session to become unused.
const ROOM_TIME: Duration = Duration::from_secs(15);
/// How long a client of SOCKS may take to say where it wants to go.
const NEGOTIATION_TIME: Duration = Duration::from_secs(30);
/// A session for one of several destinations, or beyond the first of a forward, ends when it has had no connection for so long.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Sessions for destinations of SOCKS at a time.
const SOCKS_SESSIONS: usize = 20;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum ForwardOrder {
    /// A session that was asked for stands.
    Begin {
        route: RouteId,
        key: SessionNumber,
        channel: DataChannel,
        keepalive: bool,
        /// The payload of a message, bytes.
        message: usize,
    },
    /// One that was asked for could not be had.
    Failed { route: RouteId },
    /// A session's data channel has lost its connection, or has another one.
    SetConnected {
        key: SessionNumber,
        is_connected: bool,
    },
    /// End.
    Stop,
}

/// What it tells.
#[derive(Debug)]
pub(super) enum ForwardReport {
    /// A session is wanted. Answered by `Begin` or `Failed`.
    Start {
        route: RouteId,
        destination: Destination,
    },
    /// A connection goes through a session.
    Opened {
        key: SessionNumber,
        forward: usize,
        peer: String,
    },
    /// It is over.
    Closed {
        key: SessionNumber,
        forward: usize,
        peer: String,
        sent: u64,
        received: u64,
    },
    /// The agent could not reach the destination.
    Refused { key: SessionNumber },
    /// A session is not needed any more: it is to be ended.
    Released { key: SessionNumber },
    /// A session has ended, and its connections were reset.
    Ended {
        key: SessionNumber,
        end: End,
        /// Whether anything came through it.
        was_of_use: bool,
    },
    /// A line for the user.
    Complaint(String),
    /// The thread cannot go on.
    Broken(io::Error),
}

/// What is shown while it goes on; changed by the thread alone.
#[derive(Debug, Default)]
pub struct Statistics {
    /// ListeningPort connections that a session carries.
    pub connections: AtomicU64,
    /// Bytes to the remote, of all connections so far.
    pub sent: AtomicU64,
    /// Bytes from the remote.
    pub received: AtomicU64,
    /// Sessions that stand.
    pub sessions: AtomicU64,
}

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
    /// Of those that have spoken SOCKS: what the system knows it by.
    token: Option<Token>,
}

struct PortRoute {
    destination: Destination,
    is_socks: bool,
    /// Sessions at a time.
    most: usize,
    /// Asked for, and not answered.
    starting: usize,
    waiting: VecDeque<WaitingConnection>,
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
    Stream(SessionNumber, StreamId),
}

/// The thread's state.
pub(super) struct PortThread {
    poll: Poll,
    orders: MailboxReceiver<ForwardOrder>,
    waker: Waker,
    locals: Vec<ListeningPort>,
    routes: Vec<PortRoute>,
    socks_routes: HashMap<Destination, RouteId>,
    sessions: Vec<ForwardSession>,
    clients: HashMap<Token, SocksClient>,
    owners: HashMap<Token, Owner>,
    next_token: usize,
    reports: Sender<ForwardReport>,
    statistics: Arc<Statistics>,
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
        statistics: Arc<Statistics>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&orders.as_fd().as_raw_fd()),
            WAKER,
            Interest::READABLE,
        )?;
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
            orders,
            waker,
            locals: accepting,
            routes,
            socks_routes: HashMap::new(),
            sessions: Vec::new(),
            clients: HashMap::new(),
            owners: HashMap::new(),
            reports,
            statistics,
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
        // Nobody is let in any more, and a socket's file goes, before connections are closed.
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
            // Who wakes it meanwhile need not ring: it looks again.
            let timeout = if is_busy || !self.orders.wake_receiver().arm() {
                Some(Duration::ZERO)
            } else {
                until.map(|at| at.saturating_duration_since(Instant::now()))
            };
            match self.poll.poll(&mut polled, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.orders.wake_receiver().disarm();
            self.note(&polled);
        }
    }

    fn report(&self, report: ForwardReport) {
        // Nobody listens any more when the supervisor has ended.
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
        let orders: Vec<_> = self.orders.posts().collect();
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
                    self.statistics.sessions.fetch_add(1, Ordering::Relaxed);
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

    /// A session could not be had: the connection that waited for it goes through another one, if there is one.
    fn give_up_one(&mut self, route: RouteId, now: Instant) {
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

    /// A connection for which there is no session.
    fn turn_away(&mut self, mut waiting: WaitingConnection) {
        match waiting.token {
            None => waiting.socket.reset(),
            Some(token) => {
                self.owners.remove(&token);
                let _ = waiting
                    .socket
                    .write_vectored(&[IoSlice::new(&SocksReply::Failure.bytes())]);
                waiting.socket.finish();
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
                let waiting = WaitingConnection {
                    socket,
                    peer,
                    forward,
                    since: now,
                    token: None,
                };
                match local.kind {
                    ListenerKind::PortRoute(route) => {
                        self.routes[route].waiting.push_back(waiting);
                        self.dispatch(route, now);
                    }
                    ListenerKind::Socks => self.begin_negotiation(waiting, now),
                }
            }
        }
        is_busy
    }

    fn waiting(&self) -> usize {
        self.clients.len()
            + self
                .routes
                .iter()
                .map(|route| route.waiting.len())
                .sum::<usize>()
    }

    fn begin_negotiation(&mut self, mut waiting: WaitingConnection, now: Instant) {
        let token = self.new_token();
        if let Err(error) = register(self.poll.registry(), &mut waiting.socket, token) {
            self.report(ForwardReport::Complaint(format!(
                "cannot wait for {}: {error}",
                waiting.peer
            )));
            return;
        }
        waiting.token = Some(token);
        self.owners.insert(token, Owner::Negotiating);
        self.clients.insert(
            token,
            SocksClient {
                waiting,
                negotiation: Negotiation::default(),
                deadline: now + NEGOTIATION_TIME,
            },
        );
        self.negotiate(token, now);
    }

    /// Reads what a client of SOCKS has said.
    fn negotiate(&mut self, token: Token, now: Instant) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let mut buffer = [0; 512];
        loop {
            let room = client.negotiation.wants().min(buffer.len());
            let count = match client.waiting.socket.read(&mut buffer[..room]) {
                Ok(count @ 1..) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => break,
            };
            let socket = &mut client.waiting.socket;
            match client.negotiation.take(&buffer[..count]) {
                SocksStep::More => {}
                SocksStep::Send(bytes) => {
                    if socket.write_vectored(&[IoSlice::new(&bytes)]).is_err() {
                        break;
                    }
                }
                SocksStep::Refuse(bytes) => {
                    let _ = socket.write_vectored(&[IoSlice::new(&bytes)]);
                    socket.finish();
                    break;
                }
                SocksStep::Connect(destination) => {
                    if let Some(client) = self.clients.remove(&token) {
                        self.route_to(destination, client.waiting, now);
                    }
                    return;
                }
            }
        }
        self.clients.remove(&token);
        self.owners.remove(&token);
    }

    fn route_to(&mut self, destination: Destination, waiting: WaitingConnection, now: Instant) {
        let route = match self.socks_routes.get(&destination) {
            Some(route) => *route,
            None => self.new_socks_route(destination),
        };
        self.routes[route].waiting.push_back(waiting);
        self.dispatch(route, now);
    }

    /// A route that is not in use any more is used again: a browser asks for thousands of hosts.
    fn new_socks_route(&mut self, destination: Destination) -> RouteId {
        let is_unused = |(id, route): &(usize, &PortRoute)| {
            route.is_socks
                && route.starting == 0
                && route.waiting.is_empty()
                && self.sessions.iter().all(|session| session.route != *id)
        };
        let unused = self
            .routes
            .iter()
            .enumerate()
            .find(is_unused)
            .map(|(id, _)| id);
        let route = PortRoute::new(destination.clone(), true, 1);
        let id = match unused {
            Some(id) => {
                self.socks_routes.retain(|_, other| *other != id);
                self.routes[id] = route;
                id
            }
            None => {
                self.routes.push(route);
                self.routes.len() - 1
            }
        };
        self.socks_routes.insert(destination, id);
        id
    }

    /// Hands waiting connections to sessions: to one that has none, or to a new one, or else to the least busy.
    fn dispatch(&mut self, route: RouteId, now: Instant) {
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
    fn ask(&mut self, route: RouteId) {
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
        of_route
            .min_by_key(|(_, session)| session.multiplexer.len())
            .map(|(index, _)| index)
    }

    fn connect(&mut self, index: usize, mut waiting: WaitingConnection, now: Instant) {
        if waiting.socket.peek() == Unread::Failure {
            // It did not wait.
            waiting.token.map(|token| self.owners.remove(&token));
            return;
        }
        if let Some(token) = waiting.token
            && waiting
                .socket
                .write_vectored(&[IoSlice::new(&SocksReply::Succeeded.bytes())])
                .is_err()
        {
            self.owners.remove(&token);
            return;
        }
        let token = waiting.token.unwrap_or_else(|| self.new_token());
        let is_registered = waiting.token.is_some();
        let registry = self.poll.registry();
        let session = &mut self.sessions[index];
        let opened = session
            .multiplexer
            .connect(waiting.socket, waiting.peer, now, |socket, _| {
                if is_registered {
                    Ok(())
                } else {
                    register(registry, socket, token)
                }
            });
        let Some(id) = opened else {
            self.owners.remove(&token);
            return;
        };
        let peer = waiting.peer.name();
        let key = session.begin(id, waiting.forward, peer.clone(), token);
        self.owners.insert(token, Owner::Stream(key, id));
        self.statistics.connections.fetch_add(1, Ordering::Relaxed);
        self.report(ForwardReport::Opened {
            key,
            forward: waiting.forward,
            peer,
        });
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
                    self.statistics.sessions.fetch_sub(1, Ordering::Relaxed);
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
        self.statistics.sent.fetch_add(sent, Ordering::Relaxed);
        self.statistics
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
                    self.statistics.connections.fetch_sub(1, Ordering::Relaxed);
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

    /// Ends a session that carries nothing.
    fn release(&mut self, index: usize) {
        let session = self.sessions.swap_remove(index);
        self.statistics.sessions.fetch_sub(1, Ordering::Relaxed);
        self.report(ForwardReport::Released { key: session.key });
    }

    /// When a session has been without connections for too long, if it may be ended for that.
    fn released_at(&self, index: usize) -> Option<Instant> {
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

    /// Those that wait because all sessions for SOCKS were in use.
    fn dispatch_stuck(&mut self, route: RouteId, now: Instant) {
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
        }
    }
}

fn register(registry: &Registry, socket: &mut Socket, token: Token) -> io::Result<()> {
    registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
}
