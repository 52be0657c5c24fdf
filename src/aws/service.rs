//! The services that are called, and their names.

/// Whom we call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Ssm,
    Kms,
    Sts,
    Ecs,
    Ec2,
    Ec2InstanceConnect,
    /// The portal that hands out credentials for single sign-on.
    Sso,
    /// The service that hands out tokens for single sign-on.
    SsoOidc,
}

impl Service {
    /// The label in host names.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Kms => "kms",
            Self::Sts => "sts",
            Self::Ecs => "ecs",
            Self::Ec2 => "ec2",
            Self::Ec2InstanceConnect => "ec2-instance-connect",
            Self::Sso => "portal.sso",
            Self::SsoOidc => "oidc",
        }
    }

    /// The name by which requests are signed; services that take unsigned requests never need it.
    pub(super) fn signing_name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Kms => "kms",
            Self::Sts => "sts",
            Self::Ecs => "ecs",
            Self::Ec2 => "ec2",
            Self::Ec2InstanceConnect => "ec2-instance-connect",
            Self::Sso => "awsssoportal",
            Self::SsoOidc => "sso-oauth",
        }
    }

    /// Its name in a `services` section of the configuration file.
    pub(super) fn configured_name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Kms => "kms",
            Self::Sts => "sts",
            Self::Ecs => "ecs",
            Self::Ec2 => "ec2",
            Self::Ec2InstanceConnect => "ec2_instance_connect",
            Self::Sso => "sso",
            Self::SsoOidc => "sso_oidc",
        }
    }

    /// The variable that replaces its endpoint.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Ssm => "AWS_ENDPOINT_URL_SSM",
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            Self::Ecs => "AWS_ENDPOINT_URL_ECS",
            Self::Ec2 => "AWS_ENDPOINT_URL_EC2",
            Self::Ec2InstanceConnect => "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",
            Self::Sso => "AWS_ENDPOINT_URL_SSO",
            Self::SsoOidc => "AWS_ENDPOINT_URL_SSO_OIDC",
        }
    }
}
