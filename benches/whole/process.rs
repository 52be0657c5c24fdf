//! A plugin as a process of its own, and what the system knows of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandbox::{Sandbox, Started};
use serde_json::json;

/// Longer than any start takes; who needs more has failed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A failure, in words for the table.
pub type Failed = String;

/// A running plugin. It is killed when this goes.
pub struct Plugin {
    child: Child,
    /// When it was started.
    pub started_at: Instant,
    /// Its stdin, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// Its stdout.
    pub stdout: Option<BufReader<ChildStdout>>,
}

/// Arguments and environment, as the AWS CLI gives them.
pub fn command(binary: &Path, sandbox: &Sandbox, started: &Started, message: usize) -> Command {
    let mut command = Command::new(binary);
    let request = json!({ "Target": "i-0123456789abcdef0" }).to_string();
    command
        .args([
            "AWS_SSM_START_SESSION_RESPONSE",
            "eu-central-1",
            "StartSession",
            "",
            &request,
            "",
        ])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| (OsString::from("PATH"), path)))
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(
            "AWS_SSM_START_SESSION_RESPONSE",
            started.response().to_string(),
        )
        .env("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.gateway_host())
        .env("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true")
        .env("SSM_PLUGIN_PAYLOAD_SIZE", message.to_string())
        .env("AWS_CA_BUNDLE", sandbox.ca_file())
        // The originals trust what Go trusts.
        .env("SSL_CERT_FILE", sandbox.ca_file());
    command
}

impl Plugin {
    /// Runs it with pipes.
    pub fn spawn(mut command: Command) -> Result<Self, Failed> {
        let started_at = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot be run: {error}"))?;
        Ok(Self {
            started_at,
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            child,
        })
    }

    /// A process that somebody else started.
    pub fn of(child: Child) -> Self {
        Self {
            child,
            started_at: Instant::now(),
            stdin: None,
            stdout: None,
        }
    }

    /// Reads stdout up to this text; hands back the line that it is in.
    pub fn wait_for(&mut self, text: &str) -> Result<String, Failed> {
        let stdout = self.stdout.as_mut().ok_or("stdout is gone")?;
        let deadline = Instant::now() + TIMEOUT;
        let mut line = Vec::new();
        loop {
            if stdout.buffer().is_empty() && !readable(stdout.get_ref(), deadline) {
                return Err(format!("did not say {text:?} in time"));
            }
            // What is there; the rest of a line comes in a later turn.
            let bytes = stdout.fill_buf().map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                return Err(format!("ended without saying {text:?}"));
            }
            let count = bytes.iter().position(|byte| *byte == b'\n');
            let count = count.map_or(bytes.len(), |newline| newline + 1);
            line.extend_from_slice(&bytes[..count]);
            stdout.consume(count);
            let so_far = String::from_utf8_lossy(&line).into_owned();
            if so_far.contains(text) {
                return Ok(so_far);
            }
            if line.ends_with(b"\n") {
                line.clear();
            }
        }
    }

    /// The local port of a port session.
    pub fn port(&mut self) -> Result<u16, Failed> {
        let line = self.wait_for(" opened for sessionId")?;
        let number = line.trim().strip_prefix("Port ");
        let number = number.and_then(|rest| rest.split(' ').next());
        number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| format!("no port in {line:?}"))
    }

    /// Reads stdout to the end in the background, so that nothing ever blocks on it.
    pub fn ignore_stdout(&mut self) {
        if let Some(mut stdout) = self.stdout.take() {
            std::thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
        }
    }

    /// CPU time so far, seconds, of all its threads, those that have ended too.
    pub fn cpu(&self) -> f64 {
        #[cfg(target_os = "linux")]
        {
            let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
            let time = nix::time::clock_getcpuclockid(pid)
                .and_then(|clock| clock.now())
                .map(Duration::from);
            time.map_or(f64::NAN, |time| time.as_secs_f64())
        }
        #[cfg(not(target_os = "linux"))]
        f64::NAN
    }

    /// Resident memory now, and at its peak, MB.
    pub fn memory(&self) -> (f64, f64) {
        let status = self.proc("status");
        let field = |name: &str| number_after(&status, name) * 1024.0 / 1e6;
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// How many threads it has.
    pub fn threads(&self) -> f64 {
        number_after(&self.proc("status"), "Threads:")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How often its threads went to sleep so far: each is a wake-up before.
    pub fn sleeps(&self) -> f64 {
        self.of_threads("\nvoluntary_ctxt_switches:")
    }

    /// How often its threads gave up the processor so far, to sleep or because others had to run.
    pub fn switches(&self) -> f64 {
        self.sleeps() + self.of_threads("\nnonvoluntary_ctxt_switches:")
    }

    fn of_threads(&self, field: &str) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
            .map(|status| number_after(&status, field))
            .sum()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn readable(descriptor: &impl AsFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&timeout)), Ok(1..))
}

fn number_after(text: &str, name: &str) -> f64 {
    text.split_once(name)
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(f64::NAN)
}

/// What it says that it is.
pub fn own_version(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

/// `--version`: milliseconds from start to end, and peak memory, MB.
pub fn version(binary: &Path) -> Result<(f64, f64), Failed> {
    let mut times = Vec::new();
    for _ in 0..21 {
        let begin = Instant::now();
        let output = Command::new(binary)
            .arg("--version")
            .output()
            .map_err(|error| error.to_string())?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        if !output.status.success() {
            return Err(format!("--version ended with {}", output.status));
        }
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], version_memory(binary)?))
}

/// Its stdout is a full pipe: it stays in write(2), where its memory can be looked at.
fn version_memory(binary: &Path) -> Result<f64, Failed> {
    let failed = |error: io::Error| error.to_string();
    let (mut reader, writer) = io::pipe().map_err(failed)?;
    rustix::io::ioctl_fionbio(&writer, true).map_err(|error| error.to_string())?;
    let block = [0; 4096];
    while rustix::io::write(&writer, &block).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).map_err(|error| error.to_string())?;
    let child = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut plugin = Plugin::of(child);
    // Until it sleeps.
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline && !plugin.proc("stat").contains(") S ") {
        std::thread::yield_now();
    }
    let (_, peak) = plugin.memory();
    let mut rest = [0; 65536];
    while plugin.is_running() && matches!(reader.read(&mut rest), Ok(1..)) {}
    Ok(peak)
}

/// A file that holds the certificates of both, if there is a bundle on this system.
pub fn full_bundle(sandbox: &Sandbox, to: &Path) -> Option<()> {
    let mut bundle = File::open("/etc/ssl/certs/ca-certificates.crt").ok()?;
    let mut own = File::open(sandbox.ca_file()).ok()?;
    let mut to = File::create(to).ok()?;
    io::copy(&mut own, &mut to).ok()?;
    io::copy(&mut bundle, &mut to).ok()?;
    Some(())
}
