//! From the arguments to the exit code.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::VERSION;
use crate::aws::{Api, ApiOptions, CallerEndpoint, Configured};
use crate::cli::{Call, Invocation, Own};
use crate::client::{RawSession, SessionOpening};
use crate::commands::{self, catch_signals, context};
use crate::communicator::StreamUrl;
use crate::error::Error;
use crate::logging;
use crate::network::Network;
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::session::OutputTarget;
use crate::session::announce::Announcer;
use crate::session::{self, Caller, Command, give_up};
use crate::session_api::SessionApi;
use crate::settings::{Environment, Settings};
use crate::terminal::print;
use crate::terminal::signals::{self, Parent};

/// How long ending a session may take that could not even begin.
const END_UNUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the program, and gives its exit code.
pub fn run(arguments: &[OsString], mut environment: Environment) -> u8 {
    let remarks = Remarks::new(|line| print::notice(line));
    let mut is_session = false;
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
        Ok(Invocation::Call(call)) => {
            is_session = true;
            Settings::from_environment(&environment)
                .map(|settings| run_call(*call, settings, environment, &remarks))
        }
        Ok(Invocation::Own(own)) => return run_own(*own, environment, &remarks),
        Err(error) => Err(error),
    };
    let code =
        fallible.unwrap_or_else(|error| give_up(&Announcer::new("", OutputTarget::Stdout), error));
    if is_session {
        return code;
    }
    commands::all_is_written(code)
}

/// One of our own commands. What keeps it from beginning is said on stderr, and by JSON where that is asked for: its stdout may be
/// somebody's data.
fn run_own(own: Own, environment: Environment, remarks: &Remarks) -> u8 {
    let is_json = own.is_json();
    let redactor = Redactor::default();
    let code = Settings::from_environment(&environment)
        .and_then(|settings| commands::run(own, settings, environment, remarks, &redactor));
    match code {
        Ok(code) => code,
        Err(error) if is_json => commands::failed_as_json(&error, &redactor),
        Err(error) => {
            print::complaint(redactor.clean(&error.to_string()));
            error.exit_code()
        }
    }
}

/// A session that somebody else has started.
fn run_call(call: Call, settings: Settings, environment: Environment, remarks: &Remarks) -> u8 {
    signals::unblock();
    let redactor = Redactor::default();
    redactor.add(call.session.token.expose());
    logging::start(&settings, &redactor);
    let place = if settings.quiet {
        OutputTarget::Stderr
    } else {
        OutputTarget::Stdout
    };
    let announcer = Arc::new(Announcer::new(&call.session.session_id, place).hiding(&redactor));
    let caller = Caller {
        stderr_to_stdout: call.stderr_to_stdout,
        command: Command::Contract,
        asked: None,
    };
    let parent = match settings.parent {
        Some(process) => Parent::WaitsAs(process),
        None if call.caller_waits => Parent::Waits,
        None => Parent::MayGo,
    };
    let settings = Arc::new(settings);
    let run = || {
        let signals = catch_signals(parent)?;
        if let Err(error) = StreamUrl::parse(&call.session.stream_url, &settings) {
            // At once: ending the session may take a while.
            let code = give_up(&announcer, error);
            if let Err(failure) = end_unused(&call, &settings, &environment, remarks) {
                log::info!("the remote session could not be ended: {failure}");
            }
            return Ok(code);
        }
        let session = open_call(&call, &settings, &environment, &announcer, remarks)?;
        let context = context(
            &session,
            signals,
            caller,
            &announcer,
            &settings,
            environment,
        );
        session::run(&context)
    };
    run().unwrap_or_else(|error| give_up(&announcer, error))
}

/// Opens the session of a call.
fn open_call(
    call: &Call,
    settings: &Arc<Settings>,
    environment: &Environment,
    announcer: &Announcer,
    remarks: &Remarks,
) -> Result<RawSession, Error> {
    let configured = Configured::load(environment, call.profile.as_deref())?;
    let network = Network::new(environment, configured.ca_bundle().as_deref())?;
    let network = network.hiding(announcer.redactor());
    let api = if settings.skip_client_configure {
        None
    } else {
        let stream_url = StreamUrl::parse(&call.session.stream_url, settings)?;
        api_of_call(
            call,
            Some(&stream_url),
            environment,
            &configured,
            &network,
            remarks,
        )?
    };
    announcer.starting();
    RawSession::open(SessionOpening {
        started: &call.session,
        target: None,
        api: api.as_ref(),
        network: &network,
        settings,
        remarks,
        is_legacy: call.legacy,
    })
}

/// AWS for a session that somebody else has started, unless nobody says where it is: the token may do without signatures.
fn api_of_call(
    call: &Call,
    stream_url: Option<&StreamUrl>,
    environment: &Environment,
    configured: &Configured,
    network: &Network,
    remarks: &Remarks,
) -> Result<Option<Api>, Error> {
    let options = ApiOptions {
        region: Some(call.region.clone()),
        profile: call.profile.clone(),
        endpoint: call.endpoint.clone().map(CallerEndpoint::Argument),
        target: call.target.clone(),
        stream_host: stream_url.map(|url| url.service_host().to_owned()),
        remarks: remarks.clone(),
    };
    match Api::new(options, environment, configured, network.clone()) {
        Err(error @ Error::NoRegion) => {
            print::complaint(format!(
                "{error}; the session goes on without signatures, and is lost when its connection breaks"
            ));
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Ends a session that exists and that nobody will ever use (P90).
fn end_unused(
    call: &Call,
    settings: &Arc<Settings>,
    environment: &Environment,
    remarks: &Remarks,
) -> Result<(), Error> {
    if settings.skip_client_configure {
        return Ok(());
    }
    let configured = Configured::load(environment, call.profile.as_deref())?;
    let network = Network::new(environment, configured.ca_bundle().as_deref())?;
    let api = api_of_call(call, None, environment, &configured, &network, remarks)?;
    let service = api.map(|api| SessionApi::new(api, &call.session.session_id, settings));
    service.map_or(Ok(()), |service| {
        service.terminate()(Instant::now() + END_UNUSED_TIMEOUT)
    })
}
