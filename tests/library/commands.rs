//! Commands: their ends, and how they are ended.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use sandbox::{Event, TargetState};
use session_manager_plugin::{Cancel, ErrorKind, OutputStream, Stdin};

use super::{LONG, client, node, sandbox, sandbox_of, wait_for_no_session, wait_until};

#[test]
fn a_command_is_ended_by_its_deadline_its_caller_and_its_drop() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    for stdin in [None, Some("words")] {
        let sleep = || {
            let exec = client.exec(&target, ["sleep", "600"]);
            match stdin {
                None => exec,
                Some(words) => exec.stdin(words),
            }
        };
        let error = sleep()
            .timeout(Duration::from_secs(1))
            .output()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        wait_for_no_session(&sandbox);

        let command = sleep().timeout(LONG).spawn().unwrap();
        command.stop();
        let error = command.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        wait_for_no_session(&sandbox);

        drop(sleep().spawn().unwrap());
        wait_for_no_session(&sandbox);

        // What was cancelled before does not even begin.
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        let cancelled = client.with_cancel(&cancel);
        let error = cancelled.exec(&target, ["true"]).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    }
}

#[test]
fn output_has_a_bound_and_the_command_is_ended_at_it() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let print = |bytes: usize| {
        let script = format!("head -c {bytes} /dev/zero | tr '\\0' x");
        client
            .exec(&target, ["sh", "-c", &script])
            .output_limit(100_000)
    };
    assert_eq!(print(100_000).output().unwrap().stdout.len(), 100_000);
    let error = print(100_001).output().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputTooLong, "{error}");
    let error = client
        .exec(&target, ["yes"])
        .output_limit(100_000)
        .output()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputTooLong, "{error}");
    wait_for_no_session(&sandbox);
}

#[test]
fn words_arrive_as_they_are() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let words = [
        "", " ", "a b", "it's", "\"", "$HOME", "*", "\\", "a\nb", "-n", "ä",
    ];
    let mut command = vec!["printf", "[%s]"];
    command.extend(words);
    let expected: String = words.iter().map(|word| format!("[{word}]")).collect();
    for stdin in [None, Some("")] {
        let exec = client.exec(&target, command.clone());
        let exec = match stdin {
            None => exec,
            Some(text) => exec.stdin(text),
        };
        let output = exec.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
    for (words, why) in [(vec![], "no command"), (vec!["a\0b"], "NUL")] {
        let error = client.exec(&target, words).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(why), "{error}");
    }
    // One word is a program, not a line.
    let output = client.exec(&target, ["echo a"]).output();
    assert!(output.is_err() || !output.unwrap().is_success());
}

#[test]
fn a_command_is_written_to_and_read_from() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let mut hash = client
        .exec(&target, ["sh", "-c", "wc -c; echo counted >&2; exit 7"])
        .stdin(Stdin::piped())
        .timeout(LONG)
        .spawn()
        .unwrap();
    let mut stdin = hash.stdin.take().unwrap();
    let piece: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for _ in 0..5 {
        stdin.write_all(&piece).unwrap();
    }
    drop(stdin);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    hash.stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    hash.stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!((stdout.trim(), stderr.trim()), ("500000", "counted"));
    assert_eq!(hash.wait().unwrap(), Some(7));

    // Nobody reads: who waits sees the end all the same.
    let print = ["sh", "-c", "head -c 1000000 /dev/zero; exit 3"];
    assert_eq!(
        client.exec(&target, print).spawn().unwrap().wait().unwrap(),
        Some(3)
    );
    wait_for_no_session(&sandbox);
}

#[test]
fn output_is_handed_on_in_the_order_in_which_it_comes() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let script =
        "cat; for n in 1 2 3; do echo out$n; sleep 0.2; echo err$n >&2; sleep 0.2; done; exit 4";
    for stdin in [None, Some("in\n")] {
        let mut exec = client.exec(&target, ["sh", "-c", script]);
        if let Some(text) = stdin {
            exec = exec.stdin(text);
        }
        let (mut all, mut complaints) = (Vec::new(), Vec::new());
        let status = exec.run(|stream, bytes| {
            all.extend_from_slice(bytes);
            if stream == OutputStream::Stderr {
                complaints.extend_from_slice(bytes);
            }
            Ok(())
        });
        assert_eq!(status.unwrap(), Some(4));
        let expected =
            stdin.unwrap_or_default().to_owned() + "out1\nerr1\nout2\nerr2\nout3\nerr3\n";
        assert_eq!(String::from_utf8_lossy(&all), expected);
        assert_eq!(complaints, b"err1\nerr2\nerr3\n");
    }
    wait_for_no_session(&sandbox);
}

/// There is nobody to write it.
#[test]
fn a_stdin_that_nobody_holds_is_empty() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let cat = || {
        let cat = client.exec(&target, ["sh", "-c", "cat; echo read"]);
        cat.stdin(Stdin::piped()).timeout(LONG)
    };
    assert_eq!(cat().output().unwrap().stdout, b"read\n");
    let mut printed = Vec::new();
    let status = cat().run(|_, bytes| {
        printed.extend_from_slice(bytes);
        Ok(())
    });
    assert_eq!(status.unwrap(), Some(0));
    assert_eq!(printed, b"read\n");
    assert_eq!(cat().spawn().unwrap().wait().unwrap(), Some(0));
}

#[test]
fn a_command_whose_output_is_not_taken_is_ended() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let (reader, _writer) = std::io::pipe().unwrap();
    for exec in [
        client.exec(&target, ["yes"]),
        client
            .exec(&target, ["sh", "-c", "echo y; cat"])
            .stdin(reader),
    ] {
        let error = exec
            .run(|_, _| Err(std::io::ErrorKind::StorageFull.into()))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Local, "{error}");
        wait_for_no_session(&sandbox);
    }
}

#[test]
fn a_target_that_is_not_connected_yet_is_waited_for() {
    let sandbox = sandbox_of(vec![sandbox::Target::new(1, "web")]);
    let client = client(&sandbox);
    let target = client.target("web").unwrap();
    let set = |state| sandbox.change_target(target.id(), |node| node.state = state);
    for stdin in [None, Some("in")] {
        let exec = || {
            let exec = client.exec(&target, ["cat"]);
            match stdin {
                None => exec,
                Some(text) => exec.stdin(text),
            }
        };
        set(TargetState::ConnectionLost);
        let error = exec().output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetNotConnected, "{error}");
        let is_start = |event: &Event| matches!(event, Event::Api { operation, .. } if operation == "ssm:StartSession");
        let starts = || {
            sandbox
                .events()
                .iter()
                .filter(|event| is_start(event))
                .count()
        };
        let before = starts();
        let output = thread::scope(|scope| {
            let waiting = scope.spawn(|| exec().wait(LONG).output());
            wait_until("it to be refused", || starts() > before);
            set(TargetState::Online);
            waiting.join().unwrap().unwrap()
        });
        assert_eq!(output.stdout, stdin.unwrap_or_default().as_bytes());
    }
}
