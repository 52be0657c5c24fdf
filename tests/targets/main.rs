//! Targets by name, and the commands that find them, run on them and reach them by ssh, against a sandbox with several.

#[path = "../port_support/mod.rs"]
mod port_support;
#[path = "../support/mod.rs"]
mod support;

mod beside;
mod errors;
mod exec;
mod json;
mod list;
mod names;
mod ssh;

use sandbox::{Config, Event, Sandbox, Target, TargetState, Task};
use serde_json::Value;
use support::{Io, Plugin};

/// A sandbox that requires signatures, with these targets.
fn sandbox(targets: Vec<Target>) -> Sandbox {
    Sandbox::start(Config {
        targets,
        ..Config::strict()
    })
    .expect("a sandbox")
}

/// `web-1`, `web-2` and `db`, which is not connected, `i-…1` to `i-…3`.
fn three() -> Vec<Target> {
    let mut targets = vec![
        Target::new(1, "web-1"),
        Target::new(2, "web-2"),
        Target::new(3, "db"),
    ];
    targets[2].state = TargetState::ConnectionLost;
    targets
}

/// The id of a target by its number.
fn id(number: u16) -> String {
    Target::new(number, "").id
}

/// One of our commands, without stdin.
fn own(sandbox: &Sandbox, arguments: &[&str]) -> Plugin {
    Plugin::bare(arguments).with_api(sandbox).stdin(Io::Null)
}

/// The operations that the API was asked for, in order.
fn operations(sandbox: &Sandbox) -> Vec<String> {
    let events = sandbox.events().into_iter();
    let operations = events.filter_map(|event| match event {
        Event::Api { operation, .. } => Some(operation),
        _ => None,
    });
    operations.collect()
}

/// Where StartSession was called.
fn started_on(sandbox: &Sandbox) -> Vec<String> {
    let requests = support::requests(sandbox, "ssm:StartSession").into_iter();
    let target = |request: Value| request["Target"].as_str().map(str::to_owned);
    requests.filter_map(target).collect()
}

fn task(id: char, service: &str, containers: &[&str]) -> Task {
    Task {
        cluster: "prod".into(),
        id: id.to_string().repeat(32),
        service: Some(service.into()),
        containers: containers.iter().map(|name| (*name).into()).collect(),
        status: "RUNNING".into(),
        exec_enabled: true,
    }
}
