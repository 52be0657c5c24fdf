//! Where credentials come from, in the AWS SDKs' order, and how long they are kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::config::{Profiles, profile_name};
use super::{
    Credentials, CredentialsError, container, environment, instance, process, profile, sts,
};
use crate::aws::call::Caller;
use crate::aws::endpoint::Endpoints;
use crate::network::Limit;
use crate::settings::Environment;

/// Credentials that expire within this time are replaced (botocore's "mandatory" time is 10 minutes, the Go SDK's 5).
const EXPIRY_WINDOW: Duration = Duration::from_secs(5 * 60);
/// The longest a configured source in the network may take.
const NETWORK_TIME: Duration = Duration::from_secs(10);

/// How long it is believed that there are none: looking where nothing answers takes seconds, and is done before every dial.
const MISSING_TIME: Duration = Duration::from_secs(300);

/// Finds credentials and keeps them while they last.
pub(in crate::aws) struct Chain {
    environment: Environment,
    /// The profile that the caller named.
    profile: Option<String>,
    endpoints: Endpoints,
    kept: Mutex<Kept>,
}

/// What came of the last look.
#[derive(Clone, Default)]
enum Kept {
    #[default]
    Nothing,
    Found(Arc<Credentials>),
    /// There were none anywhere, then.
    Missing(Instant),
}

/// One look through the sources.
pub(super) struct Search<'a> {
    pub(super) environment: &'a Environment,
    pub(super) profiles: &'a Profiles,
    pub(super) endpoints: &'a Endpoints,
    pub(super) caller: Caller<'a>,
    pub(super) region: &'a str,
    pub(super) limit: &'a Limit,
}

/// None: this source is not configured.
pub(super) type Found = Result<Option<Credentials>, CredentialsError>;

impl Chain {
    pub(in crate::aws) fn new(
        environment: &Environment,
        profile: Option<String>,
        endpoints: Endpoints,
    ) -> Self {
        Self {
            environment: environment.clone(),
            profile: profile.filter(|profile| !profile.is_empty()),
            endpoints,
            kept: Mutex::default(),
        }
    }

    /// The region that the environment or the profile names.
    pub(in crate::aws) fn region(&self) -> Option<String> {
        let variable = |name| self.environment.get(name).map(str::to_owned);
        let of_profile = || {
            let profiles = Profiles::load(&self.environment).ok()?;
            let profile = profiles.profile(self.profile_name())?;
            profile.get("region").map(str::to_owned)
        };
        variable("AWS_REGION")
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(of_profile)
    }

    /// Credentials that last a while yet.
    pub(in crate::aws) fn get(
        &self,
        region: &str,
        caller: Caller<'_>,
        limit: &Limit,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        match self.kept() {
            Kept::Found(kept) if lasts(&kept, EXPIRY_WINDOW) => Ok(kept),
            Kept::Missing(since) if since.elapsed() < MISSING_TIME => {
                Err(CredentialsError::NotFound)
            }
            _ => self.refresh(region, caller, limit),
        }
    }

    /// Credentials from their source. If that fails, those at hand as long as they last.
    pub(in crate::aws) fn refresh(
        &self,
        region: &str,
        caller: Caller<'_>,
        limit: &Limit,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        match self.find(region, caller, limit) {
            Ok(credentials) => {
                log::debug!("credentials with key {}", credentials.access_key_id);
                let credentials = Arc::new(credentials);
                self.keep(Kept::Found(Arc::clone(&credentials)));
                Ok(credentials)
            }
            Err(error) => match self.kept() {
                Kept::Found(kept) if lasts(&kept, Duration::ZERO) => {
                    log::warn!("{error}; those at hand are used");
                    Ok(kept)
                }
                _ => {
                    if error == CredentialsError::NotFound {
                        self.keep(Kept::Missing(Instant::now()));
                    }
                    Err(error)
                }
            },
        }
    }

    fn kept(&self) -> Kept {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    fn profile_name(&self) -> &str {
        profile_name(&self.environment, self.profile.as_deref())
    }

    fn find(
        &self,
        region: &str,
        caller: Caller<'_>,
        limit: &Limit,
    ) -> Result<Credentials, CredentialsError> {
        let profiles = Profiles::load(&self.environment)?;
        let search = Search {
            environment: &self.environment,
            profiles: &profiles,
            endpoints: &self.endpoints,
            caller,
            region,
            limit,
        };
        // Somebody who names a profile means it, whatever stands in the environment.
        if self.profile.is_none() {
            if let Some(found) = environment::find(&self.environment)? {
                return Ok(found);
            }
            if let Some(found) = sts::web_identity_of_environment(&search)? {
                return Ok(found);
            }
        }
        let name = self.profile_name();
        if let Some(found) = profile::find(&search, name)? {
            return Ok(found);
        }
        if let Some(found) = container::find(&search)? {
            return Ok(found);
        }
        if let Some(found) = instance::find(&search, false)? {
            return Ok(found);
        }
        // Without a profile it knows no more than we do, and it takes a second to start.
        let found = match profiles.profile(name) {
            Some(_) => process::aws_cli(&search, name)?,
            None => None,
        };
        found.ok_or(CredentialsError::NotFound)
    }
}

impl Search<'_> {
    /// How long a configured source in the network may take.
    pub(super) fn network_limit(&self) -> Limit {
        self.limit.at_most(NETWORK_TIME)
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
