//! Files of every size and content, names of every kind, through every shell.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{Ground, assert_same, random};

/// Contents that a shell, a terminal or the agent might change.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("one", b"x".to_vec()),
        ("newline", b"\n".to_vec()),
        ("ones", vec![0xff; 200_000]),
        ("replacement", "\u{fffd}".repeat(70_000).into_bytes()),
        ("incomplete", b"text\xe2\x82".to_vec()),
        ("controls", (0..=255).cycle().take(100_001).collect()),
        ("block", random(1, 65_536)),
        ("block-and-one", random(2, 65_537)),
        ("random", random(3, 1_500_000)),
    ]
}

fn there_and_back(ground: &Ground) {
    for (name, bytes) in contents() {
        fs::write(ground.here(name), &bytes).expect("a file");
    }
    let names = contents()
        .into_iter()
        .map(|(name, _)| ground.here(name).into_os_string());
    ground.copy(names.chain([ground.at("")]));
    fs::create_dir(ground.here("back")).expect("a folder");
    // One alone, so that both ways of a download are gone.
    let names = ["empty", "replacement", "controls", "random"];
    let operands = names.into_iter().map(|name| ground.at(name));
    ground.copy(operands.chain([ground.here("back").into_os_string()]));
    for (name, _) in contents() {
        assert_same(&ground.here(name), &ground.far(name));
    }
    for name in names {
        assert_same(&ground.here(name), &ground.here("back").join(name));
    }
    let left = fs::read_dir(ground.far("")).expect("a folder").count();
    assert_eq!(left, contents().len(), "nothing else is left");
    ground.assert_all_ended();
}

#[test]
fn every_content_goes_through_dash() {
    there_and_back(&Ground::with_shell("dash").0);
}

#[test]
fn every_content_goes_through_bash() {
    there_and_back(&Ground::with_shell("bash").0);
}

#[test]
fn every_content_goes_through_busybox() {
    let (ground, _tools) = Ground::with_shell("busybox");
    there_and_back(&ground);
}

#[test]
fn every_content_goes_through_an_encrypted_session() {
    there_and_back(&Ground::with_kms());
}

#[test]
fn names_of_every_kind_are_carried() {
    let ground = Ground::new();
    let long = [b'n'; 255];
    let names: [&[u8]; 10] = [
        &long,
        b"a b",
        b"it's \"quoted\"",
        b"new\nline\n",
        b"-rf",
        b"$(touch x)`y`",
        b"%s\\n{{x}}",
        b"\xff\xfe",
        "grüße \u{fffd}".as_bytes(),
        b"*?[a];|&",
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        fs::write(ground.far(name), name.as_bytes()).expect("a file");
        ground.copy([ground.at(name), ground.here("").into_os_string()]);
        assert_same(&ground.far(name), &ground.here(name));
        fs::remove_file(ground.far(name)).expect("to remove it");
    }
    let here: Vec<_> = names
        .iter()
        .map(|name| ground.here(OsStr::from_bytes(name)).into_os_string())
        .collect();
    ground.copy(here.into_iter().chain([ground.at("")]));
    for name in names {
        let name = OsStr::from_bytes(name);
        assert_same(&ground.far(name), &ground.here(name));
    }
}

#[test]
fn several_sessions_carry_a_large_file_and_holes_stay_holes() {
    let ground = Ground::new();
    let mut bytes = random(4, 20 << 20);
    bytes.resize(60 << 20, 0);
    bytes.extend(random(5, 100));
    fs::write(ground.far("large"), &bytes).expect("a file");
    ground.copy([ground.at("large"), ground.here("large").into_os_string()]);
    assert_same(&ground.far("large"), &ground.here("large"));
    assert_eq!(ground.sessions(), 2, "a range each");
    let taken = fs::metadata(ground.here("large")).expect("a file").blocks() * 512;
    assert!(taken < 30 << 20, "{taken} bytes are taken");
    ground.copy([ground.here("large").into_os_string(), ground.at("back")]);
    assert_same(&ground.far("large"), &ground.far("back"));
    ground.assert_all_ended();
}

#[test]
fn permissions_and_times_are_kept_where_that_is_asked_for() {
    let ground = Ground::new();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for (path, mode) in [(ground.far("down"), 0o640), (ground.here("up"), 0o711)] {
        fs::write(&path, "text").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        fs::File::open(&path)
            .and_then(|file| file.set_modified(old))
            .expect("a time");
    }
    ground.copy([
        "-p".into(),
        ground.at("down"),
        ground.here("").into_os_string(),
    ]);
    ground.copy([
        "-p".into(),
        ground.here("up").into_os_string(),
        ground.at(""),
    ]);
    for (path, mode) in [(ground.here("down"), 0o640), (ground.far("up"), 0o711)] {
        let found = fs::metadata(&path).expect("a file");
        assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
        assert_eq!(found.modified().expect("a time"), old, "{}", path.display());
    }
    // What is there keeps its own permissions, and a link stays one.
    fs::write(ground.far("real"), "old").expect("a file");
    fs::set_permissions(ground.far("real"), fs::Permissions::from_mode(0o604)).expect("a mode");
    std::os::unix::fs::symlink("real", ground.far("link")).expect("a link");
    ground.copy([ground.here("up").into_os_string(), ground.at("link")]);
    assert!(
        fs::symlink_metadata(ground.far("link"))
            .expect("a link")
            .is_symlink()
    );
    assert_same(&ground.far("real"), &ground.here("up"));
    assert_eq!(
        fs::metadata(ground.far("real")).expect("a file").mode() & 0o777,
        0o604
    );
}
