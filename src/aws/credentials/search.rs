//! One look through the sources of credentials: what all of them get, and what each gives.

use std::time::Duration;

use super::config::Profiles;
use super::{Credentials, CredentialsError};
use crate::aws::call::ApiCaller;
use crate::aws::endpoint::Endpoints;
use crate::network::Limit;
use crate::remarks::{Remarks, Waiting};
use crate::settings::Environment;

/// The longest a configured source in the network may take.
const NETWORK_TIME: Duration = Duration::from_secs(10);

/// One look through the sources.
pub(super) struct CredentialSearch<'a> {
    pub(super) environment: &'a Environment,
    pub(super) profiles: &'a Profiles,
    pub(super) endpoints: &'a Endpoints,
    pub(super) caller: ApiCaller<'a>,
    pub(super) region: &'a str,
    pub(super) limit: &'a Limit,
    pub(super) remarks: &'a Remarks,
}

/// None: this source is not configured.
pub(super) type Found = Result<Option<Credentials>, CredentialsError>;

impl CredentialSearch<'_> {
    /// How long a configured source in the network may take.
    pub(super) fn network_limit(&self) -> Limit {
        self.limit.at_most(NETWORK_TIME)
    }

    /// Tells the user what is waited for, if it takes its time.
    pub(super) fn waiting(&self, what: &str, longest: Duration) -> Waiting {
        self.remarks.waiting(what, longest)
    }

    /// [`waiting`](Self::waiting) for a configured source in the network.
    pub(super) fn waiting_for_network(&self, what: &str) -> Waiting {
        self.waiting(what, NETWORK_TIME)
    }
}
