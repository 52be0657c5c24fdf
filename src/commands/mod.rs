//! Our own commands, one file or folder each: stdout, signals, the terminal, exit codes and `--json`.

mod cp;
mod doctor;
mod exec;
mod interruption;
mod json;
mod list;
mod outages;
mod output;
mod port_forward;
mod public_key;
mod run;
mod session;
mod signal_guard;
mod ssh_config;
mod surroundings;
mod write_all;

use crate::cli::{Own, SessionCommand};
use crate::error::Error;
use crate::logging;
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::settings::{Environment, Settings};
use crate::terminal::{print, signals};
pub(crate) use json::failed as failed_as_json;
use surroundings::Surroundings;
pub(crate) use surroundings::{catch_signals, context};

/// Runs one of our commands and returns the exit code. `redactor` learns the secrets on the way.
///
/// # Errors
/// What prevents its start.
pub(crate) fn run(
    own: Own,
    settings: Settings,
    environment: Environment,
    remarks: &Remarks,
    redactor: &Redactor,
) -> Result<u8, Error> {
    signals::unblock();
    signals::learn_how_children_end();
    logging::start(&settings, redactor);
    let around = Surroundings::new(settings, environment, remarks, redactor)?;
    match own {
        Own::Session(SessionCommand::Exec(exec)) if exec.stdin => exec::fed::run(&exec, &around),
        Own::Session(SessionCommand::Exec(exec))
            if exec.json || exec.targets(&around.environment)?.len() > 1 =>
        {
            exec::run(&exec, &around)
        }
        Own::Session(command) => match command.forwards() {
            Some(forward) => match port_forward::run(forward, &around) {
                // Such agents carry one connection at a time, as a session by the contract does.
                Err(Error::OldAgent(_)) => session::run(&command.into_once(), around),
                result => result,
            },
            None => session::run(&command, around),
        },
        Own::List(list) => list::run(&list, &around),
        Own::SshConfig(config) => ssh_config::run(&config).map(all_is_written),
        Own::Cp(cp) => cp::run(&cp, &around).map(all_is_written),
        Own::Run(run) => Ok(run::run(&run, &around)),
        Own::Doctor(doctor) => Ok(all_is_written(doctor::run(&doctor, &around))),
    }
}

/// The exit code of a command that has printed to stdout: what could not be written is no success (P115).
pub(crate) fn all_is_written(code: u8) -> u8 {
    let Some(error) = print::stdout_error() else {
        return code;
    };
    print::complaint(error);
    code.max(1)
}
