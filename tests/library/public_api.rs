//! What is public, compared with the list that is kept: a change of it is a change that others see, and belongs in the changelog.
//!
//! The list is read from the text of the sources, as rustfmt leaves them: the names that `src/lib.rs` makes public, and of each its
//! definition, its public functions and the traits that are written for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const KEPT: &str = "tests/library/public_api.txt";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names in the `pub use` items of `src/lib.rs`.
fn names(lib: &str) -> Vec<String> {
    let items = lib.split("\npub use ").skip(1);
    let names = items.flat_map(|item| {
        let item = item.split(';').next().unwrap_or_default();
        let list = item.rsplit("::").next().unwrap_or_default();
        list.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    names.collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// One item of a file, without comments, its lines joined.
fn items(text: &str) -> Vec<Vec<&str>> {
    let mut items: Vec<Vec<&str>> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment || line.is_empty() {
            continue;
        }
        if !is_open {
            items.push(Vec::new());
        }
        if let Some(item) = items.last_mut() {
            item.push(line);
        }
        // An attribute belongs to what follows.
        let is_inner = line.starts_with([' ', ')']) || line.starts_with("where");
        let is_attribute = line.starts_with('#');
        let ends = line.starts_with('}') || line.ends_with(';') || line.ends_with("{}");
        is_open = !ends || is_inner || is_attribute;
        if line.ends_with(';') && !is_inner {
            is_open = false;
        }
    }
    items
}

/// Without line breaks and the commas before them.
fn joined(lines: &[&str]) -> String {
    let text = lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ");
    text.replace("( ", "(")
        .replace(", )", ")")
        .replace(" .", ".")
}

/// What of an item others see.
fn describe(item: &[&str], names: &[String], into: &mut BTreeMap<String, Vec<String>>) {
    let Some(at) = item
        .iter()
        .position(|line| !line.starts_with(['#', ' ', ')']))
    else {
        return;
    };
    let (attributes, item) = item.split_at(at);
    let head = item[0];
    let words: Vec<&str> = head
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let is_ours = |name: &str| names.iter().any(|known| known == name);
    if head.starts_with("pub struct ") || head.starts_with("pub enum ") {
        let name = words[2];
        if !is_ours(name) {
            return;
        }
        let lines = into.entry(name.to_owned()).or_default();
        lines.extend(
            attributes
                .iter()
                .map(|line| (*line).to_owned())
                .filter(|line| {
                    line.starts_with("#[derive")
                        || line.starts_with("#[non_exhaustive")
                        || line.starts_with("#[must_use")
                }),
        );
        lines.push(
            head.trim_end_matches([' ', '{'])
                .split('(')
                .next()
                .unwrap_or(head)
                .to_owned(),
        );
        let is_enum = head.starts_with("pub enum ");
        let inner = item
            .iter()
            .skip(1)
            .filter(|line| !line.trim().starts_with('#'));
        lines.extend(
            inner
                .filter(|line| is_enum && line.starts_with(' ') || line.starts_with("    pub "))
                .map(|line| (*line).to_owned()),
        );
    } else if head.starts_with("impl") {
        let of_type = head.split(" for ").last().unwrap_or_default();
        let of_type = of_type.trim_start_matches("impl ").trim_start_matches('&');
        let name = of_type.split([' ', '<', '{']).next().unwrap_or_default();
        let converts = head.starts_with("impl From<")
            && names
                .iter()
                .any(|known| head.contains(&format!("<{known}>")));
        if !is_ours(name) && !converts {
            return;
        }
        let key = if is_ours(name) { name } else { "conversions" };
        let lines = into.entry(key.to_owned()).or_default();
        if head.contains(" for ") {
            lines.push(head.trim_end_matches([' ', '{', '}']).to_owned());
            return;
        }
        let mut rest = item;
        while let Some(at) = rest.iter().position(|line| {
            line.starts_with("    pub fn ") || line.starts_with("    pub const fn ")
        }) {
            rest = &rest[at..];
            let end = rest
                .iter()
                .position(|line| line.ends_with('{') || line.ends_with('}'));
            let signature = joined(&rest[..=end.unwrap_or(0)]);
            let signature = signature.split(" {").next().unwrap_or_default();
            lines.push(format!("    {signature}"));
            rest = &rest[1..];
        }
    }
}

fn list() -> String {
    let names = names(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    assert!(names.len() > 20, "{names:?}");
    let mut found = Vec::new();
    sources(&root().join("src/client"), &mut found);
    sources(&root().join("src/network"), &mut found);
    found.sort();
    let mut described = BTreeMap::new();
    for file in found {
        let text = fs::read_to_string(file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for item in items(text) {
            describe(&item, &names, &mut described);
        }
    }
    for name in &names {
        assert!(
            described.contains_key(name),
            "{name} is public and was not found"
        );
    }
    let parts = described.values().map(|lines| lines.join("\n"));
    parts.collect::<Vec<_>>().join("\n\n") + "\n"
}

#[test]
fn the_public_api_is_what_is_kept() {
    let now = list();
    let kept = fs::read_to_string(root().join(KEPT)).unwrap_or_default();
    if now == kept {
        return;
    }
    let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("public_api.txt");
    fs::write(&found, &now).unwrap();
    let new: Vec<&str> = now
        .lines()
        .filter(|line| !kept.lines().any(|old| old == *line))
        .collect();
    let gone: Vec<&str> = kept
        .lines()
        .filter(|line| !now.lines().any(|new| new == *line))
        .collect();
    panic!(
        "the public API is another: if that is meant, say it in docs/changelog.md and copy {} to {KEPT}\nnew: {new:#?}\ngone: {gone:#?}",
        found.display()
    );
}

#[test]
fn every_public_type_has_an_example() {
    let names = names(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let mut found = Vec::new();
    sources(&root().join("src/client"), &mut found);
    sources(&root().join("src/network"), &mut found);
    let mut without: Vec<&String> = names.iter().collect();
    for file in found {
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let is_type = line.starts_with("pub struct ") || line.starts_with("pub enum ");
            let mut words = line.split(|c: char| !c.is_alphanumeric()).skip(2);
            let name = words.next().unwrap_or_default();
            let above = lines[..at].iter().rev();
            let mut above =
                above.take_while(|line| line.starts_with("///") || line.starts_with('#'));
            if is_type && above.any(|line| line.starts_with("/// ```")) {
                without.retain(|known| *known != name);
            }
        }
    }
    assert!(without.is_empty(), "without an example: {without:?}");
}
