//! Takes known secrets out of text from outside before it is shown or logged (P89).
//!
//! Services, gateways and proxies repeat what they were told: the canonical request of a signature, a URL with its query, a header, the
//! beginning of a token in the reason of a close. What is here are fingerprints, no further copies of the secrets.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::mutex::lock;

use zeroize::Zeroizing;

/// So many bytes of a secret in a row give it away; a shorter secret must be there whole.
const WINDOW: usize = 16;
/// What is shorter is no secret, and is in plain sentences.
const SHORTEST: usize = 8;
/// So many windows of a secret are known at most. Each takes eight bytes.
const MOST_WINDOWS: usize = 16 * 1024;
/// So many bytes of a secret are known by each of their windows: far more than real ones have. What is behind that is known by windows that
/// lie side by side, wider ones where it is very long.
const FIRST: usize = MOST_WINDOWS;
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

/// One secret, or the beginning or the rest of a long one.
#[derive(PartialEq, Eq)]
struct Fingerprint {
    /// Of all of it.
    whole: u64,
    /// How many bytes each of the others is of.
    window: usize,
    /// Of every window, or of those side by side, sorted.
    windows: Vec<u64>,
    /// So many bytes around what is found may be of the secret, too.
    margin: usize,
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
        for new in self.fingerprints(secret) {
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
            .extend(new.flat_map(|secret| self.fingerprints(secret)));
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
                    let first = at.saturating_sub(secret.margin);
                    let last = (at + secret.window + secret.margin).min(meant.len()) - 1;
                    let (first, last) = (meant[first].start, meant[last].end);
                    hidden[first as usize..last as usize].fill(true);
                }
            }
        }
        hidden
    }

    /// Of a secret, and of its rest where it is a long one.
    fn fingerprints(&self, secret: &str) -> impl Iterator<Item = Arc<Fingerprint>> {
        let (first, rest) = secret.as_bytes().split_at(secret.len().min(FIRST));
        let first = self.fingerprint(first);
        let rest = (!rest.is_empty()).then(|| self.fingerprint_of_rest(rest));
        first.into_iter().chain(rest)
    }

    fn fingerprint(&self, secret: &[u8]) -> Option<Arc<Fingerprint>> {
        let bytes = meant_bytes(secret);
        if bytes.len() < SHORTEST {
            return None;
        }
        let window = WINDOW.min(bytes.len());
        let windows = bytes.windows(window);
        let windows = windows.map(|bytes| self.hasher.hash_one(bytes)).collect();
        Some(Fingerprint::new(
            self.hasher.hash_one(secret),
            window,
            windows,
            0,
        ))
    }

    /// Of what is behind the beginning of a long secret: windows side by side. A part of it is known if it is as long as two of them.
    fn fingerprint_of_rest(&self, rest: &[u8]) -> Arc<Fingerprint> {
        let window = WINDOW.max(rest.len().div_ceil(MOST_WINDOWS));
        let mut windows = Vec::new();
        // In pieces, as what is meant takes twelve times as much for a moment.
        for piece in rest.chunks(FIRST) {
            let bytes = meant_bytes(piece);
            let whole = bytes.chunks_exact(window);
            windows.extend(whole.map(|bytes| self.hasher.hash_one(bytes)));
        }
        Fingerprint::new(self.hasher.hash_one(rest), window, windows, window - 1)
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Arc<Fingerprint>>> {
        lock(&self.known)
    }
}

impl Fingerprint {
    fn new(whole: u64, window: usize, mut windows: Vec<u64>, margin: usize) -> Arc<Self> {
        windows.sort_unstable();
        windows.dedup();
        Arc::new(Self {
            whole,
            window,
            windows,
            margin,
        })
    }
}

// By hand: fingerprints are of no use to a reader.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.known().len() + self.own.len();
        write!(formatter, "Redactor({count} secrets)")
    }
}

fn meant_bytes(text: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(meant(text).iter().map(|meant| meant.byte).collect())
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

    /// A secret without repetitions, so many bytes long.
    fn long_secret(length: usize) -> String {
        let numbers = (0_u64..).map(|number| format!("{:x}", number * 0x9e37_79b9));
        let mut secret = String::new();
        for number in numbers {
            if secret.len() >= length {
                break;
            }
            secret.push_str(&number);
        }
        secret.truncate(length);
        secret
    }

    #[test]
    fn p78_the_fingerprint_of_a_secret_is_bounded() {
        let redactor = Redactor::default();
        redactor.add(&long_secret(4 << 20));
        let known = redactor.known();
        assert_eq!(known.len(), 2);
        assert!(
            known
                .iter()
                .all(|known| known.windows.len() <= MOST_WINDOWS)
        );
    }

    #[test]
    fn p89_a_long_secret_is_hidden_to_its_end() {
        for length in [FIRST - 1, FIRST, FIRST + 100, 40_000, 128 * 1024, 1 << 20] {
            let redactor = Redactor::default();
            let secret = long_secret(length);
            redactor.add(&secret);
            let window = WINDOW.max(length / MOST_WINDOWS + 1);
            // What a close may hold of it, the end, and all of it.
            for part in [
                &secret[length - 123..],
                &secret[length / 2..length / 2 + 123],
                &secret[..],
            ] {
                let shown = redactor.clean(part).into_owned();
                let rest = shown.replace(HIDDEN, "");
                // The last piece of a text may be too short.
                assert!(rest.len() < 2 * window, "{length}: {rest}");
                assert!(shown.contains(HIDDEN), "{length}");
                assert!(
                    part.len() > 123 || rest.is_empty() || window > 40,
                    "{length}: {rest}"
                );
            }
        }
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
