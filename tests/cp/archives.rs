//! Small files of a folder in archives of tar(1): what a hostile one holds stays where it belongs, and without tar, or where it fails,
//! files go one by one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::folders::assert_tree;
use super::{Ground, random};

/// A ground whose target has this script in place of tar.
fn with_tar(script: &str) -> (Ground, tempfile::TempDir) {
    let tools = tempfile::tempdir().expect("a folder");
    let tar = tools.path().join("tar");
    fs::write(&tar, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&tar, fs::Permissions::from_mode(0o755)).expect("a mode");
    (Ground::with_tools(tools.path()), tools)
}

fn fill(root: &Path) {
    for folder in ["a", "b"] {
        fs::create_dir_all(root.join(folder)).expect("folders");
        for index in 0..9_u64 {
            let bytes = random(index, 2_000);
            fs::write(root.join(folder).join(index.to_string()), bytes).expect("a file");
        }
    }
}

#[test]
fn where_tar_fails_files_go_one_by_one() {
    for script in [
        // Nothing at all.
        "exit 1",
        // A good archive, and the word that a file could not be read.
        "/bin/tar \"$@\"; exit 2",
        // Noise, with success.
        "echo noise",
    ] {
        let (ground, _tools) = with_tar(script);
        fill(&ground.here("tree"));
        let up = [
            "-r".into(),
            ground.here("tree").into_os_string(),
            ground.at(""),
        ];
        ground.copy(up);
        assert_tree(&ground.here("tree"), &ground.far("tree"));
        ground.copy([
            "-r".into(),
            ground.at("tree"),
            ground.here("back").into_os_string(),
        ]);
        assert_tree(&ground.here("tree"), &ground.here("back"));
        let left = fs::read_dir(ground.far("tree")).expect("a folder").count();
        assert_eq!(left, 2, "{script}: nothing else is left");
        ground.assert_all_ended();
    }
}

#[test]
fn a_file_that_changes_while_it_is_packed_comes_alone() {
    // Another byte each time that it is packed.
    let (ground, _tools) = with_tar("date +%N >a/changes; exec /bin/tar \"$@\"");
    fill(&ground.far("tree"));
    fs::write(ground.far("tree/a/changes"), "x").expect("a file");
    ground.copy([
        "-r".into(),
        ground.at("tree"),
        ground.here("back").into_os_string(),
    ]);
    assert_tree(&ground.far("tree"), &ground.here("back"));
}

/// Headers are written as they are given: the crate's own checks are not what is tried.
fn entry(archive: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], link: &[u8], data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o777);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    archive.append(&header, data).expect("to write to memory");
}

#[test]
fn nothing_of_a_hostile_archive_leads_out_of_the_folder() {
    let (ground, tools) = with_tar("exec cat \"${0%/*}/hostile\"");
    fs::create_dir_all(ground.far("tree/a")).expect("folders");
    fs::write(ground.far("tree/a/file"), "x").expect("a file");
    let outside = ground.here("outside");
    fs::create_dir(&outside).expect("a folder");
    let absolute = outside.join("evil");
    let absolute = absolute.to_str().expect("a path").as_bytes();
    let to_outside = outside.to_str().expect("a path").as_bytes();
    let mut archive = Builder::new(Vec::new());
    let file = EntryType::Regular;
    for name in [
        &b"../outside/evil"[..],
        b"a/../../outside/evil",
        b"./../outside/evil",
        b"..",
        b"",
        b"a",
        absolute,
    ] {
        entry(&mut archive, file, name, b"", b"evil");
        entry(&mut archive, EntryType::Symlink, name, b"/", b"");
        entry(&mut archive, EntryType::Link, name, absolute, b"");
        entry(&mut archive, EntryType::Directory, name, b"", b"");
        entry(&mut archive, EntryType::Char, name, b"", b"");
        entry(&mut archive, EntryType::Fifo, name, b"", b"");
    }
    // Through a link of its own, to a folder and to a file.
    entry(&mut archive, EntryType::Symlink, b"out", to_outside, b"");
    entry(&mut archive, file, b"out/evil", b"", b"evil");
    entry(&mut archive, EntryType::Symlink, b"one", absolute, b"");
    entry(&mut archive, file, b"one", b"", b"evil");
    // A hard link to what is no file of the archive.
    entry(
        &mut archive,
        EntryType::Link,
        b"a/hard",
        b"/etc/passwd",
        b"",
    );
    entry(&mut archive, file, b"a/good", b"", b"good");
    fs::write(
        tools.path().join("hostile"),
        archive.into_inner().expect("memory"),
    )
    .expect("a file");
    for _ in 0..2 {
        let to = ground.here("back").into_os_string();
        let finished = ground.cp(["-r".into(), ground.at("tree"), to]).run(b"");
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(finished.stderr.contains("leads out of"), "{finished:?}");
        assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
        assert_eq!(
            fs::read(ground.here("back/a/good")).expect("a file"),
            b"good"
        );
        assert!(fs::symlink_metadata(ground.here("back/a/hard")).is_err());
    }
    let here: Vec<_> = fs::read_dir(ground.here(""))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(here.len(), 2, "{here:?}");
}

#[test]
fn a_hostile_archive_costs_no_memory_and_ends() {
    let cases: [&[u8]; 4] = [
        // Names without end: a long name (GNU) and an extended header (POSIX) of 2 GB.
        b"L", b"x", // A file of 2 GB that is not there.
        b"0", // A size that is none.
        b"?",
    ];
    for kind in cases {
        let (ground, tools) = with_tar("cat \"${0%/*}/head\"; exec head -c 60000000 /dev/zero");
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..6].copy_from_slice(b"a/long");
        header.set_size(2_000_000_000);
        header.set_mode(0o644);
        header.as_old_mut().linkflag = [kind[0]];
        if kind == b"?" {
            header.as_old_mut().size = [0xff; 12];
        }
        header.set_cksum();
        fs::write(tools.path().join("head"), header.as_bytes()).expect("a file");
        fs::create_dir_all(ground.far("tree/a")).expect("folders");
        fs::write(ground.far("tree/a/file"), "x").expect("a file");
        let to = ground.here("back").into_os_string();
        let plugin = ground.cp(["-r".into(), ground.at("tree"), to]).spawn();
        let mut most = 0;
        crate::support::wait_until("its end", || {
            most = most.max(plugin.usage().peak);
            plugin.try_wait().is_some()
        });
        let finished = plugin.finish();
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(most < 40 << 20, "{most} bytes");
        assert!(fs::symlink_metadata(ground.here("back/a/long")).is_err());
    }
}
