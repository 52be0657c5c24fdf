//! Clients of SOCKS5, until it is known where they want to go.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use mio::Token;

use super::{Owner, PortRoute, PortThread, RouteId, SocksClient, WaitingConnection};
use crate::client::forward::destination::Destination;
use crate::client::forward::socks::{Negotiation, SocksStep};

/// How long a client may take to say where it wants to go.
const NEGOTIATION_TIME: Duration = Duration::from_secs(30);

impl PortThread {
    pub(super) fn begin_negotiation(&mut self, waiting: WaitingConnection, now: Instant) {
        let token = waiting.token;
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
    pub(super) fn negotiate(&mut self, token: Token, now: Instant) {
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

    fn route_to(&mut self, destination: Destination, mut waiting: WaitingConnection, now: Instant) {
        let route = match self.socks_routes.get(&destination) {
            Some(route) => *route,
            None => self.new_socks_route(destination),
        };
        waiting.is_socks = true;
        self.wait_for_session(route, waiting, now);
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
}
