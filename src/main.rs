//! Reads the arguments, runs, and sets the exit code: nothing else.
#![deny(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use session_manager_plugin::settings::Environment;
use session_manager_plugin::{cli, program};

/// musl's own allocator gives memory back to the system, and fetches it again, with every few messages.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let environment = Environment::capture();
    if let Some(variable) = cli::response_variable(&arguments) {
        // The token in it is nobody else's business. Nothing reads or writes the environment at the same time: no thread has been started yet.
        #[allow(unsafe_code)]
        unsafe {
            std::env::remove_var(variable)
        };
    }
    ExitCode::from(program::run(&arguments, environment))
}
