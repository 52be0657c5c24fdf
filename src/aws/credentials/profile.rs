//! Credentials as a profile has them.

use super::config::Section;
use super::search::{CredentialSearch, Found};
use super::{
    Credentials, CredentialsError, container, environment, instance, login, process, sso, sts,
};

/// What a profile says; none if it says nothing about credentials.
pub(super) fn find(search: &CredentialSearch<'_>, name: &str, profile: &Section) -> Found {
    resolve(search, name, profile, &mut Vec::new())
}

/// There is no such profile.
pub(super) fn unknown(search: &CredentialSearch<'_>, name: &str) -> CredentialsError {
    CredentialsError::Failed(search.profiles.no_such(name))
}

/// There is such a profile, and neither it nor anything else has credentials.
pub(super) fn empty(search: &CredentialSearch<'_>, name: &str) -> CredentialsError {
    let places = search.profiles.places();
    CredentialsError::Failed(format!(
        "the profile {name} in {places} has none, and there are none in the environment: give it some with `aws configure`, or set \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ))
}

/// `path` are the profiles that led here.
fn resolve(
    search: &CredentialSearch<'_>,
    name: &str,
    profile: &Section,
    path: &mut Vec<String>,
) -> Found {
    path.push(name.to_owned());
    if let Some(role) = profile.get("role_arn") {
        let found = match profile.get("web_identity_token_file") {
            Some(file) => {
                let file = search.environment.expand(file);
                sts::web_identity(search, role, profile.get("role_session_name"), &file)?
            }
            None => assume_role(search, name, profile, path)?,
        };
        return Ok(Some(found));
    }
    if let Some(found) = sso::find(search, name, profile)? {
        return Ok(Some(found));
    }
    if let Some(found) = keys(name, profile)? {
        return Ok(Some(found));
    }
    if let Some(found) = login::find(search, name, profile)? {
        return Ok(Some(found));
    }
    match profile.get("credential_process") {
        Some(command) => process::credential_process(search, name, command).map(Some),
        None => Ok(None),
    }
}

/// Keys that are in the profile itself.
fn keys(name: &str, profile: &Section) -> Found {
    let get = |key| profile.get(key).map(str::to_owned);
    let (key, secret) = match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (None, None) => return Ok(None),
        (Some(key), Some(secret)) => (key, secret),
        _ => {
            return Err(CredentialsError::Failed(format!(
                "the profile {name} has only one of aws_access_key_id and aws_secret_access_key"
            )));
        }
    };
    let found = Credentials::new(
        key,
        secret.into(),
        get("aws_session_token").map(Into::into),
        None,
    );
    let unusable = || {
        CredentialsError::Failed(format!(
            "the keys in the profile {name} cannot be credentials"
        ))
    };
    found.map(Some).ok_or_else(unusable)
}

fn assume_role(
    search: &CredentialSearch<'_>,
    name: &str,
    profile: &Section,
    path: &mut Vec<String>,
) -> Result<Credentials, CredentialsError> {
    let wrong =
        |what: &str| CredentialsError::Failed(format!("the profile {name} has a role_arn {what}"));
    let role = sts::Role::of_profile(name, profile)?;
    // Nobody can be asked for a code here, so with one only what the AWS CLI has cached will do.
    if role.needs_code() {
        return role.kept_by_aws_cli(search);
    }
    let source = match (
        profile.get("source_profile"),
        profile.get("credential_source"),
    ) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                "with both source_profile and credential_source: one must go",
            ));
        }
        (None, None) => return Err(wrong("without source_profile or credential_source")),
        (Some(source), None) if source == name => keys(name, profile)?,
        (Some(source), None) => {
            if path.iter().any(|before| before == source) {
                return Err(wrong("whose source_profile leads back to it"));
            }
            let found = search
                .profiles
                .profile(source)
                .ok_or_else(|| unknown(search, source))?;
            resolve(search, source, found, path)?
        }
        (None, Some("Environment")) => environment::find(search.environment)?,
        (None, Some("Ec2InstanceMetadata")) => instance::find(search, true)?,
        (None, Some("EcsContainer")) => container::find(search)?,
        (None, Some(_)) => {
            return Err(wrong(
                "with a credential_source that is none of Environment, Ec2InstanceMetadata, EcsContainer",
            ));
        }
    };
    let source = source.ok_or_else(|| wrong("whose source has no credentials"))?;
    role.assume(search, &source)
}
