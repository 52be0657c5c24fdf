//! An outage: who waits for it is told, once, however many sessions there are.

use std::fs;

use super::Ground;
use crate::support::{Io, Plugin, Running, wait_until};

fn exec(ground: &Ground, arguments: &[&str]) -> Plugin {
    Plugin::bare([&["exec"], arguments].concat()).with_api(&ground.sandbox)
}

#[test]
fn it_is_told_and_its_end() {
    let ground = Ground::new();
    let copy = ground.cp(["-".into(), ground.at("file")]).spawn();
    copy.type_in(&[7; 100_000]);
    let fed = exec(
        &ground,
        &["-i", "--target", "i-00000000000000001", "--", "cat"],
    )
    .spawn();
    fed.type_in(b"fed\n");
    fed.stdout.wait_for("fed");
    let go = ground.far("go");
    let script = format!(
        "echo begun; until test -e {}; do sleep 0.1; done",
        go.display()
    );
    let both = ["i-00000000000000001", "--target", "i-00000000000000002"];
    let command = ["--", "sh", "-c", &script];
    let several = [&["--target"], &both[..], &command].concat();
    let several = exec(&ground, &several).stdin(Io::Null).spawn();
    several.stdout.wait_for_count("begun", 2);
    let part = ground.far("file.part");
    wait_until("the file to come", || {
        fs::metadata(&part).is_ok_and(|part| part.len() > 0)
    });

    let all: [&Running; 3] = [&copy, &fed, &several];
    ground.sandbox.stop_gateway();
    for running in all {
        running.stderr.wait_for("); reconnecting\n");
    }
    ground.sandbox.restart_gateway().expect("its port");
    for running in all {
        running
            .stderr
            .wait_for("session-manager-plugin: the connection is back\n");
    }
    copy.close_stdin();
    fed.close_stdin();
    fs::write(&go, "").expect("a file");
    for running in [copy, fed, several] {
        let finished = running.finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        let told = finished.stderr.matches("the connection is broken (");
        assert_eq!(told.count(), 1, "{finished:?}");
    }
    assert_eq!(fs::read(ground.far("file")).expect("a file"), [7; 100_000]);
}
