//! Connections that are spread over several sessions.

use std::time::Instant;

use sandbox::AgentConfig;

use crate::port_support::{Server, connect, pattern, read_all};
use crate::{fast_sandbox, forward, only_port, sandbox_with, starts, try_echo};

/// What each download is, bytes: most of a second at the pace of one agent.
const SIZE: usize = 512 << 10;

/// Seconds that eight parallel downloads take from agents that pace themselves.
fn download(sessions: &str) -> f64 {
    let sandbox = sandbox_with(AgentConfig::default());
    let data = pattern(7, SIZE);
    let server = Server::sends(data.clone());
    let plugin = forward(
        &sandbox,
        &["--sessions", sessions, &format!("0:{}", server.port())],
    )
    .spawn();
    let port = only_port(&plugin);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let stream = connect(port);
                assert_eq!(read_all(&stream).len(), data.len());
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let expected = sessions.parse::<usize>().expect("a number");
    assert!(starts(&sandbox) <= expected);
    took
}

#[test]
fn eight_sessions_download_more_than_one() {
    let one = download("1");
    let eight = download("8");
    eprintln!(
        "1 session {:.2} MB/s, 8 sessions {:.2} MB/s",
        4.0 * 1.048 / one,
        4.0 * 1.048 / eight
    );
    assert!(
        eight < one,
        "{eight} s with eight sessions, {one} s with one"
    );
}

#[test]
fn sessions_are_started_as_they_are_needed() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(
        &sandbox,
        &["--sessions", "3", &format!("0:{}", server.port())],
    )
    .spawn();
    let port = only_port(&plugin);
    let mut kept = Vec::new();
    for expected in [1, 2, 3, 3, 3] {
        kept.push(try_echo(port).expect("an echo"));
        assert_eq!(starts(&sandbox), expected);
    }
    // The end of one session ends the connections of that session alone.
    drop(kept.split_off(3));
    sandbox.sessions()[0].terminate("");
    let mut alive = 0;
    for stream in &mut kept {
        alive += usize::from(crate::echo_on(stream).is_ok());
    }
    assert!(alive >= 2, "{alive}");
}
