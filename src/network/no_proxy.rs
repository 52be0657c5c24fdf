//! `NO_PROXY`: the hosts that are reached without a proxy.

use std::net::IpAddr;

use log::warn;

use crate::host::bare;

/// The entries of `NO_PROXY`, in the sense most programs agree on (curl, Go): `*`; names, which stand for the names below them too;
/// `.name` or `*.name`, for the names below only; addresses; networks as CIDR; each but a network with `:port` if wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct NoProxy(Vec<NoProxyRule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum NoProxyRule {
    Everything,
    Network {
        address: IpAddr,
        bits: u32,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    Name {
        name: String,
        below_only: bool,
        port: Option<u16>,
    },
}

impl NoProxy {
    /// Reads a list that is separated by commas or white space. What cannot be understood is logged and left out.
    pub(super) fn parse(list: &str) -> Self {
        let entries = list
            .split(|character: char| character == ',' || character.is_whitespace())
            .filter(|entry| !entry.is_empty());
        let entries = entries.filter_map(|entry| {
            let parsed = NoProxyRule::parse(&entry.to_ascii_lowercase());
            if parsed.is_none() {
                warn!("NO_PROXY: {entry:?} is neither a name, an address nor a network, and is ignored");
            }
            parsed
        });
        Self(entries.collect())
    }

    /// Whether a host, without brackets, is exempt.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let name = host.to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|one| one.to_canonical());
        self.0
            .iter()
            .any(|entry| entry.matches(&name, address, port))
    }
}

impl NoProxyRule {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= longest)?;
            return Some(Self::Network { address, bits });
        }
        if let Ok(address) = bare(entry).parse::<IpAddr>() {
            let address = address.to_canonical();
            return Some(Self::Address {
                address,
                port: None,
            });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        if let Ok(address) = bare(host).parse::<IpAddr>() {
            let address = address.to_canonical();
            return Some(Self::Address { address, port });
        }
        let below = host.strip_prefix('*').unwrap_or(host);
        let name = below.strip_prefix('.').unwrap_or(below);
        let name = name.trim_end_matches('.');
        if name.is_empty() || name.contains(['*', ':', '[', ']']) {
            return None;
        }
        Some(Self::Name {
            name: name.to_owned(),
            below_only: below.starts_with('.'),
            port,
        })
    }

    fn matches(&self, host: &str, host_address: Option<IpAddr>, host_port: u16) -> bool {
        let same_port = |port: &Option<u16>| port.is_none_or(|port| port == host_port);
        match self {
            Self::Everything => true,
            Self::Network { address, bits } => {
                host_address.is_some_and(|host| contains(*address, *bits, host))
            }
            Self::Address { address, port } => host_address == Some(*address) && same_port(port),
            Self::Name {
                name,
                below_only,
                port,
            } => {
                let below = host.strip_suffix(name.as_str());
                let matches = match below {
                    Some("") => !below_only,
                    Some(below) => below.ends_with('.'),
                    None => false,
                };
                matches && same_port(port)
            }
        }
    }
}

/// Whether an address lies in a network.
fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let differing = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            u128::from(network.to_bits() ^ address.to_bits()) << 96
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => network.to_bits() ^ address.to_bits(),
        _ => return false,
    };
    differing.leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exempt(list: &str, host: &str) -> bool {
        NoProxy::parse(list).matches(host, 443)
    }

    #[test]
    fn names_and_suffixes() {
        assert!(exempt("example.com", "example.com"));
        assert!(exempt("example.com", "EXAMPLE.com"));
        assert!(exempt("Example.com.", "a.b.example.com"));
        assert!(!exempt("example.com", "badexample.com"));
        assert!(!exempt("example.com", "example.com.evil"));
        assert!(!exempt(".example.com", "example.com"));
        assert!(exempt(".example.com", "a.example.com"));
        assert!(exempt("*.example.com", "a.example.com"));
        assert!(!exempt("*.example.com", "example.com"));
        assert!(exempt("*", "anything"));
        assert!(exempt("a, b\tc  d", "c"));
        assert!(!exempt("", "a"));
    }

    #[test]
    fn addresses_and_networks() {
        assert!(exempt("10.0.0.0/8", "10.255.0.1"));
        assert!(!exempt("10.0.0.0/8", "11.0.0.1"));
        assert!(exempt("0.0.0.0/0", "11.0.0.1"));
        assert!(!exempt("0.0.0.0/0", "::1"));
        assert!(exempt("2001:db8::/32", "2001:db8:1::2"));
        assert!(!exempt("2001:db8::/32", "2001:db9::"));
        assert!(exempt("192.0.2.7", "192.0.2.7"));
        assert!(exempt("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(!exempt("10.0.0.0/8", "10.example.com"));
        assert!(!exempt("10.0.0.0/33", "10.0.0.1"));
    }

    #[test]
    fn ports() {
        assert!(exempt("example.com:443", "a.example.com"));
        assert!(!exempt("example.com:80", "a.example.com"));
        assert!(exempt("192.0.2.7:443", "192.0.2.7"));
        assert!(!exempt("192.0.2.7:80", "192.0.2.7"));
        assert!(exempt("[2001:db8::1]:443", "2001:db8::1"));
        assert!(!exempt("[2001:db8::1]:80", "2001:db8::1"));
        assert!(exempt("[2001:db8::1]", "2001:db8::1"));
    }

    proptest! {
        #[test]
        fn no_list_panics(list in "\\PC{0,60}", host in "\\PC{0,30}", port: u16) {
            NoProxy::parse(&list).matches(&host, port);
        }

        #[test]
        fn a_network_contains_its_own(address: u32, bits in 0u32..=32) {
            let address = IpAddr::from(address.to_be_bytes());
            let list = format!("{address}/{bits}");
            let address = address.to_string();
            prop_assert!(exempt(&list, &address));
        }
    }
}
