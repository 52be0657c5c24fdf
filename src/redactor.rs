//! Takes known secrets out of text from outside before it is shown or logged (P89).
//!
//! Services, gateways and proxies repeat what they were told: the canonical request of a signature, a URL with its query, a header, the
//! beginning of a token in the reason of a close. What is here are fingerprints, no further copies of the secrets.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::mutex::lock;

/// So many bytes of a secret in a row give it away; a shorter secret must be there whole.
const WINDOW: usize = 16;
/// What is shorter is no secret, and is in plain sentences.
const SHORTEST: usize = 8;
/// So much of a secret is known, in bytes: far more than real ones have. A fingerprint takes eight times as much.
const LONGEST: usize = 16 * 1024;
/// How many secrets are known at a time; the oldest are forgotten: tokens of connections long gone.
const MOST: usize = 32;
/// Text is looked at in pieces of so many bytes at most.
const PIECE: usize = 64 * 1024;
/// What is shown instead.
const HIDDEN: &str = "(hidden)";

/// Knows the secrets of one run. Clones know the same ones.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<Mutex<VecDeque<Arc<Fingerprint>>>>,
    /// Besides those: known to this one and its clones only.
    own: Vec<Arc<Fingerprint>>,
    hasher: RandomState,
}

/// One secret.
#[derive(PartialEq, Eq)]
struct Fingerprint {
    /// Of all of it.
    whole: u64,
    /// How many bytes each of the others is of.
    window: usize,
    /// Of every window, sorted.
    windows: Vec<u64>,
}

/// A byte of a text as it was meant, and where it is there.
#[derive(Clone, Copy)]
struct Meant {
    byte: u8,
    start: u32,
    end: u32,
}

impl Redactor {
    /// Learns a secret. It may be known already.
    pub fn add(&self, secret: &str) {
        if let Some(new) = self.fingerprint(secret) {
            let mut known = self.known();
            if !known.contains(&new) {
                known.push_back(new);
                if known.len() > MOST {
                    known.pop_front();
                }
            }
        }
    }

    /// One that knows more secrets, while this one does not: those of a single request.
    #[must_use]
    pub fn with<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut more = self.clone();
        let new = secrets.into_iter();
        more.own
            .extend(new.filter_map(|secret| self.fingerprint(secret)));
        more
    }

    /// The text without the secrets, or parts of them, in any of the ways in which URLs, JSON and HTML write them.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known: Vec<Arc<Fingerprint>> = {
            let known = self.known();
            known.iter().chain(&self.own).cloned().collect()
        };
        if known.is_empty() || text.len() < SHORTEST {
            return text.into();
        }
        let mut result = Vec::new();
        let mut found = false;
        for piece in text.as_bytes().chunks(PIECE) {
            let hidden = self.hidden(piece, &known);
            found = found || hidden.contains(&true);
            let mut before = false;
            for (byte, hidden) in piece.iter().zip(hidden) {
                match hidden {
                    false => result.push(*byte),
                    true if before => {}
                    true => result.extend_from_slice(HIDDEN.as_bytes()),
                }
                before = hidden;
            }
        }
        match found {
            true => String::from_utf8_lossy(&result).into_owned().into(),
            false => text.into(),
        }
    }

    /// Which bytes of a text must not be shown.
    fn hidden(&self, text: &[u8], known: &[Arc<Fingerprint>]) -> Vec<bool> {
        let mut hidden = vec![false; text.len()];
        let meant = meant(text);
        let bytes: Vec<u8> = meant.iter().map(|meant| meant.byte).collect();
        for secret in known {
            for (at, window) in bytes.windows(secret.window).enumerate() {
                let hash = self.hasher.hash_one(window);
                if secret.windows.binary_search(&hash).is_ok() {
                    let (first, last) = (meant[at].start, meant[at + secret.window - 1].end);
                    hidden[first as usize..last as usize].fill(true);
                }
            }
        }
        hidden
    }

    fn fingerprint(&self, secret: &str) -> Option<Arc<Fingerprint>> {
        let bytes: zeroize::Zeroizing<Vec<u8>> = zeroize::Zeroizing::new(
            meant(&secret.as_bytes()[..secret.len().min(LONGEST)])
                .iter()
                .map(|meant| meant.byte)
                .collect(),
        );
        if bytes.len() < SHORTEST {
            return None;
        }
        let window = WINDOW.min(bytes.len());
        let windows = bytes.windows(window);
        let mut windows: Vec<u64> = windows.map(|bytes| self.hasher.hash_one(bytes)).collect();
        windows.sort_unstable();
        windows.dedup();
        Some(Arc::new(Fingerprint {
            whole: self.hasher.hash_one(&**bytes),
            window,
            windows,
        }))
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Arc<Fingerprint>>> {
        lock(&self.known)
    }
}

// By hand: fingerprints are of no use to a reader.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.known().len() + self.own.len();
        write!(formatter, "Redactor({count} secrets)")
    }
}

/// A text with its encodings undone, white space left out: a token may be broken over lines. Twice, as quotes are quoted.
fn meant(text: &[u8]) -> Vec<Meant> {
    let mut result: Vec<Meant> = (0..)
        .zip(text)
        .filter(|(_, byte)| !byte.is_ascii_whitespace() && !byte.is_ascii_control())
        .map(|(at, byte)| Meant {
            byte: *byte,
            start: at,
            end: at + 1,
        })
        .collect();
    for _ in 0..2 {
        result = decode(&result);
    }
    result
}

fn decode(text: &[Meant]) -> Vec<Meant> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let (byte, length) = decode_first(rest).unwrap_or((first.byte, 1));
        let (this, after) = rest.split_at(length);
        result.push(Meant {
            byte,
            start: first.start,
            end: this.last().map_or(first.end, |last| last.end),
        });
        rest = after;
    }
    result
}

/// The byte that an encoding at the beginning of a text stands for, and how long it is: `%2B`, `\/`, `\u002b`, `&amp;`, `&#43;`, `&#x2b;`.
fn decode_first(text: &[Meant]) -> Option<(u8, usize)> {
    if !b"%\\&".contains(&text.first()?.byte) {
        return None;
    }
    let head: Vec<u8> = text.iter().take(8).map(|meant| meant.byte).collect();
    let head = std::str::from_utf8(&head).ok()?;
    if let Some(rest) = head.strip_prefix('%') {
        return Some((hex(rest.get(..2)?)?, 3));
    }
    if let Some(rest) = head.strip_prefix("\\u") {
        return Some((hex(rest.strip_prefix("00")?.get(..2)?)?, 6));
    }
    if let Some(rest) = head.strip_prefix('\\') {
        let quoted = *rest.as_bytes().first()?;
        return b"\"\\/".contains(&quoted).then_some((quoted, 2));
    }
    let (name, _) = head.strip_prefix('&')?.split_once(';')?;
    let byte = match name {
        "amp" => b'&',
        "quot" => b'"',
        "apos" => b'\'',
        "lt" => b'<',
        "gt" => b'>',
        _ => match name.strip_prefix("#x").or(name.strip_prefix("#X")) {
            Some(digits) => hex(digits.trim_start_matches('0'))?,
            None => name.strip_prefix('#')?.parse().ok()?,
        },
    };
    Some((byte, name.len() + 2))
}

fn hex(digits: &str) -> Option<u8> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "AAEAAb+dK/x9Qz7Lw2==Ty\"u&iOp<LkJhGfDsAzXcVbNm0123456789";

    fn redactor() -> Redactor {
        let redactor = Redactor::default();
        redactor.add(TOKEN);
        redactor
    }

    /// What of the text is left.
    fn left(text: &str) -> String {
        redactor().clean(text).into_owned()
    }

    #[test]
    fn p89_a_secret_is_hidden_however_it_is_written() {
        assert_eq!(left(&format!("x {TOKEN} y")), "x (hidden) y");
        let every = |write: &dyn Fn(u8) -> String| TOKEN.bytes().map(write).collect::<String>();
        for written in [
            every(&|byte| format!("%{byte:02X}")),
            every(&|byte| format!("%{byte:02x}")),
            every(&|byte| format!("%25{byte:02X}")),
            every(&|byte| format!("\\u{byte:04x}")),
            every(&|byte| format!("&#{byte};")),
            every(&|byte| format!("&#x{byte:X};")),
            TOKEN.replace('/', "\\/").replace('"', "\\\""),
            TOKEN
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('"', "&quot;"),
            TOKEN.replace('x', "\r\n x").replace('N', "N\t"),
        ] {
            assert_eq!(left(&format!("<{written}>")), "<(hidden)>", "{written}");
        }
    }

    #[test]
    fn p78_the_fingerprint_of_a_secret_is_bounded() {
        let redactor = Redactor::default();
        let long: String = (0..200_000).map(|number: u32| number.to_string()).collect();
        redactor.add(&long);
        let known = redactor.known();
        assert!(known.iter().all(|known| known.windows.len() <= LONGEST));
        drop(known);
        assert_eq!(redactor.clean(&long[..1000]), HIDDEN);
    }

    #[test]
    fn p89_a_part_of_a_secret_is_hidden_too() {
        for part in [&TOKEN[..WINDOW], &TOKEN[..30], &TOKEN[7..40], &TOKEN[20..]] {
            assert_eq!(left(&format!("began with {part}")), "began with (hidden)");
        }
        let long = format!("{}{TOKEN}{}", "x".repeat(PIECE - 20), "y".repeat(PIECE));
        let long = left(&long);
        assert_eq!(long.matches(HIDDEN).count(), 2);
        assert!(!long.contains(&TOKEN[..WINDOW]) && !long.contains(&TOKEN[40..]));
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "",
            "AccessDenied: arn:aws:iam::1:user/x &amp; 100 % \\u00e9 ü",
            &TOKEN[..WINDOW - 1],
        ] {
            assert_eq!(left(text), text);
        }
        let short = Redactor::default();
        short.add("token");
        assert_eq!(short.clean("the token is wrong"), "the token is wrong");
        short.add("eightbyt");
        assert_eq!(short.clean("an eightbyt."), "an (hidden).");
    }

    #[test]
    fn what_a_request_adds_is_its_own_and_what_is_old_is_forgotten() {
        let all = redactor();
        let own = all.with(["a signature of sixty-four digits"]);
        let text = "a signature of sixty-four digits";
        assert_eq!(
            (all.clean(text), own.clean(text)),
            (text.into(), HIDDEN.into())
        );
        own.add("known to all of them");
        assert_eq!(all.clean("known to all of them"), HIDDEN);
        for number in 0..2 * MOST {
            all.add(&format!("the secret number {number:010}"));
            all.add("known to all of them");
        }
        assert_eq!(all.known().len(), MOST);
        assert!(!format!("{all:?}").contains("secret number"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,100}", codes in "[%\\\\u&#x;0-9a-f]{0,60}", secret in "\\PC{0,40}") {
            let redactor = redactor();
            redactor.add(&secret);
            redactor.clean(&text);
            redactor.clean(&codes);
            let shown = redactor.clean(&secret).into_owned();
            prop_assert!(secret.len() < WINDOW || meant(secret.as_bytes()).len() < SHORTEST || shown != secret);
        }
    }
}
