//! Escapes that the user types at the start of a line: `~.` and the like. No I/O.

/// What an escape asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// `~.`: end the session.
    Terminate,
    /// `~?`: show which escapes there are.
    Help,
    /// `~-`: no more escapes from here on.
    Off,
}

/// Looks for escapes in what the user types, however it is cut into reads.
#[derive(Debug, Clone)]
pub struct Escapes {
    character: u8,
    position: Position,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// After a newline or carriage return, or at the very start, where a user may want to leave, too.
    LineStart,
    /// Anywhere else.
    WithinLine,
    /// After the escape character at the start of a line; it is held back.
    AfterCharacter,
    /// Escapes are off.
    Off,
}

impl Escapes {
    /// Escapes that begin with this byte.
    pub fn new(character: u8) -> Self {
        Self {
            character,
            position: Position::LineStart,
        }
    }

    /// Takes what was typed: appends to `forward` what is to be sent, and reports escapes in their order. Nothing behind `~.` is looked at.
    pub fn feed(&mut self, typed: &[u8], forward: &mut Vec<u8>, mut report: impl FnMut(Escape)) {
        for (index, byte) in typed.iter().copied().enumerate() {
            match self.position {
                Position::Off => {
                    forward.extend_from_slice(&typed[index..]);
                    return;
                }
                Position::LineStart if byte == self.character => {
                    self.position = Position::AfterCharacter;
                }
                Position::LineStart | Position::WithinLine => self.pass(byte, forward),
                // The held-back byte was the first; this one makes it one.
                Position::AfterCharacter if byte == self.character => {
                    forward.push(byte);
                    self.position = Position::WithinLine;
                }
                Position::AfterCharacter => match byte {
                    b'.' => {
                        self.position = Position::LineStart;
                        report(Escape::Terminate);
                        return;
                    }
                    b'?' => {
                        self.position = Position::LineStart;
                        report(Escape::Help);
                    }
                    b'-' => {
                        self.position = Position::Off;
                        report(Escape::Off);
                    }
                    _ => {
                        forward.push(self.character);
                        self.pass(byte, forward);
                    }
                },
            }
        }
    }

    fn pass(&mut self, byte: u8, forward: &mut Vec<u8>) {
        forward.push(byte);
        self.position = match byte {
            b'\r' | b'\n' => Position::LineStart,
            _ => Position::WithinLine,
        };
    }
}

/// What `~?` shows, its lines ended as a raw terminal needs them.
pub fn help(character: u8) -> String {
    let c = char::from(character);
    format!(
        "\r\nEscapes, at the start of a line:\r\n \
         {c}.  end the session\r\n \
         {c}-  no more escapes\r\n \
         {c}?  this help\r\n \
         {c}{c}  send one {c}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(character: u8, reads: &[&[u8]]) -> (Vec<u8>, Vec<Escape>) {
        let mut escapes = Escapes::new(character);
        let mut forward = Vec::new();
        let mut reported = Vec::new();
        for read in reads {
            escapes.feed(read, &mut forward, |escape| reported.push(escape));
            if reported.contains(&Escape::Terminate) {
                break;
            }
        }
        (forward, reported)
    }

    #[test]
    fn each_escape_does_what_the_help_says() {
        for (typed, sent, reported) in [
            (&b"~."[..], &b""[..], &[Escape::Terminate][..]),
            (b"ls\r~.", b"ls\r", &[Escape::Terminate]),
            (b"ls\n~.more", b"ls\n", &[Escape::Terminate]),
            (b"ls~.", b"ls~.", &[]),
            (b"\r~~", b"\r~", &[]),
            (b"\r~~.", b"\r~.", &[]),
            (b"\r~x~.", b"\r~x~.", &[]),
            (b"\r~\r~.", b"\r~\r", &[Escape::Terminate]),
            (b"\r~?~.", b"\r", &[Escape::Help, Escape::Terminate]),
            (b"\r~-~.\r~.", b"\r~.\r~.", &[Escape::Off]),
            (b"\r~", b"\r", &[]),
        ] {
            let (forward, escapes) = run(b'~', &[typed]);
            let typed = typed.escape_ascii();
            assert_eq!(forward, sent, "{typed}");
            assert_eq!(escapes, reported, "{typed}");
        }
    }

    #[test]
    fn another_character_takes_its_place() {
        assert_eq!(run(b'%', &[b"~.\r%."]).1, [Escape::Terminate]);
        assert_eq!(run(b'%', &[b"~.\r%."]).0, b"~.\r");
        // A character that is also a letter of an escape sends itself when doubled.
        assert_eq!(run(b'.', &[b".."]), (b".".to_vec(), vec![]));
        assert!(help(b'%').contains("%.  end the session"));
    }

    proptest! {
        #[test]
        fn the_cut_into_reads_changes_nothing(
            typed in prop::collection::vec(prop::sample::select(b"~.?-\r\nx".to_vec()), 0..40),
            cuts in prop::collection::vec(0_usize..40, 0..6),
        ) {
            let whole = run(b'~', &[&typed]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(typed.len())).collect();
            cuts.sort_unstable();
            let mut reads = Vec::new();
            let mut start = 0;
            for cut in cuts {
                reads.push(&typed[start..cut]);
                start = cut;
            }
            reads.push(&typed[start..]);
            prop_assert_eq!(run(b'~', &reads), whole);
        }

        #[test]
        fn without_an_escape_every_byte_passes(typed in prop::collection::vec(any::<u8>(), 0..200)) {
            let typed: Vec<u8> = typed.into_iter().filter(|byte| *byte != b'~').collect();
            prop_assert_eq!(run(b'~', &[&typed]), (typed, vec![]));
        }
    }
}
