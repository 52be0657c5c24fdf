//! The connection breaks in the middle of a transfer, with frames in flight lost: every kind of session, both directions, three distances.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandbox::faults::{After, Bandwidth, Cut, Ending, Faults};
use sandbox::{AgentConfig, Document, Record, Sandbox, SessionConfig, Started};

use crate::port_support::{Server, assert_same, connect, pattern};
use crate::support::{Plugin, Running, TIMEOUT, sandbox};

/// What is transferred, bytes.
const SIZE: usize = 300_000;
/// Where it breaks.
const BREAK: u64 = 120_000;
/// Slow enough for few frames to be in flight at any distance, bytes a second.
const BANDWIDTH: u64 = 200_000;
/// Frames of the transfer that may be lost: its agent resends ten a second.
const MAX_LOST: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shell,
    Command,
    Stdio,
    Basic,
    Mux,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: Kind,
    up: bool,
    /// Milliseconds there and back.
    rtt: u64,
    ending: &'static str,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (rtt, ending) in [(0, "bye"), (40, "reset"), (200, "end of file")] {
            for kind in [
                Kind::Shell,
                Kind::Command,
                Kind::Stdio,
                Kind::Basic,
                Kind::Mux,
            ] {
                for up in [false, true] {
                    // A command without a terminal takes nothing.
                    if kind != Kind::Command || !up {
                        all.push(Self {
                            kind,
                            up,
                            rtt,
                            ending,
                        });
                    }
                }
            }
        }
        all
    }

    fn config(self, document: Document) -> SessionConfig {
        let delay = Duration::from_millis(self.rtt) / 2;
        let ending = match self.ending {
            "bye" => Ending::bye(),
            "reset" => Ending::Reset,
            _ => Ending::Eof,
        };
        let data = Faults {
            delay,
            bandwidth: Some(Bandwidth {
                bytes_per_second: BANDWIDTH,
                burst: 2000,
            }),
            queue: 4000,
            cuts: [Cut {
                after: After::Bytes(BREAK),
                lose: 15,
                ending,
            }]
            .into(),
            ..Faults::default()
        };
        let other = Faults {
            delay,
            ..Faults::default()
        };
        let (to_agent, to_client) = if self.up {
            (data, other)
        } else {
            (other, data)
        };
        let version = if self.kind == Kind::Basic {
            "3.0.100.0"
        } else {
            "3.3.0.0"
        };
        SessionConfig {
            document,
            agent: AgentConfig {
                version: version.into(),
                drain_timeout: TIMEOUT,
                ..AgentConfig::default()
            },
            to_agent,
            to_client,
            record: Record::Nothing,
            ..SessionConfig::default()
        }
    }

    fn run(self, sandbox: &Sandbox) {
        let begin = Instant::now();
        let directory = tempfile::tempdir().expect("a directory");
        let mut data = pattern(self.rtt, SIZE);
        for byte in &mut data {
            // What a terminal passes as it is.
            *byte = b' ' + *byte % 90;
        }
        let started = match self.kind {
            Kind::Shell | Kind::Command => self.terminal(sandbox, directory.path(), &data),
            Kind::Stdio | Kind::Basic | Kind::Mux => self.port(sandbox, &data),
        };
        let (up, down) = started.session.statistics();
        let lost = if self.up { up.lost } else { down.lost };
        eprintln!(
            "{self:?}: {:.1?}, {lost} frames of the transfer lost",
            begin.elapsed()
        );
        assert_eq!(started.session.connections(), 2, "{self:?}");
        // No fewer than the smallest window has, but for what was acknowledged just before.
        // We send all again at once.
        let most = if self.up { 2 * MAX_LOST } else { MAX_LOST };
        assert!((5..=most).contains(&lost), "{self:?}: {lost} lost");
    }

    fn terminal(self, sandbox: &Sandbox, directory: &Path, data: &[u8]) -> Started {
        let file = directory.join("data");
        let path = file.display();
        if !self.up {
            fs::write(&file, data).expect("a file");
        }
        let document = match (self.kind, self.up) {
            (Kind::Command, _) => Document::command(&format!("cat {path}")),
            (_, true) => Document::Interactive {
                command: format!("stty raw -echo; echo ready; head -c {SIZE} > {path}; echo done"),
            },
            (_, false) => Document::Interactive {
                command: format!("stty raw -echo; cat {path}"),
            },
        };
        let started = sandbox.start_session(self.config(document));
        let plugin = Plugin::new(sandbox, &started).with_api(sandbox).spawn();
        if self.up {
            plugin.stdout.wait_for("ready");
            plugin.type_in(data);
        }
        let finished = plugin.finish();
        assert_eq!(finished.code(), 0, "{self:?} {}", finished.stderr);
        if self.up {
            assert_same(&fs::read(&file).expect("the file"), data);
        } else {
            let text = std::str::from_utf8(data).expect("a text");
            assert!(finished.stdout.contains(text), "{self:?}");
        }
        started
    }

    fn port(self, sandbox: &Sandbox, data: &[u8]) -> Started {
        let all: Arc<[u8]> = data.into();
        let server = if self.up {
            Server::start(move |mut stream| {
                let mut got = vec![0; all.len()];
                if stream.read_exact(&mut got).is_ok() && got == all[..] {
                    stream.write_all(b"intact").expect("to answer");
                }
            })
        } else {
            Server::sends(data.to_vec())
        };
        let document = match self.kind {
            Kind::Stdio => Document::Ssh {
                port: server.port(),
            },
            _ => Document::port(server.port()),
        };
        let started = sandbox.start_session(self.config(document));
        let plugin = Plugin::new(sandbox, &started).with_api(sandbox).spawn();
        let expected: &[u8] = if self.up { b"intact" } else { data };
        if self.kind == Kind::Stdio {
            Self::through_stdio(&plugin, self.up.then_some(data), expected);
        } else {
            let mut stream = connect(plugin.listening_port());
            if self.up {
                stream.write_all(data).expect("to write");
            }
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).expect("all of it");
            assert_same(&got, expected);
            plugin.signal(Signal::INT);
        }
        assert_eq!(crate::support::exit_code(plugin.wait()), 0, "{self:?}");
        started
    }

    fn through_stdio(plugin: &Running, data: Option<&[u8]>, expected: &[u8]) {
        if let Some(data) = data {
            plugin.type_in(data);
        }
        plugin.wait();
        let output = plugin.stdout.clone();
        output.wait_until("everything", |bytes| bytes.ends_with(expected));
        let banner = output.bytes().len() - expected.len();
        assert!(
            output.text().starts_with("\nStarting session") && banner < 100,
            "more than the banner before it"
        );
    }
}

/// All at once: most of the time they wait.
fn run_all(cases: &[Case]) {
    let sandbox = sandbox();
    assert!(!cases.is_empty());
    thread::scope(|scope| {
        let runs: Vec<_> = cases
            .iter()
            .map(|case| (case, scope.spawn(|| case.run(&sandbox))))
            .collect();
        let failed: Vec<_> = runs
            .into_iter()
            .filter_map(|(case, run)| run.join().is_err().then_some(case))
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

#[test]
fn p21_every_transfer_survives_a_break_with_frames_lost() {
    run_all(&Case::all());
}
