//! Errors about arguments that clap does not find itself, in clap's form.

use crate::error::Error;

/// An error about arguments, as clap words those about values. Only the definition of a command knows how it is used.
pub(super) fn usage(why: &str) -> Error {
    Error::Usage(format!("{why}\n\nFor more information, try '--help'."))
}

/// An error of clap's.
pub(super) fn usage_error(error: &clap::Error) -> Error {
    let text = error.to_string();
    // The program's name is put before it where it is shown.
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    Error::Usage(text.trim_end().to_owned())
}
