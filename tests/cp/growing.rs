//! Files whose size changes while they are copied, or is not what can be read of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Ground, random};

/// A tool over there that does something before it is itself.
fn tool(folder: &Path, name: &str, first: &str) {
    let path = folder.join(name);
    let script = format!("#!/bin/sh\n{first}\nexec /usr/bin/{name} \"$@\"\n");
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// More than one range.
const LARGE: usize = 50_500_000;

#[test]
fn a_log_that_grows_meanwhile_is_copied_as_it_was_at_first() {
    for size in [0, 900_000, 1_500_000, LARGE] {
        let tools = tempfile::tempdir().expect("a folder");
        let ground = Ground::with_tools(tools.path());
        fs::create_dir(ground.far("logs")).expect("a folder");
        let file = ground.far("logs/log");
        let bytes = random(3, size);
        fs::write(&file, &bytes).expect("a file");
        // Between its facts and its last byte; once more before its hash.
        let grow = format!("echo 'one line more' >>'{}'", file.display());
        tool(tools.path(), "base64", &grow);
        tool(tools.path(), "sha256sum", &grow);
        ground.copy([ground.at("logs/log"), ground.here("log").into()]);
        let copied = fs::read(ground.here("log")).expect("a file");
        assert!(copied == bytes, "{size}: {} bytes", copied.len());
        if size == LARGE {
            continue;
        }
        // Whatever there was when it began.
        let piped = ground.cp([ground.at("logs/log"), "-".into()]).run(b"");
        assert_eq!(piped.code(), 0, "{size}: {}", piped.stderr);
        ground.copy([
            "-r".into(),
            ground.at("logs"),
            ground.here("logs").into_os_string(),
        ]);
        let now = fs::read(&file).expect("a file");
        let copied = fs::read(ground.here("logs/log")).expect("a file");
        assert!(
            copied.len() >= size && now.starts_with(&copied),
            "{size}: {} bytes",
            copied.len()
        );
        ground.assert_all_ended();
    }
}

#[test]
fn what_grows_here_meanwhile_is_copied_as_it_was_at_first() {
    let tools = tempfile::tempdir().expect("a folder");
    let ground = Ground::with_tools(tools.path());
    let file = ground.here("log");
    let bytes = random(4, 3_000_000);
    fs::write(&file, &bytes).expect("a file");
    // Whoever writes over there lets it grow here.
    let grow = format!("echo more >>'{}'", file.display());
    tool(tools.path(), "dd", &grow);
    ground.copy([file.clone().into_os_string(), ground.at("log")]);
    // Whatever there was of it when it was opened.
    let copied = fs::read(ground.far("log")).expect("a file");
    let now = fs::read(&file).expect("a file");
    assert!(copied.starts_with(&bytes) && now.starts_with(&copied));
    assert!(copied.len() < now.len(), "it did not grow meanwhile");
    ground.assert_all_ended();
}

#[test]
fn a_file_whose_size_is_not_what_can_be_read_is_told_and_not_copied_empty() {
    let ground = Ground::new();
    let down: std::ffi::OsString = "i-0123456789abcdef0:/proc/version".into();
    for operands in [
        [down.clone(), ground.here("down").into()],
        [down, "-".into()],
        ["/proc/version".into(), ground.at("up")],
    ] {
        let what = format!("{operands:?}");
        let finished = ground.cp(operands).run(b"");
        assert_eq!(finished.code(), 1, "{what}: {finished:?}");
        assert!(finished.stderr.contains("cat"), "{what}: {finished:?}");
        assert_eq!(finished.stdout, "", "{what}");
    }
    for side in [ground.here(""), ground.far("")] {
        assert_eq!(
            fs::read_dir(&side).expect("a folder").count(),
            0,
            "{side:?}"
        );
    }
    // As that says.
    let version = fs::read("/proc/version").expect("a file");
    let finished = ground.cp(["-".into(), ground.at("up")]).run(&version);
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(fs::read(ground.far("up")).expect("a file"), version);
    ground.assert_all_ended();
}

#[test]
fn a_file_of_which_less_can_be_read_is_not_asked_for_for_ever() {
    let tools = tempfile::tempdir().expect("a folder");
    let ground = Ground::with_tools(tools.path());
    fs::write(ground.far("file"), random(5, 200_000)).expect("a file");
    // A bad block, say, or a file in /sys.
    let short = "case $* in *if=*) /usr/bin/dd \"$@\" | head -c 1000; exit 1 ;; esac";
    tool(tools.path(), "dd", short);
    for to in [ground.here("file").into_os_string(), "-".into()] {
        let finished = ground.cp([ground.at("file"), to]).run(b"");
        assert_eq!(finished.code(), 1, "{}", finished.stderr);
        assert!(finished.stderr.contains("its size"), "{}", finished.stderr);
        assert!(!ground.here("file").exists());
    }
    ground.assert_all_ended();
}
