//! Whether the services can be reached, and how far this machine's clock is from theirs.

use std::time::{Duration, SystemTime};

use http::Uri;

use super::check::Check;
use crate::client::Api;
use crate::client::{ConnectError, Limit, Probe};
use crate::settings::Settings;

/// Name, connection and TLS.
const REACH_TIME: Duration = Duration::from_secs(8);
/// The same again, and an answer.
const DATE_TIME: Duration = Duration::from_secs(8);
/// AWS accepts signatures whose time differs by up to this.
const SIGNATURE_TIME: Duration = Duration::from_secs(300);
/// A smaller difference is not reported.
const UNIMPORTANT: Duration = Duration::from_secs(30);

/// A host that must be reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointPlace {
    pub(super) name: &'static str,
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl EndpointPlace {
    /// Systems Manager's API.
    pub(super) fn ssm(url: &Uri) -> Self {
        let secure = url.scheme_str() != Some("http");
        Self {
            name: "ssm",
            secure,
            host: url.host().unwrap_or_default().to_owned(),
            port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        }
    }

    /// The host of streams, or the one that a variable puts in its place.
    pub(super) fn streams(api: &Api, settings: &Settings) -> Self {
        let endpoint = settings.stream_endpoint.as_ref();
        Self {
            name: "ssmmessages",
            secure: true,
            host: endpoint.map_or_else(
                || api.standard_stream_host(),
                |endpoint| endpoint.host.clone(),
            ),
            port: endpoint.and_then(|endpoint| endpoint.port).unwrap_or(443),
        }
    }
}

/// Connects and closes the connection.
pub(super) fn reach(api: &Api, place: &EndpointPlace) -> Check {
    let limit = Limit::within(REACH_TIME);
    let to = format!("{}:{}", place.host, place.port);
    let network = api.network();
    let (probe, result) = network.probe(place.secure, &place.host, place.port, &limit);
    match result {
        Ok(()) => Check::fine(place.name, format!("{to}: {}", steps(&probe))),
        Err(error) => {
            let done = steps(&probe);
            let detail = if done.is_empty() {
                error.to_string()
            } else {
                format!("{error}; before: {done}")
            };
            Check::problem(place.name, detail, next_step(place, &error))
        }
    }
}

fn steps(probe: &Probe) -> String {
    let step = |name: &str, time: Option<Duration>| {
        time.map(|time| format!("{name} {:.0} ms", time.as_secs_f64() * 1000.0))
    };
    let through = probe.proxy.as_ref().map(|proxy| format!("through {proxy}"));
    let all = [
        through,
        step("name", probe.name),
        step("connection", probe.connection),
        step("TLS", probe.tls),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn next_step(place: &EndpointPlace, error: &ConnectError) -> String {
    let EndpointPlace {
        name, host, port, ..
    } = place;
    match error {
        ConnectError::NotFound { .. } => format!(
            "check the region and the name servers; in a network without internet, make an interface endpoint for {name} with private names"
        ),
        ConnectError::Refused { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Cancelled => format!(
            "allow TCP to {host} port {port} in the firewall and the security group, or name a proxy in HTTPS_PROXY"
        ),
        ConnectError::Proxy { .. } => format!(
            "have the proxy allow CONNECT to {host}:{port}, correct user and password in its variable, or name {host} in NO_PROXY"
        ),
        ConnectError::ProxyUnreachable { .. } => format!(
            "correct the proxy in the variable that is named, or name {host} in NO_PROXY if it is reached without"
        ),
        error if error.is_about_time() => format!(
            "set this machine's clock, for example by `timedatectl set-ntp true`; if it is right, {host} needs a new certificate"
        ),
        ConnectError::Certificate { .. } | ConnectError::Tls { .. } => {
            "name the PEM file with the authority of your proxy or gateway in AWS_CA_BUNDLE"
                .to_owned()
        }
        ConnectError::Trust(_) => {
            "install ca-certificates, or name a PEM file of authorities in AWS_CA_BUNDLE".to_owned()
        }
    }
}

/// Compares this machine's clock with the service's; none if the service cannot be reached, which another step reports.
pub(super) fn clock(api: &Api, url: &Uri) -> Option<Check> {
    let before = SystemTime::now();
    let server = api.server_time(url, &Limit::within(DATE_TIME)).ok()??;
    let after = SystemTime::now();
    Some(compare(before, server, after))
}

/// `before` and `after` are our times around the service's, which has whole seconds.
fn compare(before: SystemTime, server: SystemTime, after: SystemTime) -> Check {
    let behind = server.duration_since(after).unwrap_or_default();
    let ahead = before.duration_since(server).unwrap_or_default();
    let (off, word) = if behind > ahead {
        (behind, "behind")
    } else {
        (ahead, "ahead of")
    };
    if off <= UNIMPORTANT {
        return Check::fine("clock", "as the service's");
    }
    let seconds = off.as_secs();
    let next = "set it, for example by `timedatectl set-ntp true`";
    let detail = if off < SIGNATURE_TIME {
        format!("this machine's is {seconds} s {word} the service's")
    } else {
        format!(
            "this machine's is {seconds} s {word} the service's, which refuses signatures of others with that; ours have the service's time"
        )
    };
    Check::warning("clock", detail, next)
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn a_certificate_that_is_not_valid_now_makes_the_clock_the_next_step() {
        let place = EndpointPlace {
            name: "ssmmessages",
            host: "gateway".to_owned(),
            port: 443,
            secure: true,
        };
        for (reason, expected) in [
            ("certificate has expired", "clock"),
            (
                "certificate is not yet valid or the system clock is incorrect",
                "clock",
            ),
            ("hostname mismatch", "AWS_CA_BUNDLE"),
        ] {
            let error = ConnectError::Certificate {
                host: "gateway".to_owned(),
                reason: reason.to_owned(),
            };
            assert!(next_step(&place, &error).contains(expected), "{reason}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_told() {
        let now = SystemTime::now();
        let second = Duration::from_secs(1);
        let at = |server| compare(now, server, now + second);
        assert_eq!(at(now).outcome, CheckOutcome::Fine);
        assert_eq!(at(now - second * 20).outcome, CheckOutcome::Fine);
        let ahead = at(now - second * 600);
        assert_eq!(ahead.outcome, CheckOutcome::Warning);
        assert!(ahead.detail.contains("600 s ahead of"), "{ahead:?}");
        let behind = at(now + second * 101);
        assert!(behind.detail.contains("100 s behind"), "{behind:?}");
        assert!(!behind.detail.contains("refuses"), "{behind:?}");
    }
}
