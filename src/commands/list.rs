//! `list`: the managed nodes.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::Surroundings;
use crate::cli::ListOptions;
use crate::client::Limit;
use crate::client::api::{InstanceFilter, Node, NodeFilter};
use crate::client::{Api, ApiError};
use crate::error::Error;
use crate::remarks::Remarks;

/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The most pages, of 50 nodes each.
const MAXIMUM_PAGES: usize = 1000;

/// A line.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    agent_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    platform: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    computer_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<BTreeMap<String, String>>,
}

/// Prints the nodes and returns the exit code.
pub(super) fn run(list: &ListOptions, around: &Surroundings) -> Result<u8, Error> {
    let filters = list
        .filter
        .iter()
        .map(|text| filter(text))
        .collect::<Result<Vec<_>, _>>()?;
    let client = around.client(&list.account)?;
    let limit = Limit::within(TIMEOUT);
    let mut tags = Tags {
        api: client.api(),
        remarks: &around.remarks,
        is_denied: false,
    };
    let mut output = io::stdout().lock();
    let is_table = !list.json && output.is_terminal();
    let mut table = Vec::new();
    let mut next: Option<String> = None;
    for page in 1.. {
        let nodes = client
            .api()
            .nodes_page(&filters, next.as_deref(), &limit)
            .map_err(ApiError::into_error)?;
        let lines = tags.lines(nodes.nodes, &limit);
        let is_wanted = |line: &Line| {
            list.pattern
                .as_deref()
                .is_none_or(|pattern| line.matches(pattern))
        };
        let lines = lines.into_iter().filter(is_wanted);
        let written = if is_table {
            table.extend(lines);
            Ok(())
        } else {
            lines
                .into_iter()
                .try_for_each(|line| line.write(list.json, &mut output))
        };
        if let Some(code) = ended(written)? {
            return Ok(code);
        }
        next = nodes.next;
        if next.is_none() {
            break;
        }
        if page == MAXIMUM_PAGES {
            around
                .remarks
                .once("there are more nodes than `list` shows: use --filter");
            break;
        }
    }
    let written = write_table(&table, &mut output).and_then(|()| output.flush());
    Ok(ended(written)?.unwrap_or(0))
}

/// A reader that closes the pipe has read enough; everything else is an error.
fn ended(written: io::Result<()>) -> Result<Option<u8>, Error> {
    match written {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(0)),
        Err(error) => Err(Error::Lost(format!("cannot write the list ({error})"))),
    }
}

/// `KEY=VALUE,…`
fn filter(text: &str) -> Result<NodeFilter, Error> {
    match text.split_once('=') {
        Some((key, values)) if !key.is_empty() && !values.is_empty() => Ok(NodeFilter {
            key: key.to_owned(),
            values: values.split(',').map(str::to_owned).collect(),
        }),
        _ => Err(Error::Usage(format!(
            "--filter {text:?} must be KEY=VALUE, such as tag:Role=db or PingStatus=Online"
        ))),
    }
}

/// Adds tags, which only EC2 knows. Without permission to ask EC2 there are none.
struct Tags<'a> {
    api: &'a Api,
    remarks: &'a Remarks,
    is_denied: bool,
}

impl Tags<'_> {
    /// The lines of a page.
    fn lines(&mut self, nodes: Vec<Node>, limit: &Limit) -> Vec<Line> {
        let mut known = self.of(&nodes, limit);
        nodes
            .into_iter()
            .map(|node| {
                let found = known.iter().position(|(id, _)| *id == node.id);
                let tags = found.map(|found| known.swap_remove(found).1);
                let tag = || tags.as_ref()?.get("Name").cloned();
                let name = Some(node.name).filter(|name| !name.is_empty()).or_else(tag);
                Line {
                    name: name.unwrap_or_else(|| node.computer_name.clone()),
                    id: node.id,
                    state: node.state.word(),
                    agent_version: node.agent_version,
                    platform: node.platform,
                    address: node.address,
                    computer_name: node.computer_name,
                    tags,
                }
            })
            .collect()
    }

    /// Of the instances of a page, by their ids.
    fn of(&mut self, nodes: &[Node], limit: &Limit) -> Vec<(String, BTreeMap<String, String>)> {
        let ids = nodes.iter().filter(|node| node.is_ec2());
        let filter = InstanceFilter {
            name: "instance-id".to_owned(),
            values: ids.map(|node| node.id.clone()).collect(),
        };
        if self.is_denied || filter.values.is_empty() {
            return Vec::new();
        }
        match self.api.ec2_instances(&[filter], limit) {
            Ok(instances) => {
                let tags = instances.into_iter();
                tags.map(|instance| (instance.id, instance.tags)).collect()
            }
            Err(error) => {
                self.is_denied = true;
                self.remarks.once(&format!(
                    "names are those of computers, without tags: {error}"
                ));
                Vec::new()
            }
        }
    }
}

impl Line {
    fn cells(&self) -> [&str; 6] {
        [
            &self.id,
            &self.name,
            self.state,
            &self.agent_version,
            &self.platform,
            &self.address,
        ]
    }

    fn matches(&self, pattern: &str) -> bool {
        let is_glob = pattern.contains(['*', '?']);
        [&self.id, &self.name, &self.computer_name, &self.address]
            .into_iter()
            .any(|text| match is_glob {
                true => glob(&letters(pattern), &letters(text)),
                false => text.contains(pattern),
            })
    }

    fn write(&self, json: bool, output: &mut impl Write) -> io::Result<()> {
        if json {
            serde_json::to_writer(&mut *output, self)?;
            return writeln!(output);
        }
        writeln!(output, "{}", self.cells().join("\t"))
    }
}

/// Aligned, with a head.
fn write_table(lines: &[Line], output: &mut impl Write) -> io::Result<()> {
    const HEAD: [&str; 6] = ["ID", "NAME", "STATE", "AGENT", "PLATFORM", "ADDRESS"];
    if lines.is_empty() {
        return Ok(());
    }
    let mut widths = HEAD.map(str::len);
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line.cells()) {
            *width = (*width).max(cell.width());
        }
    }
    let mut write = |cells: [&str; 6]| {
        let mut text = String::new();
        for (cell, width) in cells.into_iter().zip(widths) {
            // Columns, of which some letters take two.
            let padding = width.saturating_sub(cell.width());
            text.push_str(&format!("{cell}{:padding$}  ", ""));
        }
        writeln!(output, "{}", text.trim_end())
    };
    write(HEAD)?;
    lines.iter().try_for_each(|line| write(line.cells()))
}

fn letters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Whether a text is what a pattern says: `*` stands for any letters, `?` for one. Time is bounded by the product of both lengths.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[place] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_at, from)) = star else {
                    return false;
                };
                at = star_at + 1;
                place = from + 1;
                star = Some((star_at, from + 1));
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_globs() {
        for (pattern, text) in [
            ("web-*", "web-1"),
            ("*", ""),
            ("w?b*1", "web-x-1"),
            ("*-*-1", "a-b-c-1"),
            ("a**", "a"),
            ("?本*", "日本語"),
        ] {
            assert!(glob(&letters(pattern), &letters(text)), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("web-*", "we"),
            ("?", ""),
            ("*1", "12"),
            ("a*b*c", "acb"),
            ("???", "語"),
        ] {
            assert!(!glob(&letters(pattern), &letters(text)), "{pattern} {text}");
        }
    }

    #[test]
    fn filters_are_keys_and_values() {
        let tag = filter("tag:Role=db,web").expect("good");
        assert_eq!((&*tag.key, tag.values.len()), ("tag:Role", 2));
        for bad in ["", "x", "=x", "x="] {
            assert_eq!(filter(bad).expect_err(bad).exit_code(), 2);
        }
    }
}
