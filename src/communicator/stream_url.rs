//! Which hosts may be dialled.
//!
//! The stream URL comes from outside, and its host is told a secret (the token) and a signature. So it must be a host of
//! AWS's Session Manager, or one that the user named.

use http::Uri;

use crate::error::Error;
use crate::host::{is_loopback, split_authority};
use crate::partitions::{looks_like_region, split_suffix};
use crate::settings::{HostPort, Settings};

/// Query parameters of a presigned URL. One of them says that it is signed already.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// A stream URL that may be dialled.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamUrl {
    uri: Uri,
    secure: bool,
    host: String,
    port: u16,
    /// The host that the service named, before the user replaced it.
    service_host: String,
    /// Whether the user replaced it.
    is_replaced: bool,
}

impl StreamUrl {
    /// Reads and judges a URL.
    ///
    /// # Errors
    /// When it is none, or when its host is neither AWS's nor allowed by the user. The text holds no query.
    pub fn parse(url: &str, settings: &Settings) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Start(format!("the StreamUrl of the session {what}"));
        // RFC 3986, 3.1: schemes are the same in any case. It is dialled and signed in small letters.
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let url = format!("{}://{rest}", scheme.to_ascii_lowercase());
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(wrong("does not begin with wss://")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(wrong("names a user, which no URL of AWS does"));
        }
        let (host, port) = split_authority(authority).ok_or_else(|| {
            wrong("names no host, or not as a URL does: brackets are for IPv6, ports go from 1 to 65535")
        })?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let is_allowed = settings.allow_stream_host.iter().any(|allowed| {
            allowed.host == host && allowed.port.is_none_or(|allowed| allowed == port)
        });
        let may_be_plain = is_allowed && is_loopback(&host);
        if !secure && !may_be_plain {
            return Err(wrong(
                "is not encrypted (ws://); that is for loopback hosts only, and for those that SSM_PLUGIN_ALLOW_STREAM_HOST names",
            ));
        }
        if !is_allowed && !is_session_manager(&host) {
            return Err(Error::Start(format!(
                "the StreamUrl of the session leads to {host}, which is no host of AWS Session Manager; \
                 if you trust it, name it in SSM_PLUGIN_ALLOW_STREAM_HOST"
            )));
        }
        let url = Self {
            uri,
            secure,
            service_host: host.clone(),
            host,
            port,
            is_replaced: false,
        };
        settings
            .stream_endpoint
            .as_ref()
            .map_or(Ok(url.clone()), |endpoint| url.replaced(endpoint))
    }

    /// The same with another host, where a VPC endpoint takes the service's place.
    fn replaced(&self, endpoint: &HostPort) -> Result<Self, Error> {
        if !self.secure && !is_loopback(&endpoint.host) {
            return Err(Error::Start(
                "the StreamUrl of the session is not encrypted (ws://), and SSM_PLUGIN_STREAM_ENDPOINT leads to another machine: that is \
                 for loopback hosts only"
                    .to_owned(),
            ));
        }
        let port = endpoint.port.unwrap_or(self.port);
        let is_v6 = endpoint.host.contains(':');
        let bracketed = if is_v6 {
            format!("[{}]", endpoint.host)
        } else {
            endpoint.host.clone()
        };
        let authority = endpoint
            .port
            .map_or_else(|| bracketed.clone(), |port| format!("{bracketed}:{port}"));
        let mut parts = self.uri.clone().into_parts();
        parts.authority = Some(authority.parse().map_err(|_| unusable_endpoint())?);
        let uri = Uri::from_parts(parts).map_err(|_| unusable_endpoint())?;
        Ok(Self {
            uri,
            host: endpoint.host.clone(),
            port,
            is_replaced: true,
            ..self.clone()
        })
    }

    /// The URL as it is dialled and signed.
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether TLS is spoken.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// What is said behind the reason why it cannot be dialled: where the host comes from, unless it is the service's.
    pub const fn origin(&self) -> &'static str {
        if self.is_replaced {
            " (SSM_PLUGIN_STREAM_ENDPOINT leads there)"
        } else {
            ""
        }
    }

    /// The host to connect to, and the name on its certificate.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host that the service named: its partition and FIPS mode are the API's, too.
    pub fn service_host(&self) -> &str {
        &self.service_host
    }

    /// What of its query opens doors, or may: every value but that of `role`.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let query = self.uri.query().unwrap_or_default();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(name, _)| *name != "role")
            .map(|(_, value)| value)
    }

    /// Whether the URL carries a signature of its own, and is neither signed nor resumed by us.
    pub fn is_presigned(&self) -> bool {
        let query = self.uri.query().unwrap_or_default();
        query
            .split('&')
            .filter_map(|pair| pair.split('=').next())
            .any(|name| {
                PRESIGNED
                    .iter()
                    .any(|presigned| presigned.eq_ignore_ascii_case(name))
            })
    }
}

// By hand: the query may hold a signature.
impl std::fmt::Debug for StreamUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "StreamUrl({}:{}{})",
            self.host,
            self.port,
            self.uri.path()
        )
    }
}

fn unusable_endpoint() -> Error {
    Error::Start("SSM_PLUGIN_STREAM_ENDPOINT cannot take the place of the StreamUrl's host: give host or host:port".to_owned())
}

/// `ssmmessages[-fips].REGION.SUFFIX`, or `vpce-….ssmmessages[-fips].REGION.vpce.SUFFIX`.
fn is_session_manager(host: &str) -> bool {
    let Some((before, _)) = split_suffix(host) else {
        return false;
    };
    let is_service = |label: &str| matches!(label, "ssmmessages" | "ssmmessages-fips");
    let is_endpoint = |label: &str| {
        let id = label.strip_prefix("vpce-").unwrap_or_default();
        !id.is_empty()
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match before.split('.').collect::<Vec<_>>().as_slice() {
        [service, region] => is_service(service) && looks_like_region(region),
        [endpoint, service, region, "vpce"] => {
            is_endpoint(endpoint) && is_service(service) && looks_like_region(region)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(allowed: &[&str], endpoint: Option<&str>) -> Settings {
        Settings {
            allow_stream_host: allowed
                .iter()
                .map(|host| HostPort::parse(host).unwrap())
                .collect(),
            stream_endpoint: endpoint.map(|endpoint| HostPort::parse(endpoint).unwrap()),
            ..Settings::default()
        }
    }

    fn is_accepted(url: &str, allowed: &[&str]) -> bool {
        StreamUrl::parse(url, &settings(allowed, None)).is_ok()
    }

    #[test]
    fn hosts_of_session_manager_are_accepted() {
        for host in [
            "ssmmessages.eu-west-1.amazonaws.com",
            "SSMMESSAGES.us-east-1.amazonaws.com:443",
            "ssmmessages-fips.us-gov-west-1.amazonaws.com",
            "ssmmessages.cn-north-1.amazonaws.com.cn",
            "ssmmessages.eu-west-1.api.aws",
            "ssmmessages.us-iso-east-1.c2s.ic.gov",
            "vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com",
        ] {
            assert!(
                is_accepted(
                    &format!("wss://{host}/v1/data-channel/s?role=publish_subscribe"),
                    &[]
                ),
                "{host}"
            );
        }
    }

    #[test]
    fn p92_other_hosts_are_refused_before_they_hear_a_word() {
        for url in [
            "wss://example.com/v1/data-channel/s",
            "wss://ssmmessages.eu-west-1.amazonaws.com.evil.org/",
            "wss://evil.org/ssmmessages.eu-west-1.amazonaws.com",
            "wss://ssmmessages.eu-west-1.amazonaws.com@evil.org/",
            "wss://user@ssmmessages.eu-west-1.amazonaws.com/",
            "wss://notssmmessages.eu-west-1.amazonaws.com/",
            "wss://ssmmessages.eu-west-1.notamazonaws.com/",
            "wss://ssmmessages..amazonaws.com/",
            "wss://a.b.ssmmessages.eu-west-1.amazonaws.com/",
            "wss://x.ssmmessages.eu-west-1.vpce.amazonaws.com/",
            "wss://ssm.eu-west-1.amazonaws.com/",
            "ws://ssmmessages.eu-west-1.amazonaws.com/",
            "https://ssmmessages.eu-west-1.amazonaws.com/",
            "wss://ssmmessages.s3.amazonaws.com/",
            "wss://ssmmessages.s3-us-west-2.amazonaws.com/",
            "wss://ssmmessages.vpce.amazonaws.com/",
            "wss://vpce-1.ssmmessages.s3.vpce.amazonaws.com/",
            "wss://vpce-.ssmmessages.eu-west-1.vpce.amazonaws.com/",
            "wss://ssmmessages.eu-west-1.amazonaws.com:0/",
            "wss://ssmmessages.eu-west-1.amazonaws.com:99999/",
            "wss://ssmmessages.eu-west-1.amazonaws.com:/",
            "wss://[ssmmessages.eu-west-1.amazonaws.com]/",
            "wss://[ssmmessages.eu-west-1.amazonaws.com]:443/",
            "wss://",
            "wss:///path",
            "",
            "not a url",
        ] {
            assert!(!is_accepted(url, &[]), "{url}");
        }
    }

    #[test]
    fn the_user_may_allow_others() {
        assert!(is_accepted("wss://gateway.example/x", &["gateway.example"]));
        assert!(is_accepted(
            "wss://gateway.example:8443/x",
            &["other", "gateway.example:8443"]
        ));
        assert!(!is_accepted(
            "wss://gateway.example:8444/x",
            &["gateway.example:8443"]
        ));
        assert!(is_accepted("ws://127.0.0.1:9000/x", &["127.0.0.1:9000"]));
        assert!(is_accepted("ws://[::1]:9000/x", &["[::1]:9000"]));
        assert!(is_accepted("Ws://127.0.0.1:9000/x", &["127.0.0.1:9000"]));
        assert!(!is_accepted("WS://127.0.0.1:9000/x", &[]));
        assert!(!is_accepted("ws://gateway.example/x", &["gateway.example"]));
    }

    #[test]
    fn a_scheme_is_the_same_in_any_case() {
        let url =
            "WSS://SSMMESSAGES.eu-west-1.amazonaws.com/v1/data-channel/S?role=publish_subscribe";
        let url = StreamUrl::parse(url, &settings(&[], None)).unwrap();
        assert!(url.is_secure());
        assert_eq!(url.uri().scheme_str(), Some("wss"));
        assert_eq!(url.uri().path(), "/v1/data-channel/S");
    }

    #[test]
    fn an_endpoint_takes_the_hosts_place_everywhere() {
        let url = "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/s?role=publish_subscribe&cell-number=A";
        let url = StreamUrl::parse(url, &settings(&[], Some("vpce.example:8443"))).unwrap();
        assert_eq!((url.host(), url.port()), ("vpce.example", 8443));
        assert_eq!(
            url.uri().to_string(),
            "wss://vpce.example:8443/v1/data-channel/s?role=publish_subscribe&cell-number=A"
        );
        assert_eq!(url.service_host(), "ssmmessages.eu-west-1.amazonaws.com");
    }

    #[test]
    fn p87_clear_text_stays_on_this_machine_after_every_replacement() {
        let parse = |endpoint| {
            let allowed = ["127.0.0.1:9000", "localhost"];
            let url =
                StreamUrl::parse("ws://127.0.0.1:9000/x", &settings(&allowed, Some(endpoint)));
            url.map(|url| url.host().to_owned())
        };
        for elsewhere in ["gateway.example", "10.0.0.1:9000", "[2001:db8::1]:9000"] {
            let error = parse(elsewhere).unwrap_err().to_string();
            assert!(error.contains("SSM_PLUGIN_STREAM_ENDPOINT"), "{error}");
        }
        assert_eq!(parse("localhost:8000").as_deref(), Ok("localhost"));
        assert_eq!(parse("[::1]").as_deref(), Ok("::1"));
    }

    #[test]
    fn p27_a_presigned_url_is_known_by_its_query() {
        let parse = |query: &str| {
            StreamUrl::parse(
                &format!("wss://ssmmessages.eu-west-1.amazonaws.com/s?{query}"),
                &Settings::default(),
            )
            .unwrap()
        };
        assert!(parse("role=x&X-Amz-Signature=abc").is_presigned());
        assert!(parse("x-amz-security-token=abc").is_presigned());
        assert!(!parse("role=X-Amz-Signature&cell=1").is_presigned());
    }

    #[test]
    fn p48_neither_errors_nor_debug_output_hold_the_query() {
        let error =
            StreamUrl::parse("wss://evil.org/x?token=SECRET", &Settings::default()).unwrap_err();
        assert!(!error.to_string().contains("SECRET"));
        let url = StreamUrl::parse(
            "wss://ssmmessages.eu-west-1.amazonaws.com/x?t=SECRET",
            &Settings::default(),
        )
        .unwrap();
        assert!(!format!("{url:?}").contains("SECRET"));
    }
}
