//! Options that several commands share, with the AWS CLI's names.

use std::time::Duration;

use clap::Args;

use super::account::Account;
use super::usage::usage;
use crate::client::target::TargetName;
use crate::environment::Environment;
use crate::error::Error;

/// How a session is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Starting {
    /// Wait for a target that is not connected yet, or a task that does not run yet; 300 seconds unless said otherwise
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "300")]
    wait: Option<u32>,
    /// Why, for the records
    #[arg(long)]
    pub reason: Option<String>,
    /// The account and region.
    #[command(flatten)]
    pub account: Account,
}

impl Starting {
    /// How long a target is waited for; nothing where it is not.
    pub fn wait(&self) -> Option<Duration> {
        self.wait.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// The target and how to reach it.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetOptions {
    /// The node or container: i-…, mi-…, ecs:CLUSTER/SERVICE[/CONTAINER], tag:KEY=VALUE, or a name (tag Name, private address, private DNS
    /// name, computer's name); without it, SSM_PLUGIN_TARGET
    #[arg(long)]
    target: Option<String>,
    /// Options of its session.
    #[command(flatten)]
    pub starting: Starting,
}

impl TargetOptions {
    /// The target.
    ///
    /// # Errors
    /// [`Error::Usage`] when none is known, or it is no name of one.
    pub fn target(&self, environment: &Environment) -> Result<TargetName, Error> {
        let [target] = &*targets(self.target.as_slice(), environment)? else {
            return Err(Error::Usage("one target is needed".to_owned()));
        };
        Ok(target.clone())
    }
}

/// The targets that were given, each once, or that of the environment.
pub(super) fn targets(
    given: &[String],
    environment: &Environment,
) -> Result<Vec<TargetName>, Error> {
    let given = given.iter().map(String::as_str);
    let mut texts: Vec<&str> = given.filter(|target| !target.is_empty()).collect();
    if texts.is_empty() {
        texts.extend(environment.get("SSM_PLUGIN_TARGET"));
    }
    if texts.is_empty() {
        return Err(usage("no target: give --target, or set SSM_PLUGIN_TARGET"));
    }
    let mut names = Vec::new();
    for text in texts {
        let name = TargetName::parse(text).map_err(|error| usage(&error.to_string()))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}
