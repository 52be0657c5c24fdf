//! The whole program, measured from outside against the sandbox; another client can stand beside it.
//!
//! ```text
//! make bench                                    everything, about 10 minutes for each plugin
//! make bench PLUGIN=/path/to/another            beside another client, A B A B …
//! make bench ONLY='mux up' QUICK=1              the lines whose names hold this, in seconds
//! ```
//!
//! `OURS=` names another build of ours; the default is the static one, if there is one. `ROUNDS=` says how often.
//!
//! Figures are worth something beside others of the same run only: machines are shared, and noisy.

mod bare;
mod cases;
mod process;
mod report;
mod service;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sandbox::faults::{Bandwidth, Faults, WhenFull};

use cases::{Bench, Beside, Route, Way};
use process::Failed;
use report::{Metric, Row, quantile};

/// Gives the figures of a plugin, as many as there are metrics.
type Measure = dyn Fn(&Bench, &Path) -> Result<Vec<f64>, Failed>;

/// One measurement of several figures.
struct Case {
    metrics: Vec<Metric>,
    measure: Box<Measure>,
    /// Of the machine and not of a plugin.
    is_bare: bool,
}

fn metric(
    name: impl Into<String>,
    unit: &'static str,
    more_is_better: bool,
    goal: impl Into<Option<f64>>,
) -> Metric {
    Metric {
        name: name.into(),
        unit,
        more_is_better,
        goal: goal.into(),
    }
}

fn case(
    metrics: impl Into<Vec<Metric>>,
    measure: impl Fn(&Bench, &Path) -> Result<Vec<f64>, Failed> + 'static,
) -> Case {
    Case {
        metrics: metrics.into(),
        measure: Box::new(measure),
        is_bare: false,
    }
}

fn bare(
    metrics: impl Into<Vec<Metric>>,
    measure: impl Fn(&Bench) -> Result<Vec<f64>, Failed> + 'static,
) -> Case {
    Case {
        is_bare: true,
        ..case(metrics, move |bench, _| measure(bench))
    }
}

const SIZES: [(&str, usize); 2] = [("1 KiB", 1024), ("16 KiB", 16 * 1024)];

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    starts(&mut all);
    floors(&mut all);
    throughputs(&mut all);
    latencies(&mut all);
    memory(&mut all);
    streams(&mut all);
    round_trips(&mut all);
    bottlenecks(&mut all);
    all
}

fn starts(all: &mut Vec<Case>) {
    all.push(case(
        [
            metric("--version", "ms", false, 1.0),
            metric("--version, peak memory", "MB", false, 2.0),
        ],
        |_, binary| process::version(binary).map(|(time, memory)| vec![time, memory]),
    ));
    all.push(case(
        [metric("exec to port opened, ws", "ms", false, 3.0)],
        |bench, binary| cases::open(&bench.plain, binary).map(|it| vec![it]),
    ));
    all.push(case(
        [metric("exec to port opened, wss", "ms", false, 12.0)],
        |bench, binary| cases::open(&bench.tls, binary).map(|it| vec![it]),
    ));
}

fn floors(all: &mut Vec<Case>) {
    for (label, size) in SIZES {
        all.push(bare(
            [
                metric(format!("floor: bare echo, {label}"), "MB/s", true, None),
                metric(
                    format!("floor: bare echo, {label}, CPU"),
                    "s/GB",
                    false,
                    None,
                ),
            ],
            move |bench| bare::floor(size, bench.window).map(|it| vec![it.rate, it.cpu]),
        ));
        all.push(bare(
            [
                metric(format!("ceiling: agent takes, {label}"), "MB/s", true, None),
                metric(
                    format!("ceiling: agent takes, {label}, CPU"),
                    "s/GB",
                    false,
                    None,
                ),
            ],
            move |bench| {
                bare::agent_takes(&bench.tls, size, bench.window).map(|it| vec![it.rate, it.cpu])
            },
        ));
        all.push(bare(
            [
                metric(format!("ceiling: agent gives, {label}"), "MB/s", true, None),
                metric(
                    format!("ceiling: agent gives, {label}, CPU"),
                    "s/GB",
                    false,
                    None,
                ),
            ],
            move |bench| {
                bare::agent_gives(&bench.tls, size, bench.window).map(|it| vec![it.rate, it.cpu])
            },
        ));
    }
    all.push(bare(
        [
            metric("floor: bare ping, p50", "ms", false, None),
            metric("floor: bare ping, p99", "ms", false, None),
        ],
        |bench| {
            let times = bare::floor_pings(bench.pings)?;
            let at = |share| quantile(&times, share).unwrap_or(f64::NAN);
            Ok(vec![at(0.5), at(0.99)])
        },
    ));
}

fn throughputs(all: &mut Vec<Case>) {
    let ways = [
        ("mux", Way::Mux),
        ("basic", Way::Basic),
        ("stdio", Way::Stdio),
        ("shell", Way::Shell),
        ("shell with KMS", Way::ShellKms),
    ];
    for (way_label, way) in ways {
        for (size_label, size) in SIZES {
            for (label, give) in [("up", false), ("down", true)] {
                let goal = match (way, give, size) {
                    (Way::Mux, false, 1024) | (Way::Mux, true, 1024) => Some(60.0),
                    (Way::Mux, false, _) => Some(200.0),
                    _ => None,
                };
                let cpu_goal = match (way, give, size) {
                    (Way::Mux, false, 1024) => Some(15.0),
                    (Way::Mux, true, 1024) => Some(12.0),
                    _ => None,
                };
                let memory_goal = (way == Way::Mux && size == 1024).then_some(8.0);
                let name = format!("{way_label} {label}, {size_label}");
                all.push(case(
                    [
                        metric(name.clone(), "MB/s", true, goal),
                        metric(format!("{name}, CPU"), "s/GB", false, cpu_goal),
                        metric(format!("{name}, peak memory"), "MB", false, memory_goal),
                    ],
                    move |bench, binary| {
                        cases::throughput(bench, binary, way, give, size, &Route::default())
                            .map(Vec::from)
                    },
                ));
            }
        }
    }
    all.push(case(
        [
            metric("mux down, 1 KiB, agent pauses", "MB/s", true, None),
            metric("mux down, 1 KiB, agent pauses, CPU", "s/GB", false, None),
        ],
        |bench, binary| {
            let route = Route {
                paced: true,
                ..Route::default()
            };
            cases::throughput(bench, binary, Way::Mux, true, 1024, &route)
                .map(|it| it[..2].to_vec())
        },
    ));
}

fn latencies(all: &mut Vec<Case>) {
    let mut ping = |name: &str, goals: Option<[f64; 2]>, way, beside, route: Route| {
        all.push(case(
            [
                metric(format!("{name}, p50"), "ms", false, goals.map(|it| it[0])),
                metric(format!("{name}, p99"), "ms", false, goals.map(|it| it[1])),
            ],
            move |bench, binary| cases::ping(bench, binary, way, beside, &route).map(Vec::from),
        ));
    };
    let direct = Route::default;
    let goals = Some([0.25, 1.0]);
    ping("ping", goals, Way::Mux, Beside::Nothing, direct());
    ping("ping, basic", None, Way::Basic, Beside::Nothing, direct());
    ping("ping, stdio", None, Way::Stdio, Beside::Nothing, direct());
    let small_buffers = || Route {
        socket_buffer: Some(128 * 1024),
        ..Route::default()
    };
    ping(
        "ping beside upload",
        None,
        Way::Mux,
        Beside::Upload,
        small_buffers(),
    );
    ping(
        "ping beside download",
        None,
        Way::Mux,
        Beside::Download,
        small_buffers(),
    );
    let slow = throttled(2_000_000, Duration::from_millis(20), WhenFull::Wait);
    ping(
        "ping, 2 MB/s and 40 ms",
        None,
        Way::Mux,
        Beside::Nothing,
        slow.clone(),
    );
    ping(
        "ping beside upload, 2 MB/s and 40 ms",
        None,
        Way::Mux,
        Beside::Upload,
        slow,
    );
    all.push(case(
        [
            metric("keystroke, p50", "ms", false, 0.3),
            metric("keystroke, p99", "ms", false, 1.0),
        ],
        |bench, binary| cases::keystroke(bench, binary).map(Vec::from),
    ));
}

fn memory(all: &mut Vec<Case>) {
    for (label, full_bundle, goal) in [("one root", false, 4.0), ("full bundle", true, 6.5)] {
        all.push(case(
            [
                metric(format!("idle, {label}, memory"), "MB", false, goal),
                metric(format!("idle, {label}, threads"), "", false, None),
                metric(format!("idle, {label}, wake-ups"), "a second", false, 0.0),
                metric(format!("idle, {label}, CPU"), "ms/s", false, None),
            ],
            move |bench, binary| cases::idle(bench, binary, full_bundle).map(Vec::from),
        ));
    }
}

fn streams(all: &mut Vec<Case>) {
    for count in [1, 10, 100, 1000] {
        all.push(case(
            [
                metric(format!("{count} streams, all opened"), "ms", false, None),
                metric(format!("{count} streams, up"), "MB/s", true, None),
            ],
            move |bench, binary| cases::streams(bench, binary, count).map(Vec::from),
        ));
    }
}

fn round_trips(all: &mut Vec<Case>) {
    for rtt in [0, 40, 200] {
        for lose in [0.0, 0.01] {
            for (label, give) in [("up", false), ("down, agent pauses", true)] {
                let faults = Faults {
                    delay: Duration::from_millis(rtt / 2),
                    lose,
                    ..Faults::default()
                };
                let route = Route {
                    to_agent: faults.clone(),
                    to_client: faults,
                    paced: give,
                    ..Route::default()
                };
                let loss = if lose > 0.0 { ", 1 % lost" } else { "" };
                all.push(case(
                    [metric(
                        format!("{label}, {rtt} ms{loss}"),
                        "MB/s",
                        true,
                        None,
                    )],
                    move |bench, binary| {
                        cases::throughput(bench, binary, Way::Mux, give, 1024, &route)
                            .map(|it| it[..1].to_vec())
                    },
                ));
            }
        }
    }
}

fn throttled(bytes_per_second: u64, delay: Duration, when_full: WhenFull) -> Route {
    Route {
        to_agent: Faults {
            bandwidth: Some(Bandwidth {
                bytes_per_second,
                burst: 16 * 1024,
            }),
            // What a tenth of a second carries, as routers have it.
            queue: usize::try_from(bytes_per_second / 10).unwrap_or(usize::MAX),
            when_full,
            delay,
            ..Faults::default()
        },
        to_client: Faults {
            delay,
            ..Faults::default()
        },
        ..Route::default()
    }
}

fn bottlenecks(all: &mut Vec<Case>) {
    for (when_label, when_full) in [("waits", WhenFull::Wait), ("drops", WhenFull::Drop)] {
        for rate in [500_000, 2_000_000, 20_000_000] {
            for rtt in [0, 40, 300] {
                let route = throttled(rate, Duration::from_millis(rtt / 2), when_full);
                let name = format!("{} MB/s that {when_label}, {rtt} ms", rate as f64 / 1e6);
                all.push(case(
                    [
                        metric(name.clone(), "% used", true, None),
                        metric(format!("{name}, sent again"), "%", false, None),
                    ],
                    move |bench, binary| cases::bottleneck(bench, binary, &route).map(Vec::from),
                ));
            }
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The builds to measure, with their names in the table.
fn plugins() -> Vec<(String, PathBuf)> {
    let fixed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/session-manager-plugin");
    let ours = match variable("OURS") {
        Some(path) => path.into(),
        None if fixed.exists() => fixed,
        None => env!("CARGO_BIN_EXE_session-manager-plugin").into(),
    };
    let mut all = vec![("ours".to_owned(), ours)];
    all.extend(variable("PLUGIN").map(|path| ("other".to_owned(), path.into())));
    all
}

fn main() {
    // Cargo's own.
    let arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let only: Vec<String> = arguments.chain(variable("ONLY")).collect();
    let is_quick = variable("QUICK").is_some();
    let rounds = variable("ROUNDS").and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(if is_quick { 1 } else { 3 });
    raise_open_files();

    let plugins = plugins();
    for (name, path) in &plugins {
        println!("{name}: {}", path.display());
    }
    let names: Vec<String> = plugins.iter().map(|(name, _)| name.clone()).collect();
    println!("\n{}", report::head(&names));
    let mut rows = Vec::new();
    for case in cases() {
        let is_wanted = |text: &String| case.metrics.iter().any(|it| it.name.contains(text));
        if !only.is_empty() && !only.iter().any(is_wanted) {
            continue;
        }
        let measured = measure(&case, is_quick, rounds, &plugins);
        for row in &measured {
            println!("{}", report::line(row));
        }
        rows.extend(measured);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    report::write(&folder, &names, &rows);
}

/// A sandbox of its own for each case, so that nothing of one is left for the next.
fn measure(case: &Case, is_quick: bool, rounds: usize, plugins: &[(String, PathBuf)]) -> Vec<Row> {
    let mut rows: Vec<Row> = case
        .metrics
        .iter()
        .map(|metric| Row {
            metric: metric.clone(),
            values: vec![Vec::new(); plugins.len()],
            failures: vec![None; plugins.len()],
        })
        .collect();
    for _ in 0..rounds {
        for (number, (_, binary)) in plugins.iter().enumerate() {
            if case.is_bare && number > 0 {
                continue;
            }
            let bench = Bench::new(is_quick).map_err(|error| error.to_string());
            match bench.and_then(|bench| (case.measure)(&bench, binary)) {
                Ok(figures) => {
                    for (row, figure) in rows.iter_mut().zip(figures) {
                        row.values[number].push(figure);
                    }
                }
                Err(failure) => rows[0].failures[number] = Some(failure),
            }
        }
    }
    rows
}

/// A thousand streams are some thousand sockets.
fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
