//! Output cut into lines.

/// A line that is longer is cut.
const LONGEST: usize = 64 * 1024;

/// One stream of one target, up to its last newline.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes, and gives each whole line, without its newline, to `line`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.0.extend_from_slice(&bytes[..end]);
            line(&self.0);
            self.0.clear();
            bytes = &bytes[end + 1..];
        }
        self.0.extend_from_slice(bytes);
        while self.0.len() > LONGEST {
            line(&self.0[..LONGEST]);
            self.0.drain(..LONGEST);
        }
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.0.is_empty() {
            line(&std::mem::take(&mut self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["a", "b\nc\n\n", "d", "e"] {
            lines.push(piece.as_bytes(), |line| seen.push(line.to_vec()));
        }
        assert_eq!(seen, [&b"ab"[..], b"c", b""]);
        lines.finish(|line| assert_eq!(line, b"de"));
        lines.finish(|_| panic!("nothing is left"));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        let mut bytes = 0;
        for _ in 0..10 {
            lines.push(&[b'x'; LONGEST], |line| bytes += line.len());
        }
        assert_eq!(bytes, 9 * LONGEST);
    }
}
