//! Many seeds, on all processors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::world::World;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => default,
    }
}

fn run(seed: u64, trace: bool) -> Result<(), String> {
    let plan = Plan::random(seed);
    if trace {
        println!("{plan:#?}");
    }
    catch_unwind(AssertUnwindSafe(|| World::new(plan, trace).run()))
        .map(|outcome| {
            if trace {
                println!("{outcome:#?}");
            }
        })
        .map_err(|panic| {
            panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic without a text".to_owned())
        })
}

#[test]
fn every_seed_delivers_everything_once_and_in_order() {
    if std::env::var_os("SIMULATION_SEED").is_some() {
        if let Err(reason) = run(number("SIMULATION_SEED", 0), true) {
            panic!("{reason}");
        }
        return;
    }
    let seeds = number("SIMULATION_SEEDS", 2000);
    let until = Instant::now() + Duration::from_secs(number("SIMULATION_SECONDS", 60));
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while Instant::now() < until {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    if let Err(reason) = run(seed, false) {
                        failures.lock().unwrap().push((seed, reason));
                    }
                }
            });
        }
    });
    let ran = next.into_inner().min(seeds);
    println!("{ran} seeds");
    let failures = failures.into_inner().unwrap();
    if let Some((seed, reason)) = failures.iter().min() {
        let all: Vec<_> = failures.iter().map(|(seed, _)| seed).collect();
        panic!(
            "{} of {ran} seeds failed: {all:?}; the first because: {reason}\n\
             Repeat it with: SIMULATION_SEED={seed} cargo test --test simulation every_seed -- --nocapture",
            failures.len(),
        );
    }
}
