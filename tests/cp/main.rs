//! `cp` and `exec -i`: the built program against the sandbox, whose agent paces itself as the real one.

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod contents;
mod exec;
mod fair;
mod folders;
mod growing;
mod hostile;
mod killed;
mod leftovers;
mod outage;
mod progress;
mod refused;
mod streams;
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Pid;
use sandbox::{AgentConfig, Config, Event, KmsConfig, Sandbox, SessionConfig};

use support::{Finished, Plugin};

/// The variable by which a ground's far processes are known.
const MARK: &str = "CP_GROUND";

/// A sandbox, and a folder for each side.
struct Ground {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        Self::with(AgentConfig::default())
    }

    fn with(mut agent: AgentConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = (MARK.to_owned(), folder.path().display().to_string());
        agent.environment.push(mark);
        let sandbox = Sandbox::start(Config {
            session: SessionConfig {
                agent,
                record: sandbox::Record::Nothing,
                ..SessionConfig::default()
            },
            ..Config::default()
        });
        let ground = Self {
            sandbox: sandbox.expect("a sandbox"),
            folder,
        };
        for side in ["far", "here"] {
            fs::create_dir(ground.folder.path().join(side)).expect("a folder");
        }
        ground
    }

    /// A sandbox with one of the shells as `sh`, and its tools first in PATH.
    fn with_shell(shell: &str) -> (Self, tempfile::TempDir) {
        let tools = tempfile::tempdir().expect("a folder");
        if shell == "busybox" {
            let mut install = Command::new("busybox");
            let done = install.args(["--install", "-s"]).arg(tools.path()).status();
            assert!(done.expect("busybox-static").success());
        } else {
            let link = std::os::unix::fs::symlink(format!("/bin/{shell}"), tools.path().join("sh"));
            link.expect("a link");
        }
        (Self::with_tools(tools.path()), tools)
    }

    /// With the programs of a folder before all others over there.
    fn with_tools(tools: &Path) -> Self {
        let path = format!("{}:/usr/bin:/bin", tools.display());
        Self::with(AgentConfig {
            environment: vec![("PATH".into(), path)],
            ..AgentConfig::default()
        })
    }

    fn with_kms() -> Self {
        Self::with(AgentConfig {
            kms: Some(KmsConfig::default()),
            ..AgentConfig::default()
        })
    }

    fn far(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("far").join(name)
    }

    fn here(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("here").join(name)
    }

    /// The operand for a path on the target.
    fn at(&self, name: impl AsRef<Path>) -> std::ffi::OsString {
        let mut operand = std::ffi::OsString::from("i-0123456789abcdef0:");
        operand.push(self.far(name));
        operand
    }

    fn cp<A: Into<std::ffi::OsString>>(&self, operands: impl IntoIterator<Item = A>) -> Plugin {
        let operands = operands.into_iter().map(Into::into);
        Plugin::bare(std::iter::once("cp".into()).chain(operands)).with_api(&self.sandbox)
    }

    /// Copies, and fails the test if that fails.
    fn copy<A: Into<std::ffi::OsString>>(&self, operands: impl IntoIterator<Item = A>) -> Finished {
        let finished = self.cp(operands).run(b"");
        assert_eq!(finished.code(), 0, "{finished:?}");
        assert_eq!(finished.stderr, "");
        finished
    }

    /// What runs over there.
    fn processes(&self) -> Vec<Pid> {
        let mark = format!("{MARK}={}", self.folder.path().display());
        let processes = fs::read_dir("/proc").expect("/proc");
        let marked = processes.filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            let variables = fs::read(path.join("environ")).ok()?;
            let mut variables = variables.split(|byte| *byte == 0);
            let is_there = variables.any(|variable| variable == mark.as_bytes());
            is_there.then(|| Pid::from_raw(pid))?
        });
        marked.collect()
    }

    fn sessions(&self) -> usize {
        let events = self.sandbox.events();
        let is_start = |event: &&Event| matches!(event, Event::SessionStarted { .. });
        events.iter().filter(is_start).count()
    }

    /// Asserts that all sessions were terminated by the client.
    fn assert_all_ended(&self) {
        for event in self.sandbox.events() {
            if let Event::SessionStarted { session, .. } = event {
                let session = self.sandbox.session(&session).expect("a session");
                assert!(session.ended().is_some(), "{} goes on", session.id());
            }
        }
    }
}

/// Random bytes.
fn random(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Asserts that the bytes are equal, without printing them if they are not.
fn assert_same(one: &Path, other: &Path) {
    let read =
        |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        read(one) == read(other),
        "{} and {} differ",
        one.display(),
        other.display()
    );
}
