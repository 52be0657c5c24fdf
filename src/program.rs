//! From the arguments to the exit code.

use std::ffi::OsString;

use crate::VERSION;
use crate::cli::Invocation;
use crate::error::Error;
use crate::settings::Environment;
use crate::terminal::print;

/// Runs the program, and gives its exit code.
pub fn run(arguments: &[OsString], mut environment: Environment) -> u8 {
    match Invocation::parse(arguments, &mut environment).and_then(answer) {
        Ok(code) => code,
        Err(error) => {
            if let Error::Start(reason) = &error {
                print::to_stdout(&format!("Cannot perform start session: {reason}\n"));
            }
            print::complaint(&error);
            error.exit_code()
        }
    }
}

fn answer(invocation: Invocation) -> Result<u8, Error> {
    match invocation {
        Invocation::Installed => print::to_stdout(
            "\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n",
        ),
        Invocation::Version => print::to_stdout(&format!("{VERSION}\n")),
        Invocation::Help(text) => print::to_stdout(&text),
        Invocation::UnknownOperation(operation) => {
            print::to_stdout(&format!(
                "\nUnknown operation {operation}. \nUse session-manager-plugin --version to check the version.\n\n"
            ));
            return Err(Error::Usage(format!(
                "unknown operation {operation:?}: see session-manager-plugin --help"
            )));
        }
        Invocation::InvalidOperation => {
            print::to_stdout("Invalid Operation");
            return Err(Error::Usage(
                "the operation in argument 3 must be StartSession".to_owned(),
            ));
        }
        Invocation::Call(_) | Invocation::Own(_) => {
            return Err(Error::Start("sessions cannot be run yet".to_owned()));
        }
    }
    Ok(0)
}
