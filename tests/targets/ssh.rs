//! The real OpenSSH, scp, rsync and git over what `ssh-config` prints, with no key installed over there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sandbox::{AuthorizedKeys, Target};

use super::*;
use crate::port_support::ssh::{Ssh, run};

/// An sshd that takes only keys that were pushed, on the node `web-1`.
fn ssh() -> Ssh {
    Ssh::with(|path| Config {
        targets: vec![Target::new(1, "web-1")],
        authorized_keys: Some(AuthorizedKeys {
            path: path.to_owned(),
            lifetime: Duration::from_secs(60),
        }),
        ..Config::strict()
    })
}

/// What `ssh-config` prints, and what the test's sshd and its fresh home need besides.
fn config(ssh: &Ssh, arguments: &[&str]) -> std::path::PathBuf {
    let name = String::from_utf8(run(Command::new("id").arg("-un")).stdout).expect("a name");
    let arguments = [
        &["ssh-config", "--user", name.trim()],
        arguments,
        &["web-*"],
    ]
    .concat();
    let finished = own(&ssh.sandbox, &arguments).run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    let extra = format!(
        "Host *\n Port {}\n IdentityFile {}\n IdentitiesOnly yes\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel \
         ERROR\n",
        ssh.port(),
        ssh.path("user").display(),
    );
    let path = ssh.path("config");
    fs::write(&path, finished.stdout + &extra).expect("a file");
    path
}

#[test]
fn ssh_scp_rsync_and_git_with_a_pushed_key() {
    let ssh = ssh();
    let key = format!("--push-key={}", ssh.path("user").display());
    let config = config(&ssh, &[&key]);
    let output = ssh
        .command("ssh", &config)
        .args(["web-1", "echo there; exit 7"])
        .output()
        .expect("ssh");
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(7), &b"there\n"[..]),
        "{output:?}"
    );
    assert_eq!(started_on(&ssh.sandbox), [id(1)]);
    let pushed = ssh.sandbox.pushed_keys();
    let public = fs::read_to_string(ssh.path("user.pub")).expect("the key");
    assert_eq!(pushed.len(), 1);
    assert!(public.starts_with(&pushed[0].key) && pushed[0].instance == id(1));

    let data: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let (source, there) = (ssh.path("source"), ssh.path("there"));
    fs::write(&source, &data).expect("a file");
    let remote = |path: &Path| format!("web-1:{}", path.display());
    for program in ["scp", "rsync"] {
        run(ssh
            .command(program, &config)
            .arg(&source)
            .arg(remote(&there)));
        assert!(fs::read(&there).expect("the copy") == data, "{program}");
        fs::remove_file(&there).expect("to remove it");
    }

    let (repository, clone) = (ssh.path("repository"), ssh.path("clone"));
    run(Command::new("git").args(["init", "-q"]).arg(&repository));
    fs::write(repository.join("file"), "text").expect("a file");
    let git = |arguments: &[&str]| {
        run(Command::new("git")
            .arg("-C")
            .arg(&repository)
            .args(["-c", "user.name=x", "-c", "user.email=x@x"])
            .args(arguments));
    };
    git(&["add", "file"]);
    git(&["commit", "-qm", "x"]);
    // Takes the environment of the others.
    let mut command = ssh.command("git", &config);
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = Command::new("git");
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(command
        .env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display()))
        .args(["clone", "-q"])
        .arg(remote(&repository))
        .arg(&clone));
    assert_eq!(
        fs::read_to_string(clone.join("file")).expect("the clone"),
        "text"
    );
}

#[test]
fn without_a_pushed_key_nobody_gets_in() {
    let ssh = ssh();
    let config = config(&ssh, &[]);
    let output = ssh
        .command("ssh", &config)
        .args(["web-1", "true"])
        .output()
        .expect("ssh");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(ssh.sandbox.pushed_keys().is_empty());
}

#[test]
fn the_key_of_an_agent_or_of_the_home_is_found() {
    let ssh = ssh();
    let config = config(&ssh, &["--push-key"]);
    // In the home, as ssh-keygen puts it.
    fs::create_dir(ssh.path(".ssh")).expect("a directory");
    for (from, to) in [("user", "id_ed25519"), ("user.pub", "id_ed25519.pub")] {
        fs::copy(ssh.path(from), ssh.path(".ssh").join(to)).expect("a copy");
    }
    run(ssh
        .command("ssh", &config)
        .env_remove("SSH_AUTH_SOCK")
        .args(["web-1", "true"]));
    fs::remove_dir_all(ssh.path(".ssh")).expect("to remove it");
    fs::remove_file(ssh.path("authorized")).expect("to remove it");

    // In an agent, which has no file to read.
    let socket = ssh.path("agent");
    let mut agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("ssh-agent");
    support::wait_until("the agent", || socket.exists());
    run(Command::new("ssh-add")
        .arg("-q")
        .arg(ssh.path("user"))
        .env("SSH_AUTH_SOCK", &socket));
    let output = ssh
        .command("ssh", &config)
        .env("SSH_AUTH_SOCK", &socket)
        .args(["web-1", "true"])
        .output()
        .expect("ssh");
    agent.kill().expect("to end it");
    agent.wait().expect("to end it");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ssh.sandbox.pushed_keys().len(), 2);
}

#[test]
fn a_key_that_is_not_taken_ends_the_session() {
    let ssh = ssh();
    ssh.sandbox.fail_next(
        "ec2-instance-connect:SendSSHPublicKey",
        9,
        sandbox::Failure::error(400, "AuthException", "You may not."),
    );
    let key = format!("--push-key={}", ssh.path("user.pub").display());
    let finished = own(
        &ssh.sandbox,
        &["ssh-proxy", "--target", "web-1", &key, "--user", "me"],
    )
    .run(b"");
    assert_eq!(finished.code(), 1);
    assert!(
        finished
            .stderr
            .contains("ec2-instance-connect:SendSSHPublicKey"),
        "{finished:?}"
    );
    assert!(
        operations(&ssh.sandbox)
            .iter()
            .any(|name| name == "ssm:TerminateSession")
    );
    // And where there is no key, or it is not for an instance, that is said.
    let finished = own(
        &ssh.sandbox,
        &[
            "ssh-proxy",
            "--target",
            "web-1",
            "--push-key",
            "--user",
            "me",
        ],
    )
    .run(b"");
    assert_eq!(finished.code(), 2);
    assert!(finished.stderr.contains("ssh-keygen"), "{finished:?}");
}
