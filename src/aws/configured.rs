//! What a profile says besides credentials: endpoints, and trusted certificate authorities.

use std::path::PathBuf;

use super::credentials::{CredentialsError, Profiles, Section, named_profile};
use super::service::Service;
use crate::error::Error;
use crate::settings::Environment;

/// The settings of one profile that variables have as well. Where both say something, the variable counts.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    profile: Section,
    /// The section that the profile's `services` names.
    services: Section,
    /// What to tell of a profile that was named and is not there.
    missing: Option<String>,
    environment: Environment,
}

impl Configured {
    /// Reads the configuration file for the profile that the caller named, or else the environment. A profile that is not there says
    /// nothing.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn load(environment: &Environment, profile: Option<&str>) -> Result<Self, Error> {
        let profiles = Profiles::load(environment).map_err(|error| match error {
            // It is not only about credentials.
            CredentialsError::Failed(why) => Error::Start(why),
            error => Error::Start(error.to_string()),
        })?;
        let named = named_profile(environment, profile);
        let profile = profiles.profile(named.unwrap_or("default"));
        let missing = named.filter(|_| profile.is_none());
        let missing = missing.map(|name| profiles.no_such(name));
        let profile = profile.cloned().unwrap_or_default();
        let services = profile.get("services");
        let services = services.and_then(|name| profiles.services(name));
        Ok(Self {
            services: services.cloned().unwrap_or_default(),
            profile,
            missing,
            environment: environment.clone(),
        })
    }

    /// What to tell of a profile that was named and is not there.
    pub fn missing_profile(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// The file of trusted roots.
    pub fn ca_bundle(&self) -> Option<PathBuf> {
        let path = self.profile.get("ca_bundle")?;
        Some(self.environment.expand(path))
    }

    /// The endpoint of a service, or of all.
    pub(super) fn endpoint_url(&self, service: Service) -> Option<&str> {
        let of_service = format!("{}.endpoint_url", service.configured_name());
        self.services
            .get(&of_service)
            .or_else(|| self.profile.get("endpoint_url"))
    }

    /// Whether a setting is `true`: in its variable, or else in the profile.
    pub(super) fn is_on(&self, environment: &Environment, variable: &str, setting: &str) -> bool {
        environment
            .get(variable)
            .or_else(|| self.profile.get(setting))
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(config: &str, profile: Option<&str>) -> Configured {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, config).unwrap();
        let environment = Environment::from([
            ("AWS_CONFIG_FILE", path.to_str().unwrap()),
            ("HOME", "/home/me"),
            ("AWS_PROFILE", "other"),
        ]);
        Configured::load(&environment, profile).unwrap()
    }

    const CONFIG: &str = "[profile dev]\nca_bundle = ~/roots.pem\nendpoint_url = http://all\nservices = local\nuse_fips_endpoint = TRUE\n\
        [profile other]\nservices = nowhere\n\
        [services local]\nssm =\n  endpoint_url = http://ssm\ns3 =\n  endpoint_url = http://s3\nsso_oidc =\n  endpoint_url = http://oidc\n";

    #[test]
    fn endpoints_of_a_service_go_before_that_of_all() {
        let dev = load(CONFIG, Some("dev"));
        assert_eq!(dev.endpoint_url(Service::Ssm), Some("http://ssm"));
        assert_eq!(dev.endpoint_url(Service::SsoOidc), Some("http://oidc"));
        assert_eq!(dev.endpoint_url(Service::Kms), Some("http://all"));
        assert_eq!(dev.ca_bundle(), Some(PathBuf::from("/home/me/roots.pem")));
    }

    #[test]
    fn a_variable_goes_before_the_profile() {
        let dev = load(CONFIG, Some("dev"));
        let name = "AWS_USE_FIPS_ENDPOINT";
        assert!(dev.is_on(&Environment::default(), name, "use_fips_endpoint"));
        let off = Environment::from([(name, "false")]);
        assert!(!dev.is_on(&off, name, "use_fips_endpoint"));
    }

    #[test]
    fn what_is_not_there_says_nothing() {
        let other = load(CONFIG, None);
        assert_eq!(other.endpoint_url(Service::Ssm), None);
        assert_eq!(other.ca_bundle(), None);
        assert_eq!(load(CONFIG, Some("none")).ca_bundle(), None);
    }
}
