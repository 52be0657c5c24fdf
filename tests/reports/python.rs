//! The AWS CLI's own code, asked what it makes of something.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::aws_cli;

/// Runs a script of Python that takes JSON on stdin and prints JSON.
pub(crate) fn run(script: &str, input: &Value) -> Value {
    let mut python = Command::new(aws_cli::python())
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
