//! The whole program, measured from outside against the sandbox; another client can be measured beside it.
//!
//! ```text
//! make bench                                    everything, about 10 minutes for each plugin
//! make bench PLUGIN=/path/to/another            beside another client, A B A B …
//! make bench ONLY='mux up' QUICK=1              the lines whose names hold this, in seconds
//! make bench LONG=10                            transfers of 10 GB too, to see that memory stays flat
//! ```
//!
//! `OURS=` names another build of ours; the default is the static one, if there is one. `ROUNDS=` says how often.
//!
//! Figures are worth something beside others of the same run only: machines are shared, and noisy.

mod bare;
mod idle;
mod latency;
mod list;
mod process;
mod rates;
mod report;
mod round_trip;
mod service;
mod setup;

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use list::Case;
use report::Row;
use setup::Bench;

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
    let long = variable("LONG").and_then(|text| text.parse().ok());
    raise_open_files();

    let machine = report::machine();
    println!("{machine}");
    let plugins = plugins();
    // As they are called in the table, and, with their version, in what is written.
    let mut names = Vec::new();
    let mut legends = Vec::new();
    for (name, path) in &plugins {
        println!("{name}: {}", path.display());
        let version = process::own_version(path);
        legends.push(format!("{name}, {}", version.as_deref().unwrap_or("?")));
        names.push(name.clone());
    }
    println!("\n{}", report::head(&names));
    let mut rows = Vec::new();
    for case in list::cases(long) {
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
    let shares = report::shares(&list::bounds(), &rows);
    println!();
    for (name, share) in &shares {
        println!("{name}: {:.0} %", share * 100.0);
    }
    let json = report::to_json(&legends, &rows, &machine, &shares);
    report::write(&folder, &json, &report::to_svg(&legends, &rows));
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
