//! Where the services are.

use http::Uri;

use super::configured::Configured;
use super::exchange::{host_header, parse_url};
use super::service::Service;
use crate::error::Error;
use crate::host::is_loopback;
use crate::partitions::{Partition, split_suffix};
use crate::settings::Environment;

/// Which kind of endpoint is wanted (`AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mode {
    fips: bool,
    dual_stack: bool,
}

impl Service {
    /// The host of a service in a region, by the rules of botocore's `endpoint-rule-set-1.json` of each service.
    fn host(self, region: &str, partition: &Partition, mode: Mode) -> String {
        let label = self.label();
        if self == Self::Sts && region == "aws-global" && mode == Mode::default() {
            return format!("{label}.{}", partition.suffix);
        }
        // There the plain hosts of these are FIPS hosts, and hosts with -fips do not exist.
        let fips_is_plain = partition.is_govcloud()
            && !mode.dual_stack
            && matches!(
                self,
                Self::Ssm | Self::Sts | Self::Ec2 | Self::Sso | Self::SsoOidc
            );
        let fips = if mode.fips && !fips_is_plain {
            "-fips"
        } else {
            ""
        };
        let suffix = if mode.dual_stack {
            partition.dual_stack_suffix
        } else {
            partition.suffix
        };
        format!("{label}{fips}.{region}.{suffix}")
    }
}

/// What decides about endpoints.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoints {
    /// Of the variables: for each service, then for all.
    environment: Environment,
    /// The same of the profile, where no variable says anything.
    configured: Configured,
    /// The endpoint of SSM that was asked for, as it was written.
    asked: Option<String>,
    /// Argument 6, where it is an endpoint of SSM.
    argument: Option<Uri>,
    /// The suffix and the mode of the stream URL's host.
    stream: Option<StreamHost>,
    mode: Mode,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`: neither variables nor the profile say anything.
    ignores_configured: bool,
}

/// What a stream URL's host says about the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StreamHost {
    region: String,
    suffix: &'static str,
    fips: bool,
}

/// An endpoint that whoever starts this program names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerEndpoint {
    /// By `--endpoint-url` or a setting of the library: it is that of Systems Manager, and goes before what variables say, as in the AWS
    /// CLI. An empty one says nothing.
    Asked(String),
    /// By argument 6 of the contract, whatever it is the endpoint of: `AWS_ENDPOINT_URL_SSM` goes before it.
    Argument(String),
}

impl Endpoints {
    /// Takes in what the caller said: its endpoint, the target, and the host that the service named for the stream.
    pub(super) fn new(
        environment: &Environment,
        configured: &Configured,
        endpoint: Option<&CallerEndpoint>,
        target: Option<&str>,
        stream_host: Option<&str>,
    ) -> Self {
        let (asked, argument) = match endpoint {
            Some(CallerEndpoint::Asked(url)) if !url.is_empty() => (Some(url.clone()), None),
            Some(CallerEndpoint::Argument(url)) => (None, ssm_endpoint(url, target)),
            _ => (None, None),
        };
        let is_on = |variable, setting| configured.is_on(environment, variable, setting);
        Self {
            environment: environment.clone(),
            configured: configured.clone(),
            asked,
            argument,
            stream: stream_host.and_then(StreamHost::parse),
            mode: Mode {
                fips: is_on("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
                dual_stack: is_on("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            },
            ignores_configured: is_on(
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                "ignore_configured_endpoint_urls",
            ),
        }
    }

    /// SSM's endpoint follows the stream, whose host is known now.
    pub(super) fn follow(&mut self, stream_host: &str) {
        self.stream = StreamHost::parse(stream_host);
    }

    /// The URL of a service in a region.
    ///
    /// # Errors
    /// A variable or setting whose value is no URL, a region that is none, or a way in the clear for secrets that must not go there.
    pub(super) fn url(&self, service: Service, region: &str) -> Result<Uri, Error> {
        // Also where an endpoint is given: the region is part of every signature.
        check_region(region)?;
        let url = self.given(service).unwrap_or_else(|| {
            let host = self.host(service, region);
            let url = format!("https://{host}");
            parse_url(&url).map_err(|why| Error::Start(format!("the endpoint {url} {why}")))
        })?;
        if matches!(service, Service::Sso | Service::SsoOidc)
            && let Some(host) = clear_text_host(&url)
        {
            return Err(Error::Start(format!(
                "the endpoint for single sign-on, http://{host}, is not encrypted: its tokens go to this machine or through https:// only"
            )));
        }
        Ok(url)
    }

    /// The host of a region's streams, beside that of Systems Manager.
    pub(super) fn stream_host(&self, region: &str) -> String {
        let host = self.host(Service::Ssm, region);
        let rest = host.strip_prefix(Service::Ssm.label()).unwrap_or(&host);
        format!("ssmmessages{rest}")
    }

    /// The region that the stream URL's host names.
    pub(super) fn region_of_stream(&self) -> Option<String> {
        Some(self.stream.as_ref()?.region.clone())
    }

    /// The hosts to which calls go in the clear because the configuration says so, without this machine.
    pub(super) fn clear_text_hosts(&self) -> Vec<String> {
        let services = [Service::Ssm, Service::Kms, Service::Sts];
        let given = services
            .into_iter()
            .filter_map(|service| self.given(service));
        let mut hosts: Vec<String> = given
            .filter_map(|url| clear_text_host(&url.ok()?))
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// The endpoint that the caller, a variable or the profile names.
    fn given(&self, service: Service) -> Option<Result<Uri, Error>> {
        let parse = |url: Option<&str>, place: &str| {
            let url = url.filter(|_| !self.ignores_configured)?;
            Some(parse_url(url).map_err(|why| Error::Start(format!("the URL in {place} {why}"))))
        };
        let from_variable = |name: &str| parse(self.environment.get(name), name);
        let is_ssm = service == Service::Ssm;
        // Without the URL in its text: it may hold a password.
        let asked = self.asked.as_ref().filter(|_| is_ssm).map(|url| {
            parse_url(url).map_err(|why| Error::Usage(format!("the URL in --endpoint-url {why}")))
        });
        let of_argument = || Some(Ok(self.argument.as_ref().filter(|_| is_ssm)?.clone()));
        let of_profile = || {
            let configured = self.configured.endpoint_url(service);
            parse(configured, "the profile's endpoint_url")
        };
        asked
            .or_else(|| from_variable(service.variable()))
            .or_else(of_argument)
            .or_else(|| from_variable("AWS_ENDPOINT_URL"))
            .or_else(of_profile)
    }

    fn host(&self, service: Service, region: &str) -> String {
        // Only SSM follows the stream: other services do not have every kind of endpoint.
        let stream = self.stream.as_ref().filter(|_| service == Service::Ssm);
        let of_stream = stream.and_then(|stream| Partition::of_suffix(stream.suffix, region));
        let (partition, dual_stack) =
            of_stream.unwrap_or_else(|| (Partition::of_region(region), false));
        let mode = Mode {
            fips: self.mode.fips || stream.is_some_and(|stream| stream.fips),
            dual_stack: self.mode.dual_stack || dual_stack,
        };
        service.host(region, partition, mode)
    }
}

/// The host and port of a URL that is neither encrypted nor on this machine.
fn clear_text_host(url: &Uri) -> Option<String> {
    let is_clear = url.scheme_str() == Some("http");
    let is_elsewhere = !is_loopback(url.host().unwrap_or_default());
    (is_clear && is_elsewhere).then(|| host_header(url))
}

/// The host where a service is in a region when nobody names an endpoint, for tests that compare with other tables: none for services that
/// are not called.
#[doc(hidden)]
pub fn standard_host(service: &str, region: &str, fips: bool, dual_stack: bool) -> Option<String> {
    let service = match service {
        "ssm" => Service::Ssm,
        "kms" => Service::Kms,
        "sts" => Service::Sts,
        "ecs" => Service::Ecs,
        "ec2" => Service::Ec2,
        "ec2-instance-connect" => Service::Ec2InstanceConnect,
        "sso" => Service::Sso,
        "sso-oidc" => Service::SsoOidc,
        _ => return None,
    };
    let mode = Mode { fips, dual_stack };
    Some(service.host(region, Partition::of_region(region), mode))
}

/// A region becomes part of a host name and of signatures, so it must be no more than a label.
fn check_region(region: &str) -> Result<(), Error> {
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() {
        return Err(Error::NoRegion);
    }
    if !region.bytes().all(is_label)
        || region.len() > 63
        || region.starts_with('-')
        || region.ends_with('-')
    {
        let shown: String = region.chars().take(80).collect();
        return Err(Error::Start(format!(
            "{shown:?} is no region; they look like eu-west-1"
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
        let (before, suffix) = split_suffix(&host)?;
        let before = before.strip_suffix(".vpce").unwrap_or(before);
        let (before, region) = before.rsplit_once('.')?;
        let service = before.rsplit('.').next()?;
        matches!(service, "ssmmessages" | "ssmmessages-fips").then(|| Self {
            region: region.to_owned(),
            suffix,
            fips: service == "ssmmessages-fips",
        })
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
