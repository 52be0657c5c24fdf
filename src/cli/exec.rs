//! `exec`.

use clap::Args;

use super::connection::{Starting, targets};
use super::start::{Start, parameters_of};
use super::usage::usage;
use crate::client::exec::command_line;
use crate::client::target::TargetName;
use crate::environment::Environment;
use crate::error::Error;

/// More targets than this are for Run Command, which keeps to a rate and needs nobody to stay.
const MOST_TARGETS: usize = 50;

/// What `exec` is asked.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  session-manager-plugin exec --target web-1 -- journalctl -u nginx -n 50
  session-manager-plugin exec --target web-1 --target web-2 -- uptime
  tar c . | session-manager-plugin exec -i --target web-1 -- tar x -C /srv

Exit code: the command's; 255 where the agent does not tell it. Of several targets the highest, 255 for one that is not reached.")]
pub struct ExecOptions {
    /// The node or container, as i-…, ecs:CLUSTER/SERVICE[/CONTAINER], tag:KEY=VALUE or by name; without it, SSM_PLUGIN_TARGET. Several:
    /// all at once, each line with the target before it
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// On a terminal over there, for what asks or draws
    #[arg(short = 't', long)]
    pub tty: bool,
    /// stdin goes to the command: any bytes, to their end. Its output is slow then, half a megabyte a second
    #[arg(short = 'i', long, conflicts_with = "tty")]
    pub stdin: bool,
    /// How many of several targets at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub parallel: u32,
    /// One object for each target, and one for the end
    #[arg(long)]
    pub json: bool,
    /// With --json: output as it comes, any bytes of any size, instead of the first 4 MiB in the object of the target
    #[arg(long, requires = "json")]
    pub stream: bool,
    /// How sessions are started.
    #[command(flatten)]
    pub starting: Starting,
    /// The command and its arguments, run as they are; or the whole command line as one argument. No shell is involved
    // What begins with a hyphen before it is an option, or a mistake: it is never run.
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<String>,
}

impl ExecOptions {
    /// Where it is to run.
    ///
    /// # Errors
    /// [`Error::Usage`] for none, for too many, and for what is no target.
    pub fn targets(&self, environment: &Environment) -> Result<Vec<TargetName>, Error> {
        let conflict = |why| Err(usage(why));
        let targets = targets(&self.targets, environment)?;
        if targets.len() > MOST_TARGETS {
            return conflict(
                "more than 50 targets: `session-manager-plugin run` is for fleets, it keeps to a rate and needs no session for each",
            );
        }
        if self.tty && self.json {
            return conflict("-t is for people and --json for programs: one must go");
        }
        if self.tty && targets.len() > 1 {
            return conflict("-t is for one target");
        }
        if self.stdin && targets.len() > 1 {
            return conflict("-i is for one target");
        }
        Ok(targets)
    }

    /// The command, word by word: one alone is a line, which is split as the agent does it.
    ///
    /// # Errors
    /// [`Error::Usage`] where that is no line, or an empty one.
    pub fn words(&self) -> Result<Vec<String>, Error> {
        let words = match self.command.as_slice() {
            [line] => shlex::split(line),
            words => Some(words.to_vec()),
        };
        words
            .filter(|words| !words.is_empty())
            .ok_or_else(|| usage("the command has an open quote, or no word"))
    }

    /// The one session of one target.
    pub(super) fn start(&self, environment: &Environment) -> Result<Start, Error> {
        let targets = self.targets(environment)?;
        let [target] = &*targets else {
            return Err(usage("one target is needed"));
        };
        let line = command_line(&self.command);
        let (document, parameters) = if self.tty {
            (
                "AWS-StartInteractiveCommand",
                parameters_of([("command", line.clone())]),
            )
        } else {
            (
                "AWS-StartNonInteractiveCommand",
                // The exit code comes only with separate streams.
                parameters_of([
                    ("command", line.clone()),
                    ("separateOutputStream", "True".to_owned()),
                ]),
            )
        };
        Ok(Start {
            target: target.clone(),
            starting: self.starting.clone(),
            document_name: Some(document.to_owned()),
            parameters,
            ecs_command: self.tty.then_some(line),
        })
    }
}
