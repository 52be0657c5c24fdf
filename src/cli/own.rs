//! Subcommands of our own, for where there is no AWS CLI.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use super::connection::TargetOptions;
use super::cp::Cp;
use super::doctor::Doctor;
use super::exec::ExecOptions;
use super::list::ListOptions;
use super::parameters;
use super::port_forward::PortForward;
use super::run::Run;
use super::ssh::{SshConfig, SshProxy};
use super::start::Start;
use super::usage::{usage, usage_error};
use crate::environment::Environment;
use crate::error::Error;

/// First arguments that are ours. A list of its own, as building the definition takes longer than all else that `--version` does.
const OWN: [&str; 12] = [
    "start-session",
    "exec",
    "port-forward",
    "ssh-proxy",
    "list",
    "ssh-config",
    "cp",
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
    /// List the managed nodes: id, name, state, agent version, platform, address
    List(ListOptions),
    /// Print the block for ~/.ssh/config with which ssh, scp, rsync and git reach targets
    SshConfig(SshConfig),
    /// Copy files to and from a target that has nothing but a shell
    Cp(Cp),
    /// Run a command on many nodes by Run Command, which goes on without us
    Run(Run),
    /// Find out what stands in the way of a session
    Doctor(Doctor),
}

impl Own {
    /// Whether stdout is for programs: one object a line.
    pub fn is_json(&self) -> bool {
        match self {
            Self::Session(SessionCommand::Exec(exec)) => exec.json,
            Self::Session(SessionCommand::PortForward(forward)) => forward.json,
            Self::List(list) => list.json,
            Self::Cp(cp) => cp.json,
            Self::Run(run) => run.json,
            Self::Doctor(doctor) => doctor.json,
            Self::Session(SessionCommand::StartSession { .. } | SessionCommand::SshProxy(_))
            | Self::SshConfig(_) => false,
        }
    }
}

/// One of our own subcommands that is one session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Start a session: a shell, or what the document says
    #[command(after_help = "Examples:
  session-manager-plugin start-session --target web-1
  session-manager-plugin start-session --target i-0123456789abcdef0 --document-name My-Session --parameters user=deploy")]
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
    Exec(ExecOptions),
    /// Forward local ports to ports of the target, or of hosts that it reaches
    PortForward(PortForward),
    /// Carry an SSH connection over stdin and stdout, for ssh's ProxyCommand
    SshProxy(SshProxy),
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
                let parameters =
                    parameters.map_err(|why| usage(&format!("--parameters: {why}")))?;
                return Ok(Start {
                    target: connection.target(environment)?,
                    starting: connection.starting.clone(),
                    document_name: document_name.clone(),
                    parameters: parameters.unwrap_or_default(),
                    ecs_command: None,
                });
            }
            Self::Exec(exec) => return exec.start(environment),
            Self::SshProxy(proxy) => return proxy.start(environment),
            Self::PortForward(forward) => {
                let (host, local, remote) = forward.as_session().ok_or_else(|| {
                    Error::Usage("port-forward is more than one session".to_owned())
                })?;
                let mut parameters = vec![
                    ("portNumber", remote.to_string()),
                    ("localPortNumber", local.to_string()),
                ];
                match host {
                    Some(host) => {
                        parameters.push(("host", host.to_owned()));
                        (
                            &forward.connection,
                            "AWS-StartPortForwardingSessionToRemoteHost",
                            parameters,
                        )
                    }
                    None => (
                        &forward.connection,
                        "AWS-StartPortForwardingSession",
                        parameters,
                    ),
                }
            }
        };
        Ok(Start {
            target: connection.target(environment)?,
            starting: connection.starting.clone(),
            document_name: Some(document.to_owned()),
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), vec![value]))
                .collect(),
            ecs_command: None,
        })
    }

    /// Forwards that are more than one session.
    pub fn forwards(&self) -> Option<&PortForward> {
        match self {
            Self::PortForward(forward) if forward.as_session().is_none() => Some(forward),
            _ => None,
        }
    }

    /// The same as one session, where it is a forward.
    pub fn into_once(self) -> Self {
        match self {
            Self::PortForward(forward) => Self::PortForward(forward.into_once()),
            other => other,
        }
    }

    /// Whether our own lines are to stay away from stdout: it belongs to the remote program.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::SshProxy(_))
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

/// Whether arguments of a command may be bytes that are no text.
pub(super) fn takes_bytes(first: &str) -> bool {
    first == "cp"
}

/// Reads the arguments of one of our subcommands.
pub(super) fn parse<T: Into<OsString> + Clone>(arguments: &[T]) -> Result<Parsed, Error> {
    let program = std::iter::once(OsString::from("session-manager-plugin"));
    let arguments = arguments.iter().cloned().map(Into::into);
    match Arguments::try_parse_from(program.chain(arguments)) {
        Ok(arguments) => Ok(Parsed::Own(Box::new(arguments.command))),
        Err(error) if !error.use_stderr() => Ok(Parsed::Help(error.to_string())),
        Err(error) => Err(usage_error(&error)),
    }
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
    fn the_help_of_each_command_has_two_examples_that_can_be_called() {
        for mut command in command().get_subcommands().cloned() {
            let help = command.render_long_help().to_string();
            let (_, examples) = help.split_once("Examples:\n").expect("examples");
            let examples: Vec<&str> = examples
                .lines()
                .take_while(|line| line.starts_with("  "))
                .collect();
            assert!(examples.len() >= 2, "{help}");
            for example in examples {
                let (before, call) = example
                    .split_once("session-manager-plugin ")
                    .expect("a call of ours");
                // The shell's part: what ssh runs stands in quotes, and a file takes what is printed.
                let call = if before.ends_with('\'') {
                    call.split('\'').next().expect("a quoted call")
                } else {
                    call.split(" >>").next().expect("a call")
                };
                let words = shlex::split(&call.replace("%p", "22")).expect("words");
                assert_eq!(words[0], command.get_name());
                assert!(matches!(parse(&words), Ok(Parsed::Own(_))), "{example}");
            }
        }
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
        assert_eq!(start.target.id(), Some("i-1"));
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
            assert!(matches!(own, SessionCommand::Exec(_)));
            assert_eq!(
                parameters(&start(&own)),
                r#"{"command":["ls -l /tmp"],"separateOutputStream":["True"]}"#
            );
        }
    }

    #[test]
    fn port_forward_that_ends_with_its_session_is_one() {
        let own = own(&[
            "port-forward",
            "--once",
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
            (&["port-forward", "--once", "--target", "i-1", "80"], "i-1"),
        ] {
            let own = own(arguments).expect("good arguments");
            let started = own.start(&environment).expect("a target");
            assert_eq!(started.target.id(), Some(expected));
            let nowhere = own.start(&Environment::default());
            let is_named = |error: &Error| error.to_string().contains("SSM_PLUGIN_TARGET");
            assert_eq!(nowhere.as_ref().is_err_and(is_named), expected == "i-2");
        }
    }
}
