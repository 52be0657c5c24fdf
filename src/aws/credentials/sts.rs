//! Roles: credentials that STS gives for other credentials, or for a web identity token.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use sha1::{Digest, Sha1};

use super::config::{Section, aws_directory};
use super::search::{CredentialSearch, Found};
use super::{Credentials, CredentialsError};
use crate::aws::call::{ApiCall, FORM, form_body};
use crate::aws::service::Service;
use crate::aws::sigv4::hex;
use crate::aws::{ApiError, time, xml};
use crate::files;
use crate::network::Limit;
use crate::secret::Secret;

/// The version of STS's API.
const VERSION: &str = "2011-06-15";

/// A role and how a profile wants it.
pub(super) struct Role {
    profile: String,
    arn: String,
    session_name: Option<String>,
    external_id: Option<String>,
    /// Seconds.
    duration: Option<u32>,
    mfa_serial: Option<String>,
}

impl Role {
    pub(super) fn of_profile(name: &str, profile: &Section) -> Result<Self, CredentialsError> {
        let get = |key| profile.get(key).map(str::to_owned);
        let duration = match profile.get("duration_seconds").map(str::parse) {
            None => None,
            Some(Ok(seconds)) => Some(seconds),
            Some(Err(_)) => {
                return Err(CredentialsError::Failed(format!(
                    "duration_seconds in the profile {name} is no number"
                )));
            }
        };
        Ok(Self {
            profile: name.to_owned(),
            arn: get("role_arn").unwrap_or_default(),
            session_name: get("role_session_name"),
            external_id: get("external_id"),
            duration,
            mfa_serial: get("mfa_serial"),
        })
    }

    pub(super) fn needs_code(&self) -> bool {
        self.mfa_serial.is_some()
    }

    /// Credentials of the role, for those of `source`.
    pub(super) fn assume(
        &self,
        search: &CredentialSearch<'_>,
        source: &Credentials,
    ) -> Result<Credentials, CredentialsError> {
        let session_name = self
            .session_name
            .clone()
            .unwrap_or_else(default_session_name);
        let duration = self.duration.map(|seconds| seconds.to_string());
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("RoleArn", &self.arn),
            ("RoleSessionName", &session_name),
        ];
        form.extend(self.external_id.as_deref().map(|id| ("ExternalId", id)));
        form.extend(
            duration
                .as_deref()
                .map(|seconds| ("DurationSeconds", seconds)),
        );
        call(
            search,
            "AssumeRole",
            &form,
            Some(source),
            &format!("the role of profile {}", self.profile),
        )
    }

    /// What the AWS CLI keeps after it has asked for a code.
    pub(super) fn kept_by_aws_cli(
        &self,
        search: &CredentialSearch<'_>,
    ) -> Result<Credentials, CredentialsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Cached {
            credentials: CachedRoleKeys,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct CachedRoleKeys {
            access_key_id: String,
            secret_access_key: Secret,
            session_token: Option<Secret>,
            expiration: String,
        }
        let file = aws_directory(search.environment)
            .join("cli/cache")
            .join(format!("{}.json", self.cache_key()));
        let json = match files::read(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CredentialsError::Failed(format!(
                    "{} cannot be read: {error}",
                    file.display()
                )));
            }
            result => result.unwrap_or_default(),
        };
        let cached: Option<Cached> = serde_json::from_slice(&json).ok();
        let found = cached.and_then(|cached| {
            let keys = cached.credentials;
            let expires =
                time::parse(&keys.expiration).filter(|expires| *expires > SystemTime::now())?;
            Credentials::new(
                keys.access_key_id,
                keys.secret_access_key,
                keys.session_token,
                Some(expires),
            )
        });
        found.ok_or_else(|| {
            let Self { profile, .. } = self;
            CredentialsError::Failed(format!(
                "the profile {profile} wants a code of a second factor, and none was given lately: run \
                 `aws sts get-caller-identity --profile {profile}`, which asks for it and keeps what it gets"
            ))
        })
    }

    /// The name under which the AWS CLI keeps the role's credentials: SHA-1 of the call's arguments, as Python writes them.
    fn cache_key(&self) -> String {
        let text = |name: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            Some(format!("\"{name}\": {}", python_string(value)))
        };
        let duration = self
            .duration
            .map(|seconds| format!("\"DurationSeconds\": {seconds}"));
        let arguments: Vec<String> = [
            duration,
            text("ExternalId", &self.external_id),
            text("RoleArn", &Some(self.arn.clone())),
            text("RoleSessionName", &self.session_name),
            text("SerialNumber", &self.mfa_serial),
        ]
        .into_iter()
        .flatten()
        .collect();
        sha1_hex(&format!("{{{}}}", arguments.join(", ")))
    }
}

/// A string as Python's `json.dumps` writes it: ASCII only.
fn python_string(text: &str) -> String {
    let mut result = String::from('"');
    for character in text.chars() {
        match character {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            ' '..='~' => result.push(character),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    result.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    result.push('"');
    result
}

/// SHA-1 in hex: the name of files in the AWS CLI's caches.
pub(super) fn sha1_hex(text: &str) -> String {
    hex(&Sha1::digest(text.as_bytes()))
}

/// `AWS_WEB_IDENTITY_TOKEN_FILE`, as Kubernetes sets it.
pub(super) fn web_identity_of_environment(search: &CredentialSearch<'_>) -> Found {
    let get = |name| search.environment.get(name);
    let Some(file) = search.environment.path("AWS_WEB_IDENTITY_TOKEN_FILE") else {
        return Ok(None);
    };
    let Some(role) = get("AWS_ROLE_ARN") else {
        return Err(CredentialsError::Failed(
            "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not".to_owned(),
        ));
    };
    web_identity(search, role, get("AWS_ROLE_SESSION_NAME"), &file).map(Some)
}

/// Credentials of a role, for a web identity token.
pub(super) fn web_identity(
    search: &CredentialSearch<'_>,
    role: &str,
    session_name: Option<&str>,
    file: &Path,
) -> Result<Credentials, CredentialsError> {
    let token = files::read_text(file).map_err(|error| {
        CredentialsError::Failed(format!(
            "the web identity token in {} cannot be read: {error}",
            file.display()
        ))
    })?;
    search.caller.network.redactor.add(token.trim());
    let session_name = session_name.map_or_else(default_session_name, str::to_owned);
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", role),
        ("RoleSessionName", &session_name),
        ("WebIdentityToken", token.trim()),
    ];
    call(
        search,
        "AssumeRoleWithWebIdentity",
        &form,
        None,
        &format!("the role {role}"),
    )
}

fn default_session_name() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("session-manager-plugin-{}", now.as_secs())
}

/// Calls STS, which speaks forms and XML.
fn call(
    search: &CredentialSearch<'_>,
    operation: &'static str,
    form: &[(&str, &str)],
    source: Option<&Credentials>,
    whose: &str,
) -> Result<Credentials, CredentialsError> {
    let failed = |error: ApiError| match error.is_given_up() {
        true => CredentialsError::Cancelled,
        false => {
            let mut failure = error.failure();
            if let ApiError::Refused { refusal, .. } = &error {
                failure.meaning = refusal.meaning_of_source();
            }
            CredentialsError::of(failure, &format!("{whose} cannot be had"))
        }
    };
    let url = search
        .endpoints
        .url(Service::Sts, search.region)
        .map_err(|error| failed(error.into()))?;
    let form = form.iter().chain([&("Version", VERSION)]);
    let body = Secret::new(form_body(form.copied()));
    let call = ApiCall {
        operation,
        url: &url,
        region: search.region,
        service: Service::Sts.signing_name(),
        target: None,
        content_type: FORM,
        body: body.expose().as_bytes(),
    };
    let _waiting = search.waiting_for_network(whose);
    let limit: Limit = search.network_limit();
    let answer = search.caller.call(&call, source, &limit).map_err(failed)?;
    let document = String::from_utf8_lossy(answer.body());
    let text = |name| xml::text(&document, name).map(|text| text.into_owned());
    let found = Credentials::new(
        text("AccessKeyId").unwrap_or_default(),
        text("SecretAccessKey").unwrap_or_default().into(),
        text("SessionToken").map(Into::into),
        text("Expiration").as_deref().and_then(time::parse),
    );
    found.ok_or_else(|| failed(ApiError::Malformed("holds no credentials", operation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aws_clis_cache_key() {
        // What botocore 1.43.11 makes of the same arguments.
        let role = Role {
            profile: "p".to_owned(),
            arn: "arn:aws:iam::111122223333:role/Ops".to_owned(),
            session_name: None,
            external_id: Some("é\"x\\".to_owned()),
            duration: Some(900),
            mfa_serial: Some("arn:aws:iam::111122223333:mfa/me".to_owned()),
        };
        assert_eq!(role.cache_key(), "bf428c40240277c66b693762f7011c32308c85dd");
        let role = Role {
            external_id: None,
            duration: None,
            session_name: Some("me".to_owned()),
            ..role
        };
        assert_eq!(role.cache_key(), "722af03b1f598375d16796de3731c6dd6011e08a");
    }
}
