//! Client, agent and network in one thread, under one clock that jumps from event to event.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox::faults::Faults;
use session_manager_plugin::internals::message::{Message, MessageType};

use crate::agent::Agent;
use crate::client::Client;
use crate::network::Network;
use crate::plan::{Event, Plan};

/// So often may something happen at one moment before it counts as a loop without end.
const TURNS_AT_ONCE: usize = 1_000_000;
/// What a healthy network may need besides resends and the time that the data takes: first timeouts, probes, settling.
const SLACK: Duration = Duration::from_secs(60);

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// From the session's start until the last byte was with the agent, and acknowledged.
    pub up: Duration,
    /// From the session's start until the session had taken the last byte.
    pub down: Duration,
    /// Data frames that the client sent, copies included.
    pub transmissions: u64,
    /// Messages that the agent sent again.
    pub agent_resent: u64,
    /// Frames that the network lost, to the agent and to the client.
    pub lost: (u64, u64),
    /// The most messages that waited for their acknowledgement.
    pub widest: usize,
}

pub struct World {
    plan: Plan,
    start: Instant,
    now: Instant,
    client: Client,
    agent: Agent,
    network: Network,
    /// What happens, last first.
    events: Vec<(Instant, Event)>,
    heals_at: Option<Instant>,
    /// When everything has to be there.
    deadline: Option<Instant>,
    /// Ends of what lasts: of pauses and blackouts.
    later: Vec<(Instant, Later)>,
    /// Whether the agent's frames go into nothing while there is no connection.
    void: bool,
    /// Whether the agent gets a new connection with the client's next.
    agent_reconnects: bool,
    trace: bool,
}

#[derive(Debug, Clone, Copy)]
enum Later {
    StartClient,
    StartAgent,
    EndBlackout,
}

impl World {
    pub fn new(plan: Plan, trace: bool) -> Self {
        let start = Instant::now();
        Self {
            client: Client::new(&plan, start),
            agent: Agent::new(&plan, start),
            network: Network::new(plan.faults.clone(), plan.capacity, plan.seed),
            events: plan
                .events
                .iter()
                .rev()
                .map(|(at, event)| (start + *at, event.clone()))
                .collect(),
            heals_at: Some(start + plan.heals_at),
            deadline: None,
            later: Vec::new(),
            void: plan.void,
            agent_reconnects: false,
            start,
            now: start,
            plan,
            trace,
        }
    }

    /// Runs until everything has arrived, then until the end of the session.
    pub fn run(mut self) -> Outcome {
        let mut up = None;
        let mut down = None;
        let mut turns = 0;
        loop {
            self.happen();
            let progress = self.turn();
            let since = self.client.started_at.unwrap_or(self.start);
            if up.is_none() && self.all_sent() {
                up = Some(self.now - since);
                self.note(|| "all input is with the agent".to_owned());
            }
            if down.is_none() && self.all_taken() {
                down = Some(self.now - since);
                self.note(|| "all output is with the session".to_owned());
            }
            if let (Some(up), Some(down)) = (up, down)
                && self.is_done()
            {
                self.check_end();
                return Outcome {
                    up,
                    down,
                    transmissions: self.client.transmissions,
                    agent_resent: self.agent.resent(),
                    lost: (self.network.up.lost(), self.network.down.lost()),
                    widest: self.client.widest,
                };
            }
            turns += 1;
            if progress {
                assert!(turns < TURNS_AT_ONCE, "time does not go on");
                continue;
            }
            turns = 0;
            self.sleep();
        }
    }

    fn turn(&mut self) -> bool {
        let mut progress = self
            .client
            .turn(self.now, &mut self.network, &self.agent.sent);
        let is_connected = self.network.is_connected();
        let down = is_connected.then_some(&mut self.network.down);
        progress |= self.agent.turn(self.now, down, self.void);
        while self.agent.reads(self.now, is_connected)
            && let Some(frame) = self.network.up.pop(self.now)
        {
            progress = true;
            // One that is still on its way when all else has healed would be for ever.
            let is_pause = Message::decode(&frame)
                .is_ok_and(|message| message.message_type == MessageType::PausePublication);
            if is_pause && self.deadline.is_some() {
                continue;
            }
            self.agent.receive(&frame, self.now);
            // Its acknowledgement is written before it reads again.
            let down = is_connected.then_some(&mut self.network.down);
            self.agent.turn(self.now, down, self.void);
        }
        if is_connected && self.network.takes_cut(self.now) {
            self.void = self.plan.void;
            self.disconnect(self.plan.outage);
            progress = true;
        }
        progress
    }

    /// To the next moment at which something can happen.
    fn sleep(&mut self) {
        let mut times: Vec<Option<Instant>> = Vec::new();
        times.extend(self.client.times());
        times.extend(self.agent.times());
        times.extend(self.network.times(self.now));
        times.push(self.events.last().map(|(at, _)| *at));
        times.push(self.heals_at);
        times.extend(self.later.iter().map(|(at, _)| Some(*at)));
        let now = self.now;
        let next = times.into_iter().flatten().filter(|at| *at > now).min();
        let Some(next) = next else {
            panic!("nothing will ever happen again\n{}", self.state());
        };
        if self.deadline.is_some_and(|deadline| next > deadline) {
            panic!("not all has arrived in time\n{}", self.state());
        }
        self.now = next;
    }

    fn happen(&mut self) {
        while let Some((_, event)) = self.events.pop_if(|(at, _)| *at <= self.now) {
            self.note(|| format!("{event:?}"));
            self.apply(event);
        }
        let now = self.now;
        if self.network.back_at.is_some_and(|at| at <= now) {
            self.reconnect();
        }
        for (_, later) in self
            .later
            .extract_if(.., |(at, _)| *at <= now)
            .collect::<Vec<_>>()
        {
            self.end(later);
        }
        if self.heals_at.is_some_and(|at| at <= now) {
            self.heals_at = None;
            self.heal();
        }
    }

    fn apply(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Disconnect {
                outage,
                void,
                agent_too,
            } => {
                self.void = void;
                self.agent_reconnects |= agent_too;
                self.disconnect(outage);
            }
            Event::Blackout { up, lasts } => {
                // A blackout between probe and handshake cannot be told from an agent without handshake.
                if self.client.started.is_some() {
                    let dark = Faults {
                        lose: 1.0,
                        ..Faults::default()
                    };
                    let way = if up {
                        &mut self.network.up
                    } else {
                        &mut self.network.down
                    };
                    way.set_faults(dark);
                    self.later.push((now + lasts, Later::EndBlackout));
                }
            }
            Event::PauseClient { ends_after } => {
                self.command(MessageType::PausePublication, true);
                self.later
                    .extend(ends_after.map(|after| (now + after, Later::StartClient)));
            }
            // An agent that acknowledges and is then silent for two seconds is rightly taken for one that makes no handshake.
            Event::PauseAgent { .. } if self.client.started.is_none() => {}
            Event::PauseAgent { lasts } => {
                self.command(MessageType::PausePublication, false);
                self.later.push((now + lasts, Later::StartAgent));
            }
            Event::BlockConsumer(lasts) => self.client.block(now + lasts),
            Event::BlockAgent(lasts) => self.agent.block(now + lasts),
            Event::Resize => {
                let cols = 81 + u16::try_from(self.events.len()).unwrap_or(0);
                self.client.resize(cols);
            }
            Event::Flag => self.client.flag(),
        }
    }

    fn end(&mut self, later: Later) {
        match later {
            Later::StartClient => self.command(MessageType::StartPublication, true),
            Later::StartAgent => self.agent.unpause(),
            Later::EndBlackout => {
                if self.heals_at.is_some() {
                    let [up, down] = self.plan.faults.clone();
                    self.network.up.set_faults(up);
                    self.network.down.set_faults(down);
                }
            }
        }
    }

    /// A command of the service, in its place among the frames on their way.
    fn command(&mut self, message_type: MessageType, to_client: bool) {
        if !self.network.is_connected() {
            return;
        }
        let frame = Bytes::from(Message::control(message_type, b"{}").encode());
        let way = if to_client {
            &mut self.network.down
        } else {
            &mut self.network.up
        };
        way.push(frame, self.now);
    }

    fn disconnect(&mut self, outage: Duration) {
        self.note(|| format!("disconnected for {outage:?}"));
        self.network.disconnect(self.now, outage);
        self.client.disconnect(self.now);
    }

    fn reconnect(&mut self) {
        self.note(|| "connected".to_owned());
        self.network.back_at = None;
        self.client.sequence.connected(self.now);
        if std::mem::take(&mut self.agent_reconnects) {
            self.agent.unpause();
        }
    }

    /// From now on nothing goes wrong any more.
    fn heal(&mut self) {
        let healthy = |faults: &Faults| Faults {
            delay: faults.delay,
            bandwidth: faults.bandwidth,
            queue: faults.queue,
            ..Faults::default()
        };
        let faults = self.plan.faults.each_ref().map(healthy);
        if !self.network.is_connected() {
            self.reconnect();
        }
        self.later.clear();
        self.agent.unpause();
        let [up, down] = faults;
        self.network.up.set_faults(up);
        self.network.down.set_faults(down);
        let bound = self.bound();
        self.note(|| format!("healed; the rest may take {bound:?}"));
        self.deadline = Some(self.now + bound);
    }

    /// How long it may take until everything is there.
    fn bound(&self) -> Duration {
        let plan = &self.plan;
        let rtt = plan.faults[0].delay + plan.faults[1].delay;
        // The agent resends one message each 100 ms, and waits for the acknowledgement before it looks at the next.
        let unacknowledged = self.agent.unacknowledged() as u32;
        let slowest = plan
            .faults
            .iter()
            .filter_map(|faults| faults.bandwidth)
            .map(|bandwidth| bandwidth.bytes_per_second)
            .min()
            .unwrap_or(u64::MAX);
        let wire = |bytes: u64| Duration::from_millis(bytes.saturating_mul(1000) / slowest);
        let longest = wire(plan.down.payload as u64 + 1000);
        let resends = unacknowledged * (rtt + Duration::from_millis(200) + 2 * longest);
        let up = (plan.up.bytes - self.agent.received()) as u32;
        let down = (plan.down.bytes - self.client.taken_bytes) as u32;
        let messages = |bytes: u32, flow: &crate::plan::Flow| {
            if flow.ragged && flow.payload > 1 {
                // Half of the longest in the middle, with room for bad luck.
                4 * bytes / flow.payload as u32 + 20
            } else {
                bytes / flow.payload as u32 + 1
            }
        };
        let (up, down) = (messages(up, &plan.up), messages(down, &plan.down));
        // At worst the smallest window for each round trip, and for the agent its bound of what may be unacknowledged.
        let turn = rtt + Duration::from_millis(5);
        let up = turn * up / 8 + plan.up.pace * up;
        let down = turn * (down / plan.agent_ahead as u32 + 1) + plan.down.pace * down;
        // Each byte a few times, and the headers of many small messages.
        let wire = wire((plan.up.bytes + plan.down.bytes) as u64 * 4 + 1_200_000);
        let consumption = plan.consumer.1 * self.agent.sent.len().max(1000) as u32;
        let late = plan
            .agent_starts
            .saturating_sub(self.now - self.start)
            .max(Duration::from_secs(1));
        // What was blocked before the healing may still be.
        let blocked = Duration::from_secs(200);
        resends + up + down + wire + consumption + late + blocked + SLACK
    }

    fn all_sent(&self) -> bool {
        self.agent.received() == self.plan.up.bytes && self.client.is_done_sending()
    }

    fn all_taken(&self) -> bool {
        self.client.taken_bytes == self.plan.down.bytes && self.agent.is_done()
    }

    fn is_done(&self) -> bool {
        self.events.is_empty()
            && self.client.started.is_some()
            && self.client.is_done()
            && self.agent.is_done()
            && self.network.is_connected()
            && (self.heals_at.is_none() || self.plan.events.is_empty())
    }

    /// What must be so when all is done.
    fn check_end(&mut self) {
        self.idle();
        assert_eq!(self.agent.received(), self.plan.up.bytes);
        assert_eq!(self.client.taken, self.agent.sent.len());
        assert_eq!(self.agent.flags(), self.client.flags);
        if matches!(
            self.plan.kind,
            crate::plan::Kind::Port | crate::plan::Kind::Command
        ) {
            assert_eq!(self.agent.size(), None, "a port has no size");
        } else {
            assert_eq!(self.agent.size(), self.client.size, "the newest size wins");
        }
        // What says that it is over is sent once: nobody would repeat it.
        self.heal();
        self.command(MessageType::ChannelClosed, true);
        for _ in 0..10_000 {
            if self.client.ended {
                return;
            }
            if !self.turn() {
                self.sleep();
            }
        }
        panic!("the end did not come\n{}", self.state());
    }

    /// Idle means idle: once everything is on rest, no timer is set.
    fn idle(&mut self) {
        for _ in 0..10_000 {
            while self.turn() {}
            if self.client.armed.is_none() {
                return;
            }
            self.sleep();
        }
        panic!("an idle client does not come to rest\n{}", self.state());
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.3?} {}", self.now - self.start, text());
        }
    }

    fn state(&self) -> String {
        let window = self.client.sequence.window();
        format!(
            "at {:?} ({}): client sent {} of {}, kept {:?} in a window of {}, took {} of {} ({} made); agent took {}, keeps {}; \
             client's timer {:?}, timeout {:?}, reordered {}; deadline {:?}; {}; agent {}",
            self.now - self.start,
            if self.network.is_connected() {
                "connected"
            } else {
                "disconnected"
            },
            self.client.sent,
            self.plan.up.bytes,
            window.kept(),
            window.size(),
            self.client.taken_bytes,
            self.plan.down.bytes,
            self.agent.sent_bytes,
            self.agent.received(),
            self.agent.unacknowledged(),
            self.client
                .sequence
                .next_timeout()
                .map(|at| at.saturating_duration_since(self.now)),
            window.timeout(),
            self.client.sequence.reordered_bytes(),
            self.deadline.map(|at| at - self.start),
            self.network.describe(self.now),
            self.agent.describe(self.now),
        )
    }
}
