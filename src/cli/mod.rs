//! What the arguments ask for: the calls of the AWS CLI and its like (section 1 of the contract), and subcommands of our own.

mod account;
mod connection;
mod contract;
pub mod cp;
mod doctor;
mod exec;
mod list;
mod own;
mod parameters;
mod port_forward;
pub mod run;
mod shorthand;
mod ssh;
mod start;
mod usage;

use std::ffi::OsString;

pub use account::Account;
pub use connection::{Starting, TargetOptions};
pub use contract::{Call, response_variable};
pub use cp::{Cp, Order as CpOrder};
pub use doctor::Doctor;
pub use exec::ExecOptions;
pub use list::ListOptions;
pub use own::{Own, SessionCommand, command};
pub use parameters::{Parameters, parse as parse_parameters};
pub use port_forward::PortForward;
pub use run::Run;
pub use ssh::{Key, PushKey, SshConfig, SshProxy};
pub use start::Start;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::sanitise;
use crate::settings::Environment;

/// The only operation there is.
const START_SESSION: &str = "StartSession";
/// Fewer arguments than this make no call.
const FEWEST_ARGUMENTS: usize = 3;
/// What comes after these is ignored in a call.
const MOST_ARGUMENTS: usize = 6;
/// The most that is shown of an argument that means nothing, in characters.
const LONGEST_OPERATION: usize = 100;

/// What the user or the calling program wants.
#[derive(Debug)]
pub enum Invocation {
    /// No argument at all: say that the installation works.
    Installed,
    /// `--version`.
    Version,
    /// One or two arguments that mean nothing; the first of them, as it may be shown.
    UnknownOperation(String),
    /// A call whose operation is not StartSession.
    InvalidOperation,
    /// A session to run that somebody else has started.
    Call(Box<Call>),
    /// One of our own subcommands.
    Own(Box<Own>),
    /// Help that was asked for.
    Help(String),
}

impl Invocation {
    /// Reads the arguments, the program's name not among them. The variable that holds the response is taken out of the snapshot.
    ///
    /// # Errors
    /// [`Error::Usage`] for our own subcommands, and for arguments that are no text; for calls, [`Error::Start`] that names what is missing
    /// or cannot be read.
    pub fn parse(arguments: &[OsString], environment: &mut Environment) -> Result<Self, Error> {
        let Some(first) = arguments.first() else {
            return Ok(Self::Installed);
        };
        if is_own(arguments) {
            // Only names of files may be any bytes.
            if !first.to_str().is_some_and(own::takes_bytes) {
                texts(arguments)?;
            }
            return Ok(match own::parse(arguments)? {
                own::Parsed::Own(own) => Self::Own(own),
                own::Parsed::Help(text) => Self::Help(text),
            });
        }
        // One of them may be the response.
        let texts = Zeroizing::new(texts(&arguments[..arguments.len().min(MOST_ARGUMENTS)])?);
        if let [only] = texts.as_slice()
            && only == "--version"
        {
            return Ok(Self::Version);
        }
        match texts.get(FEWEST_ARGUMENTS - 1) {
            None => Ok(Self::UnknownOperation(operation(&texts[0]))),
            Some(operation) if operation != START_SESSION => Ok(Self::InvalidOperation),
            Some(_) => Call::parse(&texts, environment).map(|call| Self::Call(Box::new(call))),
        }
    }
}

/// Whether the arguments are those of one of our own subcommands.
pub fn is_own(arguments: &[OsString]) -> bool {
    let first = arguments.first().and_then(|first| first.to_str());
    first.is_some_and(own::is_own)
}

/// The arguments as texts. One that is no text is refused, and named by its place: if it were changed, something else would run remotely.
fn texts(arguments: &[OsString]) -> Result<Vec<String>, Error> {
    let text = |(index, argument): (usize, &OsString)| {
        let text = argument.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::Usage(format!("argument {} is not UTF-8", index + 1)))
    };
    arguments.iter().enumerate().map(text).collect()
}

/// An argument that means nothing, as it may be shown. What follows `=`, a quote or a bracket is left out: it may be a secret, such as the
/// response of StartSession.
fn operation(argument: &str) -> String {
    let end = argument.find(['=', '{', '[', '"', '\'']).or_else(|| {
        argument
            .strip_prefix(contract::RESPONSE_VARIABLE)
            .filter(|_| !contract::is_response_variable(argument))
            .map(|rest| argument.len() - rest.len())
    });
    match end {
        Some(end) => format!(
            "{}…",
            sanitise::line_within(&argument[..end], LONGEST_OPERATION)
        ),
        None => sanitise::line_within(argument, LONGEST_OPERATION),
    }
}
