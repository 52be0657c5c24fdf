//! The server's side of SOCKS5 (RFC 1928) without I/O: CONNECT, no authentication. Names are resolved by who connects.
//!
//! Written by hand: `tor-socksproto` brings a hundred crates, `socks5-impl` is under the GPL, and the others stand on an async runtime.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::destination::Destination;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What a request is answered with (RFC 1928, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SocksReply {
    /// The connection is open.
    Succeeded = 0,
    /// There is no session for it.
    Failure = 1,
    /// Not of this form.
    HostUnreachable = 4,
    /// Only CONNECT is supported.
    CommandNotSupported = 7,
    /// Only names and addresses of both families are supported.
    AddressNotSupported = 8,
}

impl SocksReply {
    /// The reply's bytes. The bound address is not known and is all zeros.
    pub(super) const fn bytes(self) -> [u8; 10] {
        [VERSION, self as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
    }
}

/// What is to be done after bytes were taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SocksStep {
    /// Read more.
    More,
    /// Send this, and read more.
    Send([u8; 2]),
    /// The client asks for this destination. After a [`SocksReply`] the connection carries its data.
    Connect(Destination),
    /// Send this, and close.
    Refuse(Vec<u8>),
}

/// A client that has not said yet where it wants to go.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    taken: Vec<u8>,
    has_greeted: bool,
}

impl Negotiation {
    /// How many bytes may be read now: never more than belong to the negotiation, as what follows is the connection's own. Not 0.
    pub(super) fn wants(&self) -> usize {
        self.needed().saturating_sub(self.taken.len()).max(1)
    }

    /// How long what is being read is, as far as is known.
    fn needed(&self) -> usize {
        let taken = &self.taken;
        if !self.has_greeted {
            return 2 + taken.get(1).map_or(0, |count| usize::from(*count));
        }
        match taken.get(3) {
            // One byte of the address comes with the head: the length of a name.
            None => 5,
            Some(&IPV4) => 4 + 4 + 2,
            Some(&IPV6) => 4 + 16 + 2,
            Some(&NAME) => 5 + taken.get(4).map_or(0, |length| usize::from(*length)) + 2,
            Some(_) => 4,
        }
    }

    /// Takes what was read: at most as many bytes as it [wants](Self::wants).
    pub(super) fn take(&mut self, bytes: &[u8]) -> SocksStep {
        self.taken.extend_from_slice(bytes);
        if self
            .taken
            .first()
            .is_some_and(|version| *version != VERSION)
        {
            // An HTTP request, or SOCKS4: no reply would be understood.
            return SocksStep::Refuse(Vec::new());
        }
        if self.taken.len() < self.needed() {
            return SocksStep::More;
        }
        if self.has_greeted {
            return self.request();
        }
        let can_do_without = self.taken[2..].contains(&NO_AUTHENTICATION);
        self.taken.clear();
        self.has_greeted = true;
        if can_do_without {
            SocksStep::Send([VERSION, NO_AUTHENTICATION])
        } else {
            SocksStep::Refuse(vec![VERSION, NO_ACCEPTABLE_METHOD])
        }
    }

    fn request(&self) -> SocksStep {
        let refuse = |reply: SocksReply| SocksStep::Refuse(reply.bytes().to_vec());
        let [_, command, _, kind, address @ .., high, low] = self.taken.as_slice() else {
            return refuse(SocksReply::AddressNotSupported);
        };
        let host = match *kind {
            IPV4 => <[u8; 4]>::try_from(address)
                .map(|it| Ipv4Addr::from(it).to_string())
                .ok(),
            IPV6 => <[u8; 16]>::try_from(address)
                .map(|it| Ipv6Addr::from(it).to_string())
                .ok(),
            NAME => {
                let name = address.get(1..).unwrap_or_default();
                // What is no text is no host either, and is refused below.
                Some(String::from_utf8_lossy(name).into_owned())
            }
            _ => None,
        };
        let Some(host) = host else {
            return refuse(SocksReply::AddressNotSupported);
        };
        if *command != CONNECT {
            return refuse(SocksReply::CommandNotSupported);
        }
        match Destination::new(Some(&host), u16::from_be_bytes([*high, *low])) {
            Ok(destination) => SocksStep::Connect(destination),
            Err(_) => refuse(SocksReply::HostUnreachable),
        }
    }
}

/// Reads bytes as one client's, cut into pieces of these sizes; for tests from outside.
#[doc(hidden)]
pub fn negotiate(mut bytes: &[u8], piece: usize) -> Option<Destination> {
    let mut negotiation = Negotiation::default();
    while !bytes.is_empty() {
        let count = negotiation.wants().min(piece.max(1)).min(bytes.len());
        let (now, later) = bytes.split_at(count);
        bytes = later;
        match negotiation.take(now) {
            SocksStep::More | SocksStep::Send(_) => {}
            SocksStep::Connect(destination) => return Some(destination),
            SocksStep::Refuse(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(kind: u8, address: &[u8], port: u16) -> Vec<u8> {
        let mut bytes = vec![5, 1, 0, 5, CONNECT, 0, kind];
        bytes.extend_from_slice(address);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes
    }

    #[test]
    fn names_and_addresses_of_both_families_are_taken() {
        for (kind, address, expected) in [
            (IPV4, vec![10, 0, 0, 7], "10.0.0.7:443"),
            (NAME, b"\x0bdb.internal".to_vec(), "db.internal:443"),
            (
                IPV6,
                vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
                "[fd00::7]:443",
            ),
        ] {
            for piece in [1, 2, 3, 1000] {
                let to = negotiate(&request(kind, &address, 443), piece).map(|it| it.to_string());
                assert_eq!(to.as_deref(), Some(expected));
            }
        }
    }

    #[test]
    fn what_follows_the_request_is_not_read() {
        let mut negotiation = Negotiation::default();
        let bytes = request(NAME, b"\x02db", 80);
        let mut read = 0;
        loop {
            let count = negotiation.wants();
            assert!(read + count <= bytes.len());
            let step = negotiation.take(&bytes[read..read + count]);
            read += count;
            if matches!(step, SocksStep::Connect(_)) {
                break;
            }
        }
        assert_eq!(read, bytes.len());
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_its_own_words() {
        let refused = |bytes: &[u8]| {
            let mut negotiation = Negotiation::default();
            let greeting = negotiation.take(&bytes[..3]);
            if matches!(greeting, SocksStep::Refuse(_)) {
                return greeting;
            }
            negotiation.take(&bytes[3..])
        };
        assert_eq!(refused(&[5, 1, 2]), SocksStep::Refuse(vec![5, 0xff]));
        assert_eq!(refused(b"GET"), SocksStep::Refuse(Vec::new()));
        let mut bind = request(IPV4, &[1, 2, 3, 4], 80);
        bind[4] = 2;
        assert_eq!(
            refused(&bind),
            SocksStep::Refuse(SocksReply::CommandNotSupported.bytes().to_vec())
        );
        let zero = request(NAME, b"\x01a", 0);
        assert_eq!(
            refused(&zero),
            SocksStep::Refuse(SocksReply::HostUnreachable.bytes().to_vec())
        );
        let other = [5, 1, 0, 5, 1, 0, 9];
        assert_eq!(
            refused(&other),
            SocksStep::Refuse(SocksReply::AddressNotSupported.bytes().to_vec())
        );
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_is_read(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1_usize..600) {
            prop_assert_eq!(negotiate(&bytes, piece), negotiate(&bytes, 1));
        }

        #[test]
        fn a_negotiation_is_bounded(bytes in prop::collection::vec(any::<u8>(), 600)) {
            let mut negotiation = Negotiation::default();
            let mut read = 0;
            let mut at = bytes.as_slice();
            while at.len() >= negotiation.wants() {
                let (now, later) = at.split_at(negotiation.wants());
                read += now.len();
                at = later;
                if matches!(negotiation.take(now), SocksStep::Connect(_) | SocksStep::Refuse(_)) {
                    break;
                }
            }
            prop_assert!(read <= 2 + 255 + 5 + 255 + 2);
        }
    }
}
