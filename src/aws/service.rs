//! The services that are called, and their names.

/// A service of AWS.
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

/// The names of one service, each for another purpose.
struct ServiceNames {
    label: &'static str,
    signing: &'static str,
    configured: &'static str,
    variable: &'static str,
}

impl Service {
    const fn names(self) -> ServiceNames {
        let (label, signing, configured, variable) = match self {
            Self::Ssm => ("ssm", "ssm", "ssm", "AWS_ENDPOINT_URL_SSM"),
            Self::Kms => ("kms", "kms", "kms", "AWS_ENDPOINT_URL_KMS"),
            Self::Sts => ("sts", "sts", "sts", "AWS_ENDPOINT_URL_STS"),
            Self::Ecs => ("ecs", "ecs", "ecs", "AWS_ENDPOINT_URL_ECS"),
            Self::Ec2 => ("ec2", "ec2", "ec2", "AWS_ENDPOINT_URL_EC2"),
            Self::Ec2InstanceConnect => (
                "ec2-instance-connect",
                "ec2-instance-connect",
                "ec2_instance_connect",
                "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",
            ),
            Self::Sso => ("portal.sso", "awsssoportal", "sso", "AWS_ENDPOINT_URL_SSO"),
            Self::SsoOidc => ("oidc", "sso-oauth", "sso_oidc", "AWS_ENDPOINT_URL_SSO_OIDC"),
        };
        ServiceNames {
            label,
            signing,
            configured,
            variable,
        }
    }

    /// The label in host names.
    pub(super) const fn label(self) -> &'static str {
        self.names().label
    }

    /// The name by which requests are signed; services that take unsigned requests never need it.
    pub(super) const fn signing_name(self) -> &'static str {
        self.names().signing
    }

    /// Its name in a `services` section of the configuration file.
    pub(super) const fn configured_name(self) -> &'static str {
        self.names().configured
    }

    /// The variable that replaces its endpoint.
    pub(super) const fn variable(self) -> &'static str {
        self.names().variable
    }
}
