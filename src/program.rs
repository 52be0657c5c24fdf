//! From the arguments to the exit code.

use std::ffi::OsString;
use std::sync::Arc;

use crossbeam_channel::unbounded;

use crate::VERSION;
use crate::cli::{Call, Invocation, Own};
use crate::communicator::{Dialer, StreamUrl};
use crate::datachannel::{Config, DataChannel, Link};
use crate::error::Error;
use crate::logging;
use crate::network::Network;
use crate::session::announce::{Announcer, Place};
use crate::session::{self, Caller, Context, out_of_resources};
use crate::settings::{Environment, Settings};
use crate::terminal::signals::Signals;
use crate::terminal::{print, raw};

/// Runs the program, and gives its exit code.
pub fn run(arguments: &[OsString], mut environment: Environment) -> u8 {
    let fallible = match Invocation::parse(arguments, &mut environment) {
        Ok(Invocation::Installed) => {
            print::to_stdout(
                "\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n",
            );
            Ok(0)
        }
        Ok(Invocation::Version) => {
            print::to_stdout(&format!("{VERSION}\n"));
            Ok(0)
        }
        Ok(Invocation::Help(text)) => {
            print::to_stdout(&text);
            Ok(0)
        }
        Ok(Invocation::UnknownOperation(operation)) => {
            print::to_stdout(&format!(
                "\nUnknown operation {operation}. \nUse session-manager-plugin --version to check the version.\n\n"
            ));
            Err(Error::Usage(format!(
                "unknown operation {operation:?}: see session-manager-plugin --help"
            )))
        }
        Ok(Invocation::InvalidOperation) => {
            print::to_stdout("Invalid Operation");
            Err(Error::Usage(
                "the operation in argument 3 must be StartSession".to_owned(),
            ))
        }
        Ok(Invocation::Call(call)) => Settings::from_environment(&environment)
            .map(|settings| run_call(*call, settings, environment)),
        Ok(Invocation::Own(own)) => Settings::from_environment(&environment)
            .map(|settings| run_own(&own, settings, environment)),
        Err(error) => Err(error),
    };
    fallible.unwrap_or_else(|error| give_up(&Announcer::new("", Place::Stdout), &error))
}

fn give_up(announcer: &Announcer, error: &Error) -> u8 {
    announcer.failed(error);
    error.exit_code()
}

/// A session that somebody else has started.
fn run_call(call: Call, settings: Settings, environment: Environment) -> u8 {
    let place = if settings.quiet {
        Place::Stderr
    } else {
        Place::Stdout
    };
    let announcer = Arc::new(Announcer::new(&call.session.session_id, place));
    let caller = Caller {
        stderr_to_stdout: call.stderr_to_stdout,
        is_exec: false,
    };
    run_session(&call, caller, &announcer, settings, environment)
        .unwrap_or_else(|error| give_up(&announcer, &error))
}

/// A session that we start ourselves.
fn run_own(own: &Own, settings: Settings, _environment: Environment) -> u8 {
    let place = if own.is_quiet() {
        Place::Nowhere
    } else if settings.quiet {
        Place::Stderr
    } else {
        Place::Stdout
    };
    let announcer = Announcer::new("", place);
    give_up(
        &announcer,
        &Error::Start("sessions cannot be started from here yet".to_owned()),
    )
}

fn run_session(
    call: &Call,
    caller: Caller,
    announcer: &Arc<Announcer>,
    settings: Settings,
    environment: Environment,
) -> Result<u8, Error> {
    raw::restore_at_panic();
    let signals = Signals::start().map_err(|error| out_of_resources(&error))?;
    logging::start(&settings);
    let stream_url = StreamUrl::parse(&call.session.stream_url, &settings)?;
    let network = Network::from_environment(&environment)?;
    announcer.starting();
    let (sender, notices) = unbounded();
    let channel = DataChannel::open(
        Config {
            link: Link {
                stream_url,
                token: call.session.token.clone(),
                dialer: Dialer { network },
                sign: None,
                resume: None,
            },
            payload_size: settings.payload_size,
            make_key: None,
        },
        sender,
    )?;
    session::run(&Context {
        channel,
        notices,
        signals,
        announcer: Arc::clone(announcer),
        settings: Arc::new(settings),
        environment: Arc::new(environment),
        session_id: call.session.session_id.clone(),
        caller,
        terminate: None,
    })
}
