//! Keys, and what leads to them.

use uuid::Uuid;

/// A key pair for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AKIA…`, or `ASIA…` with a session token.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// Of temporary credentials; must come along then.
    pub session_token: Option<String>,
}

impl Credentials {
    /// A key that nobody has had before.
    pub fn generate() -> Self {
        Self {
            access_key_id: format!("AKIA{}", random().to_uppercase()),
            secret_access_key: format!("sandbox/secret/key/{}", random()),
            session_token: None,
        }
    }
}

/// What who asks for credentials must know: made anew for each run, so that no other user of this machine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The access token that SSO takes, besides those that its OIDC gave out.
    pub sso_access_token: String,
    /// The refresh token that OIDC takes.
    pub sso_refresh_token: String,
    /// What OIDC gives for it.
    pub sso_new_access_token: String,
    /// The web identity token that AssumeRoleWithWebIdentity takes.
    pub web_identity_token: String,
    /// What containers' credentials with a token want in `Authorization`.
    pub container_token: String,
    /// What the instance's metadata gives for a while, and wants then.
    pub(crate) instance_token: String,
    /// The first part of the metadata services' paths: whoever reaches a real one is that machine or container, and here all are.
    pub(crate) metadata: String,
}

impl Secrets {
    /// Secrets that nobody has had before.
    pub fn generate() -> Self {
        let new = |name: &str| format!("sandbox-{name}-{}", random());
        Self {
            sso_access_token: new("sso-access-token"),
            sso_refresh_token: new("sso-refresh-token"),
            sso_new_access_token: new("sso-new-access-token"),
            web_identity_token: new("web-identity-token"),
            container_token: new("container-token"),
            instance_token: new("instance-token"),
            metadata: format!("/{}", random()),
        }
    }
}

/// 64 random bits, in hex.
fn random() -> String {
    Uuid::new_v4().simple().to_string()[16..].to_owned()
}
