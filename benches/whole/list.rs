//! The table: every line of it, with its goal.

use std::path::Path;
use std::time::Duration;

use sandbox::faults::{Bandwidth, Faults, WhenFull};

use super::latency::{self, Beside};
use super::process::{self, Failed};
use super::report::Metric;
use super::round_trip::{What, round_trip};
use super::setup::{Bench, Route, Way};
use super::{bare, idle, rates};

/// Gives the figures of a plugin, as many as there are metrics.
pub type Measure = dyn Fn(&Bench, &Path) -> Result<Vec<f64>, Failed>;

/// One measurement of several figures.
pub struct Case {
    /// What it gives.
    pub metrics: Vec<Metric>,
    /// How.
    pub measure: Box<Measure>,
    /// Of the machine and not of a plugin.
    pub is_bare: bool,
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

/// Everything, in the order of the table; transfers of so many GB too, if they are wished for.
pub fn cases(long: Option<u32>) -> Vec<Case> {
    let mut all = Vec::new();
    starts(&mut all);
    floors(&mut all);
    throughputs(&mut all);
    latencies(&mut all);
    costs_of_round_trips(&mut all);
    memory(&mut all);
    streams(&mut all);
    round_trips(&mut all);
    bottlenecks(&mut all);
    if let Some(gigabytes) = long {
        long_transfers(&mut all, gigabytes);
    }
    all
}

/// Figures, and what bounds each: an echo without a protocol, and the sandbox's agent with a client that does next to nothing.
pub fn bounds() -> Vec<(String, String)> {
    SIZES
        .iter()
        .flat_map(|(label, _)| {
            let pair =
                |way: &str, bare: &str| (format!("mux {way}, {label}"), format!("{bare}, {label}"));
            [
                pair("up", "floor: bare echo"),
                pair("up", "ceiling: agent takes"),
                pair("down", "ceiling: agent gives"),
            ]
        })
        .collect()
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
        |bench, binary| latency::open(&bench.plain, binary).map(|it| vec![it]),
    ));
    all.push(case(
        [metric("exec to port opened, wss", "ms", false, 12.0)],
        |bench, binary| latency::open(&bench.tls, binary).map(|it| vec![it]),
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
            Ok(latency::p50_and_p99(&times).into())
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
                        rates::throughput(bench, binary, way, give, size, &Route::default())
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
            rates::throughput(bench, binary, Way::Mux, true, 1024, &route)
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
            move |bench, binary| latency::ping(bench, binary, way, beside, &route).map(Vec::from),
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
        slow.clone(),
    );
    ping(
        "ping beside download, 2 MB/s and 40 ms",
        None,
        Way::Mux,
        Beside::Download,
        Route {
            // Acknowledgements alone are more than it carries.
            socket_buffer: Some(128 * 1024),
            ..slow
        },
    );
    for (name, goals, flood) in [
        ("keystroke", Some([0.3, 1.0]), false),
        ("keystroke beside output, agent pauses", None, true),
    ] {
        all.push(case(
            [
                metric(format!("{name}, p50"), "ms", false, goals.map(|it| it[0])),
                metric(format!("{name}, p99"), "ms", false, goals.map(|it| it[1])),
            ],
            move |bench, binary| latency::keystroke(bench, binary, flood).map(Vec::from),
        ));
    }
}

fn costs_of_round_trips(all: &mut Vec<Case>) {
    for (name, what) in [("ping", What::Ping), ("keystroke", What::Key)] {
        for (beside, busy) in [("idle", false), ("beside two busy processes", true)] {
            let name = |figure: &str| format!("round trip, {name}, {beside}, {figure}");
            all.push(case(
                [
                    metric(name("p50"), "ms", false, None),
                    metric(name("p99"), "ms", false, None),
                    metric(name("p99.9"), "ms", false, None),
                    metric(name("context switches"), "", false, None),
                    metric(name("system calls"), "", false, None),
                ],
                move |bench, binary| round_trip(bench, binary, what, busy).map(Vec::from),
            ));
        }
    }
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
            move |bench, binary| idle::idle(bench, binary, full_bundle).map(Vec::from),
        ));
    }
}

fn streams(all: &mut Vec<Case>) {
    for count in [1, 10, 100, 1000] {
        all.push(case(
            [
                metric(format!("{count} streams, all opened"), "ms", false, None),
                metric(format!("{count} streams, up"), "MB/s", true, None),
                metric(format!("{count} streams, up, CPU"), "s/GB", false, None),
            ],
            move |bench, binary| rates::streams(bench, binary, count).map(Vec::from),
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
                        rates::throughput(bench, binary, Way::Mux, give, 1024, &route)
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
                        metric(format!("{name}, start"), "% used", true, None),
                        metric(name.clone(), "% used", true, None),
                        metric(format!("{name}, sent again"), "%", false, None),
                    ],
                    move |bench, binary| rates::bottleneck(bench, binary, &route).map(Vec::from),
                ));
            }
        }
    }
}

fn long_transfers(all: &mut Vec<Case>, gigabytes: u32) {
    for (label, give) in [("up", false), ("down", true)] {
        all.push(case(
            [
                metric(
                    format!("long {label}, peak memory after 100 MB"),
                    "MB",
                    false,
                    None,
                ),
                metric(
                    format!("long {label}, after {gigabytes} GB"),
                    "MB",
                    false,
                    None,
                ),
            ],
            move |bench, binary| {
                let bytes = f64::from(gigabytes) * 1e9;
                rates::long(bench, binary, give, bytes).map(Vec::from)
            },
        ));
    }
}
