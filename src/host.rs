//! Hosts as they are written in URLs, settings and arguments.

use std::net::{IpAddr, Ipv6Addr};

/// Takes the brackets off a host, if it is in some.
pub(crate) fn bare(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Whether a host, with or without brackets, is this machine by its own name or address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = bare(host);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a host, without brackets, is this machine, or a service of its own such as the instance's metadata.
pub(crate) fn is_local(host: &str) -> bool {
    let name = host.to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified()
                // fd00:ec2::/32: metadata of EC2 and of EKS pod identity.
                || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => false,
    }
}

/// Splits `host`, `host:port` or `[v6]:port`: the host in lower case and without brackets, and the port if there is one. None if the port
/// is no number from 1 to 65535, if brackets hold no IPv6 address, or if there is no host.
pub(crate) fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    let port = match rest {
        "" => None,
        _ => {
            let digits = rest.strip_prefix(':')?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            Some(digits.parse().ok().filter(|port| is_number && *port != 0)?)
        }
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_in_every_spelling() {
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.9.8.7",
            "::1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example",
            "128.0.0.1",
            "0.0.0.0",
            "[::2]",
            "",
            "127.0.0.1.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn p92_ports_are_numbers_and_brackets_hold_ipv6() {
        let host =
            |authority| split_authority(authority).map(|(host, port)| (host, port.unwrap_or(0)));
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(host("A.example"), is("a.example", 0));
        assert_eq!(host("a:1"), is("a", 1));
        assert_eq!(host("a:65535"), is("a", 65535));
        assert_eq!(host("[::1]:8"), is("::1", 8));
        for wrong in [
            "",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:99999",
            "a:+1",
            "a:1:2",
            "[a]",
            "[a]:1",
            "[127.0.0.1]",
            "[::1",
            "[::1]1",
            "[::1]:",
            "::1",
        ] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
