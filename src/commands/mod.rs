//! Our own commands, one file or folder each: stdout, signals, the terminal, exit codes and `--json`.

mod doctor;
mod refusal;
mod run;
mod session;
mod surroundings;

use crate::cli::Own;
use crate::error::Error;
use crate::logging;
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::settings::{Environment, Settings};
use crate::terminal::signals;
use surroundings::Surroundings;
pub(crate) use surroundings::{catch_signals, context};

/// Runs one of our commands; the exit code.
///
/// # Errors
/// What keeps it from beginning.
pub(crate) fn run(
    own: Own,
    settings: Settings,
    environment: Environment,
    remarks: &Remarks,
) -> Result<u8, Error> {
    signals::unblock();
    let redactor = Redactor::default();
    logging::start(&settings, &redactor);
    let around = Surroundings {
        settings,
        environment,
        remarks: remarks.clone(),
        redactor,
    };
    match own {
        Own::Session(command) => session::run(&command, around),
        Own::Run(run) => run::run(&run, &around),
        Own::Doctor(doctor) => doctor::run(&doctor, &around),
    }
}
