//! OpenSSH, and an sshd of its own, with the built program as ProxyCommand.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sandbox::{Config, Document, Sandbox, SessionConfig, Started};

use super::fast;
use crate::support::{aws_cli, free_port, wait_until};

/// A directory with keys, an sshd of its own, and a sandbox whose agent reaches it.
pub struct Ssh {
    sshd: Child,
    port: u16,
    directory: tempfile::TempDir,
    /// Where its sessions are.
    pub sandbox: Sandbox,
}

impl Ssh {
    /// Starts both; the sshd takes the user's key.
    pub fn start() -> Self {
        Self::with(|path| {
            fs::copy(path.with_file_name("user.pub"), path).expect("a copy");
            Config::default()
        })
    }

    /// Starts both, with a sandbox like this. It is told where the sshd looks for keys, among which is none.
    pub fn with(config: impl FnOnce(&Path) -> Config) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
        let path = |name: &str| directory.path().join(name);
        for key in ["host", "user"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key)));
        }
        let sandbox = Sandbox::start(config(&path("authorized"))).expect("a sandbox");
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {keys}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
            host = path("host").display(),
            keys = path("authorized").display(),
        );
        fs::write(path("sshd_config"), config).expect("a file");
        // As root it insists on this; others cannot make it, and need not.
        let _ = fs::create_dir_all("/run/sshd");
        let sshd = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(path("sshd_config"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(path("sshd.log")).expect("a file"))
            .spawn()
            .expect("sshd: `make test-tools` installs it");
        wait_until("sshd", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        sandbox.set_session_config(SessionConfig {
            agent: fast(),
            ..SessionConfig::default()
        });
        Self {
            sshd,
            port,
            directory,
            sandbox,
        }
    }

    /// A file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A session to the sshd, else like this.
    pub fn session(&self, config: SessionConfig) -> Started {
        self.sandbox.start_session(SessionConfig {
            document: Document::Ssh { port: self.port },
            ..config
        })
    }

    /// Writes a configuration whose hosts are reached through this command, and names its file.
    fn config(&self, name: &str, proxy_command: &str) -> PathBuf {
        let command = proxy_command.replace('%', "%%");
        self.plain(name, &format!("ProxyCommand {command}"))
    }

    /// Writes a configuration with the user's key and another line, and names its file.
    pub fn plain(&self, name: &str, line: &str) -> PathBuf {
        let path = self.path(name);
        let user = String::from_utf8(run(Command::new("id").arg("-un")).stdout).expect("a name");
        let config = format!(
            "Host *\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n\
             \x20LogLevel ERROR\n {line}\n",
            user.trim(),
            self.path("user").display(),
        );
        fs::write(&path, config).expect("a file");
        path
    }

    /// The form with three arguments, as scripts use it: a session of its own.
    pub fn direct(&self, name: &str) -> PathBuf {
        let session = self.session(SessionConfig {
            agent: fast(),
            ..SessionConfig::default()
        });
        self.through(name, &session)
    }

    /// The same, for this session.
    pub fn through(&self, name: &str, session: &Started) -> PathBuf {
        let response = session.response().to_string();
        let program = env!("CARGO_BIN_EXE_session-manager-plugin");
        self.config(
            name,
            &format!("{program} '{response}' eu-central-1 StartSession"),
        )
    }

    /// Where the sshd listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Through the AWS CLI, which starts a session for each connection.
    pub fn aws(&self) -> PathBuf {
        self.config(
            "aws",
            &format!(
                "{} ssm start-session --target i-0123456789abcdef0 --document-name AWS-StartSSHSession --parameters portNumber={}",
                aws_cli::aws().display(),
                self.port
            ),
        )
    }

    /// A program of OpenSSH's family.
    pub fn command(&self, program: &str, config: &Path) -> Command {
        let mut command = Command::new(program);
        if program == "rsync" {
            command.args(["-e", &format!("ssh -F {}", config.display())]);
        } else {
            command.arg("-F").arg(config);
        }
        let ours = Path::new(env!("CARGO_BIN_EXE_session-manager-plugin"));
        let path = std::env::var("PATH").unwrap_or_default();
        let directory = ours.parent().expect("a directory").display();
        command
            .env_remove("AWS_PROFILE")
            .envs(self.sandbox.environment())
            .env("HOME", self.directory.path())
            .env("PATH", format!("{directory}:{path}"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// Runs it to its end, which must be a good one.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().expect("to run it");
    assert!(
        output.status.success(),
        "{command:?}: {}, {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
