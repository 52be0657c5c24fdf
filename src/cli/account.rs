//! Which account and region a command means.

use clap::Args;

/// Where the API is, with the AWS CLI's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Account {
    /// The region; without it, AWS_REGION or the profile's
    #[arg(long)]
    pub region: Option<String>,
    /// The profile in the AWS configuration
    #[arg(long)]
    pub profile: Option<String>,
    /// The URL of the Systems Manager API
    #[arg(long)]
    pub endpoint_url: Option<String>,
}
