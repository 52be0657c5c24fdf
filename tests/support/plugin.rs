//! How the program is called.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sandbox::{Sandbox, Started};
use serde_json::json;

use super::{Finished, Running};

/// Where a standard descriptor of the program leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Io {
    /// To the test: [`Running::stdin`], [`Running::stdout`], [`Running::stderr`].
    Pipe,
    /// To the test, which does not read yet: [`Running::read_stdout`] begins, [`Running::close_stdout`] breaks it.
    HeldPipe,
    /// `/dev/null`.
    Null,
    /// Nowhere.
    Closed,
    /// To the one terminal of the test: [`Running::terminal`]. It is the program's controlling terminal.
    Terminal,
    /// A file: read for stdin, created for the others.
    File(PathBuf),
}

/// The program, about to be run.
pub struct Plugin {
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    streams: [Io; 3],
    before: String,
    size: (u16, u16),
    home: tempfile::TempDir,
}

impl Plugin {
    /// Called with these arguments, pipes, an almost empty environment and an empty home.
    pub fn bare<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let environment = vec![
            ("HOME".to_owned(), home.path().into()),
            ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".into()),
            // Without the AWS CLI, which would be run for credentials: that takes a second.
            ("PATH".to_owned(), "/usr/bin:/bin".into()),
        ];
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment,
            streams: [Io::Pipe, Io::Pipe, Io::Pipe],
            before: String::new(),
            size: (80, 24),
            home,
        }
    }

    /// Called as the AWS CLI does it: the response in a variable, six arguments.
    pub fn new(sandbox: &Sandbox, started: &Started) -> Self {
        let request = json!({ "Target": "i-0123456789abcdef0" }).to_string();
        Self::bare([
            "AWS_SSM_START_SESSION_RESPONSE",
            "eu-central-1",
            "StartSession",
            "",
            &request,
            "",
        ])
        .env(
            "AWS_SSM_START_SESSION_RESPONSE",
            started.response().to_string(),
        )
        .reaching(sandbox)
    }

    /// Called with these arguments; the first is the response as it is, if it is given as `{}`.
    pub fn arguments(mut self, started: &Started, arguments: &[&str]) -> Self {
        self.environment
            .retain(|(name, _)| name != "AWS_SSM_START_SESSION_RESPONSE");
        self.arguments = arguments
            .iter()
            .map(|argument| match *argument {
                "{}" => started.response().to_string().into(),
                other => other.into(),
            })
            .collect();
        self
    }

    /// Called with these arguments.
    pub fn called_with(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(Into::into).collect();
        self
    }

    /// May dial the sandbox, and trusts it.
    pub fn reaching(self, sandbox: &Sandbox) -> Self {
        self.env("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.gateway_host())
            .env("AWS_CA_BUNDLE", sandbox.ca_file())
    }

    /// Has the sandbox's credentials and API.
    pub fn with_api(mut self, sandbox: &Sandbox) -> Self {
        for (name, value) in sandbox.environment() {
            self = self.env(name, value);
        }
        self
    }

    /// Its home, which is empty.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Unsets a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// Unsets the variables of credentials: they come from elsewhere.
    pub fn without_keys(self) -> Self {
        self.without("AWS_ACCESS_KEY_ID")
            .without("AWS_SECRET_ACCESS_KEY")
            .without("AWS_SESSION_TOKEN")
    }

    /// Stdin.
    pub fn stdin(mut self, io: Io) -> Self {
        self.streams[0] = io;
        self
    }

    /// Stdout.
    pub fn stdout(mut self, io: Io) -> Self {
        self.streams[1] = io;
        self
    }

    /// Stderr.
    pub fn stderr(mut self, io: Io) -> Self {
        self.streams[2] = io;
        self
    }

    /// All three on a terminal.
    pub fn terminal(mut self) -> Self {
        self.streams = [Io::Terminal, Io::Terminal, Io::Terminal];
        self
    }

    /// The terminal's size at the start, columns and rows.
    pub fn size(mut self, columns: u16, rows: u16) -> Self {
        self.size = (columns, rows);
        self
    }

    /// Shell commands to be run before, in the process that becomes the program: `trap '' INT`, `ulimit -n 20`.
    pub fn before(mut self, commands: &str) -> Self {
        self.before = format!("{commands}; ");
        self
    }

    /// Runs it.
    pub fn spawn(self) -> Running {
        let (columns, rows) = self.size;
        let (pty, pts) = pty_process::blocking::open().expect("a terminal");
        pty.resize(pty_process::Size::new(rows, columns))
            .expect("a size");
        let mut redirections = String::new();
        for (number, io) in self.streams.iter().enumerate() {
            if *io == Io::Closed {
                redirections.push_str(&format!(" {number}>&-"));
            }
        }
        let program = env!("CARGO_BIN_EXE_session-manager-plugin");
        let mut command = if self.before.is_empty() && redirections.is_empty() {
            Command::new(program)
        } else {
            let mut shell = Command::new("/bin/sh");
            shell.args([
                "-c",
                &format!("{}exec \"$0\" \"$@\"{redirections}", self.before),
                program,
            ]);
            shell
        };
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut command = pty_process::blocking::Command::from(command);
        let [stdin, stdout, stderr] = &self.streams;
        if let Some(stdio) = stdio(stdin, true) {
            command = command.stdin(stdio);
        }
        if let Some(stdio) = stdio(stdout, false) {
            command = command.stdout(stdio);
        }
        if let Some(stdio) = stdio(stderr, false) {
            command = command.stderr(stdio);
        }
        let child = command.spawn_borrowed(&pts).expect("to run the program");
        Running::new(child, pty, pts, &self.streams, self.home)
    }

    /// Runs it to its end, with this on stdin and then its end.
    pub fn run(self, stdin: &[u8]) -> Finished {
        let plugin = self.spawn();
        plugin.type_in(stdin);
        plugin.close_stdin();
        plugin.finish()
    }
}

/// Nothing for the terminal.
fn stdio(io: &Io, is_input: bool) -> Option<Stdio> {
    Some(match io {
        Io::Terminal => return None,
        Io::Pipe | Io::HeldPipe => Stdio::piped(),
        // The shell in between closes it.
        Io::Null | Io::Closed => Stdio::null(),
        Io::File(path) if is_input => File::open(path).expect("the file").into(),
        Io::File(path) => File::create(path).expect("the file").into(),
    })
}
