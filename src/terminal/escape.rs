//! Escapes that the user types at the start of a line: `~.` and the like. No I/O.
//!
//! An escape is what somebody types. What is pasted may hold the same bytes (a list in Markdown, a line of a script) and passes untouched:
//! all that is between the brackets that a terminal puts around a paste, and all that comes in a piece larger than a key sends.

/// What an escape asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// `~.`: end the session.
    Terminate,
    /// `~?`: show which escapes there are.
    Help,
    /// `~-`: no more escapes from here on.
    Off,
    /// `~r`: make another connection at once.
    Reconnect,
    /// `~s`: show how the connection is.
    Status,
}

/// The most bytes that one read brings of what somebody types; more at once is pasted, or sent by a program. A key of the keyboard sends up
/// to four.
pub const TYPED_AT_ONCE: usize = 4;
/// What a terminal puts before and after what is pasted, where the remote program has asked for it.
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// Looks for escapes in what the user types, however it is cut into reads; what is pasted passes untouched (P104).
#[derive(Debug, Clone)]
pub struct Escapes {
    character: u8,
    position: Position,
    bracket: Bracket,
}

/// Where the next byte is.
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
            bracket: Bracket::default(),
        }
    }

    /// Takes what was typed: appends to `forward` what is to be sent, and reports escapes in their order. Nothing behind `~.` is looked at.
    pub fn feed(&mut self, typed: &[u8], forward: &mut Vec<u8>, mut report: impl FnMut(Escape)) {
        for (index, byte) in typed.iter().copied().enumerate() {
            if self.bracket.holds(byte) {
                forward.push(byte);
                self.leave_line_start();
                continue;
            }
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
                    b'?' | b'r' | b's' => {
                        self.position = Position::LineStart;
                        report(match byte {
                            b'?' => Escape::Help,
                            b'r' => Escape::Reconnect,
                            _ => Escape::Status,
                        });
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

    /// Takes what was pasted: every byte is to be sent. A character that was held back before it is none of an escape's.
    pub fn feed_pasted(&mut self, pasted: &[u8], forward: &mut Vec<u8>) {
        let Some(last) = pasted.last() else {
            return;
        };
        if self.position == Position::AfterCharacter {
            forward.push(self.character);
        }
        forward.extend_from_slice(pasted);
        if self.position == Position::Off {
            return;
        }
        self.position = after(*last);
        for byte in pasted {
            if self.bracket.holds(*byte) {
                self.leave_line_start();
            } else {
                self.position = after(*byte);
            }
        }
    }

    /// Whether these bytes, if they were typed, would be an escape or the end of one, and so not be sent as they are.
    pub fn would_act(&self, typed: &[u8]) -> bool {
        let mut copy = self.clone();
        let mut forward = Vec::new();
        let mut is_reported = false;
        copy.feed(typed, &mut forward, |_| is_reported = true);
        let held = |escapes: &Self| usize::from(escapes.position == Position::AfterCharacter);
        is_reported || held(self) + typed.len() != forward.len() + held(&copy)
    }

    fn pass(&mut self, byte: u8, forward: &mut Vec<u8>) {
        forward.push(byte);
        self.position = after(byte);
    }

    fn leave_line_start(&mut self) {
        if self.position != Position::Off {
            self.position = Position::WithinLine;
        }
    }
}

/// Where the byte after this one is.
fn after(byte: u8) -> Position {
    match byte {
        b'\r' | b'\n' => Position::LineStart,
        _ => Position::WithinLine,
    }
}

/// Whether the bytes are within a bracketed paste.
#[derive(Debug, Clone, Default)]
struct Bracket {
    is_open: bool,
    /// How many bytes of the next bracket have come.
    matched: usize,
}

impl Bracket {
    /// Takes the next byte; says whether it is within a paste, or of the bracket that ends one.
    fn holds(&mut self, byte: u8) -> bool {
        let was_open = self.is_open;
        let bracket = if was_open { PASTE_ENDS } else { PASTE_BEGINS };
        self.matched = match bracket.get(self.matched) {
            Some(next) if *next == byte => self.matched + 1,
            // No byte of a bracket but the first is the first again.
            _ => usize::from(bracket.first() == Some(&byte)),
        };
        if self.matched == bracket.len() {
            self.is_open = !was_open;
            self.matched = 0;
        }
        was_open
    }
}

/// What `~?` shows, its lines ended as a raw terminal needs them.
pub fn help(character: u8) -> String {
    let c = char::from(character);
    format!(
        "\r\nEscapes, at the start of a line:\r\n \
         {c}.  end the session\r\n \
         {c}r  reconnect at once\r\n \
         {c}s  state of the connection\r\n \
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
            (b"\r~s~r", b"\r", &[Escape::Status, Escape::Reconnect]),
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

    /// With every escape after every kind of byte.
    const PASTED: &[u8] = b"# notes\r~~~python\r~.\n~?~.\r~-\r~~\r\n~x\r~\r~.";

    #[test]
    fn p104_what_is_pasted_passes_untouched() {
        let mut escapes = Escapes::new(b'~');
        let mut forward = Vec::new();
        for cut in 0..PASTED.len() {
            forward.clear();
            escapes.feed_pasted(&PASTED[..cut], &mut forward);
            escapes.feed_pasted(&PASTED[cut..], &mut forward);
            assert_eq!(forward, PASTED);
        }
        // What follows is typed again.
        assert!(!escapes.would_act(b"~."));
        assert!(escapes.would_act(b"\r~."));
        // Held back before a paste: it is sent, and in its place.
        forward.clear();
        escapes.feed(b"\r~", &mut forward, |_| panic!("no escape"));
        escapes.feed_pasted(b".....", &mut forward);
        assert_eq!(forward, b"\r~.....");
    }

    #[test]
    fn p104_nothing_between_the_brackets_is_an_escape_however_it_is_cut() {
        let mut typed = PASTE_BEGINS.to_vec();
        // What looks like a bracket and is none, and one more opening.
        typed.extend_from_slice(b"\x1b\x1b[20\x1b[200~\r~.");
        typed.extend_from_slice(PASTED);
        typed.extend_from_slice(PASTE_ENDS);
        for first in 0..typed.len() {
            for second in [first, first + 1, first + 3] {
                let second = second.min(typed.len());
                let reads = [&typed[..first], &typed[first..second], &typed[second..]];
                let (forward, reported) = run(b'~', &reads);
                assert_eq!(forward, typed);
                assert_eq!(reported, []);
                let reads = [reads[0], reads[1], reads[2], b"~.\r~."];
                let (forward, reported) = run(b'~', &reads);
                assert_eq!(forward, [&typed[..], b"~.\r"].concat());
                assert_eq!(reported, [Escape::Terminate]);
            }
        }
    }

    #[test]
    fn p104_escapes_are_known_before_they_act() {
        let mut escapes = Escapes::new(b'~');
        for (typed, acts) in [
            (&b""[..], false),
            (b"~", false),
            (b"~.", true),
            (b"~?", true),
            (b"~-", true),
            (b"~r", true),
            (b"~s", true),
            (b"~~", true),
            (b"~x", false),
            (b"a~.", false),
        ] {
            assert_eq!(escapes.would_act(typed), acts, "{}", typed.escape_ascii());
        }
        escapes.feed(b"~", &mut Vec::new(), |_| {});
        assert!(escapes.would_act(b"."));
        assert!(escapes.would_act(b"~"));
        assert!(!escapes.would_act(b"x"));
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

        #[test]
        fn p104_a_paste_between_keys_is_sent_whole(
            before in prop::collection::vec(prop::sample::select(b"~x\r\x1b".to_vec()), 0..4),
            pasted in prop::collection::vec(prop::sample::select(b"~.?-\r\nx\x1b[201~".to_vec()), 1..60),
        ) {
            let mut escapes = Escapes::new(b'~');
            let mut forward = Vec::new();
            let mut typed = Vec::new();
            for byte in before {
                if !escapes.would_act(&[byte]) {
                    escapes.feed(&[byte], &mut forward, |_| {});
                    typed.push(byte);
                }
            }
            escapes.feed_pasted(&pasted, &mut forward);
            prop_assert_eq!(forward, [typed, pasted].concat());
        }
    }
}
