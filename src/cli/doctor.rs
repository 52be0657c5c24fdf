//! `doctor`: what stands in the way.

use clap::Args;

use super::account::Account;

/// What `doctor` is told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
With --target a session is started and ended at once, as nothing else tells whether that is allowed. Exit code: 0, or 1 when something
stands in the way. Nothing secret is printed.

Examples:
  session-manager-plugin doctor
  session-manager-plugin doctor --target web-1 --profile work")]
pub struct Doctor {
    /// Look at this node as well, and whether sessions with it may be started; without it, SSM_PLUGIN_TARGET
    #[arg(long)]
    pub target: Option<String>,
    /// One JSON object a line: check, end
    #[arg(long)]
    pub json: bool,
    /// Where the API is.
    #[command(flatten)]
    pub account: Account,
}
