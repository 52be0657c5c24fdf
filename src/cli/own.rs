//! Subcommands of our own, for where there is no AWS CLI.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::doctor::Doctor;
use super::parameters::{self, Parameters};
use super::run::Run;
use crate::environment::Environment;
use crate::error::Error;

/// First arguments that are ours. A list of its own, as building the definition takes longer than all else that `--version` does.
const OWN: [&str; 9] = [
    "start-session",
    "exec",
    "port-forward",
    "ssh-proxy",
    "run",
    "doctor",
    "help",
    "--help",
    "-h",
];

/// Session Manager without the AWS CLI, and the plugin that the AWS CLI runs
#[derive(Debug, Parser)]
#[command(
    name = "session-manager-plugin",
    version,
    disable_version_flag = true,
    subcommand_required = true,
    before_help = concat!("session-manager-plugin ", env!("CARGO_PKG_VERSION")),
    after_help = "Without one of these commands it is the plugin that `aws ssm start-session` and other programs run."
)]
struct Arguments {
    #[command(subcommand)]
    command: Own,
}

/// One of our own subcommands.
#[derive(Debug, Subcommand)]
pub enum Own {
    /// One that is a session.
    #[command(flatten)]
    Session(SessionCommand),
    /// Run a command on many nodes by Run Command, which goes on without us
    Run(Run),
    /// Find out what stands in the way of a session
    Doctor(Doctor),
}

/// One of our own subcommands that is one session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Start a session: a shell, or what the document says
    StartSession {
        /// Where.
        #[command(flatten)]
        connection: TargetOptions,
        /// The session document; a shell without it
        #[arg(long)]
        document_name: Option<String>,
        /// The document's parameters: JSON, name=value,… or file://PATH with either
        #[arg(long)]
        parameters: Option<String>,
    },
    /// Run one command; stdout, stderr and the exit code are the command's
    Exec {
        /// Where.
        #[command(flatten)]
        connection: TargetOptions,
        /// The command and its arguments, run as they are; or the whole command line as one argument. No shell is involved
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Forward a local port to a port of the target, or of a host that it reaches
    PortForward {
        /// Where.
        #[command(flatten)]
        connection: TargetOptions,
        /// A host that the target reaches; the target itself without it
        #[arg(long)]
        host: Option<String>,
        /// LOCAL:REMOTE, or REMOTE alone for a local port that is free
        #[arg(value_parser = ports)]
        ports: Ports,
    },
    /// Carry an SSH connection over stdin and stdout, for ssh's ProxyCommand
    SshProxy {
        /// Where.
        #[command(flatten)]
        connection: TargetOptions,
        /// The target's SSH port
        #[arg(long, default_value_t = 22)]
        port: u16,
    },
}

/// The target and how to reach it, with the AWS CLI's names.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// The managed node, such as i-0123456789abcdef0; without it, SSM_PLUGIN_TARGET
    #[arg(long)]
    target: Option<String>,
    /// The region; without it, AWS_REGION or the profile's
    #[arg(long)]
    pub region: Option<String>,
    /// The profile in the AWS configuration
    #[arg(long)]
    pub profile: Option<String>,
    /// The URL of the Systems Manager API
    #[arg(long)]
    pub endpoint_url: Option<String>,
    /// Why, for the records
    #[arg(long)]
    pub reason: Option<String>,
}

/// What StartSession is called with.
#[derive(Debug, Clone)]
pub struct Start {
    /// The managed node.
    pub target: String,
    /// How to reach it.
    pub connection: TargetOptions,
    /// The session document; a shell without it.
    pub document_name: Option<String>,
    /// The document's parameters.
    pub parameters: Parameters,
}

/// A local port, 0 for any, and a remote one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    local: u16,
    remote: u16,
}

fn ports(text: &str) -> Result<Ports, String> {
    let port = |digits: &str| {
        digits
            .parse::<u16>()
            .map_err(|_| format!("{digits:?} is no port"))
    };
    let (local, remote) = match text.split_once(':') {
        Some((local, remote)) => (port(local)?, port(remote)?),
        None => (0, port(text)?),
    };
    if remote == 0 {
        return Err("the remote port cannot be 0".to_owned());
    }
    Ok(Ports { local, remote })
}

impl SessionCommand {
    /// What StartSession is to be called with. The environment has the default of the target, and what paths are made of.
    ///
    /// # Errors
    /// [`Error::Usage`] when no target is known, or the parameters cannot be read.
    pub fn start(&self, environment: &Environment) -> Result<Start, Error> {
        let (connection, document, parameters) = match self {
            Self::StartSession {
                connection,
                document_name,
                parameters,
            } => {
                let parse = |text: &String| parameters::parse(text, environment);
                let parameters = parameters.as_ref().map(parse).transpose();
                let parameters = parameters.map_err(|why| {
                    usage(ErrorKind::ValueValidation, &format!("--parameters: {why}"))
                })?;
                return Ok(Start {
                    target: connection.target(environment)?,
                    connection: connection.clone(),
                    document_name: document_name.clone(),
                    parameters: parameters.unwrap_or_default(),
                });
            }
            Self::Exec {
                connection,
                command,
            } => (
                connection,
                "AWS-StartNonInteractiveCommand",
                // The exit code comes only with separate streams.
                vec![
                    ("command", command_line(command)),
                    ("separateOutputStream", "True".to_owned()),
                ],
            ),
            Self::PortForward {
                connection,
                host,
                ports,
            } => {
                let mut parameters = vec![
                    ("portNumber", ports.remote.to_string()),
                    ("localPortNumber", ports.local.to_string()),
                ];
                match host {
                    Some(host) => {
                        parameters.push(("host", host.clone()));
                        (
                            connection,
                            "AWS-StartPortForwardingSessionToRemoteHost",
                            parameters,
                        )
                    }
                    None => (connection, "AWS-StartPortForwardingSession", parameters),
                }
            }
            Self::SshProxy { connection, port } => (
                connection,
                "AWS-StartSSHSession",
                vec![("portNumber", port.to_string())],
            ),
        };
        Ok(Start {
            target: connection.target(environment)?,
            connection: connection.clone(),
            document_name: Some(document.to_owned()),
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), vec![value]))
                .collect(),
        })
    }

    /// Whether our own lines are to stay away from stdout: it belongs to the remote program.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Exec { .. } | Self::SshProxy { .. })
    }
}

impl TargetOptions {
    fn target(&self, environment: &Environment) -> Result<String, Error> {
        let given = self.target.as_deref().filter(|target| !target.is_empty());
        match given.or_else(|| environment.get("SSM_PLUGIN_TARGET")) {
            Some(target) => Ok(target.to_owned()),
            None => Err(usage(
                ErrorKind::MissingRequiredArgument,
                "no target: give --target, or set SSM_PLUGIN_TARGET",
            )),
        }
    }
}

/// The line from which the agent, which splits it into words as a shell would, gets these words back. One alone is a line already.
fn command_line(words: &[String]) -> String {
    let quote = |word: &String| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%^".contains(&byte);
        if !word.is_empty() && word.bytes().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    match words {
        [line] => line.clone(),
        words => words.iter().map(quote).collect::<Vec<_>>().join(" "),
    }
}

/// The definition of our own subcommands, for completions and the manual page.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Whether a first argument is one of ours and no call by the contract.
pub(super) fn is_own(first: &str) -> bool {
    OWN.contains(&first)
}

/// What the arguments of our own subcommands are.
#[derive(Debug)]
pub(super) enum Parsed {
    Own(Box<Own>),
    /// Help that was asked for.
    Help(String),
}

/// Reads the arguments of one of our subcommands.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed, Error> {
    let program = std::iter::once("session-manager-plugin");
    match Arguments::try_parse_from(program.chain(arguments.iter().map(String::as_str))) {
        Ok(arguments) => Ok(Parsed::Own(Box::new(arguments.command))),
        Err(error) if !error.use_stderr() => Ok(Parsed::Help(error.to_string())),
        Err(error) => Err(usage_error(&error)),
    }
}

fn usage(kind: ErrorKind, why: &str) -> Error {
    usage_error(&Arguments::command().error(kind, why))
}

fn usage_error(error: &clap::Error) -> Error {
    let text = error.to_string();
    // Whoever shows it says who speaks.
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    Error::Usage(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(arguments: &[&str]) -> Result<SessionCommand, Error> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        match parse(&arguments)? {
            Parsed::Own(own) => match *own {
                Own::Session(command) => Ok(command),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn start(own: &SessionCommand) -> Start {
        own.start(&Environment::default()).expect("good arguments")
    }

    fn parameters(start: &Start) -> String {
        serde_json::to_string(&start.parameters).expect("texts")
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
        let names: Vec<_> = command()
            .get_subcommands()
            .map(|subcommand| subcommand.get_name().to_owned())
            .collect();
        assert_eq!(names, OWN[..names.len()]);
    }

    #[test]
    fn help_names_the_package_version_and_the_commands() {
        for arguments in [&["help"][..], &["--help"], &["-h"]] {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            let Ok(Parsed::Help(text)) = parse(&arguments) else {
                panic!("no help");
            };
            assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
            assert!(text.contains("start-session"), "{text}");
        }
    }

    #[test]
    fn start_session_takes_the_options_of_the_aws_cli() {
        let own = own(&[
            "start-session",
            "--target=i-1",
            "--region",
            "eu-north-1",
            "--profile",
            "work",
            "--document-name",
            "Doc",
            "--parameters",
            "a=1",
            "--reason",
            "look",
            "--endpoint-url",
            "http://127.0.0.1:1",
        ]);
        let start = start(&own.expect("good arguments"));
        assert_eq!(start.target, "i-1");
        assert_eq!(start.document_name.as_deref(), Some("Doc"));
        assert_eq!(parameters(&start), r#"{"a":["1"]}"#);
    }

    #[test]
    fn exec_takes_a_command_as_ssh_does() {
        for arguments in [
            &["exec", "--target", "i-1", "--", "ls", "-l", "/tmp"][..],
            &["exec", "--target", "i-1", "ls", "-l", "/tmp"],
            &["exec", "--target", "i-1", "ls -l /tmp"],
        ] {
            let own = own(arguments).expect("good arguments");
            assert!(matches!(own, SessionCommand::Exec { .. }));
            assert_eq!(
                parameters(&start(&own)),
                r#"{"command":["ls -l /tmp"],"separateOutputStream":["True"]}"#
            );
        }
    }

    #[test]
    fn the_words_of_a_command_stay_whole() {
        let line = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            command_line(&words)
        };
        assert_eq!(line(&["ls -l | wc"]), "ls -l | wc");
        assert_eq!(line(&["sh", "-c", "echo a  b"]), "sh -c 'echo a  b'");
        assert_eq!(line(&["echo", "it's", ""]), r"echo 'it'\''s' ''");
        assert_eq!(line(&["echo", "$HOME", "*"]), "echo '$HOME' '*'");
    }

    #[test]
    fn ports_are_local_and_remote() {
        assert_eq!(
            ports("80"),
            Ok(Ports {
                local: 0,
                remote: 80
            })
        );
        assert_eq!(
            ports("8080:80"),
            Ok(Ports {
                local: 8080,
                remote: 80
            })
        );
        for bad in ["", ":", "80:", "x:80", "80:0", "0", "1:65536"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
        let own = own(&[
            "port-forward",
            "--target",
            "i-1",
            "--host",
            "db",
            "5432:5432",
        ]);
        let start = start(&own.expect("good arguments"));
        assert_eq!(
            start.document_name.as_deref(),
            Some("AWS-StartPortForwardingSessionToRemoteHost")
        );
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for arguments in [
            &["start-session"][..],
            &["exec", "--target", "i-1"],
            &["start-session", "--target", "i-1", "--nothing"],
            &["start-session", "--target", "i-1", "--parameters", "x"],
        ] {
            let result = own(arguments).and_then(|own| own.start(&Environment::default()));
            let error = result.expect_err("bad arguments");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn the_target_may_stand_in_a_variable() {
        let environment = Environment::from([("SSM_PLUGIN_TARGET", "i-2")]);
        for (arguments, expected) in [
            (&["start-session"][..], "i-2"),
            (&["exec", "ls"], "i-2"),
            (&["ssh-proxy"], "i-2"),
            (&["port-forward", "--target", "i-1", "80"], "i-1"),
        ] {
            let own = own(arguments).expect("good arguments");
            assert_eq!(own.start(&environment).expect("a target").target, expected);
            let nowhere = own.start(&Environment::default());
            let is_named = |error: &Error| error.to_string().contains("SSM_PLUGIN_TARGET");
            assert_eq!(nowhere.as_ref().is_err_and(is_named), expected == "i-2");
        }
    }
}
