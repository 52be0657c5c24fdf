//! A hundred thousand hostile inputs for each thing that comes from outside: recorded and written ones, changed at random. None may make
//! anything panic, hang or keep memory. `make fuzz` looks further, from the same beginnings.

mod seeds;
mod shapes;

use std::time::{Duration, Instant};

/// How many inputs.
const INPUTS: usize = 100_000;
/// On a busy machine it is fewer, unless all is optimised.
const LONGEST: Duration = Duration::from_secs(20);
/// How much memory the tests, which run at the same time, may take after the first tenth of the inputs, KiB.
const MEMORY: u64 = 32 << 10;

/// Numbers at the edges of what lengths and counts can be.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn change(random: &mut fastrand::Rng, input: &mut Vec<u8>, others: &[Vec<u8>]) {
    let position = random.usize(..=input.len());
    match random.u8(..8) {
        0 => input.truncate(position),
        1 => input.insert(position, random.u8(..)),
        2 if position < input.len() => input[position] ^= 1 << random.u8(..8),
        3 if position < input.len() => {
            input.remove(position);
        }
        4 => {
            let edge = EDGES[random.usize(..EDGES.len())].to_be_bytes();
            let width = 1 << random.u8(..4);
            let bytes = &edge[8 - width..];
            for (place, byte) in input.iter_mut().skip(position).zip(bytes) {
                *place = *byte;
            }
        }
        5 => {
            let other = &others[random.usize(..others.len())];
            let start = random.usize(..=other.len());
            let length = random.usize(..=(other.len() - start).min(64));
            let piece = other[start..start + length].iter().copied();
            input.splice(position..position, piece);
        }
        6 => {
            let end = position + random.usize(..=(input.len() - position).min(64));
            let again: Vec<u8> = input[position..end].to_vec();
            input.splice(position..position, again);
        }
        _ => {
            let noise = std::iter::repeat_with(|| random.u8(..)).take(8);
            input.splice(position..position, noise.collect::<Vec<_>>());
        }
    }
}

fn throw(seeds: &[Vec<u8>], shape: impl Fn(&[u8])) {
    let start = Instant::now();
    let mut random = fastrand::Rng::with_seed(4711);
    for seed in seeds {
        shape(seed);
    }
    let mut before = None;
    for count in 0..INPUTS {
        if count == INPUTS / 10 {
            before = resident();
        }
        let mut input = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..6) {
            change(&mut random, &mut input, seeds);
        }
        input.truncate(4096);
        shape(&input);
        if cfg!(debug_assertions) && start.elapsed() > LONGEST {
            println!("stopped after {count} inputs");
            break;
        }
    }
    let after = resident();
    println!(
        "memory {before:?} -> {after:?} KiB, {:.1?}",
        start.elapsed()
    );
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after <= before + MEMORY, "memory");
    }
}

/// Resident memory of this process, KiB, where the system says.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

macro_rules! hostile {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            throw(&seeds::$name(), shapes::$name);
        })*

        /// Beginnings for the fuzz targets, for `make fuzz`: under the folder that `FUZZ_CORPUS` names.
        #[test]
        #[ignore = "writes files"]
        fn corpus() {
            let folder = std::env::var("FUZZ_CORPUS").expect("FUZZ_CORPUS names a folder");
            $(write(&format!("{folder}/{}", stringify!($name)), &seeds::$name());)*
        }
    };
}

hostile!(
    message,
    handshake,
    smux,
    escapes,
    socks,
    arguments,
    stream_url,
    proxy_answers,
    api_answers,
    recovery
);

fn write(folder: &str, seeds: &[Vec<u8>]) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(format!("{folder}/seed-{number}"), seed).unwrap();
    }
}
