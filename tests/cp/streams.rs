//! `-`: stdin and stdout.

use std::fs;

use super::{Ground, assert_same, random};
use crate::support::Io;

#[test]
fn stdin_becomes_a_file_and_a_file_becomes_stdout() {
    let ground = Ground::new();
    for (name, bytes) in [("some", random(7, 700_001)), ("none", Vec::new())] {
        let finished = ground.cp(["-".into(), ground.at(name)]).run(&bytes);
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert!(
            fs::read(ground.far(name)).expect("a file") == bytes,
            "{name}"
        );
        let out = ground.here(name);
        let plugin = ground.cp([ground.at(name), "-".into()]);
        let finished = plugin.stdout(Io::File(out.clone())).run(b"");
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert_eq!(finished.stderr, "");
        assert_same(&out, &ground.far(name));
    }
    ground.assert_all_ended();
}

#[test]
fn a_stdout_that_nobody_reads_ends_it() {
    let ground = Ground::new();
    fs::write(ground.far("file"), random(8, 5_000_000)).expect("a file");
    let plugin = ground
        .cp([ground.at("file"), "-".into()])
        .stdout(Io::HeldPipe)
        .spawn();
    plugin.close_stdout();
    let finished = plugin.finish();
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("cannot write"), "{finished:?}");
    ground.assert_all_ended();
}

#[test]
fn json_tells_of_each_file() {
    let ground = Ground::new();
    fs::write(ground.far("a"), "abc").expect("a file");
    let here = ground.here("").into_os_string();
    let finished = ground
        .cp(["--json".into(), ground.at("a"), ground.at("b"), here])
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    let lines: Vec<serde_json::Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["event"], "file");
    assert_eq!(lines[0]["bytes"], 3);
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(lines[0]["sha256"], sha256);
    assert_eq!(lines[1]["event"], "error");
    assert_eq!(lines[1]["path"], ground.far("b").to_str().expect("a path"));
    assert_eq!(lines.last().expect("an end")["code"], 1);
}

#[test]
fn a_terminal_shows_progress_and_takes_it_away() {
    let ground = Ground::new();
    let plugin = ground
        .cp(["-".into(), ground.at("file")])
        .stderr(Io::Terminal)
        .spawn();
    plugin.type_in(&random(9, 100_000));
    plugin.terminal.wait_for(" of 100 kB");
    plugin.close_stdin();
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.terminal.ends_with("\r\u{1b}[K"), "{finished:?}");
}
