//! The Python module (`packaging/python`), by pytest, with the built program and the sandbox: its tests are in `tests/python`.

use std::path::Path;
use std::process::Command;

#[test]
fn the_tests_of_the_python_module_pass() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let python = target.with_file_name("venv/bin/python");
    assert!(python.exists(), "no Python: `make venv` installs it");
    let program = Path::new(env!("CARGO_BIN_EXE_session-manager-plugin"));
    let sandbox = program.with_file_name("sandbox");
    assert!(
        sandbox.exists(),
        "no sandbox: `cargo build --workspace` builds it"
    );
    let status = Command::new(python)
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--durations=5"])
        // What hangs is shown, and ends.
        .args(["-o", "faulthandler_timeout=120"])
        .args(["-o", "faulthandler_exit_on_timeout=true"])
        .args(["-p", "session_manager_plugin.pytest_plugin"])
        .args(std::env::var_os("PYTEST_ARGUMENTS"))
        .arg("tests/python")
        .current_dir(top)
        .env("PYTHONPATH", top.join("packaging/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SESSION_MANAGER_PLUGIN", program)
        .env("SESSION_MANAGER_SANDBOX", sandbox)
        .status()
        .expect("pytest");
    assert!(status.success(), "{status}");
}
