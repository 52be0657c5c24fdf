//! OpenSSH through port sessions: the built program as ProxyCommand, called as scripts call it and by the AWS CLI.

mod port_support;
mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;

use port_support::ssh::{Ssh, run};
use port_support::*;
use rustix::process::{Pid, Signal, kill_process_group};
use support::{free_port, wait_until};

/// What is copied, bytes.
const SIZE: usize = 20 << 20;

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
