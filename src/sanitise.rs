//! Text from outside as it may be shown: the one place that takes out what a terminal would obey (P84).
//!
//! From outside is everything that the service, the agent, a gateway, a proxy, a file, a variable, an argument or another program says:
//! session ids, session types, names of sockets, reasons, error texts. Whoever puts such text into a sentence uses [`line()`]; what is
//! printed or logged goes through [`text`] or [`line()`] once more, so that nothing that was forgotten reaches a terminal.

/// The longest piece of text from outside in a sentence of ours, in characters.
const LONGEST_LINE: usize = 1000;

/// Text that may have several lines: newlines, tabs and carriage returns stay, other control characters go.
///
/// Control characters are those of Unicode (0x00 to 0x1f, 0x7f to 0x9f) and those that turn the direction of what follows, so that it reads
/// as something else.
pub(crate) fn text(text: &str) -> String {
    text.chars()
        .filter(|character| matches!(character, '\n' | '\t' | '\r') || !is_control(*character))
        .collect()
}

/// Text for a place within a line: white space becomes a space, other control characters go, and what is longer than 1000 characters is
/// cut.
pub(crate) fn line(text: &str) -> String {
    line_within(text, LONGEST_LINE)
}

/// [`line()`] with another limit, in characters.
pub(crate) fn line_within(text: &str, longest: usize) -> String {
    let mut shown = text.chars().filter_map(|character| match character {
        '\n' | '\t' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        character => (!is_control(character)).then_some(character),
    });
    let mut line: String = shown.by_ref().take(longest).collect();
    if shown.next().is_some() {
        line.push('…');
    }
    line
}

/// What a terminal, or whoever reads it, would obey instead of show.
fn is_control(character: char) -> bool {
    // Embeddings, overrides and isolates of the bidirectional algorithm.
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p84_what_a_terminal_obeys_goes() {
        let hostile = "\u{1b}]0;title\u{7}a\tb\r\nc\u{9b}31md\u{7f}\0\u{202e}e";
        assert_eq!(text(hostile), "]0;titlea\tb\r\nc31mde");
        assert_eq!(line(hostile), "]0;titlea b  c31mde");
        assert_eq!(line("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "ü".repeat(LONGEST_LINE);
        assert_eq!(line(&long), long);
        assert_eq!(line(&format!("{long}x")), format!("{long}…"));
        assert_eq!(line_within("abc", 2), "ab…");
        // What is taken out does not count.
        assert_eq!(line_within("ab\u{1b}\u{1b}", 2), "ab");
    }

    proptest! {
        #[test]
        fn nothing_else_is_changed(plain in "[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]{0,200}") {
            prop_assert_eq!(&text(&plain), &plain);
            prop_assert_eq!(&line(&plain), &plain);
        }

        #[test]
        fn p84_no_control_character_is_left(any in any::<String>()) {
            prop_assert!(!line(&any).chars().any(char::is_control));
            let kept = |character: char| matches!(character, '\n' | '\t' | '\r');
            prop_assert!(text(&any).chars().all(|character| kept(character) || !character.is_control()));
        }
    }
}
