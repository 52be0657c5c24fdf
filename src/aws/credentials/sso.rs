//! Single sign-on: what `aws sso login` left is exchanged for a role's credentials.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Request;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::{Section, aws_directory};
use super::metadata::{FetchError, fetch, fetch_twice};
use super::search::{CredentialSearch, Found};
use super::sts::sha1_hex;
use super::{Credentials, CredentialsError};
use crate::aws::call::encode;
use crate::aws::exchange::parse_url;
use crate::aws::service::Service;
use crate::aws::time;
use crate::files;
use crate::secret::Secret;

/// A token that lasts no longer is refreshed (as in botocore).
const REFRESH_WINDOW: Duration = Duration::from_secs(15 * 60);

/// No token lasts longer, whatever the service says: a file of the AWS CLI must hold no moment that other programs cannot read.
const MAXIMUM_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What a profile says about single sign-on.
struct SsoSettings<'a> {
    profile: &'a str,
    account: &'a str,
    role: &'a str,
    region: &'a str,
    start_url: &'a str,
    /// The `sso-session`; profiles of old have none.
    session: Option<&'a str>,
}

/// The token in the AWS CLI's cache.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: Secret,
    expires_at: String,
    refresh_token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    registration_expires_at: Option<String>,
}

/// Credentials of the role that the profile names.
pub(super) fn find(search: &CredentialSearch<'_>, name: &str, profile: &Section) -> Found {
    let Some(settings) = SsoSettings::of(search, name, profile)? else {
        return Ok(None);
    };
    let expired = || {
        CredentialsError::Failed(format!(
            "the single sign-on of profile {name} is missing or has expired: run `aws sso login --profile {name}`"
        ))
    };
    let _waiting = search.waiting_for_network(&settings.what());
    let file = settings.cache_file(search);
    let json = files::read(&file).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => expired(),
        _ => CredentialsError::Failed(format!("{} cannot be read: {error}", file.display())),
    })?;
    let mut token: Token = serde_json::from_slice(&json).map_err(|_| expired())?;
    let left = left(&token.expires_at);
    if left < REFRESH_WINDOW {
        match refresh(search, &settings, &token) {
            // Good for a while yet, and the service may be back by then.
            Err(error) if !left.is_zero() && error != CredentialsError::Cancelled => {
                log::info!("{error}");
            }
            Err(error) => return Err(error),
            Ok(Some(answer)) => {
                let kept = keep(&file, &json, &answer);
                kept.unwrap_or_else(|error| {
                    log::warn!(
                        "the refreshed token cannot be kept in {}: {error}",
                        file.display()
                    )
                });
                token.access_token = answer.access_token;
            }
            Ok(None) if left.is_zero() => return Err(expired()),
            Ok(None) => {}
        }
    }
    role_credentials(search, &settings, &token.access_token, expired).map(Some)
}

fn left(moment: &str) -> Duration {
    let moment = time::parse(moment).unwrap_or(UNIX_EPOCH);
    moment.duration_since(SystemTime::now()).unwrap_or_default()
}

impl<'a> SsoSettings<'a> {
    fn of(
        search: &CredentialSearch<'a>,
        name: &'a str,
        profile: &'a Section,
    ) -> Result<Option<Self>, CredentialsError> {
        let (account, role) = match (profile.get("sso_account_id"), profile.get("sso_role_name")) {
            (None, None) => return Ok(None),
            (account, role) => (account, role),
        };
        let wrong = |what: String| CredentialsError::Failed(format!("the profile {name} {what}"));
        let session = profile.get("sso_session");
        let section = match session {
            Some(session) => {
                let section = search.profiles.sso_session(session);
                section.ok_or_else(|| wrong(format!("names the sso_session {session}, and ~/.aws/config has no [sso-session {session}]")))?
            }
            None => profile,
        };
        let needed = |value: Option<&'a str>, what: &str| {
            value.ok_or_else(|| wrong(format!("is for single sign-on, but {what} is missing")))
        };
        Ok(Some(Self {
            profile: name,
            account: needed(account, "sso_account_id")?,
            role: needed(role, "sso_role_name")?,
            region: needed(section.get("sso_region"), "sso_region")?,
            start_url: needed(section.get("sso_start_url"), "sso_start_url")?,
            session,
        }))
    }

    fn cache_file(&self, search: &CredentialSearch<'_>) -> PathBuf {
        let name = sha1_hex(self.session.unwrap_or(self.start_url));
        let directory = aws_directory(search.environment);
        directory.join("sso/cache").join(format!("{name}.json"))
    }

    fn what(&self) -> String {
        format!("the single sign-on of profile {}", self.profile)
    }
}

/// What the OIDC service gives for a refresh token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refreshed {
    access_token: Secret,
    /// Seconds.
    expires_in: u64,
    refresh_token: Option<Secret>,
}

/// A new token; none if there is no way to one.
fn refresh(
    search: &CredentialSearch<'_>,
    settings: &SsoSettings<'_>,
    token: &Token,
) -> Result<Option<Refreshed>, CredentialsError> {
    let (Some(refresh_token), Some(client_id), Some(client_secret)) =
        (&token.refresh_token, &token.client_id, &token.client_secret)
    else {
        return Ok(None);
    };
    if token
        .registration_expires_at
        .as_deref()
        .is_some_and(|moment| left(moment).is_zero())
    {
        return Ok(None);
    }
    for secret in [&token.access_token, refresh_token, client_secret] {
        search.caller.network.redactor.add(secret.expose());
    }
    let failed = |why: String| CredentialsError::Failed(format!("{}: {why}", settings.what()));
    let body = Secret::new(
        json!({
            "clientId": client_id,
            "clientSecret": client_secret.expose(),
            "grantType": "refresh_token",
            "refreshToken": refresh_token.expose(),
        })
        .to_string(),
    );
    let endpoint = search.endpoints.url(Service::SsoOidc, settings.region);
    let endpoint = endpoint.map_err(|error| failed(error.to_string()))?;
    let uri = parse_url(&format!("{}token", base(&endpoint.to_string())));
    let uri = uri.map_err(|why| failed(format!("its URL {why}")))?;
    let request = Request::post(uri)
        .header("content-type", "application/json")
        .body(body.expose().as_bytes())
        .map_err(|_| failed("its URL cannot be asked".to_owned()))?;
    match fetch(search, &request, &search.network_limit()) {
        Ok(answer) => {
            let refreshed: Option<Refreshed> = serde_json::from_slice(answer.body()).ok();
            let refreshed = refreshed.filter(|new| !new.access_token.expose().is_empty());
            // Somebody in between may have answered; the service itself says no in another way.
            let unusable = || FetchError::unusable("the answer holds no token");
            let found = refreshed.ok_or_else(|| unusable().of(&settings.what()))?;
            Ok(Some(found))
        }
        Err(error @ (FetchError::Cancelled | FetchError::Http(_))) => {
            Err(error.of(&settings.what()))
        }
        Err(error) if error.is_temporary() => Err(error.of(&settings.what())),
        Err(FetchError::Refused(refusal)) => {
            log::info!(
                "the token of {} was not refreshed: {refusal}",
                settings.what()
            );
            Ok(None)
        }
    }
}

/// An endpoint with one slash at its end.
fn base(endpoint: &str) -> String {
    format!("{}/", endpoint.trim_end_matches('/'))
}

/// Writes the refreshed token where the AWS CLI looks for it: the old refresh token may work no more.
fn keep(file: &Path, before: &[u8], refreshed: &Refreshed) -> std::io::Result<()> {
    // Whatever else the AWS CLI keeps there stays.
    let mut token: Map<String, Value> = serde_json::from_slice(before)?;
    let lifetime = Duration::from_secs(refreshed.expires_in).min(MAXIMUM_LIFETIME);
    let expires = SystemTime::now()
        .checked_add(lifetime)
        .unwrap_or(UNIX_EPOCH);
    let mut set = |name: &str, value: &str| token.insert(name.to_owned(), value.into());
    set("accessToken", refreshed.access_token.expose());
    set("expiresAt", &time::rfc3339(expires));
    if let Some(refresh_token) = &refreshed.refresh_token {
        set("refreshToken", refresh_token.expose());
    }
    // Whole or not at all: others read it at any time.
    let new = file.with_extension(format!("{}.tmp", std::process::id()));
    // What a process of the same number left, or something else that is there: it is never opened.
    let _ = fs::remove_file(&new);
    let mut options = fs::OpenOptions::new();
    let mut output = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let json = Secret::new(Value::Object(token).to_string());
    output.write_all(json.expose().as_bytes())?;
    drop(output);
    fs::rename(&new, file).inspect_err(|_| drop(fs::remove_file(&new)))
}

fn role_credentials(
    search: &CredentialSearch<'_>,
    settings: &SsoSettings<'_>,
    token: &Secret,
    expired: impl Fn() -> CredentialsError,
) -> Result<Credentials, CredentialsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RoleCredentialsAnswer {
        role_credentials: SsoRoleKeys,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct SsoRoleKeys {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
        /// Milliseconds since 1970.
        expiration: u64,
    }
    let failed = |why: String| CredentialsError::Failed(format!("{}: {why}", settings.what()));
    let endpoint = search.endpoints.url(Service::Sso, settings.region);
    let endpoint = endpoint.map_err(|error| failed(error.to_string()))?;
    let url = format!(
        "{}federation/credentials?role_name={}&account_id={}",
        base(&endpoint.to_string()),
        encode(settings.role),
        encode(settings.account)
    );
    let uri = parse_url(&url).map_err(|why| failed(format!("its URL {why}")))?;
    let request = Request::get(uri).header("x-amz-sso_bearer_token", token.expose());
    let request = request.body(&b""[..]).map_err(|_| expired())?;
    let answer = fetch_twice(search, &request, &search.network_limit());
    let answer = answer.map_err(|error| match error {
        FetchError::Refused(refusal) if refusal.status == 401 => expired(),
        error => error.of(&settings.what()),
    })?;
    let answer: Option<RoleCredentialsAnswer> = serde_json::from_slice(answer.body()).ok();
    let found = answer.and_then(|answer| {
        let keys = answer.role_credentials;
        Credentials::new(
            keys.access_key_id,
            keys.secret_access_key,
            keys.session_token,
            UNIX_EPOCH.checked_add(Duration::from_millis(keys.expiration)),
        )
    });
    found
        .ok_or_else(|| FetchError::unusable("the answer holds no credentials").of(&settings.what()))
}
