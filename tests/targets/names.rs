//! The names of targets, and the API calls that finding them takes.

use sandbox::{Failure, Target, TargetState};

use super::*;

/// Runs `true` on it, and gives the ids on which sessions were started, stderr and the exit code.
fn reach(sandbox: &Sandbox, target: &str) -> (Vec<String>, String, i32) {
    let finished = own(sandbox, &["exec", "--target", target, "--", "true"]).run(b"");
    (
        started_on(sandbox),
        finished.stderr.clone(),
        finished.code(),
    )
}

#[test]
fn an_id_is_not_looked_up() {
    let sandbox = sandbox(three());
    let id = id(1);
    assert_eq!(reach(&sandbox, &id), (vec![id], String::new(), 0));
    assert_eq!(operations(&sandbox)[0], "ssm:StartSession");
}

#[test]
fn every_kind_of_name_is_found_in_a_few_calls() {
    let mut hybrid = Target::new(9, "");
    hybrid.id = "mi-00000000000000009".into();
    hybrid.hybrid_name = Some("till-9".into());
    let mut targets = three();
    targets[1].tags.push(("Role".into(), "edge".into()));
    targets.push(hybrid);
    for (name, found, lookups) in [
        ("web-2", id(2), 1),
        ("tag:Role=edge", id(2), 1),
        ("till-9", "mi-00000000000000009".to_owned(), 2),
        ("HOST-1", id(1), 2),
        ("host-1.example.internal", id(1), 2),
        ("10.0.0.2", id(2), 1),
        ("ip-10-0-0-2.eu-central-1.compute.internal", id(2), 4),
    ] {
        let sandbox = sandbox(targets.clone());
        let (ids, stderr, code) = reach(&sandbox, name);
        assert_eq!((ids, &*stderr, code), (vec![found], "", 0), "{name}");
        let operations = operations(&sandbox);
        let start = operations
            .iter()
            .position(|name| name == "ssm:StartSession");
        assert_eq!(start, Some(lookups), "{name}: {operations:?}");
    }
}

#[test]
fn in_a_large_fleet_an_address_takes_three_calls_and_a_tag_one() {
    let targets: Vec<Target> = (1..=300)
        .map(|number| Target::new(number, &format!("node-{number}")))
        .collect();
    for (name, lookups) in [("node-277", 1), ("10.0.1.21", 3)] {
        let sandbox = sandbox(targets.clone());
        assert_eq!(reach(&sandbox, name).0, [id(277)]);
        let operations = operations(&sandbox);
        let start = operations
            .iter()
            .position(|name| name == "ssm:StartSession");
        assert_eq!(start, Some(lookups), "{name}: {operations:?}");
    }
}

#[test]
fn who_is_not_online_does_not_count() {
    let mut targets = three();
    targets.push(Target::new(4, "db"));
    targets[3].state = TargetState::Inactive;
    targets.push(Target::new(5, "db"));
    let sandbox = sandbox(targets);
    assert_eq!(reach(&sandbox, "db"), (vec![id(5)], String::new(), 0));
}

#[test]
fn no_match_says_what_was_looked_at_and_what_is_there() {
    let sandbox = sandbox(three());
    let (ids, stderr, code) = reach(&sandbox, "web-9");
    assert_eq!((ids.len(), code), (0, 1));
    for part in [
        "\"web-9\"",
        "the tag Name (DescribeInstanceInformation)",
        "private addresses of 3 managed nodes",
        &id(1),
        "host-2.example.internal",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!stderr.contains(&id(3)), "only what is online: {stderr}");
    let (_, stderr, code) = reach(&sandbox, "db");
    assert_eq!(code, 1);
    assert!(
        stderr.contains("not connected")
            && stderr.contains(&id(3))
            && stderr.contains("ConnectionLost"),
        "{stderr}"
    );
}

#[test]
fn several_are_listed_and_none_is_taken() {
    let mut targets = three();
    targets.push(Target::new(4, "web-1"));
    let sandbox = sandbox(targets);
    let (ids, stderr, code) = reach(&sandbox, "web-1");
    assert_eq!((ids.len(), code), (0, 2));
    assert!(
        stderr.contains(&id(1)) && stderr.contains(&id(4)),
        "{stderr}"
    );
}

#[test]
fn a_tag_is_had_and_not_a_name_in_every_command() {
    let mut targets = three();
    for target in &mut targets {
        target.tags.push(("Fleet".into(), "sand box".into()));
    }
    let sandbox = sandbox(targets);
    let said = |arguments: &[&str], tag: &str| {
        let finished = own(&sandbox, arguments)
            .env("SSM_PLUGIN_TARGET", tag)
            .run(b"");
        (
            format!("{}{}", finished.stdout, finished.stderr),
            finished.code(),
        )
    };
    let commands: [(&[&str], &str); 8] = [
        (&["start-session"], ""),
        (&["exec", "--", "true"], ""),
        (&["exec", "-t", "--", "true"], ""),
        (&["port-forward", "0:80"], ""),
        (&["ssh-proxy"], ""),
        (&["run", "--", "true"], ""),
        (&["doctor"], ""),
        (&["cp", "TAG:/etc/hostname", "-"], "TAG"),
    ];
    for (command, place) in commands {
        for (tag, parts, code) in [
            (
                "tag:Fleet=sand box",
                ["2 nodes have the tag Fleet=sand box, one of them", &*id(2)],
                2,
            ),
            (
                "tag:Fleet=\u{1b}[31mred",
                [
                    "no node that is online has the tag Fleet=",
                    "[31mred; looked",
                ],
                1,
            ),
        ] {
            let words: Vec<String> = command
                .iter()
                .map(|word| {
                    if place.is_empty() {
                        (*word).to_owned()
                    } else {
                        word.replace(place, tag)
                    }
                })
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (text, found) = said(&words, tag);
            for part in parts {
                assert!(text.contains(part), "{words:?}: {part:?} in {text:?}");
            }
            assert!(
                !text.contains("called \"tag") && !text.contains('\u{1b}'),
                "{words:?}: {text:?}"
            );
            // The doctor's is for any problem.
            let code = if command == ["doctor"] { 1 } else { code };
            assert_eq!(found, code, "{words:?}: {text:?}");
        }
    }
    assert_eq!(started_on(&sandbox), [""; 0]);
}

#[test]
fn where_systems_manager_may_not_be_asked_ec2_is() {
    let sandbox = sandbox(three());
    sandbox.fail_next(
        "ssm:DescribeInstanceInformation",
        1,
        Failure::access_denied(),
    );
    assert_eq!(reach(&sandbox, "web-2"), (vec![id(2)], String::new(), 0));
    // And where neither may be, the first denial names what is missing.
    sandbox.fail_next(
        "ssm:DescribeInstanceInformation",
        9,
        Failure::access_denied(),
    );
    sandbox.fail_next(
        "ec2:DescribeInstances",
        9,
        Failure::error(
            403,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
        ),
    );
    let (_, stderr, code) = reach(&sandbox, "web-2");
    assert_eq!(code, 1);
    assert!(
        stderr.contains("ssm:DescribeInstanceInformation"),
        "{stderr}"
    );
}

#[test]
fn a_target_that_is_not_connected_yet_is_waited_for() {
    for name in ["db".to_owned(), id(3)] {
        let sandbox = sandbox(three());
        let running = own(
            &sandbox,
            &[
                "exec",
                "--wait=30",
                "--target",
                &name,
                "--",
                "echo",
                "there",
            ],
        )
        .spawn();
        running.stderr.wait_for("waiting for it, up to 30 s");
        sandbox.change_target(&id(3), |target| target.state = TargetState::Online);
        let finished = running.finish();
        assert_eq!(
            (finished.stdout.as_str(), finished.code()),
            ("there\n", 0),
            "{finished:?}"
        );
    }
}

#[test]
fn the_wait_ends() {
    let sandbox = sandbox(three());
    let finished = own(&sandbox, &["exec", "--wait=1", "--target", "db", "true"]).run(b"");
    assert_eq!(finished.code(), 1);
    assert!(finished.stderr.contains("not connected"), "{finished:?}");
}

#[test]
fn containers_are_found_by_service_and_task() {
    let mut old = task('a', "web", &["app"]);
    old.exec_enabled = false;
    let mut pending = task('b', "web", &["app"]);
    pending.status = "PENDING".into();
    let tasks = vec![old, pending, task('c', "web", &["app", "log"])];
    let c = "c".repeat(32);
    for (name, runtime, lookups) in [
        ("ecs:prod/web/log".to_owned(), "1", 2),
        (format!("ecs:prod/{c}/app"), "0", 1),
    ] {
        let sandbox = sandbox(vec![]);
        sandbox.change_tasks(|all| *all = tasks.clone());
        let (ids, stderr, code) = reach(&sandbox, &name);
        assert_eq!((&*stderr, code), ("", 0), "{name}");
        assert!(
            ids[0].starts_with(&format!("ecs:prod_{c}_")) && ids[0].ends_with(runtime),
            "{ids:?}"
        );
        let start = operations(&sandbox)
            .iter()
            .position(|name| name == "ssm:StartSession");
        assert_eq!(start, Some(lookups), "{name}");
    }
    let sandbox = sandbox(vec![]);
    sandbox.change_tasks(|all| *all = tasks);
    let (_, stderr, code) = reach(&sandbox, "ecs:prod/web");
    assert!(code == 2 && stderr.contains("app, log"), "{stderr}");
    let (_, stderr, code) = reach(&sandbox, "ecs:prod/nothing");
    assert!(code == 1 && stderr.contains("list-services"), "{stderr}");
}

#[test]
fn a_task_that_does_not_run_yet_is_waited_for() {
    let sandbox = sandbox(vec![]);
    let mut starting = task('a', "web", &["app"]);
    starting.status = "PENDING".into();
    sandbox.change_tasks(|all| all.push(starting));
    let (_, stderr, code) = reach(&sandbox, "ecs:prod/web");
    assert!(code == 1 && stderr.contains("PENDING"), "{stderr}");
    let running = own(
        &sandbox,
        &[
            "exec",
            "--wait",
            "--target",
            "ecs:prod/web",
            "--",
            "echo",
            "there",
        ],
    )
    .spawn();
    running.stderr.wait_for("waiting for it, up to 300 s");
    sandbox.change_tasks(|all| all[0].status = "RUNNING".into());
    let finished = running.finish();
    assert_eq!(
        (finished.stdout.as_str(), finished.code()),
        ("there\n", 0),
        "{finished:?}"
    );
}

#[test]
fn a_name_may_stand_in_the_variable_and_in_every_command() {
    let sandbox = sandbox(three());
    let finished = own(&sandbox, &["start-session"])
        .env("SSM_PLUGIN_TARGET", "web-1")
        .stdin(Io::Pipe)
        .run(b"exit\n");
    assert_eq!(
        (started_on(&sandbox), finished.code()),
        (vec![id(1)], 0),
        "{finished:?}"
    );
}
