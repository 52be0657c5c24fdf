//! What `--json` says when something goes wrong: the same in every command.

use serde_json::{Value, json};

use crate::error::Error;
use crate::redactor::Redactor;
use crate::sanitise;
use crate::terminal::print;

/// The object of an error. `message` is its text, cleaned of secrets.
pub(super) fn error(error: &Error, message: &str) -> Value {
    let mut object = json!({
        "event": "error",
        "kind": error.kind(),
        "message": sanitise::text(message),
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
