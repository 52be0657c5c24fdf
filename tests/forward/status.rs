//! The status line: on a terminal, updated, and gone at the end.

use rustix::process::Signal;

use crate::port_support::Server;
use crate::support::{Io, Running, exit_code};
use crate::{fast_sandbox, forward, try_echo};

/// Where the ready line says it listens.
fn port(plugin: &Running) -> u16 {
    plugin.terminal.wait_until("the ready line", |bytes| {
        String::from_utf8_lossy(bytes)
            .split_once(" -> ")
            .is_some_and(|(_, rest)| rest.contains('\n'))
    });
    let text = plugin.terminal.text();
    let line = text.lines().find(|line| line.contains(" -> "));
    crate::port_of(line.expect("a ready line"))
}

/// The screen at the end, as far as lines, returns and clearing go.
fn screen(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in text.split_inclusive(['\n', '\r']) {
        let (words, end) = part.split_at(part.trim_end_matches(['\n', '\r']).len());
        let line = lines.last_mut().expect("a line");
        // Everything that is written over a line is followed by the clearing of its rest.
        if words.contains("\x1b[K") {
            *line = words.replace("\x1b[K", "");
        } else if !words.is_empty() {
            line.push_str(words);
        }
        if end == "\n" {
            lines.push(String::new());
        }
    }
    lines
}

#[test]
fn it_is_updated_and_gone_at_the_end() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &[format!("0:{}", server.port())])
        .terminal()
        .env("TERM", "xterm")
        .spawn();
    let port = port(&plugin);
    plugin
        .terminal
        .wait_for("connections 0, sent 0 B, received 0 B, 0 B/s, sessions 1, reconnects 0");
    let stream = try_echo(port).expect("an echo");
    plugin
        .terminal
        .wait_for("connections 1, sent 4 B, received 4 B, ");
    // A notice has its own line.
    sandbox.stop_gateway();
    plugin.terminal.wait_for("reconnecting");
    plugin.terminal.wait_for("sessions 1, reconnects 1");
    sandbox.restart_gateway().expect("its port");
    plugin.terminal.wait_for("is back");
    drop(stream);
    plugin.terminal.wait_for("connections 0, sent 4 B");
    plugin.signal(Signal::INT);
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0);
    let lines = screen(&finished.terminal);
    let left: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
    assert!(
        left.iter().all(|line| !line.contains("connections ")),
        "{left:#?}"
    );
    assert_eq!(left.len(), 3, "{left:#?}");
    assert!(
        left[0].contains(" -> ") && left[1].contains("reconnecting") && left[2].contains("is back")
    );
}

#[test]
fn it_fits_a_narrow_terminal() {
    let sandbox = fast_sandbox();
    let plugin = forward(&sandbox, &["0:80"])
        .terminal()
        .env("TERM", "xterm")
        .size(40, 10)
        .spawn();
    plugin.terminal.wait_for("connections 0");
    plugin
        .terminal
        .wait_until("the line's end", |bytes| bytes.ends_with(b"\x1b[K"));
    plugin.resize(20, 10);
    plugin.terminal.wait_for("connections 0, se\x1b[K");
    let text = plugin.terminal.text();
    let lines = text.split('\r').filter(|part| part.contains("\x1b[K"));
    for line in lines {
        let width = line.replace("\x1b[K", "").len();
        assert!(width < 38, "{width}: {line:?}");
    }
}

#[test]
fn there_is_none_with_quiet_in_a_pipe_without_a_cursor_or_while_a_command_runs() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let to = format!("0:{}", server.port());
    let quiet = forward(&sandbox, &["--quiet", &to])
        .terminal()
        .env("TERM", "xterm")
        .spawn();
    let piped = forward(&sandbox, &[&to])
        .terminal()
        .env("TERM", "xterm")
        .stderr(Io::Pipe)
        .spawn();
    let dumb = forward(&sandbox, &[&to])
        .terminal()
        .env("TERM", "dumb")
        .spawn();
    let script = ["--", "sleep", "1.3"];
    let with_command = forward(&sandbox, &[&[&*to][..], &script].concat())
        .terminal()
        .env("TERM", "xterm")
        .spawn();
    // Longer than a status line takes.
    assert_eq!(exit_code(with_command.wait()), 0);
    for plugin in [&quiet, &piped, &dumb] {
        port(plugin);
        plugin.signal(Signal::INT);
    }
    for plugin in [quiet, piped, dumb, with_command] {
        let finished = plugin.finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        let all = finished.terminal + &finished.stderr;
        assert!(!all.contains("connections "), "{all:?}");
    }
}
