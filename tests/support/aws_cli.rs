//! The AWS CLI that `make venv` installs, and what it says.

use std::path::{Path, PathBuf};

use super::Finished;

/// A program of the virtual environment.
fn installed(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = target.with_file_name("venv/bin").join(name);
    assert!(
        program.exists(),
        "no {}: `make venv` installs it",
        program.display()
    );
    program
}

/// The AWS CLI.
pub fn aws() -> PathBuf {
    installed("aws")
}

/// A Python that can import `awscli`, botocore included.
pub fn python() -> PathBuf {
    installed("python")
}

/// A `PATH` on which the AWS CLI finds the built program as its plugin.
pub fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_session-manager-plugin"));
    let directory = program.parent().expect("a directory");
    format!("{}:/usr/bin:/bin", directory.display())
}

/// The code and the words of the service's error, as the AWS CLI shows them.
pub fn service_error(finished: &Finished) -> (&str, &str) {
    let (_, error) = finished
        .stderr
        .split_once("An error occurred (")
        .unwrap_or_else(|| panic!("no error: {finished:?}"));
    let (code, rest) = error.split_once(')').expect("a code");
    let (_, words) = rest.split_once(" operation: ").expect("words");
    (code, words.trim_end())
}
