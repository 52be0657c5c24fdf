//! The public key that ssh will use.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::cli::Key;
use crate::error::Error;
use crate::files;
use crate::settings::Environment;

/// How long the agent may take for its answer.
const AGENT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer of an agent (OpenSSH's own bound).
const LONGEST_ANSWER: usize = 256 * 1024;
/// `SSH_AGENTC_REQUEST_IDENTITIES` and its answer (RFC draft-ietf-sshm-ssh-agent).
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// The longest key that EC2 Instance Connect takes (botocore's `SSHPublicKey`), in bytes.
const LONGEST_KEY: usize = 4096;

/// A key as `authorized_keys` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// `ssh-ed25519 AAAA…`
    pub(super) line: String,
    /// Where it was found, in words.
    pub(super) source: String,
}

/// The remote user: the one that was named, or ssh's own default.
pub(super) fn user<'a>(
    named: Option<&'a str>,
    environment: &'a Environment,
) -> Result<&'a str, Error> {
    let own = || {
        environment
            .get("USER")
            .or_else(|| environment.get("LOGNAME"))
    };
    named.or_else(own).ok_or_else(|| {
        Error::Usage(
            "--push-key needs the user over there: give --user (%r in ssh's ProxyCommand)"
                .to_owned(),
        )
    })
}

/// Finds the key.
pub(super) fn find(key: &Key, environment: &Environment) -> Result<PublicKey, Error> {
    match key {
        Key::File(file) => {
            let path = environment.expand(file);
            of_file(&path).map_err(|why| Error::Usage(format!("--push-key: {why}")))
        }
        Key::Any => of_agent(environment)
            .or_else(|| of_home(environment))
            .ok_or_else(|| {
                Error::Usage(
                    "--push-key finds no public key: the ssh agent has none, and there is no ~/.ssh/id_*.pub; make one with \
                     `ssh-keygen -t ed25519`, or name a file"
                        .to_owned(),
                )
            }),
    }
}

/// A file, or the one beside it where it is a private key, of which nothing is used.
fn of_file(path: &Path) -> Result<PublicKey, String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let text = files::read_text(path).map_err(unreadable)?;
    if text.starts_with("-----BEGIN") {
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        let beside = PathBuf::from(name);
        let text = files::read_text(&beside).map_err(|error| {
            format!(
                "{} is a private key, and {} cannot be read: {error}",
                path.display(),
                beside.display()
            )
        })?;
        return parse(&text, &beside);
    }
    parse(&text, path)
}

/// `TYPE BASE64 COMMENT`; the comment is not sent.
fn parse(text: &str, path: &Path) -> Result<PublicKey, String> {
    let is_key = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (kind, data) = (words.next()?, words.next()?);
        let is_kind =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        let is_data = STANDARD
            .decode(data)
            .is_ok_and(|data| data.get(4..4 + kind.len()) == Some(kind.as_bytes()));
        (is_kind && is_data && line.len() <= LONGEST_KEY).then(|| format!("{kind} {data}"))
    };
    let line = text.lines().find_map(is_key);
    line.map(|line| PublicKey {
        line,
        source: path.display().to_string(),
    })
    .ok_or_else(|| format!("{} holds no public key of OpenSSH", path.display()))
}

/// The usual files: those that ssh offers by itself first.
fn of_home(environment: &Environment) -> Option<PublicKey> {
    let directory = environment.expand_home("~/.ssh");
    let usual = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"].map(|name| directory.join(name));
    let others = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten();
    let mut others: Vec<PathBuf> = others
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("id_") && name.ends_with(".pub"))
        })
        .collect();
    others.sort();
    usual
        .into_iter()
        .chain(others)
        .find_map(|path| of_file(&path).ok())
}

/// The first key of the agent, if there is one.
fn of_agent(environment: &Environment) -> Option<PublicKey> {
    let socket = environment.path("SSH_AUTH_SOCK")?;
    let answer = ask_agent(&socket, Instant::now() + AGENT_TIMEOUT)
        .inspect_err(|error| log::info!("the ssh agent does not answer: {error}"))
        .ok()?;
    let line = first_key(&answer)?;
    Some(PublicKey {
        line,
        source: "the ssh agent".to_owned(),
    })
}

/// Asks for the agent's keys; the deadline is for all of it.
fn ask_agent(socket: &Path, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut agent = connect(socket)?;
    // It fits into any socket's buffer.
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES])?;
    let mut length = [0; 4];
    read_exact(&mut agent, &mut length, deadline)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_ANSWER {
        return Err(io::Error::other("its answer is too long"));
    }
    let mut answer = vec![0; length];
    read_exact(&mut agent, &mut answer, deadline)?;
    Ok(answer)
}

/// At once or not at all: who listens may be too busy to answer, or may have stopped.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let agent = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&agent, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&agent, true)?;
    rustix::net::connect(&agent, &SocketAddrUnix::new(socket)?)?;
    rustix::io::ioctl_fionbio(&agent, false)?;
    Ok(agent.into())
}

fn read_exact(agent: &mut UnixStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        agent.set_read_timeout(Some(left))?;
        match agent.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = &mut buffer[read..],
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

/// The first key of an agent's answer.
fn first_key(answer: &[u8]) -> Option<String> {
    let (kind, rest) = answer.split_first()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    if *kind != IDENTITIES_ANSWER || u32::from_be_bytes(*count) == 0 {
        return None;
    }
    let (blob, _) = string(rest)?;
    let (name, _) = string(blob)?;
    let name = std::str::from_utf8(name).ok()?;
    let line = format!("{name} {}", STANDARD.encode(blob));
    parse(&line, Path::new("the ssh agent"))
        .ok()
        .map(|key| key.line)
}

/// A string of the protocol: its length in four bytes, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use proptest::prelude::*;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfTGxjAkgOW4YyhtKV6fKsV5QnTOMUOwVZhKCjQCQ5W";

    #[test]
    fn only_public_keys_are_sent_and_no_comments() {
        let parse = |text: &str| parse(text, Path::new("f")).map(|key| key.line);
        assert_eq!(
            parse(&format!("{ED25519} me@home\n")).as_deref(),
            Ok(ED25519)
        );
        for bad in [
            "",
            "x",
            "ssh-rsa AAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk",
            "ssh-ed25519",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_private_key_leads_to_the_public_one_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let private = directory.path().join("id");
        std::fs::write(&private, "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n").unwrap();
        let error = of_file(&private).unwrap_err();
        assert!(
            error.contains("id.pub") && !error.contains("secret"),
            "{error}"
        );
        std::fs::write(directory.path().join("id.pub"), ED25519).unwrap();
        assert_eq!(of_file(&private).unwrap().line, ED25519);
    }

    #[test]
    fn an_agents_answer_of_any_kind() {
        let blob = STANDARD.decode(ED25519.split(' ').nth(1).unwrap()).unwrap();
        let mut answer = vec![IDENTITIES_ANSWER, 0, 0, 0, 1, 0, 0, 0, 51];
        answer.extend(&blob);
        answer.extend([0, 0, 0, 1, b'c']);
        assert_eq!(first_key(&answer).as_deref(), Some(ED25519));
        for end in 0..answer.len() - 5 {
            assert_eq!(first_key(&answer[..end]), None, "{end}");
        }
        assert_eq!(first_key(&[IDENTITIES_ANSWER, 0, 0, 0, 0]), None);
        assert_eq!(first_key(&[5]), None);
    }

    #[test]
    fn an_agent_that_never_comes_to_an_end_is_not_waited_for() {
        let deadline = || Instant::now() + Duration::from_millis(200);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let agent = UnixListener::bind(&path).unwrap();
        // One byte after the other.
        std::thread::spawn(move || {
            let (mut client, _) = agent.accept().unwrap();
            let _ = client.write_all(&[0, 0, 255, 255]);
            while client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let error = ask_agent(&path, deadline()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        // As a process that was stopped.
        let path = directory.path().join("stopped");
        let _agent = UnixListener::bind(&path).unwrap();
        let waiting: Vec<_> = std::iter::repeat_with(|| connect(&path))
            .take_while(Result::is_ok)
            .collect();
        assert!(!waiting.is_empty());
        assert!(ask_agent(&path, deadline()).is_err());
    }

    proptest! {
        #[test]
        fn no_answer_of_an_agent_panics(lengths: [u8; 3], rest: Vec<u8>) {
            let [count, blob, name] = lengths;
            let begin = [IDENTITIES_ANSWER, 0, 0, 0, count, 0, 0, 0, blob, 0, 0, 0, name];
            let line = first_key(&[&begin[..], &rest].concat());
            prop_assert!(line.is_none_or(|line| line.len() <= LONGEST_KEY));
            first_key(&rest);
        }
    }
}
