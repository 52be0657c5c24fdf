//! `exec -i`: stdin goes to the command.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::{Ground, random};
use crate::support::{Finished, Io, Plugin};

fn exec(ground: &Ground, command: &[&str]) -> Plugin {
    let start = ["exec", "-i", "--target", "i-0123456789abcdef0", "--"];
    let arguments = start.iter().chain(command).copied();
    Plugin::bare(arguments).with_api(&ground.sandbox)
}

fn assert_ends(finished: &Finished, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(finished.code(), code, "{finished:?}");
    assert_eq!(finished.stdout, stdout, "{finished:?}");
    assert_eq!(finished.stderr, stderr, "{finished:?}");
}

fn work(ground: &Ground) {
    // More in than out.
    let bytes = random(1, 3_000_000);
    let kept = ground.far("kept");
    let script = format!("cat >'{}'; echo out; echo err >&2; exit 7", kept.display());
    let finished = exec(ground, &["sh", "-c", &script]).run(&bytes);
    assert_ends(&finished, 7, "out\n", "err\n");
    assert!(fs::read(&kept).expect("a file") == bytes);
    // Every byte back.
    let bytes: Vec<u8> = (0..=255)
        .cycle()
        .take(60_000)
        .chain(*b"\xef\xbf\xbd\xe2\x82")
        .collect();
    let out = ground.here("out");
    let finished = exec(ground, &["cat"])
        .stdout(Io::File(out.clone()))
        .run(&bytes);
    assert_ends(&finished, 0, "", "");
    assert!(fs::read(&out).expect("a file") == bytes);
    // A script.
    let finished = exec(ground, &["sh"]).run(b"cd /\npwd\nexit 3\n");
    assert_ends(&finished, 3, "/\n", "");
    // Nothing at all, and what does not read.
    assert_ends(&exec(ground, &["cat"]).run(b""), 0, "", "");
    let finished = exec(ground, &["echo", "it's", "", "{{x}}"])
        .stdin(Io::Null)
        .run(b"");
    assert_ends(&finished, 0, "it's  {{x}}\n", "");
    ground.assert_all_ended();
}

#[test]
fn stdin_of_any_kind_goes_to_the_command_in_dash() {
    work(&Ground::with_shell("dash").0);
}

#[test]
fn stdin_of_any_kind_goes_to_the_command_in_bash() {
    work(&Ground::with_shell("bash").0);
}

#[test]
fn stdin_of_any_kind_goes_to_the_command_in_busybox() {
    let (ground, _tools) = Ground::with_shell("busybox");
    work(&ground);
}

#[test]
fn answers_come_while_stdin_is_open() {
    let ground = Ground::with_kms();
    let script = "while read -r x; do echo got $x; done; echo end";
    let plugin = exec(&ground, &["sh", "-c", script]).spawn();
    for word in ["one", "two", "three"] {
        plugin.type_in(format!("{word}\n").as_bytes());
        plugin.stdout.wait_for(&format!("got {word}\n"));
    }
    plugin.close_stdin();
    let finished = plugin.finish();
    assert_ends(&finished, 0, "got one\ngot two\ngot three\nend\n", "");
}

#[test]
fn more_comes_out_than_went_in_on_both_streams_at_once() {
    for ground in [Ground::new(), Ground::with_kms()] {
        let script = "read -r x; for i in 1 2 3 4 5 6; do head -c 20000 /dev/zero | tr '\\0' $i; \
            head -c 20000 /dev/zero | tr '\\0' e >&2; done; echo $x";
        let finished = exec(&ground, &["sh", "-c", script]).run(b"end\n");
        let out: String = (1..=6)
            .map(|digit| digit.to_string().repeat(20_000))
            .collect();
        assert_ends(&finished, 0, &format!("{out}end\n"), &"e".repeat(120_000));
        ground.assert_all_ended();
    }
}

#[test]
fn a_command_may_end_before_its_input() {
    let ground = Ground::new();
    // Somebody keeps the pipe open.
    let plugin = exec(&ground, &["sh", "-c", "exit 4"]).spawn();
    plugin.wait();
    assert_ends(&plugin.finish(), 4, "", "");
    let finished = exec(&ground, &["head", "-c", "5"]).run(&[b'x'; 2_000_000]);
    assert_ends(&finished, 0, "xxxxx", "");
    let finished =
        exec(&ground, &["sh", "-c", "exec <&-; sleep 0.3; kill -TERM $$"]).run(&[0; 100_000]);
    assert_ends(&finished, 143, "", "");
    let finished = exec(&ground, &["/no/such/command"]).run(b"x");
    assert_eq!(finished.code(), 127, "{finished:?}");
    assert!(finished.stderr.contains("/no/such/command"), "{finished:?}");
    ground.assert_all_ended();
}

#[test]
fn a_target_that_is_not_connected_yet_is_waited_for() {
    let ground = Ground::new();
    let target = sandbox::Target::new(1, "web");
    let id = target.id.clone();
    ground.sandbox.add_target(target);
    for name in [&*id, "web"] {
        let set = |state| {
            let change = |target: &mut sandbox::Target| target.state = state;
            ground.sandbox.change_target(&id, change);
        };
        let run = |wait: &[&str]| {
            let arguments = [&["exec", "-i", "--target", name], wait, &["--", "cat"]].concat();
            Plugin::bare(arguments).with_api(&ground.sandbox)
        };
        set(sandbox::TargetState::ConnectionLost);
        // What is told is the same, whoever waits and for how long; nothing of stdin is lost by it.
        for wait in [&[][..], &["--wait=1"]] {
            let finished = run(wait).run(b"kept");
            assert_ne!(finished.code(), 0, "{finished:?}");
            assert!(finished.stderr.contains("not connected"), "{finished:?}");
        }
        let plugin = run(&["--wait=60"]).spawn();
        plugin.type_in(b"typed before ");
        plugin.stderr.wait_for("waiting for it, up to 60 s");
        plugin.type_in(b"and while it waited");
        set(sandbox::TargetState::Online);
        plugin.close_stdin();
        let finished = plugin.finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert_eq!(finished.stdout, "typed before and while it waited");
        assert_eq!(
            finished.stderr.matches("waiting for it").count(),
            1,
            "{finished:?}"
        );
    }
    // A wait that nobody needs says nothing, and one that is given up ends at once.
    let plugin = |wait: &str| {
        let arguments = ["exec", "-i", wait, "--target", &id, "--", "cat"];
        Plugin::bare(arguments).with_api(&ground.sandbox)
    };
    assert_ends(&plugin("--wait").run(b"at once"), 0, "at once", "");
    ground.sandbox.change_target(&id, |target| {
        target.state = sandbox::TargetState::ConnectionLost;
    });
    let plugin = plugin("--wait").spawn();
    plugin.stderr.wait_for("waiting for it, up to 300 s");
    plugin.signal(Signal::INT);
    assert_eq!(plugin.finish().code(), 130);
    ground.assert_all_ended();
}

#[test]
fn tar_goes_through_a_pipe() {
    let ground = Ground::new();
    fs::create_dir(ground.here("tree")).expect("a folder");
    for index in 0..20 {
        fs::write(ground.here(format!("tree/{index}")), random(index, 20_000)).expect("a file");
    }
    let tar = Command::new("tar")
        .arg("c")
        .arg("-C")
        .arg(ground.here(""))
        .arg("tree")
        .output();
    let tar = tar.expect("tar").stdout;
    let far = ground.far("");
    let finished = exec(&ground, &["tar", "x", "-C", far.to_str().expect("a path")]).run(&tar);
    assert_ends(&finished, 0, "", "");
    for index in 0..20 {
        super::assert_same(
            &ground.here(format!("tree/{index}")),
            &ground.far(format!("tree/{index}")),
        );
    }
}

#[test]
fn an_interrupt_ends_the_session_and_the_command() {
    let ground = Ground::new();
    let mark = ground.far("runs");
    let script = format!(
        "echo $$ >'{0}.new'; mv '{0}.new' '{0}'; cat; sleep 100",
        mark.display()
    );
    let plugin = exec(&ground, &["sh", "-c", &script]).spawn();
    super::support::wait_until("the command", || mark.exists());
    plugin.signal(Signal::INT);
    let finished = plugin.finish();
    assert_eq!(finished.code(), 130, "{finished:?}");
    ground.assert_all_ended();
    let process = fs::read_to_string(&mark).expect("a file");
    let process = format!("/proc/{}", process.trim());
    super::support::wait_until("its end", || !fs::exists(&process).unwrap_or(true));
}
