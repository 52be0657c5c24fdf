//! The AWS CLI's shorthand syntax: `name=value,list=[a,"b, c"],more=1,2,from@=file://path`.
//!
//! It follows the grammar of the AWS CLI to the letter, its odd corners included: what works there must mean the same here. A test
//! compares the two.

/// The most brackets inside of each other.
const MAXIMUM_DEPTH: u32 = 64;

/// What stands for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, of which an equals sign without anything behind it makes an empty one.
    Text(String),
    /// `[a,b]` or `a,b`.
    List(Vec<Value>),
    /// `{name=value}`. No document's parameter has this form, so it is read and not kept.
    Map,
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ShorthandError {
    /// Here something else should be; a list without brackets may end before it.
    Syntax { expected: &'static str, at: usize },
    /// Anything else, in words.
    Other(String),
}

type ShorthandResult<T> = Result<T, ShorthandError>;

/// Gives the content of a file where a text names one (`file://…`), and nothing where it does not.
pub(super) type Load<'a> = dyn Fn(&str) -> Result<Option<String>, String> + 'a;

/// Reads a whole text. `load` is asked where a name ends with `@`.
///
/// # Errors
/// What is wrong and where, in words.
pub(super) fn parse(text: &str, load: &Load<'_>) -> Result<Vec<(String, Value)>, String> {
    let mut parser = Parser {
        text: text.chars().collect(),
        at: 0,
        loads: false,
        depth: 0,
        load,
    };
    parser.parameters().map_err(|failure| match failure {
        ShorthandError::Other(why) => why,
        ShorthandError::Syntax { expected, at } => match parser.text.get(at) {
            Some(found) => {
                let place = at + 1;
                format!("expected {expected} and not {found:?} at character {place}")
            }
            None => format!("expected {expected} at the end"),
        },
    })
}

struct Parser<'a> {
    text: Vec<char>,
    at: usize,
    /// Whether values that name a file stand for what is in it.
    loads: bool,
    depth: u32,
    load: &'a Load<'a>,
}

impl Parser<'_> {
    fn parameters(&mut self) -> ShorthandResult<Vec<(String, Value)>> {
        let mut parameters = Vec::new();
        loop {
            let name = self.name()?;
            let value = self.values()?;
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(ShorthandError::Other(format!("{name} comes twice")));
            }
            parameters.push((name, value));
            if self.current().is_none() {
                return Ok(parameters);
            }
            self.expect(',', "a comma")?;
        }
    }

    /// A name and its equals sign.
    fn name(&mut self) -> ShorthandResult<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.#/:".contains(c);
        let name: String = self.text[self.at..]
            .iter()
            .copied()
            .take_while(|c| is_part(*c))
            .collect();
        // All of them are ASCII.
        self.at += name.len();
        self.skip_space();
        self.loads = self.current() == Some('@');
        if self.loads {
            self.at += 1;
        }
        self.expect('=', "an equals sign")?;
        Ok(name)
    }

    fn values(&mut self) -> ShorthandResult<Value> {
        match self.current() {
            None => Ok(Value::Text(String::new())),
            Some('[') => self.list(),
            Some('{') => self.map(),
            Some(_) => self.texts(),
        }
    }

    /// One text, or several with commas between them. The last comma may belong to the next name instead.
    fn texts(&mut self) -> ShorthandResult<Value> {
        let first = self.first()?;
        self.skip_space();
        if self.current() != Some(',') {
            return Ok(Value::Text(first));
        }
        self.expect(',', "a comma")?;
        let mut list = vec![Value::Text(first)];
        loop {
            let next = self.next_text();
            match next {
                Ok((text, is_last)) => {
                    list.push(Value::Text(text));
                    if is_last {
                        break;
                    }
                }
                Err(ShorthandError::Syntax { .. }) if self.current().is_some() => {
                    while self.current() != Some(',') {
                        self.at -= 1;
                    }
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        if list.len() == 1
            && let Some(only) = list.pop()
        {
            return Ok(only);
        }
        Ok(Value::List(list))
    }

    /// One more text of a list without brackets, and whether it was the last.
    fn next_text(&mut self) -> ShorthandResult<(String, bool)> {
        let text = match self.current() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            _ => {
                let text = self.plain(&FURTHER).ok_or(ShorthandError::Syntax {
                    expected: "a value",
                    at: self.at,
                })?;
                self.loaded(text)?
            }
        };
        self.skip_space();
        if self.current().is_none() {
            return Ok((text, true));
        }
        self.expect(',', "a comma")?;
        Ok((text, false))
    }

    fn list(&mut self) -> ShorthandResult<Value> {
        self.deeper()?;
        self.expect('[', "a bracket")?;
        let mut list = Vec::new();
        while self.current() != Some(']') {
            list.push(self.inner()?);
            self.separate(']')?;
        }
        self.at += 1;
        self.depth -= 1;
        Ok(Value::List(list))
    }

    fn map(&mut self) -> ShorthandResult<Value> {
        self.deeper()?;
        self.expect('{', "a brace")?;
        while self.current() != Some('}') {
            self.name()?;
            self.inner()?;
            self.separate('}')?;
        }
        self.at += 1;
        self.depth -= 1;
        Ok(Value::Map)
    }

    fn deeper(&mut self) -> ShorthandResult<()> {
        self.depth += 1;
        if self.depth > MAXIMUM_DEPTH {
            return Err(ShorthandError::Other(
                "there are too many brackets".to_owned(),
            ));
        }
        Ok(())
    }

    /// What is between brackets.
    fn inner(&mut self) -> ShorthandResult<Value> {
        match self.current() {
            Some('[') => self.list(),
            Some('{') => self.map(),
            _ => self.first().map(Value::Text),
        }
    }

    /// A comma with space behind it, unless the end comes.
    fn separate(&mut self, end: char) -> ShorthandResult<()> {
        self.skip_space();
        if self.current() != Some(end) {
            self.expect(',', "a comma")?;
        }
        Ok(())
    }

    /// A text that may be empty, or be in quotes.
    fn first(&mut self) -> ShorthandResult<String> {
        match self.current() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            _ => match self.plain(&FIRST) {
                Some(text) => self.loaded(text),
                None => Ok(String::new()),
            },
        }
    }

    /// A text without quotes, in which a backslash protects a comma; nothing if none begins here.
    fn plain(&mut self, kind: &Plain) -> Option<String> {
        let rest = &self.text[self.at..];
        let mut length = 0;
        loop {
            let allowed = if length == 0 { kind.start } else { kind.follow };
            match rest[length..] {
                ['\\', ',', ..] => length += 2,
                [next, ..] if allowed(next) => length += 1,
                _ => break,
            }
        }
        let text: String = rest[..length].iter().collect();
        self.at += length;
        (length > 0).then(|| {
            text.replace("\\,", ",")
                .trim_end_matches(is_space)
                .to_owned()
        })
    }

    /// A text in quotes, in which a backslash protects the quote, or a backslash. If only a protected quote is there to end it, it does.
    fn quoted(&mut self, quote: char) -> ShorthandResult<String> {
        let rest = &self.text[self.at + 1..];
        let mut at = 0;
        let mut protected = None;
        let end = loop {
            match rest[at..] {
                ['\\', next, ..] if next == quote => {
                    protected = Some(at + 1);
                    at += 2;
                }
                [next, ..] if next == quote => break Some(at),
                [_, ..] => at += 1,
                [] => break protected,
            }
        };
        let end = end.ok_or(ShorthandError::Syntax {
            expected: "a value whose quotes match",
            at: self.at,
        })?;
        let text: String = rest[..end].iter().collect();
        self.at += end + 2;
        let text = text.replace(&format!("\\{quote}"), &quote.to_string());
        self.loaded(text.replace("\\\\", "\\"))
    }

    fn loaded(&self, text: String) -> ShorthandResult<String> {
        if !self.loads {
            return Ok(text);
        }
        let content = (self.load)(&text).map_err(ShorthandError::Other)?;
        Ok(content.unwrap_or(text))
    }

    fn expect(&mut self, wanted: char, expected: &'static str) -> ShorthandResult<()> {
        self.skip_space();
        if self.current() != Some(wanted) {
            let at = self.at;
            return Err(ShorthandError::Syntax { expected, at });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn current(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(
            self.current(),
            Some(' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
        ) {
            self.at += 1;
        }
    }
}

/// Which characters a text without quotes begins with, and goes on with.
struct Plain {
    start: fn(char) -> bool,
    follow: fn(char) -> bool,
}

/// The only text for a name, the first of several, or one in brackets.
const FIRST: Plain = Plain {
    start: is_start,
    follow: |c| is_common(c) && !matches!(c, ']' | '}') || is_space(c),
};

/// Each further text of a list without brackets: with an equals sign it would be the next name.
const FURTHER: Plain = Plain {
    start: is_start,
    follow: |c| is_common(c) && c != '=' || is_space(c),
};

fn is_start(c: char) -> bool {
    is_common(c) && !matches!(c, '=' | '[' | '{')
}

/// Neither quote, comma, space nor control character; and, as in the AWS CLI, nothing beyond U+FFFF.
fn is_common(c: char) -> bool {
    ('!'..='\u{ffff}').contains(&c) && !matches!(c, '"' | '\'' | ',')
}

/// White space as Python has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_have_a_bound() {
        let deep = format!("a={}", "[".repeat(1_000_000));
        assert!(parse(&deep, &|_| Ok(None)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a=,@\\[\\]{}'\"\\\\é \n\u{1F600}]{0,24}") {
            let _ = parse(&text, &|_| Ok(None));
        }
    }
}
