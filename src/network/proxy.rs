//! Which proxy, if any, leads to a host.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use log::warn;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::no_proxy::NoProxy;
use crate::error::Error;
use crate::host::{bare, is_local, split_authority};
use crate::settings::Environment;

/// How one talks to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyScheme {
    /// CONNECT in the clear.
    Http,
    /// CONNECT inside TLS.
    Https,
    /// SOCKS 5; names are looked up here.
    Socks5,
    /// SOCKS 5; names are looked up by the proxy.
    Socks5h,
}

impl ProxyScheme {
    fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "https" => Self::Https,
            "socks5" => Self::Socks5,
            "socks5h" => Self::Socks5h,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// What curl and Go assume where the URL names no port.
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

/// Who we are to the proxy.
#[derive(Clone)]
pub(super) struct ProxyLogin {
    pub(super) user: Zeroizing<String>,
    pub(super) password: Zeroizing<String>,
}

impl ProxyLogin {
    /// The value of a `Proxy-Authorization` header (RFC 7617).
    pub(super) fn basic(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", *self.user, *self.password));
        Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
    }
}

/// A proxy that a variable names.
#[derive(Clone)]
pub struct Proxy {
    pub(super) scheme: ProxyScheme,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<ProxyLogin>,
    variable: &'static str,
}

impl Proxy {
    /// Reads a proxy's URL; one without a scheme is an http proxy, as everywhere. `None`: a scheme that we do not speak.
    fn parse(variable: &'static str, value: &str) -> Result<Option<Self>, Error> {
        let value = value.trim();
        let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
        let Some(scheme) = ProxyScheme::parse(scheme) else {
            return Ok(None);
        };
        // The value may hold a password: it is never repeated in the error.
        let unusable = |why: &str| {
            Error::Start(format!(
                "the proxy in {variable} cannot be used: {why}; it looks like http://user:password@host:port, \
                 with special characters in user and password percent-encoded"
            ))
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let uri: Uri = format!("http://{authority}")
            .parse()
            .map_err(|_| unusable("it is not a URL"))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(unusable("it names no host"));
        }
        let host_and_port = authority.rsplit('@').next().unwrap_or_default();
        let host_and_port = host_and_port.strip_suffix(':').unwrap_or(host_and_port);
        let (host, port) = split_authority(host_and_port).ok_or_else(|| {
            unusable("its port is no number from 1 to 65535, or its brackets hold no IPv6 address")
        })?;
        let login = authority.rsplit_once('@').map(|(login, _)| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let decode = |text: &str| {
                let text = percent_decode_str(text).decode_utf8();
                text.map(|text| Zeroizing::new(text.into_owned()))
            };
            Ok(ProxyLogin {
                user: decode(user).map_err(|_| unusable("its user is not UTF-8"))?,
                password: decode(password).map_err(|_| unusable("its password is not UTF-8"))?,
            })
        });
        Ok(Some(Self {
            scheme,
            host,
            port: port.unwrap_or(scheme.default_port()),
            login: login.transpose()?,
            variable,
        }))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}://{} ({})",
            self.scheme.name(),
            host_and_port(&self.host, self.port),
            self.variable
        )
    }
}

// By hand: user and password stay out.
impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({self})")
    }
}

/// The proxies that the environment names, and the hosts that are reached without them.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    /// `HTTPS_PROXY`: for TLS only.
    secure: Option<Proxy>,
    /// `ALL_PROXY`: for everything else too.
    all: Option<Proxy>,
    none: NoProxy,
}

impl ProxySettings {
    /// Reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or else in small letters.
    ///
    /// # Errors
    /// A proxy that cannot be used, named by its variable. An `ALL_PROXY` of a scheme that we do not speak is only logged: it is
    /// often meant for other programs.
    pub fn from_environment(environment: &Environment) -> Result<Self, Error> {
        let either = |names: [&'static str; 2]| {
            let found = |name| environment.get(name).map(|value| (name, value));
            names.into_iter().find_map(found)
        };
        let secure = match either(["HTTPS_PROXY", "https_proxy"]) {
            None => None,
            Some((variable, value)) => Some(Proxy::parse(variable, value)?.ok_or_else(|| {
                Error::Start(format!(
                    "the proxy in {variable} is of a kind that is not supported: use http, https, socks5 or socks5h"
                ))
            })?),
        };
        let all = match either(["ALL_PROXY", "all_proxy"]) {
            None => None,
            Some((variable, value)) => {
                let proxy = Proxy::parse(variable, value)?;
                if proxy.is_none() {
                    warn!(
                        "{variable} is ignored: its scheme is not http, https, socks5 or socks5h"
                    );
                }
                proxy
            }
        };
        let none = either(["NO_PROXY", "no_proxy"]).map_or("", |(_, value)| value);
        Ok(Self {
            secure,
            all,
            none: NoProxy::parse(none),
        })
    }

    /// The proxy for a connection; `secure` is whether it will carry TLS (wss, https).
    ///
    /// Loopback, link-local and metadata addresses are always reached directly: sending the requests for an instance's
    /// credentials to somebody else's machine would be a gift.
    pub fn proxy_for(&self, secure: bool, host: &str, port: u16) -> Option<&Proxy> {
        let host = bare(host).trim_end_matches('.');
        if is_local(host) || self.none.matches(host, port) {
            return None;
        }
        let proxy = if secure { self.secure.as_ref() } else { None };
        proxy.or(self.all.as_ref())
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<const N: usize>(variables: [(&str, &str); N]) -> ProxySettings {
        ProxySettings::from_environment(&Environment::from(variables)).unwrap()
    }

    fn chosen<const N: usize>(variables: [(&str, &str); N], secure: bool, host: &str) -> String {
        let settings = settings(variables);
        let proxy = settings.proxy_for(secure, host, 443);
        proxy.map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn https_proxy_goes_before_all_proxy_and_capitals_before_small_letters() {
        let both = [("HTTPS_PROXY", "http://a:1"), ("ALL_PROXY", "socks5://b")];
        assert_eq!(chosen(both, true, "x.example"), "http://a:1 (HTTPS_PROXY)");
        assert_eq!(
            chosen(both, false, "x.example"),
            "socks5://b:1080 (ALL_PROXY)"
        );
        let small = [("https_proxy", "a:1"), ("HTTPS_PROXY", "b:2")];
        assert_eq!(chosen(small, true, "x.example"), "http://b:2 (HTTPS_PROXY)");
        let only_small = [("all_proxy", "SOCKS5H://[fe80::1]:9")];
        let expected = "socks5h://[fe80::1]:9 (all_proxy)";
        assert_eq!(chosen(only_small, true, "x.example"), expected);
        assert_eq!(chosen([], true, "x.example"), "");
        assert_eq!(chosen([("HTTPS_PROXY", "")], true, "x.example"), "");
    }

    #[test]
    fn p55_loopback_and_metadata_never_go_through_a_proxy() {
        let proxy = [("HTTPS_PROXY", "http://a:1"), ("ALL_PROXY", "http://a:1")];
        for host in [
            "localhost",
            "LocalHost.",
            "api.localhost",
            "127.0.0.1",
            "127.9.8.7",
            "[::1]",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "[fe80::1]",
            "fd00:ec2::254",
        ] {
            assert_eq!(chosen(proxy, true, host), "", "{host}");
            assert_eq!(chosen(proxy, false, host), "", "{host}");
        }
        for host in ["10.0.0.1", "notlocalhost", "8.8.8.8", "2001:db8::1"] {
            assert_ne!(chosen(proxy, true, host), "", "{host}");
        }
    }

    #[test]
    fn p55_user_and_password_are_decoded_and_never_shown() {
        let proxy = settings([("HTTPS_PROXY", "http://me:p%40ss%3Aword@proxy.example:3128/")]);
        let proxy = proxy.proxy_for(true, "x.example", 443).unwrap();
        let login = proxy.login.as_ref().unwrap();
        assert_eq!(login.user.as_str(), "me");
        assert_eq!(login.password.as_str(), "p@ss:word");
        assert_eq!(login.basic().as_str(), "Basic bWU6cEBzczp3b3Jk");
        let shown = format!("{proxy} {proxy:?}");
        assert!(!shown.contains("ss"), "{shown}");
    }

    #[test]
    fn an_unusable_proxy_names_its_variable_and_not_its_password() {
        for value in [
            "http://",
            "http://me:secret@",
            "http://me:secret@host:99999",
            "http://me:secret@host:port",
            "http://me:secret@ho st",
            "http://me:%FFsecret@host",
            "ftp://me:secret@host",
            "socks4://me:secret@host",
        ] {
            for variable in ["HTTPS_PROXY", "https_proxy"] {
                let environment = Environment::from([(variable, value)]);
                let error = ProxySettings::from_environment(&environment).unwrap_err();
                let text = error.to_string();
                assert!(text.contains(variable), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
        }
    }

    #[test]
    fn an_all_proxy_of_another_scheme_is_ignored() {
        let ignored = [("ALL_PROXY", "socks4://host:1")];
        assert_eq!(chosen(ignored, true, "x.example"), "");
    }

    #[test]
    fn no_proxy_exempts() {
        let proxy = [("HTTPS_PROXY", "a:1"), ("no_proxy", ".example,10.0.0.0/8")];
        assert_eq!(chosen(proxy, true, "x.example"), "");
        assert_eq!(chosen(proxy, true, "10.1.2.3"), "");
        assert_ne!(chosen(proxy, true, "x.example.org"), "");
    }
}
