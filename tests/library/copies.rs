//! Folders, several files in one session, and how far a copy is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use library::{Cancel, EntryOutcome, ErrorKind, RemoteKind};
use session_manager_plugin as library;

use crate::{client, node, sandbox, wait_for_no_session};

fn tree(root: &Path) {
    fs::create_dir_all(root.join("below/empty")).unwrap();
    fs::write(root.join("a"), "a").unwrap();
    fs::write(root.join("below/b"), vec![b'b'; 3 << 20]).unwrap();
    std::os::unix::fs::symlink("a", root.join("link")).unwrap();
}

fn told(entries: &[EntryOutcome]) -> Vec<(PathBuf, u64)> {
    let mut files: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            EntryOutcome::File(path, copied) => (path.clone(), copied.bytes),
            other => panic!("{other:?}"),
        })
        .collect();
    files.sort();
    files
}

#[test]
fn folders_go_there_and_come_back() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    tree(&at("here"));
    let copy = client.copy(&node(&client)).preserve();
    let progress = copy.progress();
    let expected = [(PathBuf::from("a"), 1), (PathBuf::from("below/b"), 3 << 20)];

    let mut entries = Vec::new();
    let copied = copy
        .upload_folder(at("here"), at("there"), |entry| entries.push(entry))
        .unwrap();
    assert_eq!((copied.files, copied.bytes), (2, (3 << 20) + 1));
    assert!(copied.is_complete());
    assert_eq!(told(&entries), expected);
    assert_eq!(
        (progress.carried(), progress.total()),
        (copied.bytes, copied.bytes)
    );

    let mut entries = Vec::new();
    let copied = copy
        .download_folder(at("there"), at("back"), |entry| entries.push(entry))
        .unwrap();
    assert!(copied.is_complete());
    assert_eq!(told(&entries), expected);
    assert_eq!(fs::read(at("back/below/b")).unwrap(), vec![b'b'; 3 << 20]);
    assert_eq!(fs::read_link(at("back/link")).unwrap(), Path::new("a"));
    assert!(at("back/below/empty").is_dir());
    assert_eq!(progress.carried(), 2 * copied.bytes);
    wait_for_no_session(&sandbox);
}

#[test]
fn what_of_a_folder_is_not_copied_is_told_and_counted() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("here")).unwrap();
    fs::write(at("here/a"), "a").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("here/socket")).unwrap();
    // A folder stands where the file is to be.
    fs::create_dir_all(at("there/a/in the way")).unwrap();
    let mut entries = Vec::new();
    let copied = client
        .copy(&node(&client))
        .upload_folder(at("here"), at("there"), |entry| entries.push(entry))
        .unwrap();
    assert_eq!((copied.files, copied.skipped, copied.failed), (0, 1, 1));
    assert!(!copied.is_complete());
    assert!(entries.contains(&EntryOutcome::Skipped("socket".into())));
    let failed = |entry: &EntryOutcome| matches!(entry, EntryOutcome::Failed(path, _) if path == Path::new("a"));
    assert!(entries.iter().any(failed), "{entries:?}");

    let copy = client.copy(&node(&client));
    let error = copy.download_folder(at("nothing"), at("back"), |_| {});
    assert_eq!(error.unwrap_err().kind(), ErrorKind::FileNotFound);
    let error = copy.download(at("there"), at("back"));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::IsDirectory);
    let error = copy.upload(at("here"), at("there/b"));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::IsDirectory);
}

#[test]
fn copies_one_after_the_other_share_a_session() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        fs::write(at(name), name).unwrap();
    }
    let mut copying = client.copy(&node(&client)).begin().unwrap();
    assert!(sandbox.sessions().is_empty());
    assert_eq!(copying.kind(at("a")).unwrap(), RemoteKind::File);
    copying.upload(at("a"), at("a2")).unwrap();
    copying.upload(at("b"), at("b2")).unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"piped").unwrap();
    drop(writer);
    copying.upload_from(reader, at("c2")).unwrap();
    assert_eq!(sandbox.sessions().len(), 1);
    let mut back = Vec::new();
    copying.download_to(at("c2"), &mut back).unwrap();
    assert_eq!(back, b"piped");
    assert_eq!(fs::read(at("b2")).unwrap(), b"b");
    copying.finish();
    assert!(sandbox.sessions().is_empty());
}

#[test]
fn a_copy_ends_when_it_is_told_to() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("there");
    let node = node(&client);
    // Nobody writes to the pipe.
    let (reader, _writer) = io::pipe().unwrap();
    let timeout = Duration::from_millis(500);
    let mut copying = client.copy(&node).timeout(timeout).begin().unwrap();
    let error = copying.upload_from(&reader, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    drop(copying);
    wait_for_no_session(&sandbox);

    let cancel = Cancel::new().unwrap();
    let client = client.with_cancel(&cancel);
    let mut copying = client.copy(&node).begin().unwrap();
    assert_eq!(copying.kind(&to).unwrap(), RemoteKind::Nothing);
    cancel.cancel();
    let error = copying.upload_from(&reader, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    copying.finish();
    wait_for_no_session(&sandbox);
}
