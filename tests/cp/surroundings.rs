//! Targets as poor as they come: shells of every kind, a root directory that is read-only or nearly empty, no room in `/tmp`; and nothing
//! that is left when the far side's shell is killed. What needs root, or a shell that is not installed, says so and is passed over.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::folders::{assert_tree, fill};
use super::{Ground, assert_same, random};
use crate::support::{Plugin, wait_until};

/// A file and a folder there and back, and a command with a stdin.
fn work(ground: &Ground) {
    let at = |name: &str| ground.at(name);
    let here = |name: &str| ground.here(name).into_os_string();
    fs::write(ground.here("file"), random(1, 400_000)).expect("a file");
    ground.copy([here("file"), at("file")]);
    ground.copy([at("file"), here("file back")]);
    assert_same(&ground.here("file"), &ground.here("file back"));
    fill(&ground.here("tree"));
    for operands in [
        ["-rp".into(), here("tree"), at("tree")],
        ["-rp".into(), at("tree"), here("back")],
    ] {
        let finished = ground.cp(operands).run(b"");
        assert_eq!(finished.code(), 0, "{finished:?}");
    }
    assert_tree(&ground.here("tree"), &ground.far("tree"));
    assert_tree(&ground.here("tree"), &ground.here("back"));
    let target = ["exec", "-i", "--target", "i-0123456789abcdef0", "--"];
    let command = ["sh", "-c", "cat; echo err >&2; exit 7"];
    let arguments = target.iter().chain(&command).copied();
    let finished = Plugin::bare(arguments)
        .with_api(&ground.sandbox)
        .run(b"text\n");
    assert_eq!(
        (finished.code(), &*finished.stdout, &*finished.stderr),
        (7, "text\n", "err\n"),
        "{finished:?}"
    );
    ground.assert_all_ended();
}

/// A ground where `sh` is a script of ours.
fn with_sh(make: impl FnOnce(&Path) -> String) -> (Ground, tempfile::TempDir) {
    let tools = tempfile::tempdir().expect("a folder");
    let script = make(tools.path());
    let sh = tools.path().join("sh");
    fs::write(&sh, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&sh, fs::Permissions::from_mode(0o755)).expect("a mode");
    (Ground::with_tools(tools.path()), tools)
}

/// Whether mounts of its own can be had.
fn can_unshare() -> bool {
    let mut unshare = Command::new("unshare");
    let done = unshare
        .args(["-m", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let can = done.is_ok_and(|status| status.success());
    if !can {
        eprintln!("passed over: it needs root, for mounts of its own");
    }
    can
}

fn in_shell(shell: &str) {
    if !Path::new("/bin").join(shell).exists() {
        eprintln!("passed over: there is no {shell} here");
        return;
    }
    work(&Ground::with_shell(shell).0);
}

#[test]
fn all_goes_through_mksh() {
    in_shell("mksh");
}

#[test]
fn all_goes_through_ksh93() {
    in_shell("ksh93");
}

#[test]
fn all_goes_through_a_shell_that_minds_what_is_not_set() {
    let script = r#"shift; exec /bin/sh -uefC -c "IFS=/:a; $1""#;
    work(&with_sh(|_| script.to_owned()).0);
}

#[test]
fn all_goes_with_a_root_that_cannot_be_written_to_and_a_full_tmp() {
    if !can_unshare() {
        return;
    }
    let (ground, tools) = with_sh(|tools| {
        format!(
            "shift; FAR=$(cat '{}/where'); export FAR\n\
             exec unshare -m /bin/sh -c 'mount --bind \"$FAR\" /mnt && mount -t tmpfs -o size=64k none /tmp && \
             mkdir -p \"$FAR\" && mount --move /mnt \"$FAR\" && mount -o remount,bind,ro / || exit 9; \
             cat /dev/zero >/tmp/full 2>/dev/null; PATH=/usr/bin:/bin exec /bin/bash -c \"$1\"' sh \"$1\"",
            tools.display()
        )
    });
    let far = ground.far("");
    let far = far.to_str().expect("a path").trim_end_matches('/');
    fs::write(tools.path().join("where"), far).expect("a file");
    work(&ground);
}

/// A root directory with one shell and its tools, and nothing else but `/dev/null`; the far side's folder is at its own path.
fn empty_root(ground_far: &Path, root: &Path, shell: &str) {
    for folder in ["bin", "dev"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    fs::create_dir_all(root.join(ground_far.strip_prefix("/").expect("an absolute path")))
        .expect("a folder");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
    for tool in [
        "sh",
        "dd",
        "base64",
        "sha256sum",
        "stty",
        "stat",
        "mv",
        "rm",
        "mkdir",
        "chmod",
        "touch",
        "date",
        "readlink",
        "ln",
        "tr",
        "wc",
        "cut",
        "sleep",
        "cat",
    ] {
        symlink("busybox", root.join("bin").join(tool)).expect("a link");
    }
    if shell != "busybox" {
        let mut found = Command::new("ldd");
        let listed = found.arg(format!("/bin/{shell}")).output().expect("ldd");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for file in libraries.chain([&*format!("/bin/{shell}")]) {
            let to = root.join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::copy(file, to).expect("to copy it");
        }
        fs::remove_file(root.join("bin/sh")).expect("to remove it");
        symlink(shell, root.join("bin/sh")).expect("a link");
    }
}

fn in_an_empty_root(shell: &str) {
    if !can_unshare() {
        return;
    }
    let root = tempfile::tempdir().expect("a folder");
    let (ground, tools) = with_sh(|tools| {
        format!(
            "shift; FAR=$(cat '{tools}/where'); R='{root}'; export FAR R\n\
             exec unshare -m /bin/sh -c 'mount --bind \"$FAR\" \"$R$FAR\" && mount --bind /dev \"$R/dev\" && \
             exec /usr/bin/env -i /usr/sbin/chroot \"$R\" /bin/sh -c \"$1\"' sh \"$1\"",
            tools = tools.display(),
            root = root.path().display()
        )
    });
    let far = ground.far("");
    let far = far.to_str().expect("a path").trim_end_matches('/');
    fs::write(tools.path().join("where"), far).expect("a file");
    empty_root(Path::new(far), root.path(), shell);
    work(&ground);
}

#[test]
fn all_goes_in_an_empty_root_with_busybox_and_no_tar() {
    in_an_empty_root("busybox");
}

#[test]
fn all_goes_in_an_empty_root_with_dash_and_no_tar() {
    in_an_empty_root("dash");
}

#[test]
fn a_far_shell_that_is_killed_leaves_nothing_behind() {
    let ground = Ground::new();
    fs::create_dir(ground.here("many")).expect("a folder");
    for index in 0..1_500_u64 {
        fs::write(ground.here(format!("many/{index}")), random(index, 4_000)).expect("a file");
    }
    let mut chance = fastrand::Rng::with_seed(9);
    for _ in 0..3 {
        let at = chance.usize(0..1_000);
        let plugin = ground
            .cp([
                "-r".into(),
                ground.here("many").into_os_string(),
                ground.at(""),
            ])
            .spawn();
        wait_until("some of them, or its end", || {
            let there = fs::read_dir(ground.far("many")).map_or(0, Iterator::count);
            there > at || plugin.try_wait().is_some()
        });
        super::killed::each_session(&ground.sandbox, sandbox::Session::kill_agent);
        super::killed::each_session(&ground.sandbox, |session| session.terminate("gone"));
        let finished = plugin.finish();
        // It went on in another session, or there was nothing left to do.
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert_tree(&ground.here("many"), &ground.far("many"));
        let count = fs::read_dir(ground.far("many")).expect("a folder").count();
        assert_eq!(count, 1_500, "nothing else is left");
        fs::remove_dir_all(ground.far("many")).expect("to remove it");
    }
    wait_until("all processes to end", || ground.processes().is_empty());
}
