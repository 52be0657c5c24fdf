//! The agent's own connection lives as long as pongs are read in time. The gateway answers its pings at once, but the one reader finds a
//! pong only behind the data that came before it, and not at all while a handler blocks.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::Agent;
use super::wait::{Stop, Waiter, waiter};
use crate::config::Heartbeat;
use crate::threads::lock;

/// Stands for a pong among the frames that wait for the reader; no message is like this.
const PONG: &[u8] = b"\0a pong of the gateway\0";

/// What is known of the agent's connection.
pub(super) struct Heart {
    config: Heartbeat,
    state: Mutex<State>,
    stop: Stop,
}

struct State {
    /// When the connection is given up, unless a pong is read before.
    deadline: Instant,
    /// How many connections there were before.
    breaks: u64,
}

impl Heart {
    pub(super) fn new(config: Heartbeat) -> std::io::Result<(Self, Waiter)> {
        let (stop, waiter) = waiter()?;
        let state = State {
            deadline: Instant::now() + config.first_deadline,
            breaks: 0,
        };
        let heart = Self {
            config,
            state: Mutex::new(state),
            stop,
        };
        Ok((heart, waiter))
    }

    /// How many connections broke. What was read of an earlier one is lost.
    pub(super) fn breaks(&self) -> u64 {
        lock(&self.state).breaks
    }

    pub(super) fn stop(&self) {
        self.stop.stop();
    }
}

impl Agent {
    /// Takes a frame that is a pong; whether it was one.
    pub(super) fn takes_pong(&self, frame: &Bytes) -> bool {
        let is_pong = frame.as_ref() == PONG;
        if is_pong {
            lock(&self.heart.state).deadline = Instant::now() + self.heart.config.deadline;
            self.session().pongs.fetch_add(1, Ordering::SeqCst);
        }
        is_pong
    }

    /// Pings, and gives the connection up when its time is over: the next one is there at once, without what was on its way.
    pub(super) fn beat(&self, waiter: &Waiter) {
        let Heartbeat {
            every,
            first_deadline,
            ..
        } = self.heart.config;
        let mut ping_at = Instant::now() + every;
        loop {
            let deadline = lock(&self.heart.state).deadline;
            let next = ping_at.min(deadline);
            if !waiter.sleep(next.saturating_duration_since(Instant::now())) {
                return;
            }
            let now = Instant::now();
            let mut state = lock(&self.heart.state);
            if state.deadline <= now {
                state.breaks += 1;
                state.deadline = now + first_deadline;
                drop(state);
                ping_at = now + every;
                self.session().to_agent.discard(true);
                self.session().to_agent.discard(false);
                self.session().agent_breaks.fetch_add(1, Ordering::SeqCst);
                self.session()
                    .note_agent("its connection broke: no pong was read in time");
            } else if ping_at <= now {
                drop(state);
                ping_at = now + every;
                let _ = self.session().to_agent.push_now(Bytes::from_static(PONG));
            }
        }
    }
}
