//! What a certificate says about itself, as far as the library does not tell.

/// Tags of DER (X.690, section 8.1.2).
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `extensions [3]` of a certificate (RFC 5280, section 4.1).
const EXTENSIONS: u8 = 0xa3;
/// `dNSName [2]` of a general name (RFC 5280, section 4.2.1.6).
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17, the subject's alternative names.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Whether a certificate in DER form has the name of a host among its alternative names. False for bytes that are no certificate.
pub(super) fn names_a_host(der: &[u8]) -> bool {
    fn search(der: &[u8]) -> Option<bool> {
        let certificate = Elements(der).find(SEQUENCE)?;
        let to_be_signed = Elements(certificate).find(SEQUENCE)?;
        let extensions = Elements(to_be_signed).find(EXTENSIONS)?;
        let extensions = Elements(extensions).find(SEQUENCE)?;
        let names = Elements(extensions).find_map(|(_, extension)| {
            let is_wanted = Elements(extension).find(OBJECT_IDENTIFIER)? == SUBJECT_ALT_NAME;
            is_wanted.then(|| Elements(extension).find(OCTET_STRING))?
        })?;
        let mut names = Elements(Elements(names).find(SEQUENCE)?);
        Some(names.any(|(tag, name)| tag == DNS_NAME && !name.is_empty()))
    }
    search(der).unwrap_or(false)
}

/// Elements of DER one after the other: tag and content. Ends at what is none.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the first element with this tag.
    fn find(self, wanted: u8) -> Option<&'a [u8]> {
        self.into_iter()
            .find_map(|(tag, content)| (tag == wanted).then_some(content))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // The number of bytes that the length has; a certificate is never longer than three can say.
            let count = usize::from(first & 0x7f);
            let (length, rest) = rest.split_at_checked(count)?;
            if count > 3 {
                return None;
            }
            let add = |length, byte: &u8| (length << 8) | usize::from(*byte);
            (length.iter().fold(0, add), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let parameters = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn p91_only_names_of_hosts_count() {
        assert!(names_a_host(&certificate(&["localhost"])));
        assert!(names_a_host(&certificate(&["127.0.0.1", "*.example.com"])));
        assert!(!names_a_host(&certificate(&[])));
        assert!(!names_a_host(&certificate(&["127.0.0.1", "::1"])));
        // Long enough for lengths of two bytes everywhere.
        let many: Vec<String> = (0..200).map(|number| format!("10.0.0.{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(!names_a_host(&certificate(&many)));
        assert!(names_a_host(&certificate(&[&many[..], &["last"]].concat())));
    }

    #[test]
    fn what_is_cut_off_names_nothing() {
        let whole = certificate(&["localhost"]);
        for length in 0..whole.len() {
            assert!(!names_a_host(&whole[..length]), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0_usize..600, value: u8) {
            let _ = names_a_host(&bytes);
            let mut damaged = certificate(&["localhost"]);
            let at = at % damaged.len();
            damaged[at] = value;
            let _ = names_a_host(&damaged);
        }
    }
}
