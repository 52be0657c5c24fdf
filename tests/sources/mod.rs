//! The sources as `tests/architecture.rs` reads them: their modules, and which uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What is in no layer: the crate's root, `main.rs`, and the tests' door to all of it.
pub const OUTSIDE: [&str; 3] = ["lib", "main", "internals"];

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension; what cargo builds, which has this tag, is left out.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.join("CACHEDIR.TAG").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `src/aws/client.rs` is `["aws", "client"]`, `src/aws/mod.rs` is `["aws"]`.
pub fn module(file: &Path) -> Vec<String> {
    let inside = file
        .strip_prefix(root().join("src"))
        .unwrap()
        .with_extension("");
    let mut module: Vec<String> = inside
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn is_test(module: &[String]) -> bool {
    module
        .iter()
        .any(|part| part == "tests" || part.ends_with("_tests") || part.starts_with("test_"))
}

/// The source as words and signs, without comments, texts, and items under `#[cfg(test)]`.
pub fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if first == '"' {
            end_of_text(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    without_tests(&tokens)
}

fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn without_tests(tokens: &[String]) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens.len() - at >= mark.len() && tokens[at..at + mark.len()].iter().eq(mark.iter()) {
            at = end_of_item(tokens, at + mark.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the `;` or the closing brace that ends the item which starts at `at`.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0
                    && tokens[at] == "}"
                    && tokens.get(at + 1).is_none_or(|next| next != ";")
                {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

pub type Module = Vec<String>;

/// Where a path stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Use,
    /// Only makes the name visible.
    PublicUse,
    Mention,
}

/// Every path in these tokens, with the braces of `use` trees taken apart.
pub fn paths(tokens: &[String]) -> Vec<(Kind, Vec<String>)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
            let kind = if public { Kind::PublicUse } else { Kind::Use };
            let mut leaves = Vec::new();
            at = tree(tokens, at + 1, &[], &mut leaves);
            paths.extend(leaves.into_iter().map(|leaf| (kind, leaf)));
        } else if is_word(&tokens[at]) && (at == 0 || tokens[at - 1] != "::") {
            let start = at;
            let mut path = vec![tokens[at].clone()];
            while at + 2 < tokens.len() && tokens[at + 1] == "::" && is_word(&tokens[at + 2]) {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
            // `pub(in …)` says who may use it.
            let is_visibility = start > 1 && tokens[start - 1] == "in" && tokens[start - 2] == "(";
            if path.len() > 1 && !is_visibility {
                paths.push((Kind::Mention, path));
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    paths
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one `use` tree, and returns where it ends.
fn tree(
    tokens: &[String],
    mut at: usize,
    before: &[String],
    leaves: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = before.to_vec();
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, leaves);
                    if tokens[at] == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 1,
            "::" => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    leaves.push(path);
    at
}

/// The modules, and the names that each has from others, with the path of each.
pub struct Sources {
    pub texts: BTreeMap<Module, Vec<String>>,
    imports: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Sources {
    pub fn read() -> Self {
        let texts: BTreeMap<_, _> = files("src", "rs")
            .iter()
            .map(|file| (module(file), tokens(&fs::read_to_string(file).unwrap())))
            .filter(|(module, _)| !is_test(module) && !OUTSIDE.contains(&module[0].as_str()))
            .collect();
        let mut sources = Self {
            texts,
            imports: BTreeMap::new(),
        };
        for (module, tokens) in &sources.texts {
            let mut names = BTreeMap::new();
            for (_, path) in paths(tokens)
                .into_iter()
                .filter(|(kind, _)| *kind != Kind::Mention)
            {
                if let Some(full) = sources.full(module, &path) {
                    names.insert(path.last().unwrap().clone(), full);
                }
            }
            sources.imports.insert(module.clone(), names);
        }
        sources
    }

    /// The path from the root of the crate; none if it leads to another crate.
    pub fn full(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let mut full = match path[0].as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len() - 1].to_vec(),
            child => {
                let mut full = module.clone();
                full.push(child.to_owned());
                if !self.texts.contains_key(&full) {
                    return None;
                }
                full
            }
        };
        for part in &path[1..] {
            if part == "super" {
                full.pop();
            } else {
                full.push(part.clone());
            }
        }
        Some(full)
    }

    /// The module in which the thing of this path is defined.
    fn home(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        loop {
            let known = (0..=path.len())
                .rev()
                .find(|end| self.texts.contains_key(&path[..*end]))
                .unwrap_or(0);
            let module = path[..known].to_vec();
            let Some(next) = path
                .get(known)
                .and_then(|name| self.imports.get(&module)?.get(name))
            else {
                return module;
            };
            let mut longer = next.clone();
            longer.extend_from_slice(&path[known + 1..]);
            path = longer;
        }
    }

    /// Which module uses which others, without what it only makes visible.
    pub fn uses(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut uses = BTreeMap::new();
        for (module, tokens) in &self.texts {
            let mut used: BTreeSet<Module> = paths(tokens)
                .iter()
                .filter(|(kind, _)| *kind != Kind::PublicUse)
                .filter_map(|(_, path)| self.full(module, path))
                .map(|path| self.home(&path))
                .collect();
            used.remove(module);
            used.remove(&Vec::new());
            uses.insert(module.clone(), used);
        }
        uses
    }
}
