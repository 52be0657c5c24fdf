//! From the local connections to the channel: as much as that takes, one connection after the other.

use std::time::Instant;

use super::{Multiplexer, ROUND};
use crate::datachannel::Urgency;
use crate::session::port::connection::Read;
use crate::smux::{StreamId, Transmit};

impl Multiplexer {
    /// Gives the channel what it takes; whether there is more that it may take.
    pub(super) fn transmit(&mut self, now: Instant) -> bool {
        let mut sent = 0;
        while sent < ROUND {
            self.compose(now);
            let rest = self.outgoing.rest();
            self.is_blocked = false;
            if rest.is_empty() {
                return false;
            }
            match self.channel.send_directly(rest, Urgency::Bulk) {
                // Its waker tells when there is room; its last delivery tells that it has ended.
                Ok(0) | Err(_) => {
                    self.is_blocked = true;
                    return false;
                }
                Ok(count) => {
                    self.outgoing.take(count);
                    sent += count;
                }
            }
        }
        true
    }

    fn compose(&mut self, now: Instant) {
        if !self.outgoing.begin() {
            return;
        }
        while self.outgoing.has_room() {
            match self.smux.poll_transmit() {
                None => return,
                Some(Transmit::Control(frame)) => self.outgoing.put(frame),
                Some(Transmit::Alone(frame)) => {
                    self.outgoing.put_alone(frame);
                    return;
                }
                Some(Transmit::Data(id)) => self.take_turn(id, now),
            }
        }
    }

    fn take_turn(&mut self, id: StreamId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let room = self.outgoing.data_room(self.smux.others_want_to_send());
        match connection.read(room) {
            Read::Data(count) => {
                connection.sent += count as u64;
                self.moved.0 += count as u64;
                self.outgoing.put_data(id, count);
                if connection.may_read {
                    self.smux.request_send(id);
                }
            }
            Read::Nothing => {}
            Read::End => self.smux.local_end(id, now),
            Read::Failed => self.fail(id, now),
        }
    }
}
