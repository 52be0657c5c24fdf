//! Signals, as section 5 of the contract has them.

mod support;

use rustix::process::Signal;
use sandbox::{Document, Sandbox, Sender, SessionConfig, Started, Upgrade};
use support::{Plugin, Running, exit_code, input_in, sandbox, start_with_prompt};

fn wait_for_input(started: &Started, bytes: &[u8]) {
    let came = started.session.wait_for_frames(support::TIMEOUT, |frames| {
        let input = input_in(frames);
        input.windows(bytes.len()).any(|window| window == bytes)
    });
    let frames = started.session.frames();
    assert!(
        came,
        "the agent did not get {bytes:?} but {} frames",
        frames.len()
    );
}

/// A command on a pty that takes no notice of anything.
fn stubborn(sandbox: &Sandbox) -> Started {
    let command = "stty raw -echo; echo go; sleep 600".into();
    start_with_prompt(sandbox, Document::Interactive { command })
}

fn running(plugin: Plugin) -> Running {
    let plugin = plugin.spawn();
    plugin.stdout.wait_for("go");
    plugin
}

#[test]
fn before_the_session_stands_signals_end_the_program_at_once() {
    let sandbox = sandbox();
    for (signal, code) in [
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::TERM, 143),
        (Signal::HUP, 129),
    ] {
        let mut config = SessionConfig::from(Document::Shell);
        config.gateway.upgrades = [Upgrade::Hang].into();
        let started = sandbox.start_session(config);
        // As a child of the AWS CLI.
        let plugin = Plugin::new(&sandbox, &started)
            .before("trap '' INT QUIT TSTP")
            .spawn();
        plugin.stdout.wait_for("Starting session");
        plugin.signal(signal);
        assert_eq!(exit_code(plugin.wait()), code, "{signal:?}");
    }
}

#[test]
fn p52_signals_go_over_there_even_if_they_were_inherited_ignored() {
    let sandbox = sandbox();
    let started = stubborn(&sandbox);
    let plugin = running(Plugin::new(&sandbox, &started).before("trap '' INT QUIT TSTP"));
    plugin.signal(Signal::INT);
    wait_for_input(&started, &[0x03]);
    plugin.signal(Signal::QUIT);
    wait_for_input(&started, &[0x03, 0x1c]);
    plugin.signal(Signal::TSTP);
    wait_for_input(&started, &[0x03, 0x1c, 0x1a]);
    assert!(plugin.try_wait().is_none());
}

#[test]
fn p52_a_third_interrupt_within_two_seconds_leaves() {
    let sandbox = sandbox();
    let started = stubborn(&sandbox);
    let plugin = running(Plugin::new(&sandbox, &started).before("trap '' INT"));
    let mut sent = Vec::new();
    // On a slow machine the first may be too long ago by the time of the third.
    while plugin.try_wait().is_none() && sent.len() < 30 {
        plugin.signal(Signal::INT);
        sent.push(0x03);
        if sent.len() < 3 {
            wait_for_input(&started, &sent);
        } else if plugin
            .wait_within(std::time::Duration::from_millis(300))
            .is_some()
        {
            break;
        }
    }
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.ends_with(&format!(
        "\n\nExiting session with sessionId: {}.\n\n",
        started.session.id()
    )));
}

#[test]
fn in_a_terminal_interrupts_never_leave() {
    let sandbox = sandbox();
    let started = stubborn(&sandbox);
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    for count in 1..=4 {
        plugin.signal(Signal::INT);
        wait_for_input(&started, &vec![0x03; count]);
    }
    assert!(plugin.try_wait().is_none());
}

#[test]
fn the_first_interrupt_goes_to_a_command_and_the_second_leaves() {
    let sandbox = sandbox();
    let command = "sh -c 'trap \"\" INT QUIT; echo go; sleep 600'";
    // The agent reads nothing more until the command has ended.
    let started = start_with_prompt(&sandbox, Document::separate_command(command));
    let plugin = running(Plugin::new(&sandbox, &started).before("trap '' INT QUIT"));
    plugin.signal(Signal::QUIT);
    wait_for_input(&started, &[0x1c]);
    drop(plugin);

    let started = start_with_prompt(&sandbox, Document::separate_command(command));
    let plugin = running(Plugin::new(&sandbox, &started).before("trap '' INT QUIT"));
    plugin.signal(Signal::INT);
    wait_for_input(&started, &[0x03]);
    plugin.signal(Signal::INT);
    assert_eq!(exit_code(plugin.wait()), 0);
}

#[test]
fn a_command_that_heeds_the_interrupt_ends_the_session() {
    let sandbox = sandbox();
    let started = start_with_prompt(
        &sandbox,
        Document::separate_command("sh -c 'echo go; exec sleep 600'"),
    );
    let plugin = running(Plugin::new(&sandbox, &started));
    plugin.signal(Signal::INT);
    let finished = plugin.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("Exiting session"), "{finished:?}");
}

#[test]
fn p54_term_and_hup_end_every_session_with_their_number() {
    let sandbox = sandbox();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let command = Document::separate_command("sh -c 'echo go; exec sleep 600'");
        for started in [stubborn(&sandbox), start_with_prompt(&sandbox, command)] {
            let plugin = running(Plugin::new(&sandbox, &started));
            plugin.signal(signal);
            assert_eq!(exit_code(plugin.wait()), code);
        }
    }
}

#[test]
fn a_hang_up_that_was_ignored_at_the_start_stays_ignored() {
    let sandbox = sandbox();
    let started = stubborn(&sandbox);
    let plugin = running(Plugin::new(&sandbox, &started).before("trap '' HUP"));
    plugin.signal(Signal::HUP);
    plugin.signal(Signal::QUIT);
    wait_for_input(&started, &[0x1c]);
    assert!(plugin.try_wait().is_none());
    plugin.signal(Signal::TERM);
    assert_eq!(exit_code(plugin.wait()), 143);
}

#[test]
fn after_a_stop_the_terminal_is_raw_again_and_its_size_is_told() {
    let sandbox = sandbox();
    let started = stubborn(&sandbox);
    let plugin = Plugin::new(&sandbox, &started).terminal().spawn();
    plugin.terminal.wait_for("go");
    plugin.wait_for_raw(true);
    let raw = plugin.settings();
    plugin.signal(Signal::STOP);
    support::wait_until("the stop", || plugin.state() == 'T');
    // What a shell does in between.
    plugin.make_cooked();
    plugin.resize(101, 37);
    plugin.signal(Signal::CONT);
    plugin.wait_for_raw(true);
    assert_eq!(format!("{:?}", plugin.settings()), format!("{raw:?}"));
    assert!(started.session.wait_for_frames(support::TIMEOUT, |frames| {
        frames.iter().any(|frame| {
            frame.is_data(Sender::Client, 3) && frame.payload == br#"{"cols":101,"rows":37}"#
        })
    }));
}
