//! JSON objects of which a few keys matter, read as Go's `encoding/json` does, which the original and the agents use.
//!
//! What is under other keys is looked at for its form alone: it may be nested as deep as it likes, and hold numbers and halves of surrogate
//! pairs that no Rust type can hold. Nothing here calls itself, so depth costs no stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object: its keys in their order, each with the text of its value.
#[derive(Debug)]
pub(crate) struct JsonObject<'a>(Vec<(JsonText<'a>, &'a RawValue)>);

/// A value that is not null.
#[derive(Debug)]
pub(crate) enum JsonValue<'a> {
    /// A text. What is no character in it is U+FFFD.
    Text(Cow<'a, str>),
    /// An object.
    Object(JsonObject<'a>),
    /// A list, a number, true or false.
    Other,
}

impl<'a> JsonObject<'a> {
    /// Reads an object. None where it is JSON, but none; null counts as an empty one.
    ///
    /// # Errors
    /// What is no JSON.
    pub(crate) fn parse(json: &'a str) -> serde_json::Result<Option<Self>> {
        // As bytes, like everything else: the reader of texts would be in the program as a second one.
        let raw: &RawValue = serde_json::from_slice(json.as_bytes())?;
        Ok(match JsonValue::of(raw) {
            None => Some(Self(Vec::new())),
            Some(JsonValue::Object(object)) => Some(object),
            Some(JsonValue::Text(_) | JsonValue::Other) => None,
        })
    }

    /// The value of a key, without regard to case: the last one that is not null.
    pub(crate) fn find(&self, name: &str) -> Option<JsonValue<'a>> {
        let values = self.0.iter().rev();
        let mut values = values.filter(|(key, _)| key.0.eq_ignore_ascii_case(name));
        values.find_map(|(_, value)| JsonValue::of(value))
    }

    /// The same, where it is a text.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        match self.find(name)? {
            JsonValue::Text(text) => Some(text),
            JsonValue::Object(_) | JsonValue::Other => None,
        }
    }
}

impl<'a> JsonValue<'a> {
    fn of(raw: &'a RawValue) -> Option<Self> {
        let json = raw.get();
        // Its form is known to be right: no error can come from here on.
        match json.as_bytes().first()? {
            b'n' => None,
            b'"' => serde_json::from_slice(json.as_bytes())
                .ok()
                .map(|JsonText(text)| Self::Text(text)),
            b'{' => serde_json::from_slice(json.as_bytes())
                .ok()
                .map(Self::Object),
            _ => Some(Self::Other),
        }
    }
}

/// A text that may hold what is no character.
#[derive(Debug)]
struct JsonText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = JsonText<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<JsonText<'de>, E> {
                Ok(JsonText(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<JsonText<'de>, E> {
                let text = String::from_utf8_lossy(bytes).into_owned();
                Ok(JsonText(Cow::Owned(text)))
            }
        }
        // As bytes: halves of surrogate pairs are an error in texts.
        input.deserialize_bytes(TextVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = JsonObject<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(JsonObject(entries))
            }
        }
        input.deserialize_map(ObjectVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str, name: &str) -> Option<String> {
        let object = JsonObject::parse(json).unwrap().expect("an object");
        object.text(name).map(Cow::into_owned)
    }

    #[test]
    fn what_is_under_other_keys_is_looked_at_for_its_form_alone() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        for other in [
            r#""\ud800""#,
            r#""\udc00\ud800x""#,
            "1e999",
            "-1E+4000",
            "null",
            "[1,{\"b\":2}]",
            &deep,
        ] {
            for json in [
                format!(r#"{{"x":{other},"SessionID":"s"}}"#),
                format!(r#" {{"sessionId" : "s" , "\ud800":{other}}} "#),
            ] {
                assert_eq!(text(&json, "SessionId").as_deref(), Some("s"));
            }
        }
        for bad in [
            "",
            "{",
            r#"{"x":01}"#,
            r#"{"x":"\q"}"#,
            "{} {}",
            "{\"a\":1,}",
            "[1",
        ] {
            assert!(JsonObject::parse(bad).is_err(), "{bad}");
        }
        for none in ["[]", "1", "\"x\"", "true"] {
            assert!(JsonObject::parse(none).unwrap().is_none(), "{none}");
        }
        assert!(text("null", "x").is_none());
    }

    #[test]
    fn the_last_value_that_is_not_null_counts_in_whatever_case_its_key_is() {
        assert_eq!(
            text(r#"{"a":"1","A":"2","a":null}"#, "a").as_deref(),
            Some("2")
        );
        assert_eq!(text(r#"{"a":null}"#, "a"), None);
        assert_eq!(text(r#"{"a":1}"#, "a"), None);
        assert!(
            text(r#"{"a":"x\ud800y\u00e9"}"#, "a")
                .unwrap()
                .starts_with("x\u{fffd}")
        );
    }
}
