//! Much output over bad paths, byte for byte, in bounded memory.

mod support;

use std::fs;

use sandbox::faults::Faults;
use sandbox::{AgentConfig, Document, Record, Sender, SessionConfig, Started};
use support::{Io, Plugin, TIMEOUT, last_output, sandbox, wait_until_still};

/// What a session may take at its peak, bytes: the program itself, and the bounds of window, output and reordering together.
const MEMORY: usize = 40 << 20;

/// Bytes as if by chance, with everything in them that means something to a terminal.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    // The agent cuts at the ends of characters, and keeps what could be the beginning of one: the last bytes are none. The one character
    // that it does not let pass is U+FFFD.
    let mut bytes: Vec<u8> = bytes.flatten().take(length - 4).collect();
    while let Some(at) = bytes
        .windows(3)
        .position(|three| three == "\u{fffd}".as_bytes())
    {
        bytes[at] = b'.';
    }
    bytes.extend_from_slice(b"....");
    bytes
}

/// Has a shell write so many bytes over this path: they must all come, in order.
fn transfer(length: usize, faults: &Faults) -> Started {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("noise");
    let noise = noise(length);
    fs::write(&file, &noise).expect("a file");
    let started = sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            // It waits at its end, so that the program can be looked at.
            command: format!("stty raw -echo; cat {}; read -r line", file.display()),
        },
        agent: AgentConfig {
            paced: false,
            drain_timeout: TIMEOUT,
            ..AgentConfig::default()
        },
        to_agent: faults.clone(),
        to_client: faults.clone(),
        record: Record::Nothing,
        ..SessionConfig::default()
    });
    let plugin = Plugin::new(&sandbox, &started).spawn();
    let banner = format!(
        "\nStarting session with SessionId: {}\n",
        started.session.id()
    );
    let all = banner.len() + length;
    let output = plugin.stdout.clone();
    output.wait_until("everything", |bytes| bytes.len() >= all);
    let peak = plugin.usage().peak;
    let bytes = output.bytes();
    assert_eq!(bytes[..banner.len()], *banner.as_bytes());
    assert!(bytes[banner.len()..all] == noise, "not byte for byte");
    assert!(peak < MEMORY, "{peak} bytes");
    plugin.type_in(b"\n");
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    assert_eq!(finished.stderr, "");
    eprintln!(
        "{length} bytes, peak {} KiB, {:?}",
        peak >> 10,
        started.session.statistics()
    );
    started
}

/// How many bytes are moved: those that `BULK` names, or the usual ones.
fn length(usual: usize) -> usize {
    let given = std::env::var("BULK").ok();
    given.map_or(usual, |given| given.parse().expect("a number of bytes"))
}

#[test]
fn duplicated_and_reordered_output_arrives_byte_for_byte() {
    let faults = Faults {
        duplicate: 0.02,
        reorder: 0.02,
        ..Faults::default()
    };
    let started = transfer(length(10_000_000), &faults);
    let (to_agent, to_client) = started.session.statistics();
    for direction in [to_agent, to_client] {
        assert!(direction.duplicated > 0 && direction.reordered > 0);
    }
}

/// The agent recovers ten messages a second, so this is small.
#[test]
fn output_over_a_path_that_loses_arrives_byte_for_byte() {
    let faults = Faults {
        lose: 0.05,
        duplicate: 0.02,
        reorder: 0.02,
        ..Faults::default()
    };
    let started = transfer(length(300_000), &faults);
    let (to_agent, to_client) = started.session.statistics();
    assert!(to_agent.lost > 0 && to_client.lost > 0);
}

/// The other direction, with a window that is full because nothing is taken from it for a while.
#[test]
fn p04_nothing_is_dropped_from_a_window_that_is_full() {
    let sandbox = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pasted");
    let mut config = SessionConfig::from(Document::Interactive {
        command: format!(
            "stty raw -echo; echo ready; head -c 800000 > {}; echo done",
            file.display()
        ),
    });
    config.to_agent = Faults {
        lose: 0.01,
        duplicate: 0.05,
        reorder: 0.05,
        ..Faults::default()
    };
    config.to_client = config.to_agent.clone();
    let started = sandbox.start_session(config);
    // Messages so small that there are more of them than anybody keeps.
    let plugin = Plugin::new(&sandbox, &started)
        .env("SSM_PLUGIN_PAYLOAD_SIZE", "40")
        .spawn();
    plugin.stdout.wait_for("ready");
    started.session.stop_reading(true);
    let noise = noise(800_000);
    std::thread::scope(|scope| {
        scope.spawn(|| plugin.type_in(&noise));
        // Wake-ups are read too, eight bytes each: only pages count.
        wait_until_still("the window to be full", || plugin.bytes_read() / 4096);
        started.session.stop_reading(false);
    });
    plugin.stdout.wait_for("done");
    assert!(fs::read(&file).expect("the file") == noise);
    assert_eq!(plugin.wait().code(), Some(0));
}

/// P61, P62, P13: nothing is read here for a while; all is acknowledged that was accepted, and nothing is lost.
#[test]
fn p61_output_that_is_blocked_for_a_while_is_complete_and_causes_no_storm() {
    let sandbox = sandbox();
    let started = sandbox.start_session(SessionConfig {
        document: Document::Interactive {
            command: "stty -echo; seq 1 1500000; read -r line; echo \"<$line>\"".into(),
        },
        agent: AgentConfig {
            paced: false,
            drain_timeout: TIMEOUT,
            ..AgentConfig::default()
        },
        ..SessionConfig::default()
    });
    let plugin = Plugin::new(&sandbox, &started).stdout(Io::HeldPipe).spawn();
    wait_until_still("the agent to be stuck", || last_output(&started));
    // What is typed goes out all the same.
    plugin.type_in(b"typed\n");
    let came = started.session.wait_for_frames(TIMEOUT, |frames| {
        frames.iter().any(|frame| frame.is_data(Sender::Client, 1))
    });
    assert!(came);
    let peak = plugin.usage().peak;
    assert!(peak < MEMORY, "{peak} bytes");
    plugin.read_stdout();
    let output = plugin.stdout.clone();
    let all: String = (1..=1_500_000)
        .map(|number| format!("{number}\r\n"))
        .collect();
    output.wait_until("everything", |bytes| {
        bytes.ends_with(b"<typed>\r\n") || bytes.ends_with(b".\n\n")
    });
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    assert!(finished.stdout.contains(&all), "not complete");
    // A client that takes what it could not hear for lost resends everything again and again.
    let frames = started.session.frames();
    let typed = frames
        .iter()
        .filter(|frame| frame.is_data(Sender::Client, 1));
    assert!(typed.count() < 20);
}

/// Megabytes both ways at once through narrow pipes: each end writes while the other does.
#[test]
fn p62_reading_never_depends_on_writing() {
    const LENGTH: usize = 2_000_000;
    let sandbox = sandbox();
    let mut config = SessionConfig::from(Document::Interactive {
        command: format!("stty raw -echo; echo ready; head -c {LENGTH}; echo; echo done"),
    });
    config.agent.paced = false;
    config.gateway.queue = 8192;
    config.gateway.socket_buffer = Some(64 << 10);
    config.record = Record::Nothing;
    let started = sandbox.start_session(config);
    let plugin = Plugin::new(&sandbox, &started).spawn();
    plugin.stdout.wait_for("ready\n");
    let noise = noise(LENGTH);
    plugin.type_in(&noise);
    let output = plugin.stdout.clone();
    output.wait_until("the end", |bytes| {
        bytes.ends_with(b"done\n") || bytes.ends_with(b".\n\n")
    });
    let bytes = output.bytes();
    let start = bytes.windows(6).position(|window| window == b"ready\n");
    let start = start.expect("the beginning") + 6;
    assert!(bytes[start..start + LENGTH] == noise, "not byte for byte");
    assert_eq!(plugin.wait().code(), Some(0));
}
