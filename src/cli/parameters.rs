//! `--parameters` in the two forms that the AWS CLI takes: JSON, and its shorthand.

use std::collections::BTreeMap;

use serde_json::Value;

/// A document's parameters.
pub type Parameters = BTreeMap<String, Vec<String>>;

/// Reads `{"portNumber":["80"]}` or `portNumber=80,command="a, b",list=[x,y]`.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(text: &str) -> Result<Parameters, String> {
    if text.trim_start().starts_with('{') {
        json(text)
    } else {
        Shorthand(text).parse()
    }
}

fn json(text: &str) -> Result<Parameters, String> {
    let values: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let text_of = |name: &str, value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(format!("{name} must be a list of texts")),
    };
    values
        .into_iter()
        .map(|(name, value)| {
            let list = match value {
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| text_of(&name, value))
                    .collect::<Result<_, _>>()?,
                single => vec![text_of(&name, single)?],
            };
            Ok((name, list))
        })
        .collect()
}

/// What is still to be read.
struct Shorthand<'a>(&'a str);

impl Shorthand<'_> {
    fn parse(mut self) -> Result<Parameters, String> {
        let mut parameters = Parameters::new();
        while !self.0.is_empty() {
            let (name, rest) = self
                .0
                .split_once('=')
                .ok_or_else(|| format!("expected name=value at {:?}", self.0))?;
            self.0 = rest;
            let mut values = Vec::new();
            if let Some(list) = self.0.strip_prefix('[') {
                self.0 = list;
                while !self.0.starts_with(']') {
                    values.push(self.value(&[',', ']'])?);
                    self.0 = self.0.strip_prefix(',').unwrap_or(self.0);
                    if self.0.is_empty() {
                        return Err(format!("the list of {name} has no end"));
                    }
                }
                self.0 = &self.0[1..];
            } else {
                values.push(self.value(&[','])?);
            }
            // A part without an equals sign is one more value of the same parameter.
            while let Some(rest) = self.0.strip_prefix(',') {
                let part = rest.split(',').next().unwrap_or_default();
                self.0 = rest;
                if part.contains('=') && !part.starts_with(['"', '\'']) {
                    break;
                }
                values.push(self.value(&[','])?);
            }
            parameters.insert(name.trim().to_owned(), values);
        }
        Ok(parameters)
    }

    /// One value, up to one of the ends; it may stand in quotes, where a backslash before a quote protects it.
    fn value(&mut self, ends: &[char]) -> Result<String, String> {
        let Some(quote) = self.0.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let end = self.0.find(ends).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return Ok(value.trim().to_owned());
        };
        let mut value = String::new();
        let mut characters = self.0.char_indices().skip(1).peekable();
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
            let escaped = character == '\\' && characters.peek().is_some_and(|(_, c)| *c == quote);
            match escaped.then(|| characters.next()).flatten() {
                Some((_, protected)) => value.push(protected),
                None => value.push(character),
            }
        }
        Err(format!("the quote at {:?} has no end", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(entries: &[(&str, &[&str])]) -> Parameters {
        entries
            .iter()
            .map(|(name, values)| {
                let values = values.iter().map(|value| (*value).to_owned()).collect();
                ((*name).to_owned(), values)
            })
            .collect()
    }

    #[test]
    fn both_forms_are_read() {
        let ports = parameters(&[("localPortNumber", &["8080"]), ("portNumber", &["80"])]);
        for text in [
            r#"{"portNumber":["80"],"localPortNumber":["8080"]}"#,
            r#"{"portNumber":80,"localPortNumber":"8080"}"#,
            "portNumber=80,localPortNumber=8080",
            r#"portNumber=["80"],localPortNumber=['8080']"#,
            r#"portNumber="80",localPortNumber=8080"#,
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&ports), "{text}");
        }
        assert_eq!(
            parse(r#"command="echo 'a, b' \"c\"",list=[x,y],more=1,2"#),
            Ok(parameters(&[
                ("command", &[r#"echo 'a, b' "c""#]),
                ("list", &["x", "y"]),
                ("more", &["1", "2"]),
            ]))
        );
        assert_eq!(parse(""), Ok(Parameters::new()));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for text in ["portNumber", "{", r#"{"a":{}}"#, "a=[b", "a=\"b", "a=[\"b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a=,\\[\\]'\"\\\\é ]{0,24}") {
            let _ = parse(&text);
        }
    }
}
