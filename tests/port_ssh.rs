//! OpenSSH through port sessions: the built program as ProxyCommand, called as scripts call it and by the AWS CLI.

mod port_support;
mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use port_support::*;
use rustix::process::{Pid, Signal, kill_process_group};
use sandbox::{Config, Document, Sandbox, SessionConfig, Started};
use support::wait_until;

/// What is copied, bytes.
const SIZE: usize = 20 << 20;

/// A directory with keys, an sshd of its own, and a sandbox whose agent reaches it.
struct Ssh {
    sshd: Child,
    port: u16,
    directory: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Ssh {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
        let path = |name: &str| directory.path().join(name);
        for key in ["host", "user"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key)));
        }
        fs::copy(path("user.pub"), path("authorized")).expect("a copy");
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
        let sandbox = Sandbox::start(Config::default()).expect("a sandbox");
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

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn session(&self) -> Started {
        self.sandbox.start_session(SessionConfig {
            document: Document::Ssh { port: self.port },
            agent: fast(),
            ..SessionConfig::default()
        })
    }

    /// Writes a configuration whose hosts are reached through this command, and names its file.
    fn config(&self, name: &str, proxy_command: &str) -> PathBuf {
        let path = self.path(name);
        let user = String::from_utf8(run(Command::new("id").arg("-un")).stdout).expect("a name");
        let config = format!(
            "Host *\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n\
             \x20LogLevel ERROR\n ProxyCommand {}\n",
            user.trim(),
            self.path("user").display(),
            proxy_command.replace('%', "%%"),
        );
        fs::write(&path, config).expect("a file");
        path
    }

    /// The form with three arguments, as scripts use it: a session of its own.
    fn direct(&self, name: &str) -> PathBuf {
        let response = self.session().response().to_string();
        let program = env!("CARGO_BIN_EXE_session-manager-plugin");
        self.config(
            name,
            &format!("{program} '{response}' eu-central-1 StartSession"),
        )
    }

    /// Through the AWS CLI, which starts a session for each connection.
    fn aws(&self) -> PathBuf {
        let aws = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv/bin/aws");
        assert!(aws.exists(), "no AWS CLI: `make venv` installs it");
        self.config(
            "aws",
            &format!(
                "{} ssm start-session --target i-0123456789abcdef0 --document-name AWS-StartSSHSession --parameters portNumber={}",
                aws.display(),
                self.port
            ),
        )
    }

    /// A program of OpenSSH's family.
    fn command(&self, program: &str, config: &Path) -> Command {
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

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Runs it to its end, which must be a good one.
#[track_caller]
fn run(command: &mut Command) -> Output {
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

#[test]
fn a_command_and_its_exit_code() {
    let ssh = Ssh::start();
    let config = ssh.direct("config");
    let output = ssh
        .command("ssh", &config)
        .args(["target", "echo out; echo err >&2; exit 7"])
        .output()
        .expect("to run it");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"out\n");
    assert!(output.stderr.starts_with(b"err\n"), "{output:?}");
}

#[test]
fn p41_what_a_command_says_after_the_end_of_its_input() {
    let ssh = Ssh::start();
    let config = ssh.direct("config");
    let input = ssh.path("input");
    fs::write(&input, pattern(1, 3 << 20)).expect("a file");
    let output = ssh
        .command("ssh", &config)
        .args(["target", "cat >/dev/null; sleep 1; seq 1 300000"])
        .stdin(fs::File::open(&input).expect("the file"))
        .output()
        .expect("to run it");
    assert!(output.status.success(), "{output:?}");
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert_same(&output.stdout, expected.as_bytes());
}

#[test]
fn scp_sftp_and_rsync_copy_byte_for_byte() {
    let ssh = Ssh::start();
    let data = pattern(2, SIZE);
    let (source, there, back) = (ssh.path("source"), ssh.path("there"), ssh.path("back"));
    fs::write(&source, &data).expect("a file");
    let remote = |path: &Path| format!("target:{}", path.display());
    let check = |path: &Path| {
        assert_same(&fs::read(path).expect("the copy"), &data);
        fs::remove_file(path).expect("to remove it");
    };

    run(ssh
        .command("scp", &ssh.direct("1"))
        .arg("-q")
        .arg(&source)
        .arg(remote(&there)));
    check(&there);
    run(ssh
        .command("scp", &ssh.direct("2"))
        .arg("-q")
        .arg(remote(&source))
        .arg(&back));
    check(&back);

    let batch = ssh.path("batch");
    let commands = format!(
        "put {0} {1}\nget {1} {2}\n",
        source.display(),
        there.display(),
        back.display()
    );
    fs::write(&batch, commands).expect("a file");
    run(ssh
        .command("sftp", &ssh.direct("3"))
        .arg("-q")
        .arg("-b")
        .arg(&batch)
        .arg("target"));
    check(&there);
    check(&back);

    run(ssh
        .command("rsync", &ssh.direct("4"))
        .arg("-a")
        .arg(&source)
        .arg(remote(&there)));
    check(&there);
    run(ssh
        .command("rsync", &ssh.direct("5"))
        .arg("-a")
        .arg(remote(&source))
        .arg(&back));
    check(&back);
}

#[test]
fn the_aws_cli_as_proxy_command() {
    let ssh = Ssh::start();
    let config = ssh.aws();
    let output = run(ssh
        .command("ssh", &config)
        .args(["target", "echo through the CLI"]));
    assert_eq!(output.stdout, b"through the CLI\n");
    let data = pattern(3, SIZE);
    let (source, there) = (ssh.path("source"), ssh.path("there"));
    fs::write(&source, &data).expect("a file");
    run(ssh
        .command("scp", &config)
        .arg("-q")
        .arg(&source)
        .arg(format!("target:{}", there.display())));
    assert_same(&fs::read(&there).expect("the copy"), &data);
}

#[test]
fn twenty_sessions_at_a_time() {
    let ssh = Ssh::start();
    thread::scope(|scope| {
        for number in 0..20 {
            let ssh = &ssh;
            scope.spawn(move || {
                let config = ssh.direct(&number.to_string());
                let output = run(ssh
                    .command("ssh", &config)
                    .args(["target", &format!("echo {number}; seq 1 20000 | tail -n 1")]));
                assert_eq!(output.stdout, format!("{number}\n20000\n").as_bytes());
            });
        }
    });
}

#[test]
fn p41_local_forwarding_and_a_killed_ssh() {
    let ssh = Ssh::start();
    let server = Server::echo();
    let config = ssh.direct("config");
    let local = free_port();
    let mut tunnel = std::os::unix::process::CommandExt::process_group(
        ssh.command("ssh", &config).args([
            "-N",
            "-L",
            &format!("127.0.0.1:{local}:127.0.0.1:{}", server.port()),
            "target",
        ]),
        0,
    )
    .spawn()
    .expect("ssh");
    wait_until("the tunnel", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, local)).is_ok()
    });
    let data = pattern(4, 3 << 20);
    assert_same(&exchange(&connect(local), &data, 64 << 10), &data);
    let children = children(tunnel.id());
    assert!(!children.is_empty());
    // Not the group: what ssh leaves behind must go by itself.
    tunnel.kill().expect("to kill it");
    tunnel.wait().expect("its end");
    wait_until("the plugin's end", || {
        children.iter().all(|child| !is_running(*child))
    });
    let group = i32::try_from(tunnel.id()).ok().and_then(Pid::from_raw);
    let _ = kill_process_group(group.expect("a group"), Signal::KILL);
}

/// Its children, and theirs.
fn children(pid: u32) -> Vec<u32> {
    let direct = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let direct: Vec<u32> = direct
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let mut all = direct.clone();
    for child in direct {
        all.extend(children(child));
    }
    all
}

/// Whether it is there, and no zombie.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
