//! Names of targets and of destinations, and targets that come, go and are replaced.

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::Signal;
use sandbox::{AgentConfig, Config, Sandbox, SessionConfig, Target, TargetState};

use crate::port_support::{Server, fast};
use crate::support::{Plugin, exit_code};
use crate::{echo_on, forward, only_port, sandbox_with, try_echo, wait_for_end};

fn sandbox_of(targets: Vec<Target>) -> Sandbox {
    let sandbox = Sandbox::start(Config {
        targets,
        ..Config::default()
    })
    .expect("a sandbox");
    sandbox.set_session_config(SessionConfig {
        agent: fast(),
        ..SessionConfig::default()
    });
    sandbox
}

fn forward_to(sandbox: &Sandbox, name: &str, rest: &[&str]) -> Plugin {
    let mut arguments = vec!["port-forward", "--target", name];
    arguments.extend(rest);
    Plugin::bare(arguments).with_api(sandbox)
}

fn change(sandbox: &Sandbox, number: u16, state: TargetState) {
    let id = Target::new(number, "").id;
    sandbox.change_target(&id, |target| target.state = state);
}

#[test]
fn destinations_are_named_as_the_agent_knows_them() {
    let sandbox = sandbox_with(AgentConfig {
        hosts: vec![("db.internal".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))],
        ..fast()
    });
    let server = Server::echo();
    let to = |host: &str| format!("0:{host}:{}", server.port());
    let plugin = forward(&sandbox, &[to("db.internal"), to("no.such.internal")]).spawn();
    let lines = crate::ready(&plugin, 2);
    let port_to = |host: &str| {
        let line = lines
            .iter()
            .find(|line| line.contains(&format!("-> {host}:")));
        crate::port_of(line.expect("its line"))
    };
    let mut stream = try_echo(port_to("db.internal")).expect("an echo");
    // A connection whose name the agent cannot resolve is reset and reported; others go on.
    assert!(try_echo(port_to("no.such.internal")).is_err());
    plugin
        .stderr
        .wait_for("the agent could not reach no.such.internal:");
    echo_on(&mut stream).expect("an echo");
}

#[test]
fn wait_waits_for_a_target_that_is_not_connected_yet() {
    let mut target = Target::new(1, "web");
    target.state = TargetState::ConnectionLost;
    let server = Server::echo();
    for name in ["web".to_owned(), target.id.clone()] {
        let sandbox = sandbox_of(vec![target.clone()]);
        let to = format!("0:{}", server.port());
        let plugin = forward_to(&sandbox, &name, &["--wait=30", &to]).spawn();
        plugin
            .stderr
            .wait_for("waiting for the target, up to 30 s:");
        change(&sandbox, 1, TargetState::Online);
        try_echo(only_port(&plugin)).expect("an echo");
        // Once is enough.
        assert_eq!(plugin.stderr.text().matches("waiting").count(), 1);
        plugin.signal(Signal::INT);
        assert_eq!(exit_code(plugin.wait()), 0);
    }
}

#[test]
fn without_wait_and_when_its_time_is_over_a_target_that_is_away_is_the_end() {
    let mut target = Target::new(1, "web");
    target.state = TargetState::ConnectionLost;
    let sandbox = sandbox_of(vec![target]);
    for wait in [&["0:80"][..], &["--wait=1", "0:80"]] {
        let finished = forward_to(&sandbox, "web", wait).run(b"");
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(finished.stderr.contains("not connected"), "{finished:?}");
    }
}

#[test]
fn a_replaced_node_is_found_by_its_name() {
    let sandbox = sandbox_of(vec![Target::new(1, "web")]);
    let server = Server::echo();
    let to = format!("0:{}", server.port());
    let plugin = forward_to(&sandbox, "web", &[&to]).spawn();
    let port = only_port(&plugin);
    let mut stream = try_echo(port).expect("an echo");
    // For a moment both are there.
    sandbox.add_target(Target::new(2, "web"));
    let old = Target::new(1, "").id;
    sandbox.restart_agent(&old);
    wait_for_end(&mut stream);
    assert!(try_echo(port).is_err());
    plugin.stderr.wait_for("2 nodes are called \"web\"");
    // Then neither is.
    change(&sandbox, 1, TargetState::ConnectionLost);
    change(&sandbox, 2, TargetState::ConnectionLost);
    assert!(try_echo(port).is_err());
    plugin.stderr.wait_for("no node that is online");
    change(&sandbox, 2, TargetState::Online);
    try_echo(port).expect("an echo");
    assert_eq!(
        sandbox.sessions()[0].config().agent.instance_id,
        Target::new(2, "").id
    );
}
