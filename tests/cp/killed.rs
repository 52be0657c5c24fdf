//! Whatever is killed in the middle: the next call completes, and nothing half-written has a final name.

use std::fs;

use rustix::process::Signal;
use sandbox::faults::Ending;
use sandbox::{Event, Sandbox};

use super::{Ground, assert_same, random};
use crate::support::wait_until;

/// The process that is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Client,
    Interrupted,
    Agents,
    Sessions,
    Network,
    /// What the target runs for us, and all that it started.
    Shells,
}

const VICTIMS: [Victim; 6] = [
    Victim::Shells,
    Victim::Client,
    Victim::Interrupted,
    Victim::Agents,
    Victim::Sessions,
    Victim::Network,
];

pub(super) fn each_session(sandbox: &Sandbox, act: impl Fn(&sandbox::Session)) {
    for event in sandbox.events() {
        if let Event::SessionStarted { session, .. } = event
            && let Some(session) = sandbox.session(&session)
            && session.ended().is_none()
        {
            act(&session);
        }
    }
}

/// Kills every process over there, at once.
fn kill_shells(ground: &Ground) {
    for pid in ground.processes() {
        // It may be gone.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Copies with something killed once so many bytes are there, then once more if need be.
fn kill(ground: &Ground, victim: Victim, down: bool, at: u64) {
    let (from, to, final_path) = if down {
        (
            ground.at("file"),
            ground.here("copy").into_os_string(),
            ground.here("copy"),
        )
    } else {
        (
            ground.here("file").into_os_string(),
            ground.at("copy"),
            ground.far("copy"),
        )
    };
    let part = final_path.with_file_name("copy.part");
    let plugin = ground
        .cp(["--sessions".into(), "3".into(), from.clone(), to.clone()])
        .spawn();
    // The part may be renamed already.
    wait_until("a part of it", || {
        use std::os::unix::fs::MetadataExt;
        final_path.exists() || fs::metadata(&part).is_ok_and(|found| found.blocks() * 512 >= at)
    });
    match victim {
        Victim::Client if plugin.try_wait().is_none() => plugin.signal(Signal::KILL),
        Victim::Interrupted if plugin.try_wait().is_none() => plugin.signal(Signal::INT),
        Victim::Client | Victim::Interrupted => {}
        Victim::Shells => kill_shells(ground),
        Victim::Agents => each_session(&ground.sandbox, |session| session.kill_agent()),
        Victim::Sessions => each_session(&ground.sandbox, |session| session.terminate("ended")),
        Victim::Network => each_session(&ground.sandbox, |session| {
            session.end_connection(Ending::Reset);
        }),
    }
    if let Victim::Agents = victim {
        // The client learns of it from the service, at the end.
        each_session(&ground.sandbox, |session| session.terminate("gone"));
    }
    let status = plugin.wait();
    drop(plugin);
    if status.code() != Some(0) {
        // An interrupt may come when all is done but the program's end.
        if final_path.exists() {
            assert_same(&ground.far("file"), &final_path);
        }
        let finished = ground.cp([from, to]).run(b"");
        assert_eq!(finished.code(), 0, "{victim:?} {down} {at}: {finished:?}");
    }
    assert_same(&ground.far("file"), &ground.here("file"));
    assert_same(&ground.far("file"), &final_path);
    assert!(!part.exists(), "{victim:?} {down} {at}");
    fs::remove_file(&final_path).expect("to remove it");
}

/// Any of them, either way, at any byte, so often: everything from the seed, which a failure names.
fn kill_at_random(ground: &Ground, seed: u64, times: u32) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let bytes = random(seed, 3_000_000);
    fs::write(ground.far("file"), &bytes).expect("a file");
    fs::write(ground.here("file"), &bytes).expect("a file");
    for round in 0..times {
        let victim = VICTIMS[chance.usize(0..VICTIMS.len())];
        let (down, at) = (chance.bool(), chance.u64(1..2_900_000));
        eprintln!("seed {seed}, round {round}: {victim:?}, down {down}, at {at}");
        kill(ground, victim, down, at);
    }
}

/// By hand and in `make soak`: `CP_SEED` for another one.
#[test]
#[ignore = "minutes; make soak runs it"]
fn whatever_is_killed_fifty_times_the_next_call_completes() {
    let seed = std::env::var("CP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(17);
    kill_at_random(&Ground::new(), seed, 50);
    kill_at_random(&Ground::with_kms(), seed + 1, 50);
}

/// What the agent had sent by then comes again at 10 kB a second: minutes, where a new session takes seconds.
#[test]
fn a_connection_that_breaks_at_the_beginning_costs_seconds() {
    for ground in [Ground::new(), Ground::with_kms()] {
        let bytes = random(6, 6_000_000);
        fs::write(ground.far("file"), &bytes).expect("a file");
        fs::write(ground.here("file"), &bytes).expect("a file");
        kill(&ground, Victim::Network, true, 1);
    }
}

#[test]
fn whatever_is_killed_at_random_the_next_call_completes() {
    kill_at_random(&Ground::new(), 5, 6);
}

fn kill_all(ground: &Ground, seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let bytes = random(seed, 3_000_000);
    fs::write(ground.far("file"), &bytes).expect("a file");
    fs::write(ground.here("file"), &bytes).expect("a file");
    for down in [true, false] {
        for victim in VICTIMS {
            kill(ground, victim, down, chance.u64(1..2_500_000));
        }
    }
}

#[test]
fn whatever_is_killed_the_next_call_completes() {
    kill_all(&Ground::new(), 1);
}

#[test]
fn whatever_is_killed_the_next_call_completes_when_encrypted() {
    kill_all(&Ground::with_kms(), 3);
}

#[test]
fn an_interrupt_ends_all_sessions_and_says_how_to_go_on() {
    let ground = Ground::new();
    fs::write(ground.here("file"), random(4, 30_000_000)).expect("a file");
    let plugin = ground
        .cp([ground.here("file").into_os_string(), ground.at("copy")])
        .spawn();
    wait_until("a part of it", || {
        fs::metadata(ground.far("copy.part")).is_ok_and(|found| found.len() > 0)
    });
    plugin.signal(Signal::INT);
    let finished = plugin.finish();
    assert_eq!(finished.code(), 130, "{finished:?}");
    assert!(
        finished.stderr.contains("goes on from where it was"),
        "{finished:?}"
    );
    ground.assert_all_ended();
    let sessions = ground.sessions();
    ground.copy([ground.here("file").into_os_string(), ground.at("copy")]);
    assert_same(&ground.here("file"), &ground.far("copy"));
    assert!(ground.sessions() > sessions);
}

#[test]
fn a_resumed_download_carries_only_what_is_missing() {
    let ground = Ground::new();
    let bytes = random(5, 40 << 20);
    fs::write(ground.far("file"), &bytes).expect("a file");
    let mut part = bytes.clone();
    // One piece of it is wrong, and the last is missing.
    part[9 << 20] ^= 1;
    part.truncate(33 << 20);
    fs::write(ground.here("copy.part"), &part).expect("a file");
    ground.copy([ground.at("file"), ground.here("copy").into_os_string()]);
    assert_same(&ground.far("file"), &ground.here("copy"));
    // The opening session, which compares, and one for each gap.
    assert_eq!(ground.sessions(), 3);
}
