//! What happens in one run: everything follows from the seed.

use std::time::Duration;

use sandbox::faults::{Bandwidth, Faults};
use session_manager_plugin::internals::datachannel::Urgency;

/// What kind of session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Handshake; bytes of a port.
    Port,
    /// Handshake; a pty.
    Shell,
    /// The same, encrypted.
    Encrypted,
    /// Handshake; a command with separate stderr and an exit code.
    Command,
    /// No handshake; the agent talks first.
    Plain,
    /// No handshake; the agent says nothing until it is talked to.
    Silent,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Port,
        Self::Shell,
        Self::Encrypted,
        Self::Command,
        Self::Plain,
        Self::Silent,
    ];

    pub const fn has_handshake(self) -> bool {
        matches!(
            self,
            Self::Port | Self::Shell | Self::Encrypted | Self::Command
        )
    }

    /// Its name in the handshake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Port => "Port",
            Self::Shell | Self::Encrypted | Self::Plain => "Standard_Stream",
            Self::Silent => "InteractiveCommands",
            Self::Command => "NonInteractiveCommands",
        }
    }
}

/// What one side has to say.
#[derive(Debug, Clone)]
pub struct Flow {
    pub bytes: usize,
    /// The longest message.
    pub payload: usize,
    /// Whether messages are of any length up to that, or all of that length.
    pub ragged: bool,
    /// The agent's pause after each message; zero where it does not pace itself.
    pub pace: Duration,
    /// Of the client's data.
    pub urgency: Urgency,
}

impl Flow {
    pub const fn of(bytes: usize) -> Self {
        Self {
            bytes,
            payload: 1024,
            ragged: false,
            pace: Duration::ZERO,
            urgency: Urgency::Bulk,
        }
    }
}

/// Something that happens once.
#[derive(Debug, Clone)]
pub enum Event {
    /// The connection breaks and all that is on its way is lost. The agent goes on sending into nothing (`void`), or is held up; it may
    /// lose its own connection too.
    Disconnect {
        outage: Duration,
        void: bool,
        agent_too: bool,
    },
    /// Nothing passes in one direction, and nobody is told.
    Blackout { up: bool, lasts: Duration },
    /// The service asks the client for a pause, and may never end it.
    PauseClient { ends_after: Option<Duration> },
    /// The service asks the agent for a pause.
    PauseAgent { lasts: Duration },
    /// The session takes nothing.
    BlockConsumer(Duration),
    /// The agent's handler blocks: nothing is read by it, not even acknowledgements.
    BlockAgent(Duration),
    /// The terminal changes its size.
    Resize,
    /// The client sends a flag.
    Flag,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
    pub up: Flow,
    pub down: Flow,
    /// To the agent, and to the client. They end with `heals_at`, except for delay and bandwidth.
    pub faults: [Faults; 2],
    /// Frames that the sockets of one direction hold.
    pub capacity: u64,
    pub heals_at: Duration,
    /// By their time.
    pub events: Vec<(Duration, Event)>,
    /// How long a connection is away that a link cuts.
    pub outage: Duration,
    /// Whether the agent goes on sending into nothing meanwhile.
    pub void: bool,
    /// When the agent begins.
    pub agent_starts: Duration,
    /// How long after HandshakeComplete the agent is ready, or, without a handshake, after its start.
    pub agent_settles: Duration,
    /// How many unacknowledged messages the agent leaves as they are. The real one has no such bound below 100,000, but recovers ten a
    /// second.
    pub agent_ahead: usize,
    /// What the session takes at once, in deliveries, and the time between.
    pub consumer: (usize, Duration),
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Plan {
    /// Nothing goes wrong.
    pub fn clean(kind: Kind, rtt: Duration, up: usize, down: usize) -> Self {
        let faults = Faults {
            delay: rtt / 2,
            ..Faults::default()
        };
        Self {
            seed: 1,
            kind,
            up: Flow::of(up),
            down: Flow::of(down),
            faults: [faults.clone(), faults],
            capacity: 100_000,
            heals_at: Duration::from_secs(1_000_000),
            events: Vec::new(),
            outage: ms(200),
            void: true,
            agent_starts: Duration::ZERO,
            agent_settles: ms(1),
            agent_ahead: 100_000,
            consumer: (usize::MAX, Duration::ZERO),
        }
    }

    /// What this seed means.
    pub fn random(seed: u64) -> Self {
        let random = &mut fastrand::Rng::with_seed(seed);
        let kind = Kind::ALL[random.usize(..Kind::ALL.len())];
        let heals_at = match random.u8(..20) {
            0 => Duration::ZERO,
            1 => ms(random.u64(..600_000)),
            _ => ms(random.u64(..30_000)),
        };
        let rtt = *pick(
            random,
            &[ms(0), ms(0), ms(1), ms(20), ms(40), ms(200), ms(300)],
        );
        let outage = outage(random);
        let mut events: Vec<_> = (0..random.usize(..7))
            .map(|_| {
                let latest = u64::try_from(heals_at.as_millis()).unwrap_or(0);
                (ms(random.u64(..=latest)), event(random))
            })
            .collect();
        events.sort_by_key(|(at, _)| *at);
        let mut up = flow(random);
        if kind == Kind::Silent {
            // Or it would say nothing.
            up.bytes = up.bytes.max(1);
        }
        let down = flow(random);
        let mut faults = [faults(random, rtt / 2), faults(random, rtt / 2)];
        if let Some(bandwidth) = &mut faults[1].bandwidth {
            // The agent resends ten times a second what is not acknowledged: where that alone is more than the path bears, copies fill it
            // for ever.
            bandwidth.bytes_per_second = bandwidth.bytes_per_second.max(20 * down.payload as u64);
        }
        Self {
            seed,
            kind,
            up,
            down,
            faults,
            capacity: *pick(random, &[16, 64, 500, 5000]),
            heals_at,
            events,
            outage,
            void: random.bool(),
            agent_starts: *pick(
                random,
                &[ms(0), ms(0), ms(0), ms(1000), ms(4000), ms(20_000)],
            ),
            agent_settles: ms(random.u64(..8)),
            agent_ahead: *pick(random, &[1, 50, 200]),
            consumer: *pick(
                random,
                &[
                    (usize::MAX, ms(0)),
                    (usize::MAX, ms(0)),
                    (1, ms(1)),
                    (100, ms(50)),
                ],
            ),
        }
    }
}

fn pick<'a, T>(random: &mut fastrand::Rng, choices: &'a [T]) -> &'a T {
    &choices[random.usize(..choices.len())]
}

fn outage(random: &mut fastrand::Rng) -> Duration {
    match random.u8(..10) {
        0 => ms(300_000),
        1..4 => ms(random.u64(..20_000)),
        _ => ms(random.u64(..500)),
    }
}

fn flow(random: &mut fastrand::Rng) -> Flow {
    let bytes = *pick(random, &[0, 1, 3000, 30_000, 100_000, 300_000]);
    Flow {
        bytes: if bytes > 1 {
            random.usize(..bytes)
        } else {
            bytes
        },
        payload: *pick(random, &[1024, 1024, 1024, 1, 100, 16_384, 32_768]).max(&(bytes / 500)),
        ragged: random.bool(),
        pace: *pick(random, &[ms(0), ms(1)]),
        urgency: *pick(random, &[Urgency::Bulk, Urgency::Interactive]),
    }
}

fn faults(random: &mut fastrand::Rng, delay: Duration) -> Faults {
    let chance = |random: &mut fastrand::Rng| *pick(random, &[0.0, 0.0, 0.01, 0.05, 0.2]);
    Faults {
        lose: chance(random),
        duplicate: chance(random),
        reorder: chance(random),
        corrupt: chance(random) / 4.0,
        delay,
        jitter: ms(*pick(random, &[0, 0, 5, 50])),
        bandwidth: random.bool().then(|| Bandwidth {
            bytes_per_second: *pick(random, &[30_000, 300_000, 20_000_000]),
            burst: 10_000,
        }),
        queue: *pick(random, &[20_000, 1 << 20]),
        ..Faults::default()
    }
}

fn event(random: &mut fastrand::Rng) -> Event {
    let while_ = ms(random.u64(..10_000));
    match random.u8(..16) {
        0..5 => Event::Disconnect {
            outage: outage(random),
            void: random.bool(),
            agent_too: random.bool(),
        },
        5 => Event::Blackout {
            up: random.bool(),
            lasts: while_,
        },
        6..8 => Event::PauseClient {
            ends_after: random.bool().then_some(while_),
        },
        8 => Event::PauseAgent { lasts: while_ },
        9 => Event::BlockConsumer(while_ * random.u32(1..20)),
        10 => Event::BlockAgent(while_),
        11..14 => Event::Resize,
        _ => Event::Flag,
    }
}
