//! Arguments that cannot be meant.

use crate::support::Io;
use crate::{calls, events, node, plugin, run, sandbox};

#[test]
fn arguments_that_cannot_be_meant_are_usage() {
    let sandbox = sandbox(vec![node(1)]);
    let many: Vec<String> = (0..51)
        .map(|number| format!("--target=i-{number}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["--", "x"]).collect();
    for (arguments, text) in [
        (&["--", "x"][..], "no target"),
        (&["--target", "node-1"], "COMMAND"),
        (
            &["--target", "a", "--targets", "tag:a=b", "--", "x"],
            "cannot be used with",
        ),
        (&["--targets", "tag:a", "--", "x"], "KEY=VALUE"),
        (
            &["--target", "a", "--max-errors", "101%", "--", "x"],
            "percentage",
        ),
        (&["--attach", "x"], "must look like"),
        (&["--target", "ecs:c_t_r", "--", "x"], "is a container"),
        (&many, "at most 50"),
    ] {
        let finished = run(&sandbox, arguments);
        assert_eq!(finished.code(), 2, "{arguments:?} {finished:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(finished.stderr.contains(text), "{arguments:?} {finished:?}");
    }
    let data = plugin(&sandbox, &["--target", "node-1", "--json", "--", "cat"])
        .stdin(Io::File({
            let path = sandbox.ca_file().with_file_name("data");
            std::fs::write(&path, "data").unwrap();
            path
        }))
        .spawn()
        .finish();
    assert_eq!(data.code(), 2, "{data:?}");
    let told = events(&data);
    assert!(
        told[0]["message"]
            .as_str()
            .unwrap()
            .contains("data on stdin"),
        "{data:?}"
    );
    assert!(
        data.stdout.starts_with("{\"event\":\"error\",")
            && data.stdout.ends_with("{\"event\":\"end\",\"code\":2}\n"),
        "{data:?}"
    );
    assert_eq!(calls(&sandbox, "SendCommand"), 0);
    let with_variable = plugin(&sandbox, &["--", "echo here"])
        .env("SSM_PLUGIN_TARGET", "node-1")
        .spawn()
        .finish();
    assert!(with_variable.stdout.contains("here"), "{with_variable:?}");
}

#[test]
fn a_program_is_told_that_no_node_is_meant() {
    let sandbox = sandbox(vec![node(1)]);
    let finished = run(&sandbox, &["--json", "--targets", "tag:No=x", "--", "true"]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let all = events(&finished);
    let kinds: Vec<_> = all.iter().map(|event| &event["kind"]).collect();
    assert!(kinds.contains(&&"no_target".into()), "{finished:?}");
    assert_eq!(all.last().expect("an end")["event"], "end");
}

#[test]
fn a_command_that_there_is_not_does_not_go_on() {
    let sandbox = sandbox(vec![node(1)]);
    let unknown = "00000000-0000-0000-0000-000000000000";
    let finished = run(&sandbox, &["--attach", unknown]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(!finished.stderr.contains("may go on"), "{finished:?}");
    assert!(finished.stderr.contains("this account"), "{finished:?}");
}
