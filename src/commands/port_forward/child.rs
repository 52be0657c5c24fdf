//! The command that runs while the forwards are up.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Pid, kill_process};

use crate::client::forward::LocalAddress;
use crate::settings::{Environment, PARENT_VARIABLE};
use crate::signal_mask;
use crate::terminal::signals::Signal;

/// As shells have it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The running command.
pub(super) struct Child {
    pid: Option<Pid>,
    ended: Receiver<u8>,
}

impl Child {
    /// Starts it, with the ports put in.
    ///
    /// # Errors
    /// The exit code, and why it cannot be run.
    pub(super) fn start(
        words: &[String],
        locals: &[LocalAddress],
        environment: &Environment,
        stdout: Stdio,
    ) -> Result<Self, (u8, String)> {
        let words: Vec<String> = words.iter().map(|word| put_in(word, locals)).collect();
        let (program, arguments) = words
            .split_first()
            .ok_or((NOT_FOUND, "no command".to_owned()))?;
        let mut command = Command::new(program);
        // The environment that this process was given, without the variables that are meant for it alone.
        command.args(arguments).env_clear().envs(environment.iter());
        command.stdout(stdout);
        command.env_remove(PARENT_VARIABLE);
        for (index, local) in locals.iter().enumerate() {
            let port = value(local);
            if index == 0 {
                command.env("SSM_FORWARD_PORT", &port);
            }
            command.env(format!("SSM_FORWARD_{}_PORT", index + 1), port);
        }
        let mut child = signal_mask::with_inherited(|| command.spawn()).map_err(|error| {
            let code = if error.kind() == std::io::ErrorKind::NotFound {
                NOT_FOUND
            } else {
                NOT_EXECUTABLE
            };
            (code, format!("{program} cannot be run: {error}"))
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (sender, ended) = bounded(1);
        let wait = move || {
            let code = child.wait().map_or(1, exit_code);
            let _ = sender.send(code);
        };
        let spawned = std::thread::Builder::new()
            .name("command".to_owned())
            .spawn(wait);
        let child = Self { pid, ended };
        match spawned {
            Ok(_) => Ok(child),
            Err(error) => {
                child.kill();
                Err((1, format!("the system gives no thread ({error})")))
            }
        }
    }

    /// Where its exit code comes.
    pub(super) const fn ended(&self) -> &Receiver<u8> {
        &self.ended
    }

    /// Sends a signal to the command.
    pub(super) fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Quit => rustix::process::Signal::QUIT,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Stop => rustix::process::Signal::TSTP,
            Signal::HangUp | Signal::ParentGone => rustix::process::Signal::HUP,
            Signal::WindowChange | Signal::Continue => return,
        };
        self.send(signal);
    }

    pub(super) fn kill(&self) {
        self.send(rustix::process::Signal::KILL);
    }

    fn send(&self, signal: rustix::process::Signal) {
        // Until its end was reported it has not been reaped, or only just: its process id belongs to no other process yet.
        if let Some(pid) = self.pid
            && self.ended.is_empty()
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end; after a time it is killed.
    pub(super) fn end(&self, time: Duration) {
        self.send(rustix::process::Signal::TERM);
        if self.ended.recv_timeout(time).is_err() {
            self.kill();
            let _ = self.ended.recv_timeout(time);
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The port; for a socket in the file system its path.
fn value(local: &LocalAddress) -> String {
    match local {
        LocalAddress::Port(_, port) => port.to_string(),
        LocalAddress::Unix(path) => path.display().to_string(),
    }
}

/// A word of the command with `{port}`, `{host}`, `{port1}` and so on replaced; anything else in braces stays.
fn put_in(word: &str, locals: &[LocalAddress]) -> String {
    let mut result = String::new();
    let mut rest = word;
    while let Some(begin) = rest.find('{') {
        result.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let end = rest.find('}');
        match end.and_then(|end| Some((end, replacement(&rest[1..end], locals)?))) {
            Some((end, text)) => {
                result.push_str(&text);
                rest = &rest[end + 1..];
            }
            None => {
                result.push('{');
                rest = &rest[1..];
            }
        }
    }
    result + rest
}

fn replacement(name: &str, locals: &[LocalAddress]) -> Option<String> {
    let (what, number) = match name {
        "port" | "host" => (name, 1),
        _ => {
            let digits = name
                .strip_prefix("port")
                .or_else(|| name.strip_prefix("host"))?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            (
                &name[..4],
                digits.parse::<usize>().ok().filter(|_| is_number)?,
            )
        }
    };
    let local = locals.get(number.checked_sub(1)?)?;
    Some(match (what, local) {
        ("host", LocalAddress::Port(host, _)) => host.clone(),
        _ => value(local),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_put_in_and_nothing_else() {
        let locals = [
            LocalAddress::Port("127.0.0.1".to_owned(), 5432),
            LocalAddress::Unix("/run/a.sock".into()),
        ];
        for (word, expected) in [
            ("{port}", "5432"),
            ("http://{host}:{port1}/{x}", "http://127.0.0.1:5432/{x}"),
            ("{port2}", "/run/a.sock"),
            ("{port3}{port0}{port+1}{", "{port3}{port0}{port+1}{"),
            ("{{port}}", "{5432}"),
            ("awk '{print $1}'", "awk '{print $1}'"),
        ] {
            assert_eq!(put_in(word, &locals), expected);
        }
    }
}
