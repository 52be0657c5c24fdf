//! What a copy takes of its account and its machine, and files that somebody changes meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use sandbox::Failure;

use super::{Ground, assert_same, random};

/// The most of something while a copy ran.
#[derive(Default)]
struct Most {
    /// Memory, in bytes.
    memory: usize,
    /// The names of threads that carry ranges beside the first, each in a session.
    carriers: BTreeSet<String>,
}

fn copy(ground: &Ground, operands: [OsString; 2]) -> Most {
    let plugin = ground.cp(operands).spawn();
    let mut most = Most::default();
    let threads = format!("/proc/{}/task", plugin.pid.as_raw_nonzero());
    while plugin.try_wait().is_none() {
        // Nothing when it is gone.
        most.memory = most.memory.max(plugin.usage().peak);
        let names = fs::read_dir(&threads).into_iter().flatten().flatten();
        let names = names.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        // What they start has their name for a moment.
        most.carriers
            .extend(names.filter(|name| name.starts_with("copy-")));
        thread::sleep(Duration::from_millis(5));
    }
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    most
}

#[test]
fn a_large_file_takes_four_sessions_and_little_memory() {
    const PIECE: usize = 8 << 20;
    let ground = Ground::new();
    // Five of nine pieces are to be carried, each a range of its own: of the others what is there already is right.
    let mut bytes = Vec::new();
    for index in 0..5 {
        bytes.extend(random(index, PIECE));
        bytes.resize(bytes.len() + PIECE, 0);
    }
    bytes.truncate(9 * PIECE);
    fs::write(ground.far("large"), &bytes).expect("a file");
    drop(bytes);
    for part in [ground.here("back.part"), ground.far("up.part")] {
        let part = fs::File::create(part).expect("a file");
        part.set_len(9 * PIECE as u64).expect("its length");
    }
    // A debug build of another allocator has megabytes of its own: what it takes for a byte is taken away.
    fs::write(ground.far("small"), "x").expect("a file");
    let one = copy(&ground, [ground.at("small"), ground.here("small").into()]);
    let down = copy(&ground, [ground.at("large"), ground.here("back").into()]);
    assert_same(&ground.far("large"), &ground.here("back"));
    // One for each range, and the first one, which hashes.
    assert_eq!(ground.sessions(), 1 + 6);
    let up = copy(&ground, [ground.here("back").into(), ground.at("up")]);
    assert_same(&ground.far("large"), &ground.far("up"));
    // A session of an upload is worth 16 MB.
    assert_eq!((down.carriers.len(), up.carriers.len()), (3, 2));
    let memory = format!(
        "{} bytes for one, {} down, {} up",
        one.memory, down.memory, up.memory
    );
    println!("{memory}");
    assert!(
        down.memory.max(up.memory) < one.memory + (16 << 20),
        "{memory}"
    );
    ground.assert_all_ended();
}

#[test]
fn start_session_calls_that_are_throttled_are_made_again() {
    let ground = Ground::new();
    let bytes = random(2, 300_000);
    fs::write(ground.here("file"), &bytes).expect("a file");
    fs::write(ground.far("file"), &bytes).expect("a file");
    for operands in [
        [ground.here("file").into(), ground.at("up")],
        [ground.at("file"), ground.here("down").into()],
    ] {
        ground
            .sandbox
            .fail_next("ssm:StartSession", 2, Failure::throttled());
        ground.copy(operands);
    }
    assert_same(&ground.here("file"), &ground.far("up"));
    assert_same(&ground.far("file"), &ground.here("down"));
}

#[test]
fn a_far_file_that_changes_meanwhile_is_told_and_nothing_has_its_name() {
    for (change, what) in [
        (
            "/bin/dd if=/dev/null of='{}' bs=1000 seek=1 2>/dev/null",
            "shrinks",
        ),
        ("/bin/touch -d @1000000000 '{}'", "has another time"),
    ] {
        let tools = tempfile::tempdir().expect("a folder");
        let ground = Ground::with_tools(tools.path());
        let file = ground.far("file");
        fs::write(&file, random(3, 900_000)).expect("a file");
        // Between its facts and its last byte.
        let change = change.replace("{}", &file.display().to_string());
        let tool = tools.path().join("base64");
        fs::write(
            &tool,
            format!("#!/bin/sh\n{change}\nexec /usr/bin/base64 \"$@\"\n"),
        )
        .expect("a script");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("its mode");
        let finished = ground
            .cp([ground.at("file"), ground.here("file").into()])
            .run(b"");
        assert_eq!(finished.code(), 1, "{what}: {finished:?}");
        assert!(
            finished.stderr.contains("changed while it was copied"),
            "{what}: {finished:?}"
        );
        assert!(!ground.here("file").exists(), "{what}");
        ground.assert_all_ended();
    }
}

#[test]
fn a_near_file_that_changes_meanwhile_is_told_and_nothing_has_its_name() {
    let tools = tempfile::tempdir().expect("a folder");
    let ground = Ground::with_tools(tools.path());
    let file = ground.here("file");
    fs::write(&file, random(4, 3_000_000)).expect("a file");
    // Whoever writes over there takes a byte from it here, each time.
    let tool = tools.path().join("dd");
    let script = format!(
        "#!/bin/sh\nn=$(stat -c %s '{0}')\n/bin/dd if=/dev/null of='{0}' bs=1 seek=$((n-1)) 2>/dev/null\nexec /bin/dd \"$@\"\n",
        file.display()
    );
    fs::write(&tool, script).expect("a script");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("its mode");
    let finished = ground.cp([file.into(), ground.at("file")]).run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("changed while it was copied"),
        "{finished:?}"
    );
    assert!(!ground.far("file").exists());
    ground.assert_all_ended();
}
