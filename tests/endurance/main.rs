//! What a session has to bear over hours, in minutes: breaks without end, outages, killed processes. The longest of it is ignored here
//! and run by `make soak` (`tests/soak`), with the program as it is released.

#[path = "../port_support/mod.rs"]
mod port_support;
#[path = "../support/mod.rs"]
mod support;

mod breaks;
mod hour;
mod killed;
mod outage;
mod process;
mod soak;
