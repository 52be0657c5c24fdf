//! Folders.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::{Ground, assert_same, random};

/// Names that something on the way might not leave as they are; bytes from 0x81 on are what dash marks with inside.
const NAMES: [&[u8]; 10] = [
    b"it's \"quoted\"",
    b"-rf",
    b"$(touch x)`y`",
    b"%s\\n{{x}}",
    b"\xff\xfe",
    b"\x81\x82\x83\x84\x85\x86\x87\x88",
    "gr\u{fc}\u{df}e \u{fffd} \u{c1}".as_bytes(),
    b"*?[a];|&",
    b"..hidden",
    b" ",
];

pub(super) fn fill(root: &Path) {
    fs::create_dir_all(root.join("a/b/empty")).expect("folders");
    for index in 0..60 {
        fs::write(root.join(format!("a/file {index}")), random(index, 3_000)).expect("a file");
    }
    fs::write(root.join("a/b/.hidden"), "x").expect("a file");
    fs::write(root.join("a/b/new\nline"), "").expect("a file");
    for name in NAMES {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(root.join("a/b").join(name), name.as_bytes()).expect("a file");
        fs::create_dir(root.join("a").join(name)).expect("a folder");
        fs::write(root.join("a").join(name).join(name), "deep").expect("a file");
    }
    let long = "long".repeat(60);
    fs::create_dir(root.join(&long)).expect("a folder");
    fs::write(root.join(&long).join(&long), "long").expect("a file");
    symlink(&long, root.join("a/long link")).expect("a link");
    fs::hard_link(root.join("a/file 7"), root.join("a/file 7 again")).expect("a link");
    fs::write(root.join("large"), random(99, 3_000_000)).expect("a file");
    symlink("../nowhere to be", root.join("a/link")).expect("a link");
    symlink("b", root.join("a/folder link")).expect("a link");
    fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o750)).expect("a mode");
    let fifo = rustix::fs::CWD;
    rustix::fs::mknodat(
        fifo,
        root.join("a/fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a FIFO");
}

pub(super) fn assert_tree(one: &Path, other: &Path) {
    for entry in fs::read_dir(one).expect("a folder") {
        let entry = entry.expect("an entry");
        let other = other.join(entry.file_name());
        let kind = entry.file_type().expect("a kind");
        if kind.is_symlink() {
            assert_eq!(
                fs::read_link(entry.path()).expect("a link"),
                fs::read_link(&other).expect("a link")
            );
        } else if kind.is_dir() {
            assert_tree(&entry.path(), &other);
        } else if kind.is_file() {
            assert_same(&entry.path(), &other);
        } else {
            assert!(fs::symlink_metadata(&other).is_err());
        }
    }
}

fn there_and_back(ground: &Ground) {
    fill(&ground.here("tree"));
    let finished = ground
        .cp([
            "-rp".into(),
            ground.here("tree").into_os_string(),
            ground.at(""),
        ])
        .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert!(finished.stderr.contains("fifo: skipped"), "{finished:?}");
    assert_tree(&ground.here("tree"), &ground.far("tree"));
    assert_eq!(
        fs::metadata(ground.far("tree/a/b"))
            .expect("a folder")
            .mode()
            & 0o777,
        0o750
    );

    ground.copy([
        "-rp".into(),
        ground.at("tree"),
        ground.here("back").into_os_string(),
    ]);
    assert_tree(&ground.far("tree"), &ground.here("back"));
    assert_eq!(
        fs::metadata(ground.here("back/a/b"))
            .expect("a folder")
            .mode()
            & 0o777,
        0o750
    );
    // Again, over what is there.
    ground.copy([
        "-r".into(),
        ground.at("tree"),
        ground.here("").into_os_string(),
    ]);
    assert_tree(&ground.far("tree"), &ground.here("tree"));
    ground.assert_all_ended();
}

#[test]
fn a_folder_goes_there_and_back_in_dash() {
    there_and_back(&Ground::with_shell("dash").0);
}

#[test]
fn a_folder_goes_there_and_back_in_bash() {
    there_and_back(&Ground::with_shell("bash").0);
}

#[test]
fn a_folder_goes_there_and_back_in_busybox() {
    let (ground, _tools) = Ground::with_shell("busybox");
    there_and_back(&ground);
}

#[test]
fn many_small_files_share_sessions() {
    let ground = Ground::new();
    fs::create_dir(ground.here("many")).expect("a folder");
    for index in 0..300_u32 {
        fs::write(ground.here(format!("many/{index}")), index.to_string()).expect("a file");
    }
    ground.copy([
        "-r".into(),
        ground.here("many").into_os_string(),
        ground.at(""),
    ]);
    assert_eq!(ground.sessions(), 1);
    ground.copy([
        "-r".into(),
        ground.at("many"),
        ground.here("back").into_os_string(),
    ]);
    assert_eq!(ground.sessions(), 2);
    assert_tree(&ground.here("many"), &ground.here("back"));
}

#[test]
fn permissions_and_times_are_kept_of_what_travels_together() {
    let ground = Ground::new();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::create_dir(ground.here("tree")).expect("a folder");
    for index in 0..8_u32 {
        let path = ground.here(format!("tree/{index}"));
        fs::write(&path, index.to_string()).expect("a file");
        let mode = fs::Permissions::from_mode(0o600 | index);
        fs::set_permissions(&path, mode).expect("a mode");
        let file = fs::File::open(&path);
        file.and_then(|file| file.set_modified(old))
            .expect("a time");
    }
    let here = |name: &str| ground.here(name).into_os_string();
    for operands in [
        ["-rp".into(), here("tree"), ground.at("kept")],
        ["-rp".into(), ground.at("kept"), here("kept")],
        ["-r".into(), here("tree"), ground.at("new")],
        ["-r".into(), ground.at("kept"), here("new")],
    ] {
        ground.copy(operands);
    }
    let found = |path: std::path::PathBuf| {
        let found = fs::metadata(&path).expect("a file");
        (
            found.mode() & 0o777,
            found.modified().expect("a time") == old,
        )
    };
    for index in 0..8_u32 {
        for root in [ground.far("kept"), ground.here("kept")] {
            assert_eq!(found(root.join(index.to_string())), (0o600 | index, true));
        }
        // As a new file has them.
        for root in [ground.far("new"), ground.here("new")] {
            assert_eq!(
                found(root.join(index.to_string())),
                (0o600 | index & 0o755, false)
            );
        }
    }
    // What is there keeps its permissions, and a link that is there stays one.
    for root in [ground.far("new"), ground.here("new")] {
        fs::set_permissions(root.join("1"), fs::Permissions::from_mode(0o640)).expect("a mode");
    }
    fs::rename(ground.far("new/2"), ground.far("elsewhere")).expect("to move it");
    symlink("../elsewhere", ground.far("new/2")).expect("a link");
    // Into the folder itself: it is there.
    ground.copy(["-r".into(), here("tree/."), ground.at("new")]);
    ground.copy(["-r".into(), ground.at("kept/."), here("new")]);
    for root in [ground.far("new"), ground.here("new")] {
        assert_eq!(found(root.join("1")), (0o640, false));
    }
    let link = fs::symlink_metadata(ground.far("new/2")).expect("a link");
    assert!(link.is_symlink());
    assert_same(&ground.far("elsewhere"), &ground.here("tree/2"));
}
