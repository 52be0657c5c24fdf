//! What /proc knows of a running program.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::Running;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Resident memory, KiB.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// CPU used so far.
    pub cpu: Duration,
    /// When.
    pub at: Instant,
}

impl Sample {
    /// Of the program, which must be running.
    pub fn of(plugin: &Running) -> Self {
        let directory = format!("/proc/{}", plugin.pid.as_raw_nonzero());
        let status = fs::read_to_string(format!("{directory}/status")).expect("its status");
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.expect(name).parse().expect("a number")
        };
        // Whole ticks of ten milliseconds: fine over minutes.
        let cpu = Duration::from_secs_f64(crate::port_support::cpu_seconds(plugin));
        let descriptors = fs::read_dir(format!("{directory}/fd")).expect("its descriptors");
        Self {
            resident: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: descriptors.count() as u64,
            cpu,
            at: Instant::now(),
        }
    }
}

/// Many of them, of one process.
#[derive(Debug)]
pub struct Samples {
    name: &'static str,
    all: Vec<Sample>,
}

/// The most of each in a part of the samples.
struct Peak {
    resident: u64,
    threads: u64,
    descriptors: u64,
}

impl Samples {
    /// None yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            all: Vec::new(),
        }
    }

    /// Takes one more.
    pub fn take(&mut self, plugin: &Running) {
        assert!(plugin.try_wait().is_none(), "{} has ended", self.name);
        self.all.push(Sample::of(plugin));
    }

    fn peak(samples: &[Sample]) -> Peak {
        let most = |field: fn(&Sample) -> u64| samples.iter().map(field).max().unwrap_or(0);
        Peak {
            resident: most(|sample| sample.resident),
            threads: most(|sample| sample.threads),
            descriptors: most(|sample| sample.descriptors),
        }
    }

    /// CPU used in each second, milliseconds.
    pub fn cpu_per_second(&self) -> f64 {
        let (Some(first), Some(last)) = (self.all.first(), self.all.last()) else {
            return 0.0;
        };
        let used = (last.cpu - first.cpu).as_secs_f64() * 1000.0;
        used / (last.at - first.at).as_secs_f64()
    }

    /// Prints them, and fails unless the last quarter needs no more than the first, but for so much memory (KiB) and so many descriptors.
    pub fn assert_flat(&self, memory: u64, descriptors: u64) {
        let quarter = self.all.len() / 4;
        assert!(quarter > 0, "{} samples", self.all.len());
        let first = Self::peak(&self.all[..quarter]);
        let last = Self::peak(&self.all[self.all.len() - quarter..]);
        eprintln!(
            "{:22} {:5} samples, first quarter -> last: memory {} -> {} KiB, threads {} -> {}, descriptors {} -> {}; CPU {:.2} ms/s",
            self.name,
            self.all.len(),
            first.resident,
            last.resident,
            first.threads,
            last.threads,
            first.descriptors,
            last.descriptors,
            self.cpu_per_second(),
        );
        let name = self.name;
        assert!(last.resident <= first.resident + memory, "{name}: memory");
        assert!(last.threads <= first.threads, "{name}: threads");
        assert!(
            last.descriptors <= first.descriptors + descriptors,
            "{name}: descriptors"
        );
    }
}
