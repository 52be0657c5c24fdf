//! `cp`: files to and from a target.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Args;

use super::connection::Starting;
use crate::client::copy::MOST_SESSIONS;
use crate::client::target::TargetName;
use crate::environment::Environment;
use crate::error::Error;

/// What `cp` is told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
One side is on the target, as TARGET:PATH; a relative path begins in the home there. A local name with a colon is written ./NAME, and - is
stdin or stdout. What was interrupted goes on where it was when the same command is given again. Exit code: 0 when every hash was equal.

Examples:
  session-manager-plugin cp i-0123456789abcdef0:/var/log/syslog .
  session-manager-plugin cp -r site/ i-0123456789abcdef0:/srv")]
pub struct Cp {
    /// Copy directories with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Keep permissions and times
    #[arg(short, long)]
    pub preserve: bool,
    /// How many sessions carry a large file at a time, 1 to 16
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = sessions)]
    pub sessions: usize,
    /// One JSON object a line: progress, file, skipped, error, end
    #[arg(long)]
    pub json: bool,
    /// No progress on a terminal
    #[arg(short, long)]
    pub quiet: bool,
    /// How sessions are started.
    #[command(flatten)]
    pub starting: Starting,
    /// SOURCE… DESTINATION
    #[arg(required = true, num_args = 2.., value_name = "PATH", value_parser = clap::value_parser!(OsString))]
    paths: Vec<OsString>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Files of the target's come here.
    Down {
        /// The target.
        target: TargetName,
        /// Paths over there, one at least.
        from: Vec<PathBuf>,
        /// Nothing for stdout, which takes one file.
        to: Option<PathBuf>,
    },
    /// Local files go to the target.
    Up {
        /// The target.
        target: TargetName,
        /// Nothing for stdin, which is the only source then.
        from: Option<Vec<PathBuf>>,
        /// The path over there.
        to: PathBuf,
    },
}

/// A source or the destination.
#[derive(Debug, PartialEq, Eq)]
enum Operand {
    Local(PathBuf),
    /// `-`.
    Standard,
    /// Empty for the default target.
    Remote(String, PathBuf),
}

impl Cp {
    /// What is to be done. The environment has the default of the target.
    ///
    /// # Errors
    /// [`Error::Usage`] when not just one side is remote.
    pub fn order(&self, environment: &Environment) -> Result<Order, Error> {
        let usage = |text: &str| Error::Usage(text.to_owned());
        let operands: Result<Vec<Operand>, Error> =
            self.paths.iter().map(|path| operand(path)).collect();
        let mut operands = operands?;
        let destination = operands.pop();
        let named = |target: String| {
            let target = match target.as_str() {
                "" => environment.get("SSM_PLUGIN_TARGET"),
                given => Some(given),
            };
            let target = target
                .ok_or_else(|| usage("no target: write TARGET:PATH, or set SSM_PLUGIN_TARGET"))?;
            TargetName::parse(target).map_err(|error| Error::Usage(error.to_string()))
        };
        match destination {
            Some(Operand::Remote(target, to)) => {
                let target = named(target)?;
                if operands == [Operand::Standard] {
                    return Ok(Order::Up {
                        target,
                        from: None,
                        to,
                    });
                }
                let from: Option<Vec<PathBuf>> = operands.into_iter().map(local).collect();
                let from = from.ok_or_else(|| {
                    usage(
                        "all sources must be local files where the destination is a target's; \
                         a local name with a colon is written ./NAME",
                    )
                })?;
                Ok(Order::Up {
                    target,
                    from: Some(from),
                    to,
                })
            }
            Some(destination) => {
                let to = match destination {
                    Operand::Local(path) => Some(path),
                    _ => None,
                };
                if to.is_none() && (operands.len() > 1 || self.json || self.recursive) {
                    return Err(usage("- takes one file, without --recursive and --json"));
                }
                let mut target: Option<TargetName> = None;
                let mut from = Vec::new();
                for operand in operands {
                    let Operand::Remote(name, path) = operand else {
                        return Err(usage("one side must be on a target: TARGET:PATH"));
                    };
                    let name = named(name)?;
                    if target.get_or_insert_with(|| name.clone()) != &name {
                        return Err(usage("all sources must be on the same target"));
                    }
                    from.push(path);
                }
                let target = target.ok_or_else(|| usage("no source"))?;
                Ok(Order::Down { target, from, to })
            }
            None => Err(usage("no destination")),
        }
    }
}

fn local(operand: Operand) -> Option<PathBuf> {
    match operand {
        Operand::Local(path) => Some(path),
        _ => None,
    }
}

/// As scp reads it: what has a colon before any slash is remote. Targets may have colons of their own.
fn operand(text: &OsStr) -> Result<Operand, Error> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(Operand::Standard);
    }
    let prefixes: [&[u8]; 2] = [b"ecs:", b"tag:"];
    let prefix = prefixes
        .into_iter()
        .find(|prefix| bytes.starts_with(prefix));
    let start = prefix.map_or(0, <[u8]>::len);
    let colon = bytes[start..].iter().position(|byte| *byte == b':');
    let slash = bytes.iter().position(|byte| *byte == b'/');
    match colon.map(|colon| start + colon) {
        Some(colon) if prefix.is_some() || slash.is_none_or(|slash| slash > colon) => {
            let target = std::str::from_utf8(&bytes[..colon]);
            let target =
                target.map_err(|_| Error::Usage("the name of a target is not UTF-8".to_owned()))?;
            let mut path = bytes[colon + 1..].to_vec();
            if path.is_empty() {
                path.push(b'.');
            }
            Ok(Operand::Remote(
                target.to_owned(),
                OsString::from_vec(path).into(),
            ))
        }
        _ if bytes.is_empty() => Err(Error::Usage("an empty path".to_owned())),
        _ => Ok(Operand::Local(text.into())),
    }
}

pub(super) fn sessions(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MOST_SESSIONS).contains(number))
        .ok_or_else(|| format!("it must be a number from 1 to {MOST_SESSIONS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Operand {
        operand(OsStr::new(text)).expect("an operand")
    }

    fn remote(target: &str, path: &str) -> Operand {
        Operand::Remote(target.to_owned(), path.into())
    }

    #[test]
    fn operands_are_read_as_scp_reads_them() {
        assert_eq!(read("i-1:/a:b"), remote("i-1", "/a:b"));
        assert_eq!(read("i-1:"), remote("i-1", "."));
        assert_eq!(read(":x"), remote("", "x"));
        assert_eq!(read("ecs:c/s:/a"), remote("ecs:c/s", "/a"));
        assert_eq!(read("tag:Role=web:a"), remote("tag:Role=web", "a"));
        assert_eq!(read("-"), Operand::Standard);
        for text in ["a", "./a:b", "/a:b", "a/b:c", "tag:x"] {
            assert_eq!(read(text), Operand::Local(text.into()), "{text}");
        }
        assert!(operand(OsStr::new("")).is_err());
    }
}
