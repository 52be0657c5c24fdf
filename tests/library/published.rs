//! What `cargo package` publishes: the sources, their documentation and the licence, and nothing that needs the sandbox, which is not
//! published.

use std::collections::BTreeSet;
use std::process::Command;

/// At the top, and the first level of `docs`.
const ENTRIES: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE",
    "README.md",
    "docs",
    "src",
];

#[test]
fn the_package_holds_what_it_must_and_nothing_else() {
    let output = Command::new(env!("CARGO"))
        .args([
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "--locked",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let list = String::from_utf8(output.stdout).unwrap();
    let top: BTreeSet<&str> = list
        .lines()
        .filter_map(|path| path.split('/').next())
        // Only where the sources are in git, and unchanged.
        .filter(|entry| *entry != ".cargo_vcs_info.json")
        .collect();
    assert_eq!(top, BTreeSet::from(ENTRIES), "{list}");
    for needed in [
        "src/lib.rs",
        "src/main.rs",
        "docs/changelog.md",
        "docs/examples/redis.rs",
    ] {
        assert!(
            list.lines().any(|path| path == needed),
            "{needed} is missing"
        );
    }
    for path in list.lines() {
        let is_kind = [
            ".rs", ".sh", ".md", ".svg", ".toml", ".orig", ".lock", ".json",
        ]
        .iter()
        .any(|end| path.ends_with(end));
        assert!(is_kind || path == "LICENSE", "{path} is published");
    }
}
