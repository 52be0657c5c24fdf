//! `run`: a command on a fleet.

use clap::Args;

use super::account::Account;
use crate::environment::Environment;
use crate::error::Error;

/// The longest executionTimeout of AWS-RunShellScript, in seconds: 48 hours.
const LONGEST: i64 = 172_800;
/// The most values that a criterion of SendCommand may have.
const MOST_VALUES: usize = 50;
/// The most criteria of SendCommand.
const MOST_CRITERIA: usize = 5;

/// What `run` is told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Without --max-concurrency 50 nodes run it at a time, and without --max-errors no further node gets it after the first failure: those are
the service's defaults. Exit code: 0, or 1 when it failed on a node.

Examples:
  session-manager-plugin run --targets tag:Role=web --max-concurrency 10% --max-errors 5 -- systemctl restart nginx
  session-manager-plugin run --target web-1 --target web-2 -- 'df -h / | tail -1'")]
pub struct Run {
    /// A node: an id, a tag Name, tag:KEY=VALUE, an address, …; may be repeated, up to 50. Without it and --targets, SSM_PLUGIN_TARGET
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// All nodes with one of these values, such as tag:Role=web,db; may be repeated, up to 5: nodes that match all of them
    #[arg(long, value_name = "KEY=VALUES", value_parser = criterion, conflicts_with = "target")]
    targets: Vec<Criterion>,
    /// On how many nodes at the same time: a number, or a percentage of them
    #[arg(long, value_name = "N|P%", value_parser = share::<1>)]
    max_concurrency: Option<String>,
    /// After how many failures no further node gets it: a number, or a percentage of the nodes
    #[arg(long, value_name = "N|P%", value_parser = share::<0>)]
    max_errors: Option<String>,
    /// How long it may run on a node, and how long a node may take to fetch it (at least 30)
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=LONGEST))]
    timeout: u32,
    /// One JSON object a line: command, result, end
    #[arg(long)]
    pub json: bool,
    /// Come back to a command that was sent before; may be repeated
    #[arg(
        long,
        value_name = "COMMAND-ID",
        value_parser = command_id,
        conflicts_with_all = ["target", "targets", "max_concurrency", "max_errors", "timeout", "command"]
    )]
    attach: Vec<String>,
    /// Where the API is.
    #[command(flatten)]
    pub account: Account,
    /// The command and its arguments, given to the node's shell as they are; or a whole line or script for its shell as one argument
    // What begins with a hyphen before it is an option, or a mistake: it is never run.
    #[arg(required_unless_present = "attach", trailing_var_arg = true)]
    command: Vec<String>,
}

/// A criterion of SendCommand: nodes that have one of the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// `tag:NAME`, `tag-key`, `InstanceIds`, `resource-groups:Name`, …
    pub key: String,
    /// One at least.
    pub values: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOrder {
    /// A command is sent and followed.
    Send(Send),
    /// Commands that were sent are followed.
    Attach(Vec<String>),
}

/// A command to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Where.
    pub fleet: Fleet,
    /// One word: a line for the shell. Several: a program and its arguments.
    pub command: Vec<String>,
    /// `50` or `10%`.
    pub max_concurrency: Option<String>,
    /// `0` or `10%`.
    pub max_errors: Option<String>,
    /// How long it may run, in seconds.
    pub timeout: u32,
}

/// Which nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fleet {
    /// These: 1 to 50 names.
    Named(Vec<String>),
    /// All that match: 1 to 5 criteria.
    Matching(Vec<Criterion>),
}

impl Run {
    /// What is to be done. The environment has the default of the target.
    ///
    /// # Errors
    /// [`Error::Usage`] when no target is known, or there are too many.
    pub fn order(&self, environment: &Environment) -> Result<RunOrder, Error> {
        if !self.attach.is_empty() {
            let mut ids = Vec::new();
            for id in &self.attach {
                if !ids.contains(id) {
                    ids.push(id.clone());
                }
            }
            return Ok(RunOrder::Attach(ids));
        }
        let usage = |text: String| Err(Error::Usage(text));
        let fleet = if !self.targets.is_empty() {
            if self.targets.len() > MOST_CRITERIA {
                return usage(format!("at most {MOST_CRITERIA} --targets can be given"));
            }
            Fleet::Matching(self.targets.clone())
        } else {
            let mut names = self.target.clone();
            names.retain(|name| !name.is_empty());
            if names.is_empty() {
                names.extend(environment.get("SSM_PLUGIN_TARGET").map(str::to_owned));
            }
            if names.is_empty() {
                return usage(
                    "no target: give --target or --targets, or set SSM_PLUGIN_TARGET".to_owned(),
                );
            }
            if names.len() > MOST_VALUES {
                return usage(format!(
                    "at most {MOST_VALUES} --target can be given: for more nodes give --targets, with a tag that they have"
                ));
            }
            Fleet::Named(names)
        };
        Ok(RunOrder::Send(Send {
            fleet,
            command: self.command.clone(),
            max_concurrency: self.max_concurrency.clone(),
            max_errors: self.max_errors.clone(),
            timeout: self.timeout,
        }))
    }
}

/// `tag:Role=web,db`, or the AWS CLI's `Key=tag:Role,Values=web,db`.
fn criterion(text: &str) -> Result<Criterion, String> {
    let aws = text
        .strip_prefix("Key=")
        .and_then(|rest| rest.split_once(",Values="));
    let (key, values) = aws
        .or_else(|| text.split_once('='))
        .ok_or("it must be KEY=VALUE or KEY=VALUE,VALUE,…")?;
    let values: Vec<String> = values.split(',').map(str::to_owned).collect();
    if key.is_empty() || values.iter().any(String::is_empty) {
        return Err("its key or one of its values is empty".to_owned());
    }
    if values.len() > MOST_VALUES {
        return Err(format!("it may have {MOST_VALUES} values at most"));
    }
    Ok(Criterion {
        key: key.to_owned(),
        values,
    })
}

/// A number of at least `LEAST`, or a percentage from that to 100.
fn share<const LEAST: u32>(text: &str) -> Result<String, String> {
    let percent = text.strip_suffix('%');
    let number = percent.unwrap_or(text);
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<u32>().ok().filter(|_| is_plain);
    let most = if percent.is_some() { 100 } else { 999_999 };
    match number.filter(|number| (LEAST..=most).contains(number)) {
        Some(number) if percent.is_some() => Ok(format!("{number}%")),
        Some(number) => Ok(number.to_string()),
        None => Err(format!(
            "it must be a number from {LEAST}, or a percentage from {LEAST}% to 100%"
        )),
    }
}

fn command_id(text: &str) -> Result<String, String> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if text.len() == 36 && text.bytes().all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("it must look like 01234567-89ab-cdef-0123-456789abcdef".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_have_two_forms() {
        let expected = Criterion {
            key: "tag:Role".to_owned(),
            values: vec!["web".to_owned(), "db=1".to_owned()],
        };
        for text in ["tag:Role=web,db=1", "Key=tag:Role,Values=web,db=1"] {
            assert_eq!(criterion(text), Ok(expected.clone()), "{text}");
        }
        let many = format!("tag:a={}", vec!["x"; 51].join(","));
        for bad in ["", "tag:Role", "=x", "tag:Role=", "tag:Role=a,,b", &many] {
            assert!(criterion(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_numbers_or_percentages() {
        for good in ["1", "50", "1%", "100%"] {
            assert_eq!(share::<1>(good).as_deref(), Ok(good));
        }
        assert_eq!(share::<0>("0").as_deref(), Ok("0"));
        assert_eq!(share::<1>("007%").as_deref(), Ok("7%"));
        for bad in [
            "", "%", "0", "0%", "101%", "-1", "+1", "1.5", "1000000", "x",
        ] {
            assert!(share::<1>(bad).is_err(), "{bad}");
        }
    }
}
