//! `ssh-config`: the block for `~/.ssh/config`.

use std::env;
use std::fmt::Write;

use crate::cli::{Key, SshConfig};
use crate::error::Error;
use crate::terminal::print;

/// Names that nothing else has.
const IDS: &str = "i-* mi-*";

/// Prints the block.
pub(super) fn run(config: &SshConfig) -> Result<u8, Error> {
    let program = env::current_exe().map_err(|error| {
        Error::Start(format!("the program does not know its own path: {error}"))
    })?;
    let program = program
        .to_str()
        .ok_or_else(|| Error::Start("the program's own path is not UTF-8".to_owned()))?;
    print::to_stdout(&block(config, program)?);
    Ok(0)
}

fn block(config: &SshConfig, program: &str) -> Result<String, Error> {
    let patterns = match config.patterns.as_slice() {
        [] => IDS.to_owned(),
        patterns => patterns.join(" "),
    };
    let mut command = format!(
        "{} ssh-proxy --target '%h' --port %p",
        word("the program's path", program)?
    );
    let account = &config.account;
    for (option, value) in [
        ("--profile", &account.profile),
        ("--region", &account.region),
        ("--endpoint-url", &account.endpoint_url),
    ] {
        if let Some(value) = value {
            let _ = write!(command, " {option} {}", word(option, value)?);
        }
    }
    let mut identity = None;
    match config.push.key() {
        None => {}
        Some(Key::Any) => command.push_str(" --push-key --user '%r'"),
        Some(Key::File(file)) => {
            let _ = write!(
                command,
                " --push-key={} --user '%r'",
                word("--push-key", &file)?
            );
            identity = Some(file.strip_suffix(".pub").unwrap_or(&file).to_owned());
        }
    }
    let mut block = format!(
        "# Through AWS Session Manager: targets by id or by name.\nHost {}\n",
        line("a pattern", &patterns)?
    );
    if let Some(user) = &config.push.user {
        let user = line("--user", user)?;
        // Words are separated by spaces.
        let quote = if user.contains(' ') { "\"" } else { "" };
        let _ = writeln!(block, "    User {quote}{user}{quote}");
    }
    if let Some(identity) = identity {
        let _ = writeln!(
            block,
            "    IdentityFile \"{}\"",
            line("--push-key", &identity)?.replace('%', "%%")
        );
    }
    let _ = writeln!(block, "    ProxyCommand {command}");
    Ok(block)
}

/// A value on a line of its own.
fn line<'a>(what: &str, value: &'a str) -> Result<&'a str, Error> {
    let is_bad = value.contains(['"', '#']) || value.chars().any(char::is_control);
    if is_bad || value.trim().is_empty() {
        return Err(Error::Usage(format!(
            "{what} cannot stand in ~/.ssh/config"
        )));
    }
    Ok(value)
}

/// A word of the command that ssh gives to a shell, after it has replaced what begins with a percent sign.
fn word(what: &str, value: &str) -> Result<String, Error> {
    let quoted = shlex::try_quote(value)
        .map_err(|_| Error::Usage(format!("{what} cannot stand in ~/.ssh/config")))?;
    if quoted.contains('\n') {
        return Err(Error::Usage(format!(
            "{what} cannot stand in ~/.ssh/config"
        )));
    }
    Ok(quoted.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Account;

    fn config(patterns: &[&str], account: Account) -> SshConfig {
        let all = [
            "session-manager-plugin",
            "ssh-config",
            "--push-key=/k/id.pub",
            "--user",
            "admin",
        ];
        let arguments = all.iter().chain(patterns).map(std::ffi::OsString::from);
        let arguments: Vec<_> = arguments.skip(1).collect();
        let mut environment = crate::settings::Environment::default();
        match crate::cli::Invocation::parse(&arguments, &mut environment) {
            Ok(crate::cli::Invocation::Own(own)) => match *own {
                crate::cli::Own::SshConfig(config) => SshConfig { account, ..config },
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_printed_is_quoted_for_ssh_and_its_shell() {
        let account = Account {
            profile: Some("two words".to_owned()),
            ..Account::default()
        };
        assert_eq!(
            block(&config(&["web-*", "db-*"], account), "/opt/100%/plugin").expect("good"),
            "# Through AWS Session Manager: targets by id or by name.\n\
             Host web-* db-*\n    User admin\n    IdentityFile \"/k/id\"\n    ProxyCommand '/opt/100%%/plugin' ssh-proxy \
             --target '%h' --port %p --profile 'two words' --push-key=/k/id.pub --user '%r'\n"
        );
        for bad in ["a\nb", "", " "] {
            assert!(
                block(&config(&[bad], Account::default()), "/p").is_err(),
                "{bad:?}"
            );
        }
        let with_user = |user: &str| {
            let mut config = config(&[], Account::default());
            config.push.user = Some(user.to_owned());
            block(&config, "/p")
        };
        assert!(
            with_user("two words")
                .expect("good")
                .contains("    User \"two words\"\n")
        );
        assert!(with_user("").is_err());
    }
}
