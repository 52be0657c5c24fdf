//! Profiles that are in no file, or have nothing in them (P105).

use std::fs;

use sandbox::{Document, Sandbox};

use crate::support::{Finished, Io, Plugin, profile_keys, strict_sandbox};

/// The ways in which a profile is named.
const WAYS: [&str; 4] = [
    "argument 4",
    "--profile",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
];

/// A command by a caller who names the profile in this way.
fn named(sandbox: &Sandbox, way: &str, profile: &str) -> Plugin {
    let own = ["exec", "--target", "i-1", "--", "echo", "it works"];
    let plugin = match way {
        "argument 4" => {
            let started = sandbox.start_session(Document::command("echo it works"));
            let plugin = Plugin::new(sandbox, &started);
            let request = r#"{"Target":"i-1"}"#;
            plugin.arguments(
                &started,
                &["{}", "eu-central-1", "StartSession", profile, request, ""],
            )
        }
        "--profile" => Plugin::bare([&["exec", "--profile", profile], &own[1..]].concat()),
        variable => Plugin::bare(own).env(variable, profile),
    };
    plugin.with_api(sandbox).stdin(Io::Null)
}

/// The program's own lines on stderr.
fn lines(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines();
    lines
        .filter(|line| line.starts_with("session-manager-plugin: "))
        .collect()
}

#[test]
fn p105_a_profile_that_is_in_no_file_hides_no_credentials_of_the_environment() {
    let sandbox = strict_sandbox();
    for way in WAYS {
        for profile in ["default", "eu-west-1", "no such one"] {
            let finished = named(&sandbox, way, profile).run(b"");
            assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
            assert_eq!(finished.code(), 0, "{way}: {finished:?}");
            let lines = lines(&finished);
            assert_eq!(lines.len(), 1, "{way}: {finished:?}");
            assert!(lines[0].contains(profile), "{way}: {finished:?}");
            assert!(lines[0].contains("environment"), "{way}: {finished:?}");
        }
    }
}

#[test]
fn p105_without_credentials_the_text_names_the_profile_and_the_files() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    let [config, credentials] = ["config", "credentials"].map(|name| directory.path().join(name));
    fs::write(&config, "[profile other]\nregion=eu-central-1\n").unwrap();
    for way in ["--profile", "AWS_PROFILE"] {
        for profile in ["eu-west-1", "other"] {
            let finished = named(&sandbox, way, profile)
                .without_keys()
                .env("AWS_CONFIG_FILE", &config)
                .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
                .run(b"");
            assert_eq!(finished.code(), 1, "{way}: {finished:?}");
            for part in [
                profile,
                config.to_str().unwrap(),
                credentials.to_str().unwrap(),
            ] {
                assert!(finished.stderr.contains(part), "{way} {part}: {finished:?}");
            }
        }
    }
    let finished = named(&sandbox, "--profile", "default")
        .without_keys()
        .env("AWS_CONFIG_FILE", &config)
        .run(b"");
    assert!(finished.stderr.contains("profile default"), "{finished:?}");
    assert!(
        finished.stderr.contains(config.to_str().unwrap()),
        "{finished:?}"
    );
}

#[test]
fn p105_a_directory_in_place_of_a_file_is_passed_over_and_named_where_something_is_missing() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for way in ["argument 4", "AWS_PROFILE"] {
        let plugin = named(&sandbox, way, "").env("AWS_CONFIG_FILE", path);
        let finished = plugin.run(b"");
        assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
    }
    let finished = named(&sandbox, "AWS_PROFILE", "")
        .without_keys()
        .env("AWS_CONFIG_FILE", path)
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    let named = finished.stderr.contains(path.to_str().unwrap());
    assert!(
        named && finished.stderr.contains("directory"),
        "{finished:?}"
    );
}

#[test]
fn p105_a_profile_that_is_in_no_file_is_the_reason_why_no_region_is_known() {
    let sandbox = strict_sandbox();
    let finished = named(&sandbox, "--profile", "eu-west-1")
        .without("AWS_REGION")
        .without("AWS_DEFAULT_REGION")
        .env("AWS_CONFIG_FILE", "/no/such/file")
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    for part in ["eu-west-1", "/no/such/file", "region"] {
        assert!(finished.stderr.contains(part), "{part}: {finished:?}");
    }
}

#[test]
fn p105_a_profile_without_credentials_hides_none_and_one_with_them_counts() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let keys = profile_keys(sandbox.credentials());
    let text = format!("[default]\nregion=eu-central-1\n[profile full]\n{keys}");
    fs::write(&config, text).unwrap();
    for way in ["argument 4", "--profile"] {
        let plugin = named(&sandbox, way, "default").env("AWS_CONFIG_FILE", &config);
        let finished = plugin.run(b"");
        assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
        assert_eq!(lines(&finished).len(), 1, "{way}: {finished:?}");
        let finished = named(&sandbox, way, "full")
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_ACCESS_KEY_ID", "AKIAOTHER")
            .run(b"");
        assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
        assert_eq!(finished.stderr, "", "{way}: {finished:?}");
    }
}
