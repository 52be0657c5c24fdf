//! Reads the arguments, runs, and sets the exit code: nothing else.
#![deny(unsafe_code)]

use std::ffi::{CString, OsString};
use std::process::ExitCode;

use nix::libc;
use session_manager_plugin::internals::settings::Environment;
use session_manager_plugin::{cli, program};
use zeroize::Zeroize;

/// Variables that hold secrets. Children are given them as they were.
const SECRETS: [&str; 4] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

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
        // These hold tokens and keys, which /proc/PID/environ would show for as long as the program runs.
        let response = cli::response_variable(&arguments);
        for variable in response.into_iter().chain(SECRETS) {
            forget(variable);
        }
        // OpenSSL would read the system's whole bundle of authorities whenever it is set up, which takes 15 to 35 ms and 2 MB, even
        // where other roots are named. What it needs is given to it, or looked up by it in a directory.
        std::env::set_var("SSL_CERT_FILE", "/dev/null");
        // No file: a configuration of OpenSSL could weaken what is negotiated, or forbid what is needed (P101).
        std::env::set_var("OPENSSL_CONF", "");
    }
    ExitCode::from(program::run(&arguments, environment))
}

/// Removes a variable, and wipes it where it was when the process was started (P103).
///
/// # Safety
/// As [`std::env::remove_var`]; the name holds neither `=` nor NUL.
#[allow(unsafe_code)]
unsafe fn forget(variable: &str) {
    let Ok(name) = CString::new(variable) else {
        return;
    };
    // SAFETY: by the caller's promise nobody else reads or writes it; what getenv points to is this process's own, and as long as strlen
    // says.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        std::env::remove_var(variable);
        if !value.is_null() {
            std::slice::from_raw_parts_mut(value.cast::<u8>(), libc::strlen(value)).zeroize();
        }
    }
}
