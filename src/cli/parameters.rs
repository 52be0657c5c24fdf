//! `--parameters` in all forms that the AWS CLI takes: JSON, its shorthand, and a file of either.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::shorthand::{self, Value};
use crate::environment::Environment;
use crate::files;

/// A document's parameters.
pub type Parameters = BTreeMap<String, Vec<String>>;

/// Reads `{"portNumber":["80"]}`, `portNumber=80,command="a, b",list=[x,y]`, or `file://` and the path of such a text. Variables and `~`
/// in paths are replaced as the AWS CLI replaces them.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(text: &str, environment: &Environment) -> Result<Parameters, String> {
    let load = |text: &str| load(text, environment);
    let content = load(text)?;
    let text = content.as_deref().unwrap_or(text);
    if text.trim_start().starts_with(['{', '[']) {
        return json(text);
    }
    let mut parameters = Parameters::new();
    for (name, value) in shorthand::parse(text, &load)? {
        let texts = match value {
            Value::Text(text) => vec![text],
            Value::List(list) => list
                .into_iter()
                .map(|value| match value {
                    Value::Text(text) => Ok(text),
                    Value::List(_) | Value::Map => Err(no_list(&name)),
                })
                .collect::<Result<_, _>>()?,
            Value::Map => return Err(no_list(&name)),
        };
        let (name, texts) = checked(name, texts)?;
        parameters.insert(name, texts);
    }
    Ok(parameters)
}

fn json(text: &str) -> Result<Parameters, String> {
    let values: BTreeMap<String, Json> = serde_json::from_slice(text.as_bytes())
        .map_err(|error| format!("this is no JSON object: {error}"))?;
    let mut parameters = Parameters::new();
    for (name, value) in values {
        let Json::Array(list) = value else {
            return Err(no_list(&name));
        };
        let text_of = |value| match value {
            Json::String(text) => Ok(text),
            _ => Err(no_list(&name)),
        };
        let texts = list.into_iter().map(text_of).collect::<Result<_, _>>()?;
        let (name, texts) = checked(name, texts)?;
        parameters.insert(name, texts);
    }
    Ok(parameters)
}

fn no_list(name: &str) -> String {
    format!(r#"{name:?} must be a list of texts, as in {{"portNumber":["80"]}} or portNumber=80"#)
}

/// What the service's model wants, and the AWS CLI looks at before it calls.
fn checked(name: String, texts: Vec<String>) -> Result<(String, Vec<String>), String> {
    if name.is_empty() {
        return Err("a name is empty".to_owned());
    }
    if texts.iter().any(String::is_empty) {
        return Err(format!("{name:?} has an empty value"));
    }
    Ok((name, texts))
}

/// The content of the file that a text names, if it names one.
fn load(text: &str, environment: &Environment) -> Result<Option<String>, String> {
    if text.starts_with("fileb://") {
        return Err(format!(
            "{text:?} stands for bytes, and parameters are text: use file://"
        ));
    }
    let Some(path) = text.strip_prefix("file://") else {
        return Ok(None);
    };
    let path = environment.expand_home(path);
    let path = environment.expand_variables(path.as_os_str());
    let content = files::read_text(path.as_ref())
        .map_err(|error| format!("{text:?} cannot be loaded: {error}"))?;
    // Python reads text so.
    Ok(Some(content.replace("\r\n", "\n").replace('\r', "\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parameters, String> {
        super::parse(text, &Environment::from([("HOME", "/no/such/home")]))
    }

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
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for text in [
            "",
            "portNumber",
            "{",
            r#"{"a":{}}"#,
            r#"{"a":"80"}"#,
            r#"{"a":[80]}"#,
            "[]",
            "a=[b",
            "a=\"b",
            "a=[\"b",
            "a=1,a=2",
            "a={b=c}",
            "a=",
            "file://",
            "file://~/x",
            "a@=file:///no/such/file",
            "fileb:///etc/passwd",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
