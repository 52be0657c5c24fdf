//! Real programs through one process with five forwards and a SOCKS proxy: redis, ssh and curl, while connections break and sessions end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandbox::faults::Ending;
use sandbox::{Sandbox, Session};

use crate::port_support::ssh::{Ssh, run};
use crate::port_support::{Server, connect, pattern};
use crate::support::{Plugin, Running, exit_code, free_port, wait_until};
use crate::{SOON, TARGET, echo_on, port_of, ready, socks::web, try_echo, wait_for_end};

/// Breaks of connections, and ends of sessions.
const ROUNDS: usize = 20;
/// What ssh carries there and back, bytes.
const SIZE: usize = 2 << 20;

/// A server of redis, which is the program that checks its files under another name.
struct Redis {
    server: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let server = Command::new("redis-check-rdb")
            .arg0("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-tools: `make test-tools` installs it");
        wait_until("redis", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self {
            server,
            port,
            _directory: directory,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What the forwards lead to, and the program with the forwards.
struct Set {
    ssh: Ssh,
    redis: Redis,
    web: Server,
    web_of_socks: Server,
    echoes: [Server; 2],
    plugin: Running,
    lines: Vec<String>,
}

impl Set {
    fn start() -> Self {
        let (ssh, redis) = (Ssh::start(), Redis::start());
        let (web, web_of_socks) = (web(), web());
        let echoes = [Server::echo(), Server::echo()];
        let ports = [
            ssh.port(),
            redis.port,
            web.port(),
            echoes[0].port(),
            echoes[1].port(),
        ];
        let mut arguments = vec![
            "port-forward".to_owned(),
            "--target".to_owned(),
            TARGET.to_owned(),
        ];
        arguments.extend(ports.map(|port| format!("0:{port}")));
        arguments.extend(["-D".to_owned(), "0".to_owned()]);
        let plugin = Plugin::bare(arguments).with_api(&ssh.sandbox).spawn();
        let lines = ready(&plugin, 6);
        Self {
            ssh,
            redis,
            web,
            web_of_socks,
            echoes,
            plugin,
            lines,
        }
    }

    fn sandbox(&self) -> &Sandbox {
        &self.ssh.sandbox
    }

    /// The local port of the forward to this one.
    fn local(&self, remote: u16) -> u16 {
        let to = format!("-> localhost:{remote} ");
        let line = self.lines.iter().find(|line| line.contains(&to));
        port_of(line.expect("its line"))
    }

    fn socks(&self) -> String {
        let line = self.lines.iter().find(|line| line.contains("-> socks5"));
        format!("127.0.0.1:{}", port_of(line.expect("its line")))
    }

    /// The session to this port.
    fn session(&self, remote: u16) -> Arc<Session> {
        let remote = remote.to_string();
        let sessions = self.sandbox().sessions();
        let mut sessions = sessions.into_iter();
        let is_its = |session: &Arc<Session>| {
            session.config().document.properties()["portNumber"].as_str() == Some(&*remote)
        };
        sessions.find(is_its).expect("its session")
    }

    fn benchmark(&self, requests: usize) {
        let port = self.local(self.redis.port).to_string();
        let output = run(Command::new("redis-benchmark").args([
            "-p",
            &port,
            "-n",
            &requests.to_string(),
            "-c",
            "8",
            "-t",
            "set,get",
            "-q",
        ]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("GET: ") && !text.contains("rror"), "{text}");
    }

    /// Bytes there and back through `cat`.
    fn ssh_carries(&self, data: &[u8]) {
        let port = self.local(self.ssh.port()).to_string();
        let mut child = self
            .ssh
            .command("ssh", &self.ssh.plain("plain", ""))
            .args(["-p", &port, "127.0.0.1", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ssh");
        let (mut stdin, mut stdout) = (
            child.stdin.take().expect("a pipe"),
            child.stdout.take().expect("a pipe"),
        );
        let mut back = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(data).expect("to write"));
            stdout.read_to_end(&mut back).expect("to read");
        });
        assert!(child.wait().expect("its end").success());
        crate::port_support::assert_same(&back, data);
    }

    fn curl(&self) {
        let url = format!("http://127.0.0.1:{}/", self.local(self.web.port()));
        let through = format!("http://localhost:{}/", self.web_of_socks.port());
        let socks = self.socks();
        for arguments in [&[&*url][..], &["--socks5-hostname", &socks, &through]] {
            let output = run(Command::new("curl")
                .args(["-sS", "-m", "60"])
                .args(arguments));
            assert_eq!(output.stdout, b"hello", "{arguments:?}");
        }
    }

    fn end(self) {
        self.plugin.signal(Signal::INT);
        assert_eq!(exit_code(self.plugin.wait()), 0);
        wait_until("the end of all sessions", || {
            self.ssh.sandbox.sessions().is_empty()
        });
    }
}

#[test]
fn programs_do_not_see_that_connections_break() {
    let set = Set::start();
    set.curl();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut broken = 0;
            while broken < ROUNDS {
                let sessions = set.sandbox().sessions();
                let session = &sessions[broken % sessions.len()];
                broken += usize::from(session.end_connection(Ending::Reset));
                // One after the other, while the programs work.
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        scope.spawn(|| set.benchmark(4000));
        scope.spawn(|| set.ssh_carries(&pattern(15, SIZE)));
        scope.spawn(|| (0..10).for_each(|_| set.curl()));
    });
    assert_eq!(crate::starts(set.sandbox()), 6);
    set.end();
}

#[test]
fn programs_reconnect_when_their_session_has_ended_and_others_do_not_see_it() {
    let set = Set::start();
    let [first, second] = [&set.echoes[0], &set.echoes[1]].map(|server| set.local(server.port()));
    for round in 0..ROUNDS {
        let mut kept: Vec<TcpStream> = [first, second]
            .map(|port| try_echo(port).expect("an echo"))
            .into();
        let mut redis = connect(set.local(set.redis.port));
        redis.write_all(b"PING\r\n").expect("to write");
        redis.read_exact(&mut [0; 7]).expect("a pong");
        kept.push(redis);
        // Each of the three in its turn.
        let ended = round % kept.len();
        let remote = [set.echoes[0].port(), set.echoes[1].port(), set.redis.port][ended];
        set.session(remote)
            .terminate(["", "ended by somebody else"][round % 2]);
        wait_for_end(&mut kept.remove(ended));
        for stream in &mut kept {
            if stream.peer_addr().expect("an address").port() == set.local(set.redis.port) {
                stream.write_all(b"PING\r\n").expect("to write");
                stream.read_exact(&mut [0; 7]).expect("a pong");
            } else {
                echo_on(stream).expect("the connection of another session");
            }
        }
        let began = Instant::now();
        match ended {
            2 => set.benchmark(1),
            _ => drop(try_echo([first, second][ended]).expect("an echo")),
        }
        let took = began.elapsed();
        assert!(took < SOON, "round {round}: {took:?}");
    }
    // Those of ssh, curl and of SOCKS as well.
    set.curl();
    for remote in [set.ssh.port(), set.web.port(), set.web_of_socks.port()] {
        let session = set.session(remote);
        session.terminate("");
        // The program has been told.
        assert!(session.wait_for_disconnection(crate::support::TIMEOUT));
    }
    set.ssh_carries(&pattern(16, 1000));
    set.curl();
    set.end();
}
