//! Writes the manual page and the shells' completions, made from the definition of the command line: `make manual`.
//! An example, so that what it needs never becomes part of the program.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_mangen::Man;
use session_manager_plugin::cli;

const PROGRAM: &str = "session-manager-plugin";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: manual FOLDER")?;
    fs::create_dir_all(&folder)?;
    completions(&folder)?;
    pages(&folder)?;
    Ok(())
}

/// One page for the program, and one for each command.
fn pages(folder: &Path) -> Result<(), Box<dyn Error>> {
    let version = env!("CARGO_PKG_VERSION");
    let mut program = cli::command()
        .version(version)
        .disable_help_subcommand(true);
    program.build();
    for page in program.get_subcommands().chain([&program]) {
        // The title stands twice in the first line of a page, and leaves no room between; the version begins the last line. What is empty
        // would not count as an argument of .TH.
        let page = Man::new(page.clone()).date(" ").source(version);
        let page = page.manual(" ");
        let mut text = Vec::new();
        page.render(&mut text)?;
        let text = with_examples(&String::from_utf8(text)?);
        fs::write(folder.join(page.get_filename()), text)?;
    }
    Ok(())
}

/// The same page with a section for the examples, whose lines stay as they are: broken and filled up they cannot be copied.
fn with_examples(page: &str) -> String {
    let Some((before, after)) = page.split_once("\nExamples:\n") else {
        return page.to_owned();
    };
    let before = before.strip_suffix(".SH EXTRA").unwrap_or(before);
    let is_example = |line: &&str| line.starts_with("  ");
    let examples: String = after.split_inclusive('\n').take_while(is_example).collect();
    let after = &after[examples.len()..];
    format!(
        "{}\n.SH EXAMPLES\n.nf\n{examples}.fi\n{after}",
        before.trim_end()
    )
}

fn completions(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = cli::command();
    for shell in [Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, PROGRAM, folder)?;
    }
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut command, PROGRAM, &mut script);
    // clap_complete 4.6 spells a name with hyphens in two ways, so that nothing is found after a subcommand.
    let words: Vec<&str> = PROGRAM.split('-').collect();
    let script = String::from_utf8(script)?.replace(&words.join("__subcmd__"), &words.join("__"));
    fs::write(folder.join(format!("{PROGRAM}.bash")), script)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What bash offers for the last of these words.
    fn offered(script: &Path, words: &[&str]) -> Vec<String> {
        let call = r#"source "$1"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\).*/\1/')
            "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", call, "bash"]).arg(script);
        let output = bash.arg(PROGRAM).args(words).output().expect("bash");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_page_has_a_line_for_its_title_and_examples_that_can_be_copied() {
        let folder = tempfile::tempdir().expect("a folder");
        pages(folder.path()).expect("pages");
        let pages = fs::read_dir(folder.path()).expect("a folder");
        let pages: Vec<_> = pages.map(|page| page.expect("a page").path()).collect();
        assert_eq!(pages.len(), cli::command().get_subcommands().count() + 1);
        for page in pages {
            let name = page.file_stem().expect("a name").to_str().expect("text");
            let title = format!(".TH {name} 1 \" \" {} \" \"\n", env!("CARGO_PKG_VERSION"));
            let text = fs::read_to_string(&page).expect("a page");
            assert!(text.contains(&title), "{text}");
            let examples = text.split_once(".SH EXAMPLES\n.nf\n");
            let lines = examples.map_or(0, |(_, examples)| {
                let examples = examples.split_once(".fi\n").expect("an end").0;
                examples.matches("session\\-manager\\-plugin ").count()
            });
            assert!(lines >= 2 || name == PROGRAM, "{text}");
        }
    }

    #[test]
    fn bash_completes_commands_and_the_options_of_each() {
        let folder = tempfile::tempdir().expect("a folder");
        completions(folder.path()).expect("completions");
        let script = folder.path().join(format!("{PROGRAM}.bash"));
        assert_eq!(offered(&script, &["ex"]), ["exec"]);
        for command in cli::command().get_subcommands() {
            let name = command.get_name();
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let option = format!("--{option}");
                let found = offered(&script, &[name, &option]);
                assert!(found.contains(&option), "{name} {option}: {found:?}");
            }
        }
    }
}
