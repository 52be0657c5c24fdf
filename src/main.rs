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
    // From here on everything reads the snapshot, and children are given it. Only libraries read these variables, later.
    // Nothing reads or writes the environment at the same time: no thread has been started yet.
    #[allow(unsafe_code)]
    unsafe {
        if let Some(variable) = cli::response_variable(&arguments) {
            // The token in it is nobody else's business.
            std::env::remove_var(variable);
        }
        // OpenSSL would read the system's whole bundle of authorities whenever it is set up, which takes 15 to 35 ms and 2 MB, even
        // where other roots are named. What it needs is given to it, or looked up by it in a directory.
        std::env::set_var("SSL_CERT_FILE", "/dev/null");
        // No file: a configuration of OpenSSL could weaken what is negotiated, or forbid what is needed (P101).
        std::env::set_var("OPENSSL_CONF", "");
    }
    ExitCode::from(program::run(&arguments, environment))
}
