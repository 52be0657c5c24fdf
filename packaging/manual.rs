//! Writes the manual page and the shells' completions, made from the definition of the command line: `make manual`.
//! An example, so that what it needs never becomes part of the program.

use std::error::Error;
use std::path::PathBuf;

use clap_complete::Shell;
use session_manager_plugin::cli;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: manual FOLDER")?;
    std::fs::create_dir_all(&folder)?;

    let mut command = cli::command();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "session-manager-plugin", &folder)?;
    }
    let pages = cli::command()
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    clap_mangen::generate_to(pages, &folder)?;
    Ok(())
}
