//! Hashes by which the two sides compare what they have: SHA-256, or the CRC of cksum(1) where there is nothing better.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use super::script::HASHED;

/// Bytes of one read.
const READ: usize = 256 * 1024;

/// Which hash the far side can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashKind {
    Sha256,
    /// `cksum`, by POSIX.
    Cksum,
}

impl HashKind {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "sha256" => Some(Self::Sha256),
            "cksum" => Some(Self::Cksum),
            _ => None,
        }
    }
}

/// A hash as text: digits as the tools print them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hash {
    pub kind: HashKind,
    pub digits: String,
}

impl Hash {
    /// Reads `KIND DIGITS`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, digits) = text.split_once(' ')?;
        let is_plain = !digits.is_empty()
            && digits.len() <= 64
            && digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
        Some(Self {
            kind: HashKind::parse(kind)?,
            digits: is_plain.then(|| digits.to_ascii_lowercase())?,
        })
    }
}

/// Takes bytes in any pieces.
pub(super) enum Hasher {
    Sha256(Box<Sha256>),
    Cksum { crc: u32, length: u64 },
}

impl Hasher {
    pub(super) fn new(kind: HashKind) -> Self {
        match kind {
            HashKind::Sha256 => Self::Sha256(Box::default()),
            HashKind::Cksum => Self::Cksum { crc: 0, length: 0 },
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Cksum { crc, length } => {
                *crc = bytes.iter().fold(*crc, |crc, byte| step(crc, *byte));
                *length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            }
        }
    }

    pub(super) fn finish(self) -> Hash {
        match self {
            Self::Sha256(hasher) => {
                let mut digits = String::with_capacity(64);
                for byte in hasher.finalize() {
                    // Into a String it cannot fail.
                    let _ = write!(digits, "{byte:02x}");
                }
                Hash {
                    kind: HashKind::Sha256,
                    digits,
                }
            }
            Self::Cksum { mut crc, length } => {
                let mut rest = length;
                while rest > 0 {
                    crc = step(crc, rest.to_le_bytes()[0]);
                    rest >>= 8;
                }
                Hash {
                    kind: HashKind::Cksum,
                    digits: (!crc).to_string(),
                }
            }
        }
    }
}

/// One byte of the CRC, whose polynomial POSIX gives (0x04C11DB7).
fn step(crc: u32, byte: u8) -> u32 {
    (crc << 8) ^ TABLE[usize::from((crc >> 24).to_le_bytes()[0] ^ byte)]
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0_u32;
    while index < 256 {
        let mut crc = index << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x04C1_1DB7
            };
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
}

/// The hash of a piece of a file, less where it is shorter; None when `is_cancelled` says so.
pub(super) fn of_file(
    file: &File,
    kind: HashKind,
    start: u64,
    length: u64,
    is_cancelled: &dyn Fn() -> bool,
) -> io::Result<Option<Hash>> {
    let mut hasher = Hasher::new(kind);
    let mut buffer = vec![0; READ];
    let mut left = length;
    let mut at = start;
    while left > 0 {
        if is_cancelled() {
            return Ok(None);
        }
        let most = usize::try_from(left).unwrap_or(READ).min(READ);
        let count = match file.read_at(&mut buffer[..most], at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        let count = u64::try_from(count).unwrap_or(0);
        at += count;
        left -= count;
    }
    Ok(Some(hasher.finish()))
}

/// The hash of piece number `index` of [`HASHED`] bytes.
pub(super) fn of_piece(file: &File, kind: HashKind, index: u64) -> io::Result<Option<Hash>> {
    of_file(file, kind, index.saturating_mul(HASHED), HASHED, &|| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(kind: HashKind, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(kind);
        bytes.chunks(7).for_each(|piece| hasher.update(piece));
        hasher.finish().digits
    }

    #[test]
    fn hashes_are_those_of_the_tools() {
        // printf '' | cksum; printf 123456789 | cksum
        assert_eq!(hash(HashKind::Cksum, b""), "4294967295");
        assert_eq!(hash(HashKind::Cksum, b"123456789"), "930766865");
        assert_eq!(
            hash(HashKind::Sha256, b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_hash_is_read_with_its_kind() {
        assert_eq!(
            Hash::parse("sha256 AB"),
            Some(Hash {
                kind: HashKind::Sha256,
                digits: "ab".to_owned()
            })
        );
        for bad in ["", "sha256", "sha256 ", "md5 ab", "sha256 a b"] {
            assert_eq!(Hash::parse(bad), None, "{bad}");
        }
    }
}
