//! Commands without a pty, at the size that scripts use them.

mod support;

use sandbox::Document;
use support::{Io, Plugin};

#[test]
fn p58_a_command_without_stdin_is_shown_whole_and_its_session_ends() {
    for stdin in [Io::Null, Io::Closed] {
        let sandbox = support::sandbox();
        let started = sandbox.start_session(Document::command("seq 1 20000"));
        let finished = Plugin::new(&sandbox, &started)
            .stdin(stdin.clone())
            .spawn()
            .finish();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let id = started.session.id();
        let output: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
        let expected = format!(
            "\nStarting session with SessionId: {id}\n{output}\n\nExiting session with sessionId: {id}.\n\n"
        );
        assert!(
            finished.stdout == expected,
            "{} of {} bytes with {stdin:?}",
            finished.stdout.len(),
            expected.len()
        );
        assert!(
            started.session.ended().is_some(),
            "no session is left running"
        );
    }
}
