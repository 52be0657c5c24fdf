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
fn json_tells_how_far_it_is_and_what_was_passed_over() {
    let ground = Ground::new();
    let plugin = ground
        .cp(["--json".into(), "-".into(), ground.at("file")])
        .stdin(Io::Pipe)
        .spawn();
    plugin.type_in(&random(9, 1_000));
    plugin
        .stdout
        .wait_for(r#"{"bytes":1000,"event":"progress","total":1000}"#);
    plugin.close_stdin();
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");

    fs::create_dir(ground.far("tree")).expect("a folder");
    let fifo = ground.far("tree/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a FIFO");
    let here = ground.here("tree").into_os_string();
    let finished = ground
        .cp(["--json".into(), "-r".into(), ground.at("tree"), here])
        .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    let first = finished.stdout.lines().next().expect("a line");
    let skipped: serde_json::Value = serde_json::from_str(first).expect("JSON");
    assert_eq!(skipped["event"], "skipped");
    assert_eq!(skipped["path"], fifo.to_str().expect("a path"));
}

#[test]
fn a_target_that_is_not_connected_yet_is_waited_for() {
    let ground = Ground::new();
    fs::write(ground.far("a"), "abc").expect("a file");
    let target = sandbox::Target::new(1, "web");
    let id = target.id.clone();
    ground.sandbox.add_target(target);
    for name in [&*id, "web"] {
        ground.sandbox.change_target(&id, |target| {
            target.state = sandbox::TargetState::ConnectionLost;
        });
        let from = format!("{name}:{}", ground.far("a").display());
        let operands: [std::ffi::OsString; 3] =
            ["--wait=60".into(), from.into(), ground.here("a").into()];
        let finished = ground.cp(operands[1..].iter().cloned()).run(b"");
        assert_eq!(finished.code(), 1, "{finished:?}");
        let plugin = ground.cp(operands).spawn();
        plugin.stderr.wait_for("waiting for it, up to 60 s");
        ground.sandbox.change_target(&id, |target| {
            target.state = sandbox::TargetState::Online;
        });
        let finished = plugin.finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert_same(&ground.here("a"), &ground.far("a"));
    }
}

#[test]
fn a_terminal_shows_progress_and_takes_it_away() {
    let ground = Ground::new();
    let plugin = ground
        .cp(["-".into(), ground.at("file")])
        .stderr(Io::Terminal)
        .env("TERM", "xterm")
        .spawn();
    plugin.type_in(&random(9, 100_000));
    plugin.terminal.wait_for(" of 100 kB");
    plugin.close_stdin();
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.terminal.ends_with("\r\u{1b}[K"), "{finished:?}");
}
