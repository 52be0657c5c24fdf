//! Denials and quotas of the account.

use rustix::process::Signal;

use crate::port_support::Server;
use crate::support::exit_code;
use crate::{
    echo_on, fast_sandbox, forward, only_port, port_of, ready, starts, try_echo, wait_for_end,
};

/// What connections to other hosts are started with.
const REMOTE_HOST: &str = "AWS-StartPortForwardingSessionToRemoteHost";

#[test]
fn the_account_s_quota_is_told_with_its_reason_and_nothing_is_left() {
    let sandbox = fast_sandbox();
    sandbox.set_session_quota(Some(1));
    let finished = forward(&sandbox, &["0:80", "0:81"]).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("maximum number of active sessions")
            && finished.stderr.contains("Service Quotas"),
        "{finished:?}"
    );
    assert!(sandbox.sessions().is_empty());
}

#[test]
fn where_the_quota_allows_no_further_session_connections_share_those_that_stand() {
    let sandbox = fast_sandbox();
    sandbox.set_session_quota(Some(2));
    let server = Server::echo();
    let plugin = forward(
        &sandbox,
        &["--sessions", "16", &format!("0:{}", server.port())],
    )
    .spawn();
    let port = only_port(&plugin);
    let mut streams: Vec<_> = (0..20).map(|_| try_echo(port).expect("an echo")).collect();
    streams
        .iter_mut()
        .for_each(|stream| echo_on(stream).expect("an echo"));
    assert_eq!(sandbox.sessions().len(), 2);
    // P65's pace: not a try for each connection.
    assert!(starts(&sandbox) <= 2 + 5, "{}", starts(&sandbox));
    plugin.stderr.wait_for("maximum number of active sessions");
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
}

#[test]
fn a_quota_that_is_used_up_meanwhile_fails_one_connection_and_the_forward_goes_on() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    let port = only_port(&plugin);
    let mut stream = try_echo(port).expect("an echo");
    sandbox.set_session_quota(Some(0));
    sandbox.sessions()[0].terminate("");
    wait_for_end(&mut stream);
    assert!(try_echo(port).is_err());
    plugin.stderr.wait_for("no session for localhost:");
    sandbox.set_session_quota(None);
    try_echo(port).expect("an echo");
}

#[test]
fn a_document_that_is_denied_ends_the_command_with_the_action_that_is_missing() {
    let sandbox = fast_sandbox();
    sandbox.deny_document(REMOTE_HOST);
    let finished = forward(&sandbox, &["0:db.internal:5432"]).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("ssm:StartSession") && finished.stderr.contains(REMOTE_HOST),
        "{finished:?}"
    );
    // The target itself is another document.
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())]).spawn();
    try_echo(port_of(&ready(&plugin, 1)[0])).expect("an echo");
}
