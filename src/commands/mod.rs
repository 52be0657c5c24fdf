//! Our own commands, one file or folder each: stdout, signals, the terminal, exit codes and `--json`.
