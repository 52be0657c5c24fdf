//! What cannot be copied is reported, and nothing half-written gets a final name.

use std::fs;
use std::os::unix::fs::symlink;

use sandbox::AgentConfig;

use super::{Ground, random};

#[test]
fn what_is_not_there_is_told_with_its_name() {
    let ground = Ground::new();
    fs::create_dir(ground.far("folder")).expect("a folder");
    fs::create_dir(ground.here("directory")).expect("a folder");
    let here = || ground.here("").into_os_string();
    let down = |name: &str| [ground.at(name), here()];
    let up = |name: &str, to: &str| [ground.here(name).into_os_string(), ground.at(to)];
    fs::write(ground.here("file"), "x").expect("a file");
    for (operands, expected) in [
        (down("nothing"), "no such file"),
        (down("folder"), "-r copies directories"),
        (up("nothing", "x"), "No such file"),
        (up("directory", "x"), "-r copies directories"),
        (up("file", "no/such/folder/x"), "on the target: "),
        (up("file", "name/"), "no directory"),
    ] {
        let what = format!("{operands:?}");
        let finished = ground.cp(operands).run(b"");
        assert_eq!(finished.code(), 1, "{what}: {finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{what}: {finished:?}");
        assert!(finished.stderr.contains(expected), "{what}: {finished:?}");
    }
    assert_eq!(fs::read_dir(ground.far("")).expect("a folder").count(), 1);
    assert_eq!(fs::read_dir(ground.here("")).expect("a folder").count(), 2);
    ground.assert_all_ended();
}

#[test]
fn a_wrong_use_is_refused_before_anything_is_started() {
    let ground = Ground::new();
    for operands in [
        &["a", "b"][..],
        &["a"],
        &["i-1:a", "i-2:b", "c"],
        &["i-1:a", "b", "i-1:c"],
        &["-", "-"],
        &["-r", "i-1:a", "-"],
        &["--sessions", "0", "i-1:a", "b"],
    ] {
        let finished = ground.cp(operands.iter().copied()).run(b"");
        assert_eq!(finished.code(), 2, "{operands:?}: {finished:?}");
    }
    assert_eq!(ground.sessions(), 0);
}

#[test]
fn a_full_disk_over_there_is_told() {
    let ground = Ground::new();
    fs::write(ground.here("file"), random(1, 3_000_000)).expect("a file");
    // Writing to it always says that the disk is full.
    symlink("/dev/full", ground.far("full.part")).expect("a link");
    let finished = ground
        .cp([ground.here("file").into_os_string(), ground.at("full")])
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(!ground.far("full").exists());
    // A file system that is too small for the file.
    let limited = Ground::with(AgentConfig {
        shell: limited_shell(&ground),
        ..AgentConfig::default()
    });
    fs::write(limited.here("file"), random(1, 3_000_000)).expect("a file");
    let finished = limited
        .cp([limited.here("file").into_os_string(), limited.at("file")])
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("on the target: "), "{finished:?}");
    assert!(!limited.far("file").exists());
    limited.assert_all_ended();
}

/// A shell whose files cannot grow beyond a megabyte, and that survives the signal for it.
pub(super) fn limited_shell(ground: &Ground) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = ground.here("limited");
    fs::write(
        &path,
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f 2048\nexec /bin/sh \"$@\"\n",
    )
    .expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn a_shell_in_odd_surroundings_does_as_well() {
    let ground = Ground::with(AgentConfig {
        environment: vec![
            ("PATH".into(), "/nowhere:/bin".into()),
            ("IFS".into(), "/:a".into()),
            ("ENV".into(), "/nowhere".into()),
            ("TMPDIR".into(), "/nowhere".into()),
            ("LC_ALL".into(), "xx_XX.UTF-8".into()),
            ("POSIXLY_CORRECT".into(), "1".into()),
        ],
        ..AgentConfig::default()
    });
    fs::write(ground.here("file"), random(2, 400_000)).expect("a file");
    ground.copy([ground.here("file").into_os_string(), ground.at("file")]);
    ground.copy([ground.at("file"), ground.here("back").into_os_string()]);
    super::assert_same(&ground.here("file"), &ground.here("back"));
}

#[test]
fn a_far_side_cannot_write_elsewhere() {
    let ground = Ground::new();
    fs::create_dir_all(ground.far("tree/d")).expect("folders");
    fs::write(ground.far("tree/d/file"), "evil").expect("a file");
    // Here the folder is a link that leads out.
    fs::create_dir_all(ground.here("tree")).expect("a folder");
    fs::create_dir_all(ground.here("outside")).expect("a folder");
    symlink(ground.here("outside"), ground.here("tree/d")).expect("a link");
    let finished = ground
        .cp([
            "-r".into(),
            ground.at("tree"),
            ground.here("").into_os_string(),
        ])
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(
        fs::read_dir(ground.here("outside"))
            .expect("a folder")
            .count(),
        0
    );
}

#[test]
fn a_link_over_there_that_leads_nowhere_is_told_and_nothing_is_written_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let ground = Ground::with(AgentConfig {
        environment: vec![("HOME".into(), folder.path().display().to_string())],
        ..AgentConfig::default()
    });
    fs::write(ground.here("file"), "text").expect("a file");
    symlink("no/such/file", ground.far("nowhere")).expect("a link");
    symlink("circle", ground.far("circle")).expect("a link");
    for name in ["nowhere", "circle"] {
        let finished = ground
            .cp([ground.here("file").into_os_string(), ground.at(name)])
            .run(b"");
        assert_eq!(finished.code(), 1, "{name}: {finished:?}");
        assert!(finished.stderr.contains("link"), "{name}: {finished:?}");
    }
    let home = fs::read_dir(folder.path()).expect("a folder");
    assert_eq!(home.count(), 0, "it was written into the home");
    // One that leads to a name that is free makes the file, as everywhere.
    symlink("free", ground.far("link")).expect("a link");
    ground.copy([ground.here("file").into_os_string(), ground.at("link")]);
    assert_eq!(fs::read(ground.far("free")).expect("a file"), b"text");
}
