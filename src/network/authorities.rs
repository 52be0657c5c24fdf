//! Certificates of authorities, from PEM files and from directories of them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use log::warn;
use native_tls::Certificate;

use super::tls::plain;
use crate::files;

/// How many files of a directory are read at most. Systems trust some 150 authorities.
const MAXIMUM_FILES: usize = 4096;
/// How many complaints about one file are logged at most.
const MAXIMUM_COMPLAINTS: usize = 10;

/// All certificates of a file that somebody named.
///
/// # Errors
/// A file that cannot be read or holds no certificate, or the first certificate that is broken, by its place.
pub(super) fn of_file(path: &Path) -> Result<Vec<Certificate>, String> {
    let mut found = FoundCertificates::default();
    found.read(path);
    match found.complaints.into_iter().next() {
        Some(complaint) => Err(complaint),
        None => Ok(found.certificates),
    }
}

/// The usable certificates of the system's bundle. What is broken is passed over with a line in the log.
pub(super) fn of_bundle(path: &Path) -> Vec<Certificate> {
    let mut found = FoundCertificates::default();
    found.read(path);
    found.log();
    found.certificates
}

/// The usable certificates of a directory: of files that are called `*.pem`, `*.crt` or `*.cer`, and of those with a hashed name. What is
/// broken is passed over with a line in the log.
///
/// # Errors
/// A directory without any certificate, with what is wrong with the first of its files.
pub(super) fn of_directory(path: &Path) -> Result<Vec<Certificate>, String> {
    let about = |reason: String| format!("{}: {reason}", path.display());
    let entries = fs::read_dir(path).map_err(|error| about(error.to_string()))?;
    let mut found = FoundCertificates::default();
    for entry in entries.filter_map(Result::ok).take(MAXIMUM_FILES) {
        let file = entry.path();
        if !may_hold_certificates(&file) {
            continue;
        }
        found.read(&file);
        found.log();
    }
    if found.certificates.is_empty() {
        let first = found.complaints.into_iter().next();
        return Err(first.unwrap_or_else(|| about("holds no certificate in PEM form".to_owned())));
    }
    Ok(found.certificates)
}

fn may_hold_certificates(file: &Path) -> bool {
    let ending = file.extension().and_then(OsStr::to_str);
    let is_pem = |ending: &str| {
        ["pem", "crt", "cer"]
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    };
    ending.is_some_and(is_pem) || file.file_name().is_some_and(is_hashed_name)
}

/// Whether a directory has entries such as `5443e9e3.0`, which OpenSSL finds by the name of the authority that it looks for.
pub(super) fn is_hashed(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| is_hashed_name(&entry.file_name()))
}

fn is_hashed_name(name: &OsStr) -> bool {
    let parts = name.to_str().and_then(|name| name.split_once('.'));
    parts.is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && number.parse::<u8>().is_ok()
    })
}

/// What was found in one or several files.
#[derive(Default)]
struct FoundCertificates {
    certificates: Vec<Certificate>,
    /// What cannot be used and why, with its file.
    complaints: Vec<String>,
    /// How many complaints have been logged.
    logged: usize,
    /// Hashes of what was read: a directory may have one certificate under several names, and in a bundle beside them.
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl FoundCertificates {
    fn read(&mut self, path: &Path) {
        if let Err(complaint) = self.try_to_read(path) {
            self.complaints
                .push(format!("{}: {complaint}", path.display()));
        }
    }

    fn try_to_read(&mut self, path: &Path) -> Result<(), String> {
        let text = files::read(path).map_err(|error| error.to_string())?;
        let blocks = blocks(&text);
        if blocks.is_empty() {
            return Err("holds no certificate in PEM form".to_owned());
        }
        let mut complaints = 0;
        for (index, block) in blocks.iter().enumerate() {
            if !self.seen.insert(self.hasher.hash_one(block.pem)) {
                continue;
            }
            match Certificate::from_pem(block.pem) {
                Ok(certificate) => self.certificates.push(certificate),
                Err(error) if complaints < MAXIMUM_COMPLAINTS => {
                    complaints += 1;
                    self.complaints.push(format!(
                        "{}: certificate {} of {}, from line {}, is broken: {}",
                        path.display(),
                        index + 1,
                        blocks.len(),
                        block.line,
                        plain(&error.to_string()),
                    ));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Logs the complaints that are new.
    fn log(&mut self) {
        for complaint in &self.complaints[self.logged..] {
            warn!("passed over: {complaint}");
        }
        self.logged = self.complaints.len();
    }
}

/// A part of a PEM file that is, or was meant to be, one certificate.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    /// Where it begins, counted from 1.
    line: usize,
    pem: &'a [u8],
}

/// The certificates of a PEM file (RFC 7468). Keys and the like, and text between them, are of no interest; what lacks its first or
/// its last line is given as it is, for the library to refuse.
fn blocks(text: &[u8]) -> Vec<Block<'_>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut blocks = Vec::new();
    // Of a certificate that was begun: its line and its first byte.
    let mut open: Option<(usize, usize)> = None;
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let end = start + line.len();
        let mut close = |open: &mut Option<(usize, usize)>, end| {
            if let Some((line, start)) = open.take() {
                let pem = &text[start..end];
                blocks.push(Block { line, pem });
            }
        };
        let line = line.trim_ascii();
        if let Some(label) = label(line, b"-----BEGIN ") {
            close(&mut open, start);
            open = is_certificate(label).then_some((number, start));
        } else if let Some(label) = label(line, b"-----END ") {
            if is_certificate(label) {
                open.get_or_insert((number, start));
            }
            close(&mut open, end);
        }
        start = end;
    }
    if let Some((line, start)) = open {
        let pem = &text[start..];
        blocks.push(Block { line, pem });
    }
    blocks
}

fn label<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(begin)?.strip_suffix(b"-----")
}

/// The name that OpenSSL writes, and one that it wrote long ago. Its `TRUSTED CERTIFICATE` is another format.
fn is_certificate(label: &[u8]) -> bool {
    [&b"CERTIFICATE"[..], b"X509 CERTIFICATE"].contains(&label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_and_text(text: &str) -> Vec<(usize, String)> {
        let blocks = blocks(text.as_bytes()).into_iter();
        blocks
            .map(|block| (block.line, String::from_utf8(block.pem.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn certificates_are_found_between_other_things() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let other = "-----BEGIN X509 CERTIFICATE-----\r\nBBBB\r\n-----END X509 CERTIFICATE-----";
        let key = "-----BEGIN PRIVATE KEY-----\nCCCC\n-----END PRIVATE KEY-----\n";
        let text = format!("\u{feff}{one}# a comment\n\n{key}{other}");
        let expected = [(1, one.to_owned()), (9, other.to_owned())];
        assert_eq!(lines_and_text(&text), expected);
        assert_eq!(lines_and_text(key), []);
        assert_eq!(lines_and_text(""), []);
    }

    #[test]
    fn p109_what_is_cut_off_is_a_certificate_too() {
        let (begin, end) = (
            "-----BEGIN CERTIFICATE-----\n",
            "-----END CERTIFICATE-----\n",
        );
        let whole = format!("{begin}AAAA\n{end}");
        let text = format!("{begin}AA\n{whole}BBBB\n{end}{begin}CC");
        let expected = [
            (1, format!("{begin}AA\n")),
            (3, whole),
            (7, end.to_owned()),
            (8, format!("{begin}CC")),
        ];
        assert_eq!(lines_and_text(&text), expected);
    }

    #[test]
    fn hashed_names() {
        for name in ["5443e9e3.0", "DEADBEEF.255"] {
            assert!(is_hashed_name(OsStr::new(name)), "{name}");
        }
        for name in [
            "5443e9e3",
            "5443e9e3.r0",
            "5443e9e.0",
            "5443e9e3.256",
            "README",
            "x.pem",
        ] {
            assert!(!is_hashed_name(OsStr::new(name)), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(pieces in proptest::collection::vec(
            prop_oneof![
                Just("-----BEGIN CERTIFICATE-----"), Just("-----END CERTIFICATE-----"), Just("-----BEGIN KEY-----"), Just("-----"),
                Just("\n"), Just("\r\n"), Just(" "), Just("AAAA"), Just("\u{feff}"),
            ], 0..40)
        ) {
            let text = pieces.concat();
            for block in blocks(text.as_bytes()) {
                prop_assert!(!block.pem.is_empty());
                let _ = Certificate::from_pem(block.pem);
            }
        }
    }
}
