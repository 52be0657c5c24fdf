//! What the arguments ask for: the calls of the AWS CLI and its like (section 1 of the contract), and subcommands of our own.

mod contract;
mod own;
mod parameters;

use std::ffi::OsString;

pub use contract::{Call, StartedSession, response_variable};
pub use own::{Connection, Own, Start, command};

use crate::error::Error;
use crate::settings::Environment;

/// The only operation there is.
const START_SESSION: &str = "StartSession";
/// Fewer arguments than this make no call.
const FEWEST_ARGUMENTS: usize = 3;

/// What the user or the calling program wants.
#[derive(Debug)]
pub enum Invocation {
    /// No argument at all: say that the installation works.
    Installed,
    /// `--version`.
    Version,
    /// One or two arguments that mean nothing; the first of them.
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
    /// [`Error::Usage`] for our own subcommands; for calls, [`Error::Start`] that names what is missing or cannot be read.
    pub fn parse(arguments: &[OsString], environment: &mut Environment) -> Result<Self, Error> {
        let texts: Vec<String> = arguments
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let Some(first) = texts.first() else {
            return Ok(Self::Installed);
        };
        if own::is_own(first) {
            return own::parse(&texts);
        }
        if let [only] = texts.as_slice()
            && only == "--version"
        {
            return Ok(Self::Version);
        }
        match texts.get(FEWEST_ARGUMENTS - 1) {
            None => Ok(Self::UnknownOperation(first.clone())),
            Some(operation) if operation != START_SESSION => Ok(Self::InvalidOperation),
            Some(_) => Call::parse(&texts, environment).map(|call| Self::Call(Box::new(call))),
        }
    }
}
