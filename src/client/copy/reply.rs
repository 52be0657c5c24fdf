//! What the scripts print: lines that begin with `!`, and base64 between them.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::CopyError;

/// The longest line, in bytes: two names of 4,096 bytes each as base64, and a little.
const LONGEST_LINE: usize = 16 * 1024;

/// How much may come that is no reply, or a part of one, before the next: more than any login profile prints. In bytes.
const MOST_NOISE: usize = 1024 * 1024;

/// One piece of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A line without its `!`.
    Line(String),
    /// Decoded bytes, in any pieces.
    Data(Vec<u8>),
}

/// The output is not of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbled;

/// Decodes output that comes in any pieces.
#[derive(Debug, Default)]
pub(super) struct ReplyDecoder {
    /// A line that is not whole, with its `!`.
    line: Vec<u8>,
    /// Base64 that is no whole group of four.
    group: Vec<u8>,
    replies: VecDeque<Reply>,
    /// What comes before the first `!` is ignored: a login profile may print something on a terminal.
    has_begun: bool,
    /// What came since the last reply and is ignored, line ends among it, in bytes.
    noise: usize,
}

impl ReplyDecoder {
    /// Takes a piece of output.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Garbled> {
        if !self.has_begun {
            let first = bytes.iter().position(|byte| *byte == b'!');
            self.ignore(first.unwrap_or(bytes.len()))?;
            let Some(first) = first else {
                return Ok(());
            };
            bytes = &bytes[first..];
            self.has_begun = true;
        }
        while !bytes.is_empty() {
            if !self.line.is_empty() || bytes[0] == b'!' {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                self.line.extend_from_slice(piece);
                if self.line.len() > LONGEST_LINE {
                    return Err(Garbled);
                }
                bytes = rest;
                if end.is_some() {
                    bytes = &bytes[1..];
                    self.end_of_line()?;
                }
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'!');
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest;
            self.decode(piece)?;
        }
        Ok(())
    }

    fn ignore(&mut self, bytes: usize) -> Result<(), Garbled> {
        self.noise = self.noise.saturating_add(bytes);
        match self.noise {
            ..=MOST_NOISE => Ok(()),
            _ => Err(Garbled),
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.noise = 0;
        self.replies.push_back(reply);
    }

    fn end_of_line(&mut self) -> Result<(), Garbled> {
        if !self.group.is_empty() {
            return Err(Garbled);
        }
        let line = String::from_utf8_lossy(&self.line[1..])
            .trim_end()
            .to_owned();
        self.line.clear();
        self.reply(Reply::Line(line));
        Ok(())
    }

    fn decode(&mut self, piece: &[u8]) -> Result<(), Garbled> {
        let is_digit = |byte: &&u8| !matches!(byte, b'\n' | b'\r');
        let before = self.group.len();
        self.group.extend(piece.iter().filter(is_digit));
        self.ignore(piece.len() - (self.group.len() - before))?;
        let whole = self.group.len() / 4 * 4;
        if whole == 0 {
            return Ok(());
        }
        let data = STANDARD.decode(&self.group[..whole]).map_err(|_| Garbled)?;
        self.group.drain(..whole);
        self.reply(Reply::Data(data));
        Ok(())
    }

    /// The next decoded reply.
    pub(super) fn next(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }
}

/// What is known of a file: size, permissions, time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// In bytes.
    pub size: u64,
    /// Permission bits, where they could be had.
    pub mode: Option<u32>,
    /// In seconds since 1970, likewise.
    pub modified: Option<u64>,
}

impl FileFacts {
    /// Whether what was read of a file with these facts, up to its size, can be all of what it was, now that it has others. One that has
    /// grown, as a log does, has what it had at its beginning, unless hashes say otherwise. `is_longer`: more could be read.
    pub(super) fn allow(self, now: Self, is_longer: bool) -> Result<(), CopyError> {
        if now.size > self.size {
            return Ok(());
        }
        match now == self {
            false => Err(CopyError::Changed),
            true if is_longer => Err(CopyError::Sizeless),
            true => Ok(()),
        }
    }

    /// Reads `SIZE MODE MODIFIED`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let size = words.next()?.parse().ok()?;
        let mode = words.next()?;
        let modified = words.next()?;
        Some(Self {
            size,
            mode: u32::from_str_radix(mode, 8).ok().map(|mode| mode & 0o7777),
            modified: modified.parse().ok(),
        })
    }
}

/// Reads a name as `shown` prints it.
pub(super) fn shown(word: &str) -> Option<Vec<u8>> {
    match word.split_at_checked(1)? {
        ("=", plain) => Some(plain.as_bytes().to_vec()),
        ("+", encoded) => STANDARD.decode(encoded).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::digest::Hash;
    use super::*;

    #[test]
    fn p78_what_is_no_reply_is_bounded() {
        let flood = |decoder: &mut ReplyDecoder, noise: &[u8], bytes: usize| {
            (0..bytes / noise.len()).try_for_each(|_| decoder.feed(noise))
        };
        for (begin, noise) in [(&b""[..], [b'x'; 1024]), (b"!ready\n", [b'\n'; 1024])] {
            let mut decoder = ReplyDecoder::default();
            for _ in 0..3 {
                assert_eq!(decoder.feed(begin), Ok(()));
                assert_eq!(flood(&mut decoder, &noise, MOST_NOISE), Ok(()));
                // A reply is a sign that it goes on.
                assert_eq!(decoder.feed(b"!ready\n"), Ok(()));
                if begin.is_empty() {
                    decoder = ReplyDecoder::default();
                }
            }
            assert_eq!(decoder.feed(begin), Ok(()));
            let flooded = flood(&mut decoder, &noise, MOST_NOISE + noise.len());
            assert_eq!(flooded, Err(Garbled));
        }
    }

    fn all(output: &[u8], piece: usize) -> Result<(Vec<String>, Vec<u8>), Garbled> {
        let mut decoder = ReplyDecoder::default();
        let (mut lines, mut data) = (Vec::new(), Vec::new());
        for piece in output.chunks(piece) {
            decoder.feed(piece)?;
            while let Some(reply) = decoder.next() {
                match reply {
                    Reply::Line(line) => lines.push(line),
                    Reply::Data(bytes) => data.extend(bytes),
                }
            }
        }
        Ok((lines, data))
    }

    #[test]
    fn lines_and_base64_come_apart_in_any_pieces() {
        let output =
            b"profile says hi\r\n!facts 4 644 1\nAAEC\n/w==\n\n!done\n!hash sha256 x\nYWI=\n!end\n";
        for piece in 1..output.len() {
            let (lines, data) = all(output, piece).expect("good output");
            assert_eq!(lines, ["facts 4 644 1", "done", "hash sha256 x", "end"]);
            assert_eq!(data, [0, 1, 2, 255, b'a', b'b']);
        }
    }

    #[test]
    fn what_is_no_base64_is_noticed() {
        for bad in [
            &b"!a\nAA*A\n"[..],
            b"!a\nAAA\n!b\n",
            b"!a\nA===\n",
            b"!a\nAA==AAAA\n",
        ] {
            assert_eq!(all(bad, 100), Err(Garbled), "{bad:?}");
        }
        assert_eq!(all(&[b'!'; 20_000], 1000), Err(Garbled));
    }

    #[test]
    fn facts_and_names_are_read() {
        let facts = FileFacts::parse("12 4755 99").expect("facts");
        assert_eq!(
            (facts.size, facts.mode, facts.modified),
            (12, Some(0o4755), Some(99))
        );
        let facts = FileFacts::parse("12 - -").expect("facts");
        assert_eq!((facts.mode, facts.modified), (None, None));
        for bad in ["", "x 1 1", " - -", "-1 2 3", "99999999999999999999 1 1"] {
            assert_eq!(FileFacts::parse(bad), None, "{bad}");
        }
        assert_eq!(shown("=a/b"), Some(b"a/b".to_vec()));
        assert_eq!(shown("+/w=="), Some(vec![255]));
        assert_eq!(shown("a"), None);
        assert_eq!(shown(""), None);
    }

    proptest! {
        #[test]
        fn no_output_panics_and_cutting_it_changes_nothing(
            output in "(!|=|\\+|-|A|QQ==|\n|\r| |9|=x|\\PC|!facts |!hash sha256 |18446744073709551616){0,60}",
            piece in 1_usize..200,
        ) {
            let Ok(whole) = all(output.as_bytes(), usize::MAX) else {
                return Ok(());
            };
            for line in &whole.0 {
                for (place, _) in line.char_indices() {
                    FileFacts::parse(&line[place..]);
                    shown(&line[place..]);
                    Hash::parse(&line[place..]);
                }
            }
            prop_assert_eq!(all(output.as_bytes(), piece), Ok(whole));
        }
    }
}
