//! A far side that answers what it likes: numbers that no file has, answers without end, names that are none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use sandbox::AgentConfig;
use tar::{Builder, Header};

use super::Ground;
use crate::support::{Finished, Plugin, wait_until};

/// What the program may take, in bytes: a copy of anything takes far less.
const MOST_MEMORY: usize = 90 << 20;

/// A ground where this script runs in place of a program of the target's.
fn with_program(name: &str, script: &str) -> (Ground, tempfile::TempDir) {
    let tools = tempfile::tempdir().expect("a folder");
    let program = tools.path().join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    let ground = Ground::with(AgentConfig {
        environment: vec![("PATH".into(), path)],
        paced: false,
        ..AgentConfig::default()
    });
    (ground, tools)
}

/// Runs to the end, which must come by itself, and looks at the memory on the way.
fn ends_without_much_memory(what: &str, plugin: Plugin) -> Finished {
    let running = plugin.spawn();
    wait_until(what, || {
        let peak = running.usage().peak;
        assert!(peak < MOST_MEMORY, "{what}: {peak} bytes");
        running.try_wait().is_some()
    });
    running.finish()
}

#[test]
fn a_size_that_no_file_has_costs_neither_time_nor_memory() {
    let copy = |size: &str, is_begun: bool| {
        let (ground, _tools) = with_program("stat", &format!("echo '{size} 644 0'"));
        fs::write(ground.far("file"), "short").expect("a file");
        if is_begun {
            // What is there is compared first.
            fs::write(ground.here("file.part"), "sho").expect("a file");
        }
        let to = ground.here("file").into_os_string();
        let finished = ends_without_much_memory(size, ground.cp([ground.at("file"), to]));
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(!ground.here("file").exists());
    };
    thread::scope(|scope| {
        scope.spawn(|| copy("18446744073709551615", false));
        scope.spawn(|| copy("1152921504606846976", true));
    });
}

#[test]
fn entries_without_end_cost_no_memory() {
    let longer = "x".repeat(12_000);
    let long = "x".repeat(4_000);
    let copy = |packs: &str, line: &str, options: &[&str]| {
        let script = format!("printf '{packs}!folder 0 755 0 =.\\n'; exec yes '{line}'");
        let (ground, _tools) = with_program("sh", &script);
        let to = ground.here("tree").into_os_string();
        let options = options.iter().map(Into::into);
        let plugin = ground.cp(options.chain([ground.at("tree"), to]));
        let what = &line[..line.len().min(20)];
        let finished = ends_without_much_memory(what, plugin);
        assert_eq!(finished.code(), 1, "{what}: {finished:?}");
    };
    let packs = "!packs\\n";
    thread::scope(|scope| {
        scope.spawn(|| copy("", &format!("!special ={longer}"), &["-r"]));
        scope.spawn(|| copy(packs, &format!("!special ={long}"), &["-r"]));
        scope.spawn(|| copy(packs, &format!("!shut ={long}"), &["-r"]));
        scope.spawn(|| copy("", &format!("!file 9999999 644 0 ={long}"), &["-r"]));
        scope.spawn(|| copy("", &format!("!folder 0 755 0 ={long}"), &["-r", "-p"]));
    });
}

#[test]
fn names_that_an_upload_never_had_cost_no_memory() {
    let long = "x".repeat(2_000);
    // Answers to the orders of an upload, and then names without end.
    let answers = "!ready sha256\\n!kind none\\n!packs yes\\n!yes\\n!size 0\\n!wrote 1\\n!yes\\n";
    let script =
        format!("stty raw -echo; printf '{answers}'; exec seq -f '!left ={long}%.0f' 999999999");
    let (ground, _tools) = with_program("sh", &script);
    fs::create_dir(ground.here("tree")).expect("a folder");
    for index in 0..9 {
        fs::write(ground.here(format!("tree/{index}")), "x").expect("a file");
    }
    let operands = [
        "-r".into(),
        ground.here("tree").into_os_string(),
        ground.at("tree"),
    ];
    let finished = ends_without_much_memory("its end", ground.cp(operands));
    assert_eq!(finished.code(), 1, "{finished:?}");
}

#[test]
fn an_archive_that_breaks_off_leaves_nothing() {
    let (ground, tools) = with_program("tar", "exec head -c 1100 \"${0%/*}/hostile\"");
    fs::create_dir_all(ground.far("tree/a")).expect("folders");
    fs::write(ground.far("tree/a/file"), "x").expect("a file");
    let mut archive = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(5_000);
    header.set_mode(0o644);
    let added = archive.append_data(&mut header, "a/ghost", &[7; 5_000][..]);
    added.expect("to write to memory");
    let archive = archive.into_inner().expect("memory");
    fs::write(tools.path().join("hostile"), archive).expect("a file");
    let to = ground.here("back").into_os_string();
    ground.copy(["-r".into(), ground.at("tree"), to]);
    let there: Vec<_> = fs::read_dir(ground.here("back/a"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(there, ["file"]);
}

#[test]
fn a_part_that_is_another_file_as_well_is_not_written_to() {
    let (ground, _tools) = with_program("unused", "");
    fs::write(ground.far("file"), "new").expect("a file");
    fs::write(ground.here("other"), "precious").expect("a file");
    fs::hard_link(ground.here("other"), ground.here("file.part")).expect("a link");
    ground.copy([ground.at("file"), ground.here("file").into_os_string()]);
    assert_eq!(fs::read(ground.here("file")).expect("a file"), b"new");
    assert_eq!(fs::read(ground.here("other")).expect("a file"), b"precious");
}
