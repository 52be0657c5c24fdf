//! What is there after a copy that could not be made, and who may see it meanwhile.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use sandbox::AgentConfig;

use super::refused::limited_shell;
use super::support::{Io, Running};
use super::{Ground, random};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a folder").mode() & 0o777
}

#[test]
fn a_folder_that_others_may_not_see_into_stays_so() {
    let ground = Ground::new();
    let modes = [("private", 0o700), ("group", 0o750), ("open", 0o755)];
    for root in [ground.here("up"), ground.far("down")] {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&root)
            .expect("a folder");
        for (name, mode) in modes {
            let folder = root.join(name);
            fs::DirBuilder::new()
                .mode(mode)
                .create(&folder)
                .expect("a folder");
            fs::write(folder.join("file"), "secret").expect("a file");
        }
    }
    ground.copy(["-r".into(), ground.here("up").into(), ground.at("up")]);
    ground.copy(["-r".into(), ground.at("down"), ground.here("down").into()]);
    for root in [ground.far("up"), ground.here("down")] {
        assert_eq!(mode(&root), 0o700, "{root:?}");
        for (name, expected) in modes {
            assert_eq!(mode(&root.join(name)), expected, "{root:?} {name}");
        }
    }
}

#[test]
fn a_full_disk_keeps_nothing_that_is_of_no_use() {
    let ground = Ground::new();
    let limited = Ground::with(AgentConfig {
        shell: limited_shell(&ground),
        ..AgentConfig::default()
    });
    // An archive of them is too large, and each alone is not.
    fs::create_dir(limited.here("folder")).expect("a folder");
    for index in 0..6 {
        let file = limited.here(format!("folder/{index}"));
        fs::write(file, random(index, 300_000)).expect("a file");
    }
    limited.copy([
        "-r".into(),
        limited.here("folder").into(),
        limited.at("folder"),
    ]);
    let names = |folder: &str| {
        let entries = fs::read_dir(limited.far(folder)).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("folder"), ["0", "1", "2", "3", "4", "5"]);
    // What came from stdin begins anew anyway.
    let finished = limited
        .cp(["-".into(), limited.at("stream")])
        .run(&random(9, 3_000_000));
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(!finished.stderr.contains("records"), "{finished:?}");
    limited.assert_all_ended();
    super::support::wait_until("it is removed", || names("") == ["folder"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_told_once() {
    let ground = Ground::new();
    fs::create_dir(ground.here("folder")).expect("a folder");
    for index in 0..20 {
        fs::write(ground.here(format!("folder/{index}")), "x").expect("a file");
    }
    fs::write(ground.far("file"), "text").expect("a file");
    let finished = ground
        .cp(["-r".into(), ground.here("folder").into(), ground.at("file")])
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert_eq!(fs::read(ground.far("file")).expect("a file"), b"text");
    ground.assert_all_ended();
}

#[test]
fn the_home_over_there_is_a_directory() {
    let ground = Ground::new();
    for path in ["", ".", "..", "/"] {
        let operand = format!("i-0123456789abcdef0:{path}");
        let finished = ground
            .cp([operand.into(), ground.here("").into_os_string()])
            .run(b"");
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(
            finished.stderr.contains("-r copies directories"),
            "{finished:?}"
        );
    }
}

/// More lines than a pipe holds.
const FILES: usize = 600;

/// A copy of so many files that its pipe is full: it waits for its reader.
fn copy_that_nobody_reads(ground: &Ground) -> Running {
    fs::create_dir(ground.here("folder")).expect("a folder");
    for index in 0..FILES {
        let name = format!("folder/{}-{index}", "long".repeat(30));
        fs::write(ground.here(name), index.to_string()).expect("a file");
    }
    let running = ground
        .cp([
            "-r".into(),
            "--json".into(),
            ground.here("folder").into(),
            ground.at("folder"),
        ])
        .stdout(Io::HeldPipe)
        .spawn();
    super::support::wait_until("the copies", || {
        fs::read_dir(ground.far("folder")).is_ok_and(|entries| entries.count() >= 400)
    });
    running
}

#[test]
fn a_program_that_reads_slowly_gets_every_line() {
    let ground = Ground::new();
    let running = copy_that_nobody_reads(&ground);
    // There is no event to be waited for: that it waits for longer than for somebody who does not read at all.
    std::thread::sleep(Duration::from_secs(3));
    running.read_stdout();
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let events: Vec<serde_json::Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let files = events.iter().filter(|event| event["event"] == "file");
    assert_eq!(files.count(), FILES);
    assert_eq!(events.last().expect("an end")["event"], "end");
}

#[test]
fn an_interruption_does_not_wait_for_who_does_not_read() {
    let ground = Ground::new();
    let running = copy_that_nobody_reads(&ground);
    running.signal(rustix::process::Signal::TERM);
    let status = running.wait_within(Duration::from_secs(15));
    let status = status.expect("an end while nobody reads");
    assert_eq!(super::support::exit_code(status), 143);
}

#[test]
fn what_a_program_was_to_read_and_cannot_be_written_is_no_success() {
    let ground = Ground::new();
    fs::write(ground.here("file"), "text").expect("a file");
    let finished = ground
        .cp([
            "--json".into(),
            ground.here("file").into(),
            ground.at("file"),
        ])
        .stdout(Io::File("/dev/full".into()))
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("No space left"), "{finished:?}");
}
