//! The settings of a client, one by one.

use std::ffi::OsString;
use std::path::Path;

use super::failure::{ClientError, ErrorKind};
use super::{Client, ClientOptions};
use crate::settings::{Environment, Settings};

/// The settings of a [`Client`], one by one.
///
/// Nothing is taken from the environment, but for what [`variables`](Self::variables) are given here. Without any of them the
/// profile `default` of `~/.aws/config` and `~/.aws/credentials` counts, then the metadata of a container or an instance, as with the AWS
/// CLI.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let key = sandbox.credentials().clone();
/// use session_manager_plugin::Client;
///
/// let client = Client::builder()
///     .region("eu-central-1")
///     .credentials(&key.access_key_id, &key.secret_access_key, None)
///     .endpoint(sandbox.api_url())
///     .allow_stream_host(sandbox.gateway_host())
///     .ca_bundle(sandbox.ca_file())
///     .build()?;
/// let target = client.target("i-0123456789abcdef0")?;
/// assert!(client.exec(&target, ["true"]).output()?.status == Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct ClientBuilder {
    profile: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    environment: Environment,
    /// What was given one by one, and goes before what variables say.
    given: Vec<(&'static str, OsString)>,
}

impl ClientBuilder {
    /// From a whole environment.
    pub(super) fn from_environment(environment: Environment) -> Self {
        Self {
            environment,
            ..Self::default()
        }
    }

    /// The profile in the AWS configuration. It goes before credentials in variables, as `--profile` does.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// The region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The URL of the Systems Manager API, in place of AWS's: an interface endpoint of a VPC, for one.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// An access key; with a session token where it is a temporary one. Not beside a [profile](Self::profile).
    #[must_use]
    pub fn credentials(
        mut self,
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
    ) -> Self {
        self.given.push(("AWS_ACCESS_KEY_ID", access_key_id.into()));
        self.given
            .push(("AWS_SECRET_ACCESS_KEY", secret_access_key.into()));
        self.given.push((
            "AWS_SESSION_TOKEN",
            session_token.unwrap_or_default().into(),
        ));
        self
    }

    /// The authorities whose certificates count, a PEM file, in place of the system's.
    #[must_use]
    pub fn ca_bundle(mut self, file: impl AsRef<Path>) -> Self {
        self.given
            .push(("AWS_CA_BUNDLE", file.as_ref().as_os_str().to_owned()));
        self
    }

    /// The proxy for everything but loopback and link-local addresses: `http://`, `https://`, `socks5://` or `socks5h://`, with user and
    /// password where it wants them.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.given.push(("HTTPS_PROXY", url.into().into()));
        self
    }

    /// Hosts that stream URLs may lead to besides AWS's, `host` or `host:port`, separated by commas: private gateways, the sandbox.
    #[must_use]
    pub fn allow_stream_host(mut self, hosts: impl Into<String>) -> Self {
        self.given
            .push(("SSM_PLUGIN_ALLOW_STREAM_HOST", hosts.into().into()));
        self
    }

    /// Sessions that the agent does not encrypt with KMS are ended before anything is sent. Agents encrypt no ports.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// use session_manager_plugin::Client;
    ///
    /// let client = Client::builder()
    ///     .require_encryption(true)
    /// #   .variables(sandbox.environment())
    ///     .build()?;
    /// let target = client.target("i-0123456789abcdef0")?;
    /// assert!(client.shell(&target).is_err()); // The account does not have it switched on.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn require_encryption(mut self, is_required: bool) -> Self {
        let value = if is_required { "true" } else { "false" };
        self.given
            .push(("SSM_PLUGIN_REQUIRE_ENCRYPTION", value.into()));
        self
    }

    /// Variables as they could stand in the environment, by their names, in place of those that were given before in this way. What the
    /// other functions say goes before them, in whichever order.
    ///
    /// ```
    /// use session_manager_plugin::Client;
    ///
    /// let client = Client::builder().variables([("AWS_REGION", "eu-west-1")]).build()?;
    /// assert_eq!(client.region(), "eu-west-1");
    /// # Ok::<(), session_manager_plugin::ClientError>(())
    /// ```
    #[must_use]
    pub fn variables<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter();
        self.environment = variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self
    }

    /// Reads the configuration. Nothing is sent, and no credentials are looked for yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: no region, or a setting that cannot be used; the text names it. [`ErrorKind::InvalidInput`]: a profile
    /// and an access key.
    pub fn build(self) -> Result<Client, ClientError> {
        let gives_key = self
            .given
            .iter()
            .any(|(name, _)| *name == "AWS_ACCESS_KEY_ID");
        if gives_key && self.profile.is_some() {
            return Err(ClientError::new(
                ErrorKind::InvalidInput,
                "both a profile and an access key are given: one of them can count",
            ));
        }
        let before = self
            .environment
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = self
            .given
            .into_iter()
            .map(|(name, value)| (name.into(), value));
        // The later of two of one name counts.
        let environment: Environment = before.chain(given).collect();
        let failed = |error| ClientError::of(ErrorKind::Configuration, &error);
        let settings = Settings::from_environment(&environment).map_err(failed)?;
        let options = ClientOptions {
            profile: self.profile,
            region: self.region,
            endpoint: self.endpoint,
            ..ClientOptions::default()
        };
        Client::new(options, &environment, settings).map_err(failed)
    }
}

// By hand: keys and passwords are among the values.
impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given: Vec<&str> = self.given.iter().map(|(name, _)| *name).collect();
        formatter
            .debug_struct("ClientBuilder")
            .field("profile", &self.profile)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("environment", &self.environment)
            .field("given", &given)
            .finish()
    }
}
