//! Where credentials come from, in the AWS SDKs' order, and how long they are kept.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use super::config::{Profiles, named_profile};
use super::kept::{Choice, KeptCredentials};
use super::search::{CredentialSearch, Found};
use super::{
    Credentials, CredentialsError, container, environment, instance, process, profile, sts,
};
use crate::aws::advice::{self, Login};
use crate::aws::call::ApiCaller;
use crate::aws::endpoint::Endpoints;
use crate::mutex::lock;
use crate::network::Limit;
use crate::remarks::Remarks;
use crate::sanitise;
use crate::settings::Environment;

/// How many profiles in a row may name a `source_profile`.
const MOST_SOURCES: usize = 5;
/// How often a thread that waits for the look of another thread asks whether that is over.
const TURN_INTERVAL: Duration = Duration::from_millis(20);

/// Finds credentials and keeps them while they last.
pub(in crate::aws) struct Chain {
    environment: Environment,
    /// The profile that the caller named.
    profile: Option<String>,
    endpoints: Endpoints,
    remarks: Remarks,
    kept: Mutex<KeptCredentials>,
    /// Held during a look: a source that asks its user must not ask twice at the same time.
    turn: Mutex<()>,
    /// Where the newest come from.
    source: Mutex<Option<CredentialsSource>>,
}

/// What gave credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CredentialsSource {
    /// Variables that hold them, or that lead to a role.
    Environment,
    /// A profile.
    Profile(String),
    /// The container's service.
    Container,
    /// The instance's metadata.
    Instance,
    /// The AWS CLI, for a profile.
    AwsCli(String),
}

impl std::fmt::Display for CredentialsSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => formatter.write_str("the environment's variables"),
            Self::Profile(name) => write!(formatter, "the profile {name}"),
            Self::Container => formatter.write_str("the container's credentials service"),
            Self::Instance => formatter.write_str("the instance's metadata"),
            Self::AwsCli(name) => write!(formatter, "the AWS CLI, for the profile {name}"),
        }
    }
}

impl Chain {
    pub(in crate::aws) fn new(
        environment: &Environment,
        profile: Option<String>,
        endpoints: Endpoints,
        remarks: Remarks,
    ) -> Self {
        Self {
            environment: environment.clone(),
            profile: profile.filter(|profile| !profile.is_empty()),
            endpoints,
            remarks,
            kept: Mutex::default(),
            turn: Mutex::default(),
            source: Mutex::default(),
        }
    }

    /// The region that the environment or the profile names.
    pub(in crate::aws) fn region(&self) -> Option<String> {
        let variable = |name| self.environment.get(name).map(str::to_owned);
        let of_profile = || {
            let profiles = Profiles::load(&self.environment).ok()?;
            let profile = profiles.profile(self.named().unwrap_or("default"))?;
            profile.get("region").map(str::to_owned)
        };
        variable("AWS_REGION")
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(of_profile)
    }

    /// Credentials that last a while yet. `for_resume` says that a session waits for them, so that even where there were none it is
    /// worth another look.
    pub(in crate::aws) fn get(
        &self,
        for_resume: bool,
        region: &str,
        caller: ApiCaller<'_>,
        limit: &Limit,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        let choose = || {
            self.kept()
                .choose(for_resume, Instant::now(), SystemTime::now())
        };
        let mut choice = choose();
        let mut _turn = None;
        if matches!(choice, Choice::Look) {
            _turn = Some(self.wait_for_turn(limit)?);
            // Another thread may have looked meanwhile.
            choice = choose();
        }
        match choice {
            Choice::Use(credentials) => Ok(credentials),
            Choice::Fail(error) => Err(error),
            Choice::Look => self.look(region, caller, limit),
        }
    }

    /// The service refused these: the next to ask looks for others.
    pub(in crate::aws) fn denied(&self) {
        self.kept().denied();
    }

    /// Where the newest come from, in words; empty before any were found.
    pub(in crate::aws) fn source(&self) -> String {
        let source = lock(&self.source);
        let source = source.as_ref().map(ToString::to_string);
        crate::sanitise::line(&source.unwrap_or_default())
    }

    /// The service took them.
    pub(in crate::aws) fn accepted(&self) {
        self.kept().accepted();
    }

    /// What helps where they have expired.
    pub(in crate::aws) fn how_to_renew(&self) -> String {
        let named = self.named();
        let profiles = Profiles::load(&self.environment).ok();
        let profile = |name: &str| {
            let profiles = profiles.as_ref();
            profiles.and_then(|profiles| profiles.profile(name))
        };
        let mut section = profile(named.unwrap_or("default"));
        for _ in 0..MOST_SOURCES {
            let source = section.and_then(|section| section.get("source_profile"));
            section = source.and_then(profile).or(section);
        }
        // Where no profile was named, keys that stand in variables are used before those of the default profile.
        let is_of_variables =
            self.profile.is_none() && self.environment.get("AWS_ACCESS_KEY_ID").is_some();
        let has = |name: &str| section.is_some_and(|section| section.get(name).is_some());
        let login = if is_of_variables {
            None
        } else if has("sso_session") || has("sso_start_url") {
            Some(Login::Sso)
        } else if has("login_session") {
            Some(Login::Console)
        } else {
            None
        };
        advice::renew(named.filter(|_| !is_of_variables), login)
    }

    /// Waits while another thread looks.
    fn wait_for_turn(&self, limit: &Limit) -> Result<MutexGuard<'_, ()>, CredentialsError> {
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => limit.pause(TURN_INTERVAL).map_err(|stop| {
                    CredentialsError::stopped(stop, "another look for AWS credentials")
                })?,
            }
        }
    }

    /// Credentials from their source. If that fails, those at hand as long as they last.
    pub(super) fn look(
        &self,
        region: &str,
        caller: ApiCaller<'_>,
        limit: &Limit,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        let found = self.find(region, caller, limit);
        let found = found.map(|(found, source)| {
            let mut last = lock(&self.source);
            *last = Some(source);
            Arc::new(found)
        });
        match &found {
            Ok(credentials) => log::debug!("credentials with key {}", credentials.access_key_id),
            Err(error) => log::info!("{error}"),
        }
        self.kept().looked(found, Instant::now(), SystemTime::now())
    }

    fn kept(&self) -> MutexGuard<'_, KeptCredentials> {
        lock(&self.kept)
    }

    /// The profile that somebody named.
    fn named(&self) -> Option<&str> {
        named_profile(&self.environment, self.profile.as_deref())
    }

    fn find(
        &self,
        region: &str,
        caller: ApiCaller<'_>,
        limit: &Limit,
    ) -> Result<(Credentials, CredentialsSource), CredentialsError> {
        let profiles = Profiles::load(&self.environment)?;
        let search = CredentialSearch {
            environment: &self.environment,
            profiles: &profiles,
            endpoints: &self.endpoints,
            caller,
            region,
            limit,
            remarks: &self.remarks,
        };
        let named = self.named();
        let name = named.unwrap_or("default");
        let section = profiles.profile(name);
        let say_environment_is_used = || match section {
            None if named.is_some() => {
                self.say_environment_is_used(name, "is in no configuration file")
            }
            Some(_) if self.profile.is_some() => {
                self.say_environment_is_used(name, "has no credentials");
            }
            _ => {}
        };
        // A profile that the caller names goes before the environment; one that a variable names goes after the variables beside it.
        if self.profile.is_none()
            && let Some(found) = of_environment(&search)?
        {
            say_environment_is_used();
            return Ok((found, CredentialsSource::Environment));
        }
        if let Some(section) = section
            && let Some(found) = profile::find(&search, name, section)?
        {
            return Ok((found, CredentialsSource::Profile(name.to_owned())));
        }
        // Some callers name a profile because they must ("default"), or by mistake. That must not hide good credentials.
        if self.profile.is_some()
            && let Some(found) = of_environment(&search)?
        {
            say_environment_is_used();
            return Ok((found, CredentialsSource::Environment));
        }
        if let Some(found) = container::find(&search)? {
            say_environment_is_used();
            return Ok((found, CredentialsSource::Container));
        }
        // The machine's own credentials are not used for a profile that does not exist.
        if section.is_none() && name != "default" {
            return Err(profile::unknown(&search, name));
        }
        if let Some(found) = instance::find(&search, false)? {
            return Ok((found, CredentialsSource::Instance));
        }
        // Without a profile it knows no more than we do, and it takes a second to start.
        if section.is_some() {
            match process::aws_cli(&search, name) {
                Ok(Some(found)) => return Ok((found, CredentialsSource::AwsCli(name.to_owned()))),
                Err(CredentialsError::Cancelled) => return Err(CredentialsError::Cancelled),
                // The profile is what is wrong.
                Err(error) => log::info!("{error}"),
                Ok(None) => {}
            }
        }
        Err(match section {
            Some(_) if named.is_some() => profile::empty(&search, name),
            None if named.is_some() => profile::unknown(&search, name),
            _ if !profiles.unreadable().is_empty() => {
                CredentialsError::Failed(profiles.unreadable().to_owned())
            }
            _ => CredentialsError::NotFound,
        })
    }

    fn say_environment_is_used(&self, name: &str, why: &str) {
        self.remarks.once(&format!(
            "the profile {} {why}: the credentials of the environment are used",
            sanitise::line(name)
        ));
    }
}

/// Those that variables hold, or lead to with a role.
fn of_environment(search: &CredentialSearch<'_>) -> Found {
    match environment::find(search.environment)? {
        Some(found) => Ok(Some(found)),
        None => sts::web_identity_of_environment(search),
    }
}
