//! The client's state machine against the agent's, in one thread, under a clock of its own, over a network that does its worst.
//!
//! Everything that happens follows from a seed. A seed that fails says how it is repeated:
//!
//! | variable | meaning |
//! |---|---|
//! | `SIMULATION_SEEDS` | how many seeds at most (2,000) |
//! | `SIMULATION_SECONDS` | how long at most (60) |
//! | `SIMULATION_SEED` | only this seed, with what happens in it |

mod agent;
mod client;
mod network;
mod plan;
mod scenarios;
mod seeds;
mod world;
