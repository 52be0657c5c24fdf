//! `list`.

use clap::Args;

use super::account::Account;

/// What `list` is asked.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  session-manager-plugin list 'web-*'
  session-manager-plugin list --json --filter tag:Role=db --filter PingStatus=Online")]
pub struct ListOptions {
    /// Only nodes whose id, name, computer's name or address match: * and ? stand for anything, a text without them for a part
    pub pattern: Option<String>,
    /// One object a line
    #[arg(long)]
    pub json: bool,
    /// Only nodes that pass, as DescribeInstanceInformation filters them: tag:KEY=VALUE, PingStatus=Online, PlatformTypes=Linux,
    /// InstanceIds=…; several values separated by commas
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub account: Account,
}
