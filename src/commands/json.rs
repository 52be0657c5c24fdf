//! What `--json` says when something goes wrong: the same in every command.

use serde_json::{Value, json};

use crate::error::Error;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;

/// The text of an error, cleaned of secrets already. How an option is to be used is for people, who see it on stderr.
pub(super) fn message(error: &Error, text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or(text);
    sanitise::text(match error {
        Error::Usage(_) => first,
        _ => text,
    })
}

/// The object of an error. `text` is its text, cleaned of secrets.
pub(super) fn error(error: &Error, text: &str) -> Value {
    let mut object = json!({
        "event": "error",
        "kind": error.kind(),
        "message": message(error, text),
    });
    if let Some(code) = error.aws_code() {
        object["aws_code"] = code.into();
    }
    object
}

/// Says why a command could not begin, and that this is its end. The exit code.
pub(crate) fn failed(why: &Error, redactor: &Redactor) -> u8 {
    let code = why.exit_code();
    let text = why.to_string();
    let text = redactor.clean(&text);
    for object in [error(why, &text), json!({ "event": "end", "code": code })] {
        print::to_stdout(&format!("{object}\n"));
    }
    // Somebody must be told.
    if print::stdout_error().is_some() {
        print::complaint(text);
    }
    code
}
