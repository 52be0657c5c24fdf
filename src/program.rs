//! From the arguments to the exit code.

use std::ffi::OsString;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, select};

use crate::VERSION;
use crate::aws::{Api, ApiOptions, CallerEndpoint, Configured};
use crate::cli::{self, Call, Invocation, Own};
use crate::client::{RawSession, SessionOpening, end_programs};
use crate::commands::{self, catch_signals, context};
use crate::communicator::StreamUrl;
use crate::error::Error;
use crate::logging;
use crate::network::Network;
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::session::announce::Announcer;
use crate::session::{self, Caller, Command, OutputTarget, Text, give_up};
use crate::session_api::SessionApi;
use crate::settings::{Environment, Settings};
use crate::terminal::print;
use crate::terminal::signals::{self, Parent, Signal, Signals};

/// How long ending a session may take that could not even begin.
const END_UNUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the program, and gives its exit code.
pub fn run(arguments: &[OsString], environment: Environment) -> u8 {
    let code = carry_out(arguments, environment);
    end_programs();
    code
}

fn carry_out(arguments: &[OsString], mut environment: Environment) -> u8 {
    let remarks = Remarks::new(|line| print::notice(line));
    let code = match Invocation::parse(arguments, &mut environment) {
        Ok(Invocation::Call(call)) => return run_call(&Arc::from(call), environment, &remarks),
        Ok(Invocation::Own(own)) => return run_own(*own, environment, &remarks),
        Ok(Invocation::Installed) => {
            print::to_stdout(
                "\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n",
            );
            0
        }
        Ok(Invocation::Version) => {
            print::to_stdout(&format!("{VERSION}\n"));
            0
        }
        Ok(Invocation::Help(text)) => {
            print::to_stdout(&text);
            0
        }
        Ok(Invocation::UnknownOperation(operation)) => {
            let text = format!(
                "\nUnknown operation {operation}. \nUse session-manager-plugin --version to check the version.\n\n"
            );
            let error =
                format!("unknown operation {operation:?}: see session-manager-plugin --help");
            refuse(&environment, |_| text, &Error::Usage(error))
        }
        Ok(Invocation::InvalidOperation) => {
            let error = "the operation in argument 3 must be StartSession".to_owned();
            refuse(
                &environment,
                |_| "Invalid Operation".to_owned(),
                &Error::Usage(error),
            )
        }
        Err(error) if cli::is_own(arguments) => {
            print::complaint(&error);
            error.exit_code()
        }
        Err(error) => {
            let text = Text::CannotStart(error.to_string());
            refuse(&environment, |announcer| announcer.text(&text), &error)
        }
    };
    commands::all_is_written(code)
}

/// Says why a call makes no session: in the words of the contract where callers read them, and on stderr. The exit code.
fn refuse(environment: &Environment, text: impl FnOnce(&Announcer) -> String, error: &Error) -> u8 {
    let settings = Settings::as_far_as_usable(environment);
    let announcer = Announcer::new("", place(&settings));
    let mut text = text(&announcer);
    if settings.quiet && !text.ends_with('\n') {
        // Another line of stderr follows.
        text.push('\n');
    }
    announcer.say(&text);
    announcer.complain(error);
    error.exit_code()
}

/// Where our own lines go.
fn place(settings: &Settings) -> OutputTarget {
    if settings.quiet {
        OutputTarget::Stderr
    } else {
        OutputTarget::Stdout
    }
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
fn run_call(call: &Arc<Call>, environment: Environment, remarks: &Remarks) -> u8 {
    signals::unblock();
    signals::learn_how_children_end();
    let (settings, unusable) = match Settings::from_environment(&environment) {
        Ok(settings) => (settings, None),
        Err(error) => (Settings::as_far_as_usable(&environment), Some(error)),
    };
    let redactor = Redactor::default();
    redactor.add(call.session.token.expose());
    logging::start(&settings, &redactor);
    let announcer = Announcer::new(&call.session.session_id, place(&settings)).hiding(&redactor);
    let announcer = Arc::new(announcer);
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
        let stream_url = || StreamUrl::parse(&call.session.stream_url, &settings);
        if let Err(error) = unusable.map_or_else(|| stream_url().map(drop), Err) {
            // At once: ending the session may take a while.
            let code = give_up(&announcer, error);
            end_unused(call, &settings, environment, remarks, &signals);
            return Ok(code);
        }
        let session = open_call(call, &settings, &environment, &announcer, remarks)?;
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
        let found = api_of_call(
            call,
            Some(&stream_url),
            environment,
            &configured,
            &network,
            remarks,
        );
        match found {
            // The token may do without signatures.
            Err(error @ Error::NoRegion) => {
                print::complaint(format!(
                    "{error}; the session goes on without signatures, and is lost when its connection breaks"
                ));
                None
            }
            found => Some(found?),
        }
    };
    announcer.starting();
    RawSession::open(SessionOpening {
        started: &call.session,
        target: None,
        api: api.as_ref(),
        network: &network,
        settings,
        remarks,
        notices: None,
        is_legacy: call.legacy,
    })
}

/// AWS for a session that somebody else has started.
fn api_of_call(
    call: &Call,
    stream_url: Option<&StreamUrl>,
    environment: &Environment,
    configured: &Configured,
    network: &Network,
    remarks: &Remarks,
) -> Result<Api, Error> {
    let options = ApiOptions {
        region: Some(call.region.clone()),
        profile: call.profile.clone(),
        endpoint: call.endpoint.clone().map(CallerEndpoint::Argument),
        target: call.target.clone(),
        stream_host: stream_url.map(|url| url.service_host().to_owned()),
        remarks: remarks.clone(),
    };
    Api::new(options, environment, configured, network.clone())
}

/// Ends a session that exists and that nobody will ever use (P90), unless a signal comes first.
fn end_unused(
    call: &Arc<Call>,
    settings: &Arc<Settings>,
    environment: Environment,
    remarks: &Remarks,
    signals: &Signals,
) {
    if settings.skip_client_configure {
        return;
    }
    let (alive, over) = bounded::<()>(0);
    let (call, settings, remarks) = (Arc::clone(call), Arc::clone(settings), remarks.clone());
    let work = move || {
        if let Err(failure) = terminate_unused(&call, &settings, &environment, &remarks) {
            log::info!("the remote session could not be ended: {failure}");
        }
        drop(alive);
    };
    // Without a thread it ends when it has been idle for its time.
    let thread = thread::Builder::new().name("terminate".to_owned());
    if thread.spawn(work).is_err() {
        return;
    }
    loop {
        select! {
            recv(over) -> _ => return,
            recv(signals.incoming()) -> signal => match signal {
                // Then nobody else ends it.
                Ok(Signal::ParentGone) => {}
                Ok(_) | Err(_) => return,
            },
        }
    }
}

fn terminate_unused(
    call: &Call,
    settings: &Arc<Settings>,
    environment: &Environment,
    remarks: &Remarks,
) -> Result<(), Error> {
    let configured = Configured::load(environment, call.profile.as_deref())?;
    let network = Network::new(environment, configured.ca_bundle().as_deref())?;
    let api = api_of_call(call, None, environment, &configured, &network, remarks)?;
    let service = SessionApi::new(api, &call.session.session_id, settings);
    service.terminate()(Instant::now() + END_UNUSED_TIMEOUT)
}
