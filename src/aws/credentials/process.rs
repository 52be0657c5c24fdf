//! Credentials that another program prints.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::metadata::Document;
use super::programs::RunningProgram;
use super::search::{CredentialSearch, Found};
use super::{Credentials, CredentialsError};
use crate::network::{Limit, Stop};
use crate::sanitise;

/// Some ask their user, in a window or on a phone (P26).
const PROCESS_TIME: Duration = Duration::from_secs(60);
/// The AWS CLI starts slowly, and its own sources have their own limits.
const AWS_CLI_TIME: Duration = Duration::from_secs(20);
/// More than this is no answer, in bytes.
const MAX_OUTPUT: usize = 256 * 1024;
/// The most of its complaints that is shown, in characters.
const LONGEST_WORDS: usize = 500;
/// How much of its complaints is kept, in bytes; the rest is read and dropped.
const MAX_COMPLAINTS: usize = 16 * 1024;
/// How often a program that has closed its output is asked whether it has ended.
const END_INTERVAL: Duration = Duration::from_millis(5);
/// How often one that has not is asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long output may still come from one that has ended: what it leaves running may keep the pipe open.
const REST_TIME: Duration = Duration::from_millis(500);
/// How often a pipe is read in a row: the deadline must be seen while data floods in.
const MOST_READS: usize = 16;

/// `credential_process` of a profile, quoted as for a shell but run without one.
pub(super) fn credential_process(
    search: &CredentialSearch<'_>,
    profile: &str,
    command: &str,
) -> Result<Credentials, CredentialsError> {
    let what = format!("credential_process of the profile {profile}");
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| {
        CredentialsError::Failed(format!("{what} has quotes that do not match, or is empty"))
    })?;
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    run(search, &words, PROCESS_TIME, &what)
}

/// The AWS CLI, where it is installed: it knows sources that we do not. None if it is not there; its own words where it finds nothing
/// either.
pub(super) fn aws_cli(search: &CredentialSearch<'_>, profile: &str) -> Found {
    let path = search.environment.bytes("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(path).map(|directory| directory.join("aws"));
    let Some(program) = candidates.find(|candidate| candidate.is_absolute() && candidate.is_file())
    else {
        return Ok(None);
    };
    let arguments = [
        "configure",
        "export-credentials",
        "--format",
        "process",
        "--profile",
        profile,
    ];
    let words = [program.into_os_string()]
        .into_iter()
        .chain(arguments.map(OsString::from))
        .collect::<Vec<_>>();
    let what = "`aws configure export-credentials`";
    run(search, &words, AWS_CLI_TIME, what).map(Some)
}

fn run(
    search: &CredentialSearch<'_>,
    words: &[OsString],
    time: Duration,
    what: &str,
) -> Result<Credentials, CredentialsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Versioned {
        version: u32,
        #[serde(flatten)]
        document: Document,
    }
    // Whatever it was, it may be gone the next time: only the program knows.
    let failed = |why: String| CredentialsError::Temporary {
        reason: format!("{what} {why}"),
        is_answer: true,
        may_ask: true,
    };
    let _waiting = search.waiting(what, time);
    // It may be asking its user: whatever the path does, it is not started twice.
    let limit = search.limit.at_most(time).or_path_gone(None);
    let output = output(search, words, &limit).map_err(|error| match Stop::of(&error) {
        Some(stop) => CredentialsError::stopped(stop, what),
        None if matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        ) =>
        {
            CredentialsError::Failed(format!("{what} failed: {error}"))
        }
        None => failed(format!("failed: {error}")),
    })?;
    // Its output is never shown: it may hold what we look for.
    let answer: Versioned = serde_json::from_slice(&output).map_err(|error| {
        failed(format!(
            "printed no credentials (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    if answer.version != 1 {
        return Err(failed(format!(
            "printed credentials in an unknown version, {}",
            answer.version
        )));
    }
    let found = answer.document.credentials();
    let found = found.ok_or_else(|| failed("printed credentials that are none".to_owned()))?;
    if found
        .expires
        .is_some_and(|expires| expires <= SystemTime::now())
    {
        return Err(failed("printed credentials that have expired".to_owned()));
    }
    Ok(found)
}

/// Runs a program without a terminal's input, and gives what it prints.
fn output(
    search: &CredentialSearch<'_>,
    words: &[OsString],
    limit: &Limit,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        // The snapshot is without the session's token, which a child has no business to see.
        .env_clear()
        .envs(search.environment.iter())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = RunningProgram::start(&mut command);
    let child = started.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{} cannot be run: {error}", program.display()),
        )
    })?;
    let pipes = {
        let mut child = child.child();
        (child.stdout.take(), child.stderr.take())
    };
    let (Some(mut stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other("it has no output"));
    };
    set_nonblocking(&stdout)?;
    set_nonblocking(&stderr)?;
    let mut complaints = Complaints {
        pipe: Some(stderr),
        bytes: Zeroizing::default(),
    };
    let mut printed = Zeroizing::new(Vec::new());
    let mut ended_at = None;
    while read(&mut stdout, |piece| printed.extend_from_slice(piece))? {
        if printed.len() > MAX_OUTPUT {
            return Err(io::Error::other("it prints too much"));
        }
        complaints.read()?;
        if ended_at.is_none() && child.ended()?.is_some() {
            ended_at = Some(Instant::now());
        }
        if ended_at.is_some_and(|at| at.elapsed() >= REST_TIME) {
            break;
        }
        let mut descriptors = vec![PollFd::new(&stdout, PollFlags::IN)];
        descriptors.extend(
            complaints
                .pipe
                .as_ref()
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        limit.poll(&mut descriptors, Some(LOOK_INTERVAL))?;
    }
    let status = loop {
        complaints.read()?;
        match child.ended()? {
            Some(status) => break status,
            None => limit.pause(END_INTERVAL)?,
        }
    };
    if status.success() {
        return Ok(printed);
    }
    complaints.read()?;
    let words = String::from_utf8_lossy(&complaints.bytes);
    let words = sanitise::line_within(words.trim(), LONGEST_WORDS);
    Err(io::Error::other(match words.is_empty() {
        true => status.to_string(),
        false => format!("{status}: {words}"),
    }))
}

/// What a program says on stderr: the beginning of it is kept, and the rest is read so that the program can go on.
struct Complaints {
    /// None once it is closed.
    pipe: Option<ChildStderr>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Complaints {
    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let bytes = &mut self.bytes;
        let is_open = read(pipe, |piece| {
            let room = MAX_COMPLAINTS.saturating_sub(bytes.len());
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        })?;
        if !is_open {
            self.pipe = None;
        }
        Ok(())
    }
}

fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?)
}

/// Reads what is there, in pieces; false at the end.
fn read(pipe: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut piece = Zeroizing::new([0; 4096]);
    for _ in 0..MOST_READS {
        match pipe.read(&mut *piece) {
            Ok(0) => return Ok(false),
            Ok(count) => take(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
