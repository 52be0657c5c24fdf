//! Errors about arguments that clap does not find itself, in clap's form.

use clap::error::ErrorKind;

use crate::error::Error;

/// An error about arguments, with the line about usage.
pub(super) fn usage(kind: ErrorKind, why: &str) -> Error {
    // All that its text needs of the definition.
    let any = clap::Command::new("list");
    let mut command = clap::Command::new("session-manager-plugin")
        .subcommand_required(true)
        .subcommand(any);
    usage_error(&command.error(kind, why))
}

/// An error of clap's.
pub(super) fn usage_error(error: &clap::Error) -> Error {
    let text = error.to_string();
    // The program's name is put before it where it is shown.
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    Error::Usage(text.trim_end().to_owned())
}
