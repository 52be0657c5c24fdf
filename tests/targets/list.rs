//! `list`.

use sandbox::{Failure, Target};
use serde_json::Value;

use super::*;

#[test]
fn a_line_each_with_tabs_for_programs() {
    let sandbox = sandbox(three());
    let finished = own(&sandbox, &["list"]).run(b"");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{finished:?}");
    let first = format!(
        "{}\tweb-1\tOnline\t3.3.0.0\tAmazon Linux 2023\t10.0.0.1",
        id(1)
    );
    assert_eq!(lines[0], first);
    assert!(lines[2].contains("\tdb\tConnectionLost\t"), "{}", lines[2]);
    assert_eq!((finished.stderr.as_str(), finished.code()), ("", 0));
}

#[test]
fn aligned_with_a_head_for_people() {
    let sandbox = sandbox(three());
    let running = Plugin::bare(["list"]).with_api(&sandbox).terminal().spawn();
    assert_eq!(running.wait().code(), Some(0));
    // The terminal is read by a thread, which may be behind.
    running.terminal.wait_until("four lines", |bytes| {
        bytes.iter().filter(|byte| **byte == b'\n').count() == 4
    });
    let text = running.terminal.text().replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].contains("NAME   STATE "),
        "{text}"
    );
    assert_eq!(lines[1].find("web-1"), lines[2].find("web-2"));
    assert_eq!(
        lines[0].find("ADDRESS"),
        lines[3].find("10.0.0.3"),
        "{text}"
    );
}

#[test]
fn letters_that_take_two_columns_are_counted_so() {
    let names = [
        "\u{65e5}\u{672c}\u{8a9e}\u{30b5}\u{30fc}\u{30d0}",
        "e\u{301}",
        "web-1",
    ];
    let targets = names.iter().zip(1..);
    let targets = targets.map(|(name, number)| Target::new(number, name));
    let sandbox = sandbox(targets.collect());
    let running = Plugin::bare(["list"]).with_api(&sandbox).terminal().spawn();
    assert_eq!(running.wait().code(), Some(0));
    running.terminal.wait_until("four lines", |bytes| {
        bytes.iter().filter(|byte| **byte == b'\n').count() == 4
    });
    let text = running.terminal.text();
    // The widest name fills its column, 12 wide; the accent takes none.
    for line in [
        "NAME          STATE",
        &format!("{}  Online", names[0]),
        &format!("{}             Online", names[1]),
        "web-1         Online",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_question_mark_is_one_letter() {
    let sandbox = sandbox(vec![
        Target::new(1, "\u{65e5}\u{672c}-1"),
        Target::new(2, "web-1"),
    ]);
    let finished = own(&sandbox, &["list", "??-1"]).run(b"");
    assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
}

#[test]
fn all_pages_of_a_fleet_are_shown_filtered_and_matched() {
    let mut targets: Vec<Target> = (1..=123)
        .map(|number| Target::new(number, &format!("node-{number}")))
        .collect();
    targets[76].tags.push(("Role".into(), "db".into()));
    let sandbox = sandbox(targets);
    let count = |arguments: &[&str]| {
        let finished = own(&sandbox, &[&["list"], arguments].concat()).run(b"");
        assert_eq!(finished.code(), 0, "{finished:?}");
        finished.stdout.lines().count()
    };
    assert_eq!(count(&[]), 123);
    assert_eq!(count(&["node-1*"]), 35);
    assert_eq!(count(&["10.0.0.77"]), 1);
    assert_eq!(count(&["--filter", "tag:Role=db,web"]), 1);
    assert_eq!(count(&["nothing"]), 0);
    let wrong = own(&sandbox, &["list", "--filter", "x"]).run(b"");
    assert_eq!(wrong.code(), 2);
}

#[test]
fn one_object_a_line() {
    let sandbox = sandbox(three());
    let finished = own(&sandbox, &["list", "--json", "web-2"]).run(b"");
    let object: Value = serde_json::from_str(&finished.stdout).expect("one object");
    assert_eq!(object["id"], id(2).as_str());
    assert_eq!(object["name"], "web-2");
    assert_eq!(object["state"], "Online");
    assert_eq!(object["tags"]["Name"], "web-2");
    assert_eq!(object["agent_version"], "3.3.0.0");
}

#[test]
fn without_ec2_names_are_those_of_computers() {
    let sandbox = sandbox(three());
    let denied = Failure::error(403, "UnauthorizedOperation", "You may not.");
    sandbox.fail_next("ec2:DescribeInstances", 9, denied);
    let finished = own(&sandbox, &["list"]).run(b"");
    assert!(
        finished
            .stdout
            .contains("\thost-1.example.internal\tOnline"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("ec2:DescribeInstances"),
        "{finished:?}"
    );
    assert_eq!(finished.code(), 0);
}
