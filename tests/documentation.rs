//! The documentation's references: pitfalls, files, sections and options that it names exist, and the pitfalls and options that exist are
//! named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pages that name files.
const PAGES: [&str; 2] = ["docs", "README.md"];

/// Folders whose files have references in comments.
const SOURCES: [&str; 3] = ["src", "tests", "benches"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below these, what is built left out, with their texts.
fn texts(places: &[&str]) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut open: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                open.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "md")
        {
            let text = fs::read_to_string(&path).unwrap();
            texts.push((path, text));
        }
    }
    texts
}

/// The digits at the beginning of a text.
fn digits(text: &str) -> &str {
    &text[..text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())]
}

/// `P01` and so on, the number of digits as in the rows.
fn name(number: &str) -> String {
    format!("P{:02}", number.parse::<u32>().unwrap())
}

#[test]
fn every_pitfall_has_a_test_and_every_test_a_row() {
    let page = fs::read_to_string(root().join("docs/pitfalls.md")).unwrap();
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| P"))
        .map(|row| name(digits(row)))
        .collect();
    let tested: BTreeSet<String> = texts(&[&SOURCES[..], &["packaging"]].concat())
        .iter()
        .flat_map(|(_, text)| {
            text.split("fn p")
                .skip(1)
                .filter(|rest| rest[digits(rest).len()..].starts_with('_'))
        })
        .map(digits)
        .filter(|number| !number.is_empty())
        .map(name)
        .collect();
    let untested: Vec<_> = rows.difference(&tested).collect();
    assert!(untested.is_empty(), "rows without a test: {untested:?}");
    let unknown: Vec<_> = tested.difference(&rows).collect();
    assert!(unknown.is_empty(), "tests without a row: {unknown:?}");
}

#[test]
fn files_that_are_named_exist() {
    let mut missing = Vec::new();
    for (page, text) in texts(&PAGES) {
        let quoted = text.split('`').skip(1).step_by(2);
        // The layout in README.md is indented.
        let listed = text
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_whitespace().next());
        for named in quoted.chain(listed).filter(|named| is_path(named)) {
            if !root().join(named).exists() {
                missing.push(format!("{}: {named}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn is_path(text: &str) -> bool {
    let first = Path::new(text).iter().next().and_then(|part| part.to_str());
    let is_ours = first
        .is_some_and(|first| ["src", "tests", "benches", "docs", "packaging"].contains(&first));
    is_ours
        && text.contains('/')
        && !text.contains(|c: char| c.is_whitespace() || "*{$…".contains(c))
}

#[test]
fn sections_of_the_contract_that_are_named_exist() {
    let contract = fs::read_to_string(root().join("docs/contract.md")).unwrap();
    let sections: BTreeSet<&str> = contract
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(digits)
        .collect();
    let mut missing = Vec::new();
    for (file, text) in texts(&SOURCES) {
        for (at, _) in text.match_indices("of the contract") {
            let Some((_, named)) = text[..at].rsplit_once("section") else {
                continue;
            };
            let named = named.trim_start_matches('s').trim();
            let numbers = named
                .split(|c: char| !c.is_ascii_digit())
                .filter(|number| !number.is_empty());
            let is_reference = named.len() < 20 && named.starts_with(|c: char| c.is_ascii_digit());
            missing.extend(
                numbers
                    .filter(|number| is_reference && !sections.contains(number))
                    .map(|number| format!("{}: {number}", file.display())),
            );
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// `--help` of the program, or of one of its commands.
fn help(command: Option<&str>) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_session-manager-plugin"))
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The options of a help, as they are spelled: `-t`, `--tty`.
fn options(help: &str) -> BTreeSet<String> {
    let spelled = |line: &str| {
        let words = line.split("  ").next().unwrap_or_default();
        words
            .split([' ', ',', '[', '=', '<'])
            .filter(|word| word.starts_with('-'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let listed = help.lines().map(str::trim_start);
    listed
        .filter(|line| line.starts_with('-'))
        .flat_map(spelled)
        .collect()
}

/// Whether a text has this word, with nothing at its ends that an option could go on with.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

#[test]
fn each_option_of_each_command_is_documented() {
    let page = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let sections: Vec<(&str, &str)> = page
        .split("\n## ")
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .collect();
    let section = |name: &str| sections.iter().find(|(head, _)| has_word(head, name));
    let (_, common) = section("several").expect("a section of common options");
    let help_of_all = help(None);
    let commands: Vec<&str> = help_of_all
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 8, "{commands:?}");
    let mut wrong = Vec::new();
    for command in commands {
        let Some((_, text)) = section(command) else {
            wrong.push(format!("{command} has no section"));
            continue;
        };
        let options = options(&help(Some(command)));
        assert!(options.contains("--help"), "{options:?}");
        let missing = options
            .iter()
            .filter(|option| !has_word(text, option) && !has_word(common, option));
        wrong
            .extend(missing.map(|option| format!("{command} {option} is not in docs/commands.md")));
        // What the lines of usage name is there.
        let usage = format!("    session-manager-plugin {command} ");
        let named = text
            .lines()
            .filter_map(|line| line.strip_prefix(&usage))
            .map(|line| line.split(" -- ").next().unwrap_or_default())
            .flat_map(|line| line.split([' ', '[', ']', '=', '|', '(', ')']))
            .filter(|word| word.starts_with('-') && *word != "--");
        wrong.extend(
            named
                .filter(|option| !options.contains(*option))
                .map(|option| format!("{command} has no {option}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
