//! From the arguments to the exit code.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use crate::VERSION;
use crate::aws::{Client, Configured, Options, StartRequest};
use crate::cli::{Call, Connection, Invocation, Own, Start, StartedSession};
use crate::communicator::{Dialer, StreamUrl};
use crate::datachannel::{Config, DataChannel, Reconnector};
use crate::error::Error;
use crate::logging;
use crate::network::{Limit, Network};
use crate::redactor::Redactor;
use crate::remarks::Remarks;
use crate::session::announce::{Announcer, Place};
use crate::session::{self, Asked, Caller, Command, Context, give_up, out_of_resources};
use crate::session_api::{self, SessionApi};
use crate::settings::{Environment, Settings};
use crate::terminal::signals::{self, Parent, Signals};
use crate::terminal::unread::{self, Unread};
use crate::terminal::{print, raw};

/// How long ending a session may take that could not even begin.
const END_UNUSED_TIMEOUT: Duration = Duration::from_secs(5);
/// StartSession with all its retries and the search for credentials, which may run a program that asks somewhere.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long after our own start the other program of a pipe may take to write its first data, before `exec` starts a command without it.
const STDIN_TIMEOUT: Duration = Duration::from_millis(50);

/// Runs the program, and gives its exit code.
pub fn run(arguments: &[OsString], mut environment: Environment) -> u8 {
    let remarks = Remarks::new(|line| print::notice(line));
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
            .map(|settings| run_call(*call, settings, environment, &remarks)),
        Ok(Invocation::Own(own)) => Settings::from_environment(&environment).and_then(|settings| {
            let start = own.start(&environment)?;
            Ok(run_own(&own, start, settings, environment, &remarks))
        }),
        Err(error) => Err(error),
    };
    fallible.unwrap_or_else(|error| give_up(&Announcer::new("", Place::Stdout), error))
}

/// A session that somebody else has started.
fn run_call(call: Call, settings: Settings, environment: Environment, remarks: &Remarks) -> u8 {
    signals::unblock();
    let redactor = Redactor::default();
    redactor.add(call.session.token.expose());
    logging::start(&settings, &redactor);
    let place = if settings.quiet {
        Place::Stderr
    } else {
        Place::Stdout
    };
    let announcer = Arc::new(Announcer::new(&call.session.session_id, place).hiding(&redactor));
    let caller = Caller {
        stderr_to_stdout: call.stderr_to_stdout,
        command: Command::Contract,
        asked: None,
    };
    run_session(
        &call,
        None,
        caller,
        &announcer,
        settings,
        environment,
        remarks,
    )
    .unwrap_or_else(|error| give_up(&announcer, error))
}

/// A session that we start ourselves.
fn run_own(
    own: &Own,
    start: Start,
    settings: Settings,
    environment: Environment,
    remarks: &Remarks,
) -> u8 {
    signals::unblock();
    let began = Instant::now();
    let redactor = Redactor::default();
    logging::start(&settings, &redactor);
    let place = if own.is_quiet() {
        Place::Nowhere
    } else if settings.quiet {
        Place::Stderr
    } else {
        Place::Stdout
    };
    let caller = Caller {
        stderr_to_stdout: false,
        command: match own {
            Own::StartSession { .. } => Command::StartSession,
            Own::Exec { .. } => Command::Exec,
            Own::PortForward { .. } => Command::PortForward,
            Own::SshProxy { .. } => Command::SshProxy,
        },
        asked: Some(Asked::new(
            start.document_name.as_deref(),
            &start.parameters,
        )),
    };
    let look_at_stdin = || match own {
        Own::Exec { .. } => refuse_unread(began + STDIN_TIMEOUT),
        _ => Ok(()),
    };
    let started = start_session(start, &environment, remarks, &redactor, look_at_stdin);
    let (call, client) = match started {
        Ok(started) => started,
        Err(error) => return give_up(&Announcer::new("", place).hiding(&redactor), error),
    };
    let announcer = Arc::new(Announcer::new(&call.session.session_id, place).hiding(&redactor));
    run_session(
        &call,
        Some(client),
        caller,
        &announcer,
        settings,
        environment,
        remarks,
    )
    .unwrap_or_else(|error| give_up(&announcer, error))
}

/// Refuses to start a command whose data, which stands on stdin or comes there until this moment, it would not get (P118).
fn refuse_unread(until: Instant) -> Result<(), Error> {
    match unread::look(until) {
        Unread::Data => Err(Error::Usage(
            "there is data on stdin, but exec does not read stdin and the command would not get it: \
             add </dev/null if it is not for the command, or put it where the command finds it"
                .to_owned(),
        )),
        Unread::Nothing | Unread::NotYet => Ok(()),
    }
}

/// Calls StartSession, after `before` has agreed; what comes of it is a session like those that others start. Signals end the program meanwhile: there
/// is nothing to clean up.
fn start_session(
    start: Start,
    environment: &Environment,
    remarks: &Remarks,
    redactor: &Redactor,
    before: impl FnOnce() -> Result<(), Error>,
) -> Result<(Call, Client), Error> {
    let Start {
        target, connection, ..
    } = start;
    let Connection {
        region,
        profile,
        endpoint_url,
        reason,
        ..
    } = connection;
    let options = Options {
        region,
        profile: profile.clone(),
        endpoint: endpoint_url.clone(),
        target: Some(target.clone()),
        stream_host: None,
        remarks: remarks.clone(),
    };
    let configured = Configured::load(environment, profile.as_deref())?;
    let network = Network::new(environment, configured.ca_bundle().as_deref())?.hiding(redactor);
    let client = Client::new(options, environment, &configured, network).map_err(|error| {
        match (&error, configured.missing_profile()) {
            // That is why.
            (Error::NoRegion, Some(missing)) => Error::Start(format!("{error}; {missing}")),
            _ => error,
        }
    })?;
    let request = StartRequest {
        target: target.clone(),
        document_name: start.document_name,
        parameters: start.parameters,
        reason,
    };
    before()?;
    let started = client
        .start_session(&request, &Limit::within(START_TIMEOUT))
        .map_err(|error| Error::Start(error.to_string()))?;
    let call = Call {
        session: StartedSession {
            session_id: started.session_id,
            stream_url: started.stream_url,
            token: started.token_value,
        },
        region: client.region().to_owned(),
        profile,
        legacy: false,
        target: Some(target),
        stderr_to_stdout: false,
        endpoint: endpoint_url,
        caller_waits: false,
    };
    Ok((call, client))
}

/// Runs a session to its end. `client` is what started it, if we did: it has found credentials, and read the roots.
fn run_session(
    call: &Call,
    client: Option<Client>,
    caller: Caller,
    announcer: &Arc<Announcer>,
    settings: Settings,
    environment: Environment,
    remarks: &Remarks,
) -> Result<u8, Error> {
    raw::restore_at_panic();
    let parent = if call.caller_waits {
        Parent::Waits
    } else {
        Parent::MayGo
    };
    let signals = Signals::start(parent).map_err(|error| out_of_resources(&error))?;
    let settings = Arc::new(settings);
    let stream_url = match StreamUrl::parse(&call.session.stream_url, &settings) {
        Ok(stream_url) => stream_url,
        Err(error) => {
            // At once: ending the session may take a while.
            let code = give_up(announcer, error);
            if let Err(failure) = end_unused(call, client, &settings, &environment, remarks) {
                log::info!("the remote session could not be ended: {failure}");
            }
            return Ok(code);
        }
    };
    let configured = Configured::load(&environment, call.profile.as_deref())?;
    let network = match &client {
        Some(client) => client.network().clone(),
        None => {
            let network = Network::new(&environment, configured.ca_bundle().as_deref())?;
            network.hiding(announcer.redactor())
        }
    };
    let client = match client {
        _ if settings.skip_client_configure => None,
        Some(client) => Some(client.with_stream_host(stream_url.service_host())),
        None => client_of_call(
            call,
            Some(&stream_url),
            &environment,
            &configured,
            &network,
            remarks,
        )?,
    };
    announcer.starting();
    let service = client.map(|client| SessionApi::new(client, &call.session.session_id, &settings));
    let is_presigned = stream_url.is_presigned();
    let for_connection = service.as_ref().filter(|_| !is_presigned);
    let make_key = match &service {
        Some(service) => Some(service.make_key(call.legacy)),
        // Who is too old for it is told just that.
        None if call.legacy => None,
        None if settings.skip_client_configure => Some(session_api::no_key(
            "SSM_PLUGIN_SKIP_CLIENT_CONFIGURE is set",
        )),
        None => Some(session_api::no_key("no region is known")),
    };
    let (sender, notices) = unbounded();
    let channel = DataChannel::open(
        Config {
            reconnector: Reconnector {
                stream_url,
                token: call.session.token.clone(),
                dialer: Dialer {
                    network,
                    remarks: remarks.clone(),
                },
                sign: for_connection.map(SessionApi::sign),
                resume: for_connection.map(SessionApi::resume),
            },
            payload_size: settings.payload_size,
            require_encryption: settings.require_encryption,
            make_key,
        },
        sender,
    )?;
    session::run(&Context {
        channel,
        notices,
        signals,
        announcer: Arc::clone(announcer),
        settings,
        environment: Arc::new(environment),
        caller,
        terminate: service.as_ref().map(SessionApi::terminate),
    })
}

/// AWS for a session that somebody else has started, unless nobody says where it is: the token may do without signatures.
fn client_of_call(
    call: &Call,
    stream_url: Option<&StreamUrl>,
    environment: &Environment,
    configured: &Configured,
    network: &Network,
    remarks: &Remarks,
) -> Result<Option<Client>, Error> {
    let options = Options {
        region: Some(call.region.clone()),
        profile: call.profile.clone(),
        endpoint: call.endpoint.clone(),
        target: call.target.clone(),
        stream_host: stream_url.map(|url| url.service_host().to_owned()),
        remarks: remarks.clone(),
    };
    match Client::new(options, environment, configured, network.clone()) {
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
    client: Option<Client>,
    settings: &Arc<Settings>,
    environment: &Environment,
    remarks: &Remarks,
) -> Result<(), Error> {
    if settings.skip_client_configure {
        return Ok(());
    }
    let client = match client {
        Some(client) => Some(client),
        None => {
            let configured = Configured::load(environment, call.profile.as_deref())?;
            let network = Network::new(environment, configured.ca_bundle().as_deref())?;
            client_of_call(call, None, environment, &configured, &network, remarks)?
        }
    };
    let service = client.map(|client| SessionApi::new(client, &call.session.session_id, settings));
    service.map_or(Ok(()), |service| {
        service.terminate()(Instant::now() + END_UNUSED_TIMEOUT)
    })
}
