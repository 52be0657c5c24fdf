//! The edges: other sides that are hostile or half broken, and what recovery makes of them (P65 to P103 of the pitfalls, and what belongs
//! to them). Each test drives the built program against a gateway, an API, a proxy or a terminal that does the wrong thing.

#[path = "../port_support/mod.rs"]
mod port_support;
#[path = "../support/mod.rs"]
mod support;
#[path = "../trust_support/mod.rs"]
mod trust_support;

mod api;
mod bounds;
mod calls;
mod configuration;
mod encryption;
mod gateway;
mod interrupted;
mod liveness;
mod memory;
mod networks;
mod outage;
mod ports;
mod process;
mod recovery;
mod roots;
mod secrets;
mod slow_destination;
mod terminal;
mod text;
mod thread_names;
mod trust;
mod urls;
mod usage;
