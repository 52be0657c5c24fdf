//! The AWS CLI's own code, asked what it makes of something.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs a script of Python that takes JSON on stdin and prints JSON.
pub(crate) fn run(script: &str, input: &Value) -> Value {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv/bin/python");
    assert!(program.exists(), "no AWS CLI: `make venv` installs it");
    let mut python = Command::new(program)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut stdin = python.stdin.take().expect("a pipe");
    // It reads all before it writes.
    stdin
        .write_all(input.to_string().as_bytes())
        .expect("to send");
    drop(stdin);
    let output = python.wait_with_output().expect("its end");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
