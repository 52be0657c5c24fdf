//! The line of progress on a terminal.

use std::fs;
use std::thread;
use std::time::Duration;

use sandbox::SessionConfig;
use sandbox::faults::{Bandwidth, Faults};

use super::Ground;
use crate::support::{Io, Plugin};

/// Something that is copied until its stdin ends.
fn upload(ground: &Ground) -> Plugin {
    ground
        .cp(["-".into(), ground.at("file")])
        .terminal()
        .stdin(Io::Pipe)
        .env("TERM", "xterm")
}

/// What comes on the terminal while progress would be drawn twice.
fn shown(plugin: Plugin) -> String {
    let running = plugin.spawn();
    running.type_in(&[7; 100_000]);
    // Nothing that can be waited for comes.
    thread::sleep(Duration::from_millis(2_200));
    running.close_stdin();
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    finished.terminal
}

#[test]
fn it_is_cut_to_the_width_of_the_terminal() {
    let ground = Ground::new();
    let running = upload(&ground).size(20, 24).spawn();
    running.type_in(&[7; 100_000]);
    running.terminal.wait_for_count(" of ", 2);
    running.close_stdin();
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    let drawn: Vec<&str> = finished.terminal.split("\x1b[K").collect();
    for line in &drawn {
        let width = line.trim_start_matches('\r').len();
        assert!(width < 20, "{drawn:?}");
    }
    assert_eq!(drawn.last(), Some(&""), "it is gone: {drawn:?}");
}

#[test]
fn there_is_none_where_the_file_itself_comes_on_the_terminal() {
    let ground = Ground::new();
    let text = "a line of the file\n".repeat(6_000);
    fs::write(ground.far("file"), &text).expect("a file");
    // Two seconds.
    ground.sandbox.set_session_config(SessionConfig {
        to_client: Faults {
            bandwidth: Some(Bandwidth {
                bytes_per_second: 80_000,
                burst: 1_000,
            }),
            ..Faults::default()
        },
        ..SessionConfig::default()
    });
    let download = ground.cp([ground.at("file"), "-".into()]);
    let running = download.terminal().env("TERM", "xterm").spawn();
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(finished.terminal.replace('\r', ""), text);
}

#[test]
fn there_is_none_where_the_file_is_typed_on_the_terminal() {
    let ground = Ground::new();
    let running = upload(&ground).stdin(Io::Terminal).spawn();
    running.type_in(b"typed\n");
    // Nothing that can be waited for comes.
    thread::sleep(Duration::from_millis(2_200));
    running.type_in(&[4]);
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(!finished.terminal.contains('\u{1b}'), "{finished:?}");
    assert_eq!(fs::read(ground.far("file")).expect("a file"), b"typed\n");
}

#[test]
fn a_terminal_that_cannot_draw_gets_none() {
    let ground = Ground::new();
    assert_eq!(shown(upload(&ground).env("TERM", "dumb")), "");
}

#[test]
fn in_the_background_there_is_none() {
    let ground = Ground::new();
    let in_background = "set -m; \"$0\" \"$@\" & wait $!; exit $?";
    assert_eq!(shown(upload(&ground).before(in_background)), "");
}
