//! P72: what a person at a terminal sees of an outage, and the escapes for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::gateway::{Answer, Gateway};
use crate::support::{Running, exit_code, wait_until};

/// A shell on a terminal whose lines can be drawn over. Its connection breaks behind the prompt, and the first `failures` calls of the API
/// give no new token.
fn outage(failures: usize) -> (Gateway, Running) {
    let gateway = Gateway::start(|dial| {
        let number = dial.number;
        let mut peer = dial.accept()?;
        if number == 0 {
            peer.output(b"$ ")?;
            return peer.say_bye();
        }
        peer.set_next(1);
        peer.output(b"it goes on ")?;
        peer.serve()
    });
    gateway.api.on("ResumeSession", move |call| {
        if call.before < failures {
            return Answer::error(500, "InternalServerError", "busy");
        }
        Answer::Json(200, serde_json::json!({ "TokenValue": "token-of-resume" }))
    });
    let plugin = gateway.plugin().env("TERM", "xterm").terminal().spawn();
    plugin.terminal.wait_for("$ ");
    (gateway, plugin)
}

fn leave(plugin: &Running) {
    plugin.type_until(b"\r~.", "its end", || plugin.try_wait().is_some());
    assert_eq!(exit_code(plugin.wait()), 0);
}

/// The text that was drawn into the line of the outage last; empty once the line is gone.
fn last_line(text: &str) -> &str {
    let drawn = text.rsplit("\x1b[K").next().unwrap_or_default();
    drawn.split("\x1b8").next().unwrap_or_default()
}

#[test]
fn p72_on_a_terminal_an_outage_is_one_line_that_goes_with_it() {
    let (_gateway, plugin) = outage(5);
    wait_until("a line that is updated", || {
        let text = plugin.terminal.text();
        let ages = text.split("reconnecting, ").skip(1);
        let ages: BTreeSet<_> = ages.filter_map(|rest| rest.split(" s, ").next()).collect();
        ages.len() > 1 && last_line(&text).contains("Enter ~. leaves (")
    });
    let text = plugin.terminal.text();
    assert!(!text.contains("reconnecting, 2 s"), "{text:?}");
    assert!(text.contains("next try in "), "{text:?}");
    assert!(last_line(&text).chars().count() < 80, "{text:?}");
    plugin.terminal.wait_for("it goes on");
    wait_until("the line to go", || {
        last_line(&plugin.terminal.text()).is_empty()
    });
    let text = plugin.terminal.text();
    assert!(!text.contains("the connection is back"), "{text:?}");
    // The line is gone before the output is written.
    let before = text.split("it goes on").next().expect("the beginning");
    assert_eq!(last_line(before), "", "{text:?}");
    leave(&plugin);
}

#[test]
fn p72_escapes_reconnect_at_once_and_show_the_state() {
    // More than half a minute of tries at their usual pace.
    let (gateway, plugin) = outage(14);
    let says = |text: &str| plugin.terminal.text().contains(text);
    let begin = Instant::now();
    plugin.type_until(b"\r~?", "the escapes", || says("~r  reconnect at once"));
    plugin.terminal.wait_for("~s  state of the connection");
    plugin.type_until(b"\r~s", "the state", || {
        says("connection      reconnecting, ")
    });
    plugin.terminal.wait_for("reconnects      0");
    let tries = || gateway.api.count("ResumeSession");
    while tries() < 14 {
        let before = tries();
        plugin.type_until(b"\r~r", "another try", || tries() > before);
    }
    let (age, paced) = (begin.elapsed(), Duration::from_secs(25));
    assert!(age < paced, "{age:?}: no sooner than without the escape");
    plugin.type_until(b"\r~r", "the end of the outage", || says("it goes on"));
    // And with a connection.
    let dials = gateway.dials();
    plugin.type_until(b"\r~r", "another connection", || gateway.dials() > dials);
    let is_again = |text: &str| {
        let state = text.rsplit("connection      connected").next();
        let count = state.and_then(|state| state.split("reconnects      ").nth(1));
        // One more if the last try was under way when it was typed.
        count.is_some_and(|count| count.starts_with(['2', '3']))
    };
    plugin.type_until(b"\r~s", "the state after it", || {
        is_again(&plugin.terminal.text())
    });
    plugin.terminal.wait_for("Session user-0123456789abcdef0:");
    leave(&plugin);
}
