//! Where the services are.

use http::Uri;

use super::configured::Configured;
use super::exchange::parse_url;
use crate::communicator::SUFFIXES;
use crate::error::Error;
use crate::settings::Environment;

/// Whom we call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Ssm,
    Kms,
    Sts,
    /// The portal that hands out credentials for single sign-on.
    Sso,
    /// The service that hands out tokens for single sign-on.
    SsoOidc,
}

impl Service {
    /// The label in host names.
    fn label(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Kms => "kms",
            Self::Sts => "sts",
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
            Self::Sso => "sso",
            Self::SsoOidc => "sso_oidc",
        }
    }

    /// The variable that replaces its endpoint.
    fn variable(self) -> &'static str {
        match self {
            Self::Ssm => "AWS_ENDPOINT_URL_SSM",
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            Self::Sso => "AWS_ENDPOINT_URL_SSO",
            Self::SsoOidc => "AWS_ENDPOINT_URL_SSO_OIDC",
        }
    }
}

/// What decides about endpoints.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoints {
    /// Of the variables: for each service, then for all.
    environment: Environment,
    /// The same of the profile, where no variable says anything.
    configured: Configured,
    /// The caller's endpoint for SSM, where it is one.
    ssm: Option<Uri>,
    /// The suffix and the mode of the stream URL's host.
    stream: Option<StreamHost>,
    fips: bool,
    dual_stack: bool,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`: neither variables nor the profile say anything.
    ignores_configured: bool,
}

/// What a stream URL's host says about the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StreamHost {
    suffix: &'static str,
    fips: bool,
}

impl Endpoints {
    /// Takes in what the caller said: its endpoint (argument 6), the target, and the host that the service named for the stream.
    pub(super) fn new(
        environment: &Environment,
        configured: &Configured,
        endpoint: Option<&str>,
        target: Option<&str>,
        stream_host: Option<&str>,
    ) -> Self {
        let is_on = |variable, setting| configured.is_on(environment, variable, setting);
        Self {
            environment: environment.clone(),
            configured: configured.clone(),
            ssm: endpoint.and_then(|endpoint| ssm_endpoint(endpoint, target)),
            stream: stream_host.and_then(StreamHost::parse),
            fips: is_on("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dual_stack: is_on("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            ignores_configured: is_on(
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                "ignore_configured_endpoint_urls",
            ),
        }
    }

    /// The URL of a service in a region.
    ///
    /// # Errors
    /// A variable or setting whose value is no URL, or a region that is none.
    pub(super) fn url(&self, service: Service, region: &str) -> Result<Uri, Error> {
        let parse = |url: Option<&str>, place: &str| {
            let url = url.filter(|_| !self.ignores_configured)?;
            Some(parse_url(url).map_err(|why| Error::Start(format!("the URL in {place} {why}"))))
        };
        let from_variable = |name: &str| parse(self.environment.get(name), name);
        if let Some(url) = from_variable(service.variable()) {
            return url;
        }
        if let (Service::Ssm, Some(url)) = (service, &self.ssm) {
            return Ok(url.clone());
        }
        if let Some(url) = from_variable("AWS_ENDPOINT_URL") {
            return url;
        }
        let configured = self.configured.endpoint_url(service);
        if let Some(url) = parse(configured, "the profile's endpoint_url") {
            return url;
        }
        check_region(region)?;
        // Only SSM follows the stream: other services do not have every kind of endpoint.
        let stream = self.stream.as_ref().filter(|_| service == Service::Ssm);
        let fips = self.fips || stream.is_some_and(|stream| stream.fips);
        let suffix = stream.map(|stream| stream.suffix);
        let suffix = suffix.unwrap_or_else(|| suffix_of_region(region, self.dual_stack));
        let fips = if fips && !matches!(service, Service::Sso | Service::SsoOidc) {
            "-fips"
        } else {
            ""
        };
        let url = format!("https://{}{fips}.{region}.{suffix}", service.label());
        parse_url(&url).map_err(|why| Error::Start(format!("the endpoint {url} {why}")))
    }
}

/// A region becomes part of a host name, so it must be no more than a label.
fn check_region(region: &str) -> Result<(), Error> {
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() {
        return Err(Error::Start(
            "no region is known: set AWS_REGION, or region in the profile, or give --region"
                .to_owned(),
        ));
    }
    if !region.bytes().all(is_label)
        || region.len() > 63
        || region.starts_with('-')
        || region.ends_with('-')
    {
        return Err(Error::Start(format!(
            "{region:?} is no region; they look like eu-west-1"
        )));
    }
    Ok(())
}

/// The caller's endpoint where it is one of SSM: not the stream URL (Packer), not that of ECS (the AWS CLI's execute-command).
fn ssm_endpoint(endpoint: &str, target: Option<&str>) -> Option<Uri> {
    if target.is_some_and(|target| target.starts_with("ecs:")) {
        return None;
    }
    let url = parse_url(endpoint).ok()?;
    let mut labels = url.host()?.split('.');
    let is_ecs = |label: &str| matches!(label.to_ascii_lowercase().as_str(), "ecs" | "ecs-fips");
    (!labels.any(is_ecs)).then_some(url)
}

impl StreamHost {
    fn parse(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let labels: Vec<&str> = host.split('.').collect();
        let service = labels
            .iter()
            .position(|label| matches!(*label, "ssmmessages" | "ssmmessages-fips"))?;
        let suffix = labels.get(service + 2..)?.join(".");
        let suffix = suffix.strip_prefix("vpce.").unwrap_or(&suffix);
        Some(Self {
            suffix: SUFFIXES.into_iter().find(|known| *known == suffix)?,
            fips: labels[service] == "ssmmessages-fips",
        })
    }
}

/// The partitions' suffixes, as botocore 1.43.11 has them in `data/partitions.json`: regions' prefix, suffix, suffix of the
/// endpoints with IPv6.
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("", "amazonaws.com", "api.aws"),
];

fn suffix_of_region(region: &str, dual_stack: bool) -> &'static str {
    let partition = PARTITIONS
        .iter()
        .find(|(prefix, ..)| region.starts_with(prefix));
    let (_, suffix, dual) = partition
        .copied()
        .unwrap_or(("", "amazonaws.com", "api.aws"));
    if dual_stack { dual } else { suffix }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url<const N: usize>(
        variables: [(&str, &str); N],
        endpoint: Option<&str>,
        target: Option<&str>,
        stream: Option<&str>,
        service: Service,
        region: &str,
    ) -> String {
        let endpoints = Endpoints::new(
            &Environment::from(variables),
            &Configured::default(),
            endpoint,
            target,
            stream,
        );
        let url = endpoints.url(service, region);
        url.map_or_else(|error| error.to_string(), |url| url.to_string())
    }

    fn ssm(endpoint: Option<&str>, target: Option<&str>, stream: &str) -> String {
        url(
            [],
            endpoint,
            target,
            Some(stream),
            Service::Ssm,
            "eu-west-1",
        )
    }

    const STREAM: &str = "ssmmessages.eu-west-1.amazonaws.com";

    #[test]
    fn p23_the_endpoint_of_ssm_is_never_that_of_another_service() {
        let derived = "https://ssm.eu-west-1.amazonaws.com/";
        assert_eq!(ssm(None, None, STREAM), derived);
        assert_eq!(
            ssm(
                Some("wss://ssmmessages.eu-west-1.amazonaws.com/v1"),
                None,
                STREAM
            ),
            derived
        );
        assert_eq!(
            ssm(Some("https://ecs.eu-west-1.amazonaws.com"), None, STREAM),
            derived
        );
        assert_eq!(
            ssm(
                Some("https://vpce-1.ecs.eu-west-1.vpce.amazonaws.com"),
                None,
                STREAM
            ),
            derived
        );
        assert_eq!(
            ssm(Some("http://127.0.0.1:9000"), Some("ecs:c_t_r"), STREAM),
            derived
        );
        assert_eq!(
            ssm(Some("http://127.0.0.1:9000"), Some("i-1"), STREAM),
            "http://127.0.0.1:9000/"
        );
        assert_eq!(
            ssm(Some("https://ssm.example/x"), None, STREAM),
            "https://ssm.example/x"
        );
        assert_eq!(ssm(Some("not a url"), None, STREAM), derived);
    }

    #[test]
    fn p23_the_partition_is_the_streams() {
        let from = |stream: &str| ssm(None, None, stream);
        assert_eq!(
            from("vpce-1-a.ssmmessages.eu-west-1.vpce.amazonaws.com"),
            "https://ssm.eu-west-1.amazonaws.com/"
        );
        assert_eq!(
            from("ssmmessages-fips.eu-west-1.amazonaws.com"),
            "https://ssm-fips.eu-west-1.amazonaws.com/"
        );
        assert_eq!(
            from("ssmmessages.cn-north-1.amazonaws.com.cn"),
            "https://ssm.eu-west-1.amazonaws.com.cn/"
        );
        assert_eq!(
            from("ssmmessages.eu-west-1.api.aws"),
            "https://ssm.eu-west-1.api.aws/"
        );
        assert_eq!(
            from("ssmmessages.x.evil.example"),
            "https://ssm.eu-west-1.amazonaws.com/"
        );
        assert_eq!(from("localhost"), "https://ssm.eu-west-1.amazonaws.com/");
    }

    #[test]
    fn variables_go_before_all() {
        let both = [
            ("AWS_ENDPOINT_URL_SSM", "http://a:1"),
            ("AWS_ENDPOINT_URL", "http://b:2"),
        ];
        let argument = Some("http://c:3");
        assert_eq!(
            url(both, argument, None, None, Service::Ssm, "x"),
            "http://a:1/"
        );
        assert_eq!(
            url(both, argument, None, None, Service::Kms, "x"),
            "http://b:2/"
        );
        assert_eq!(
            url([both[1]], argument, None, None, Service::Ssm, "x"),
            "http://c:3/"
        );
        let ecs = Some("ecs:c_t_r");
        assert_eq!(
            url([both[1]], argument, ecs, None, Service::Ssm, "x"),
            "http://b:2/"
        );
        let ignored = [
            ("AWS_ENDPOINT_URL", "http://b:2"),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ];
        assert_eq!(
            url(ignored, argument, None, None, Service::Ssm, "x"),
            "http://c:3/"
        );
        assert_eq!(
            url(ignored, argument, None, None, Service::Kms, "x-1"),
            "https://kms.x-1.amazonaws.com/"
        );
        // What is for SSM alone is not for the others.
        assert_eq!(
            url([both[0]], argument, None, None, Service::Sts, "x-1"),
            "https://sts.x-1.amazonaws.com/"
        );
        let wrong = [("AWS_ENDPOINT_URL_STS", "sts")];
        assert!(url(wrong, None, None, None, Service::Sts, "x").contains("AWS_ENDPOINT_URL_STS"));
    }

    #[test]
    fn partitions_of_botocore() {
        // Region, suffix, suffix with IPv6: from botocore 1.43.11, data/partitions.json.
        for (region, suffix, dual) in [
            ("us-east-1", "amazonaws.com", "api.aws"),
            ("eu-central-2", "amazonaws.com", "api.aws"),
            ("mx-central-1", "amazonaws.com", "api.aws"),
            (
                "cn-north-1",
                "amazonaws.com.cn",
                "api.amazonwebservices.com.cn",
            ),
            ("eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu"),
            ("us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
            ("us-gov-west-1", "amazonaws.com", "api.aws"),
        ] {
            for service in [Service::Ssm, Service::Kms, Service::Sts] {
                let name = service.label();
                let expected = format!("https://{name}.{region}.{suffix}/");
                assert_eq!(url([], None, None, None, service, region), expected);
                let expected = format!("https://{name}.{region}.{dual}/");
                let on = [("AWS_USE_DUALSTACK_ENDPOINT", "true")];
                assert_eq!(url(on, None, None, None, service, region), expected);
                let expected = format!("https://{name}-fips.{region}.{suffix}/");
                let on = [("AWS_USE_FIPS_ENDPOINT", "True")];
                assert_eq!(url(on, None, None, None, service, region), expected);
            }
            assert!(
                SUFFIXES.contains(&suffix) && SUFFIXES.contains(&dual),
                "{region}"
            );
        }
    }

    #[test]
    fn a_region_is_no_more_than_a_label() {
        for wrong in ["evil.example/", "a.b", "eu-west-1@x", "-x", "A", "é"] {
            let error = url([], None, None, None, Service::Ssm, wrong);
            assert!(error.contains("is no region"), "{error}");
        }
        assert!(url([], None, None, None, Service::Ssm, "").contains("AWS_REGION"));
    }
}
