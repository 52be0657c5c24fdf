//! The sandbox as a program: prints how to point the AWS CLI at it, logs what happens, ends at Ctrl-C. USR1 cuts all connections.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use sandbox::faults::{Bandwidth, Faults};
use sandbox::{
    AgentConfig, AuthorizedKeys, Check, Config, GatewayConfig, KmsConfig, Sandbox, SessionConfig,
    Target, Task,
};
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// The other side of Session Manager on this machine: API, message gateway and agent, for trying out and for tests
#[derive(Parser)]
#[command(name = "sandbox", before_help = FIRST_USE)]
struct Arguments {
    /// All chance comes from it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Chance that a frame is lost, in each direction.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    loss: f64,
    /// Chance that a frame comes twice.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    duplicate: f64,
    /// Chance that a frame comes behind later ones.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    reorder: f64,
    /// Chance that a byte of a payload is changed.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    corrupt: f64,
    /// Round-trip time in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    rtt: u64,
    /// Bytes a second, in each direction.
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<u64>,
    /// ws:// instead of wss://.
    #[arg(long)]
    plain: bool,
    /// The agent does not sleep 1 ms after each KiB.
    #[arg(long)]
    unpaced: bool,
    /// How much data the agent puts into a message.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    payload_size: usize,
    /// The agent's version.
    #[arg(long, value_name = "VERSION", default_value = "3.3.0.0")]
    agent_version: String,
    /// What a shell session runs.
    #[arg(long, default_value = "sh")]
    shell: String,
    /// Sessions are encrypted with a key of KMS.
    #[arg(long)]
    kms: bool,
    /// Whether calls and upgrades must be signed. If not, every user of this machine can start a shell that runs as you.
    #[arg(long, value_enum, default_value_t = Signatures::Required)]
    signatures: Signatures,
    /// Tokens expire after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    token_lifetime: Option<u64>,
    /// A node with this tag Name, i-00000000000000001 and so on; may be repeated. Without any, every identifier is a node.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// So many further nodes, node-1 and so on, each with the tag Fleet=sandbox.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    fleet: u16,
    /// A task of ECS that runs, with a container; may be repeated. Without any, every task is there.
    #[arg(long, value_name = "CLUSTER/SERVICE/CONTAINER", value_parser = task)]
    task: Vec<Task>,
    /// How long the gateway is away after the signal USR1, which cuts all connections; a second one ends it.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    outage: u64,
    /// Keys of EC2 Instance Connect go to this file of authorized_keys for a minute.
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<PathBuf>,
    /// Writes the variables, with this run's credentials, to a file that a shell can source and only you can read.
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
    /// For programs: one JSON object on stdout when it is ready, with endpoint_url, region, environment and targets. It ends with its
    /// stdin.
    #[arg(long)]
    json: bool,
    /// Writes what happens to a file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Does not print what happens.
    #[arg(long)]
    quiet: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

/// What somebody needs who has never seen it.
const FIRST_USE: &str = "\
Run a command against it:  sandbox exec -- aws ssm start-session --target web-1
The command, and all that it starts, finds this sandbox in place of AWS: endpoint, region, credentials made for this run, trust.
Every target is this machine, where commands and shells run as you; --target NAME and --fleet N say which ones there are.
In a terminal of its own:  sandbox --env FILE, and `. FILE` elsewhere. For programs: sandbox --json.
Make it difficult with --loss, --rtt, --bandwidth, --kms, --token-lifetime; nothing leaves this machine.";

#[derive(Subcommand)]
enum Action {
    /// Runs one command that is pointed at the sandbox, and ends with its exit code.
    Exec {
        /// The command and its arguments, after `--`.
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Signatures {
    Off,
    Optional,
    Required,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    // Before any thread starts, so that no signal is missed.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
    let sandbox = Arc::new(Sandbox::start(config(arguments))?);
    let cuts = Cuts::start(&sandbox, Duration::from_secs(arguments.outage));
    if let Some(path) = &arguments.env {
        sandbox::private_file(path)?.write_all(exports(&sandbox).as_bytes())?;
    }
    match &arguments.action {
        Some(Action::Exec { command }) => execute(&sandbox, command, signals, cuts),
        None => {
            if arguments.json {
                println!("{}", ready(&sandbox));
                let handle = signals.handle();
                // Whoever started it has gone when nobody can write to stdin any more.
                thread::spawn(move || {
                    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
                    handle.close();
                });
            } else if arguments.env.is_none() {
                explain(&sandbox);
            }
            for signal in signals.forever() {
                if signal != SIGUSR1 {
                    break;
                }
                cuts.cut();
            }
            // Dropping the sandbox ends all else.
            cuts.stop();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Cuts all connections when it is told to.
struct Cuts {
    orders: Sender<()>,
    thread: JoinHandle<()>,
}

impl Cuts {
    /// Each cut keeps the gateway away for as long as this.
    fn start(sandbox: &Arc<Sandbox>, outage: Duration) -> Self {
        let (orders, received) = mpsc::channel();
        let sandbox = Arc::clone(sandbox);
        let thread = thread::spawn(move || {
            while received.recv().is_ok() {
                sandbox.stop_gateway();
                if received.recv_timeout(outage) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                if let Err(error) = sandbox.restart_gateway() {
                    eprintln!("sandbox: the gateway cannot be started again: {error}");
                }
            }
        });
        Self { orders, thread }
    }

    fn cut(&self) {
        let _ = self.orders.send(());
    }

    /// Returns when the thread does not hold the sandbox any more.
    fn stop(self) {
        drop(self.orders);
        let _ = self.thread.join();
    }
}

fn config(arguments: &Arguments) -> Config {
    let faults = Faults {
        lose: arguments.loss,
        duplicate: arguments.duplicate,
        reorder: arguments.reorder,
        corrupt: arguments.corrupt,
        delay: Duration::from_millis(arguments.rtt) / 2,
        bandwidth: arguments.bandwidth.map(|bytes_per_second| Bandwidth {
            bytes_per_second,
            burst: bytes_per_second / 20,
        }),
        ..Faults::default()
    };
    let check = match arguments.signatures {
        Signatures::Off => Check::Off,
        Signatures::Optional => Check::IfPresent,
        Signatures::Required => Check::Required,
    };
    Config {
        seed: arguments.seed,
        tls: !arguments.plain,
        api_signatures: check,
        upgrade_signatures: check,
        print: !arguments.quiet && !arguments.json && arguments.action.is_none(),
        log_file: arguments.log.clone(),
        targets: targets(arguments),
        tasks: tasks(arguments),
        authorized_keys: arguments
            .authorized_keys
            .clone()
            .map(|path| AuthorizedKeys {
                path,
                lifetime: Duration::from_secs(60),
            }),
        session: SessionConfig {
            agent: AgentConfig {
                version: arguments.agent_version.clone(),
                paced: !arguments.unpaced,
                payload_size: arguments.payload_size,
                shell: arguments.shell.clone(),
                kms: arguments.kms.then(KmsConfig::default),
                ..AgentConfig::default()
            },
            gateway: GatewayConfig {
                token_lifetime: arguments.token_lifetime.map(Duration::from_secs),
                ..GatewayConfig::default()
            },
            to_agent: faults.clone(),
            to_client: faults,
            record: sandbox::Record::Nothing,
            ..SessionConfig::default()
        },
        ..Config::default()
    }
}

fn targets(arguments: &Arguments) -> Vec<Target> {
    let named = arguments
        .target
        .iter()
        .zip(1..)
        .map(|(name, number)| Target::new(number, name));
    // Their numbers begin where nobody names so many.
    let fleet = (1..=arguments.fleet).map(|number| {
        let mut target = Target::new(number.saturating_add(1000), &format!("node-{number}"));
        target.tags.push(("Fleet".to_owned(), "sandbox".to_owned()));
        target
    });
    named.chain(fleet).collect()
}

fn task(text: &str) -> Result<Task, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let [cluster, service, container] = parts[..] else {
        return Err("CLUSTER/SERVICE/CONTAINER".into());
    };
    Ok(Task {
        cluster: cluster.into(),
        id: String::new(),
        service: Some(service.into()),
        containers: vec![container.into()],
        status: "RUNNING".into(),
        exec_enabled: true,
    })
}

/// Their ids are their numbers.
fn tasks(arguments: &Arguments) -> Vec<Task> {
    let numbered = arguments.task.iter().cloned().zip(1..);
    numbered
        .map(|(task, number)| Task {
            id: format!("{number:032x}"),
            ..task
        })
        .collect()
}

/// Lines that a shell can source.
fn exports(sandbox: &Sandbox) -> String {
    let line = |(name, value): (&str, String)| {
        let value = value.replace('\'', r"'\''");
        format!("export {name}='{value}'\n")
    };
    environment(sandbox).into_iter().map(line).collect()
}

/// What points callers here. Everything is found here, `doctor`'s look at the host of streams included.
fn environment(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let mut variables = sandbox.environment();
    variables.push(("SSM_PLUGIN_STREAM_ENDPOINT", sandbox.gateway_host()));
    variables
}

/// What a program needs that has started it.
fn ready(sandbox: &Sandbox) -> Value {
    let environment: Map<String, Value> = environment(sandbox)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let targets: Vec<Value> = sandbox
        .targets()
        .iter()
        .map(|target| {
            json!({ "id": target.id, "name": target.tag("Name"), "address": target.address })
        })
        .collect();
    json!({
        "event": "ready",
        "endpoint_url": sandbox.api_url(),
        "region": environment.get("AWS_REGION"),
        "environment": environment,
        "targets": targets,
    })
}

fn explain(sandbox: &Sandbox) {
    println!("The sandbox runs until Ctrl-C. In another terminal, paste:\n");
    println!("{}", exports(sandbox));
    println!("and then, with session-manager-plugin on the PATH, for example:\n");
    println!("aws ssm start-session --target i-0123456789abcdef0");
    println!("aws ssm start-session --target i-0123456789abcdef0 \\");
    println!(
        "    --document-name AWS-StartPortForwardingSession --parameters portNumber=22,localPortNumber=2222\n"
    );
    println!("What happens:\n");
}

/// Runs a command and waits for it. A signal of the terminal reaches it as it is; others are handed on.
fn execute(
    sandbox: &Sandbox,
    command: &[String],
    mut signals: Signals,
    cuts: Cuts,
) -> io::Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::other("no command"));
    };
    let mut builder = Command::new(program);
    builder.args(arguments).arg0(program);
    builder.envs(environment(sandbox));
    let mut child = builder
        .spawn()
        .map_err(|error| io::Error::other(format!("{program} cannot be run: {error}")))?;
    let pid = pid(&child);
    let handle = signals.handle();
    let forwarder = thread::spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGUSR1 => {
                    cuts.cut();
                    continue;
                }
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            if let Some(pid) = pid {
                let _ = kill_process(pid, signal);
            }
        }
        cuts.stop();
    });
    let status = child.wait()?;
    handle.close();
    let _ = forwarder.join();
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
