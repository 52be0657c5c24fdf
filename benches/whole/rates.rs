//! How fast bytes move: through one connection, through many, over a path that has a bottleneck.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::latency::pings;
use super::process::Failed;
use super::service::{ECHO, TAKE};
use super::setup::{Bench, Route, Setup, Way};

/// A rate: MB a second, CPU seconds a GB, peak memory in MB.
pub fn throughput(
    bench: &Bench,
    binary: &Path,
    way: Way,
    give: bool,
    size: usize,
    path: &Route,
) -> Result<[f64; 3], Failed> {
    let mut setup = Setup::new(&bench.tls, binary, way, give, size, path)?;
    if give {
        setup.download(way)?;
    } else {
        setup.upload(way)?;
    }
    let rtt = path.to_agent.delay + path.to_client.delay;
    thread::sleep(Duration::from_millis(300) + 10 * rtt);
    let window = bench.window + 10 * rtt;
    let (bytes, cpu) = (setup.arrived(way, give), setup.plugin.cpu());
    let begin = Instant::now();
    thread::sleep(window);
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = setup.arrived(way, give) - bytes;
    let cpu = setup.plugin.cpu() - cpu;
    if !setup.plugin.is_running() {
        return Err("ended early".to_owned());
    }
    let (_, peak) = setup.plugin.memory();
    if bytes == 0.0 {
        return Err("nothing arrived".to_owned());
    }
    Ok([bytes / 1e6 / seconds, cpu / (bytes / 1e9), peak])
}

/// Peak memory, MB, after 100 MB and after so many bytes.
pub fn long(bench: &Bench, binary: &Path, give: bool, bytes: f64) -> Result<[f64; 2], Failed> {
    let mut setup = Setup::new(&bench.tls, binary, Way::Mux, give, 1024, &Route::default())?;
    if give {
        setup.download(Way::Mux)?;
    } else {
        setup.upload(Way::Mux)?;
    }
    let mut peaks = [f64::NAN; 2];
    for (peak, wanted) in peaks.iter_mut().zip([100e6, bytes]) {
        let mut before = -1.0;
        loop {
            let arrived = setup.arrived(Way::Mux, give);
            if arrived >= wanted {
                break;
            }
            if arrived <= before || !setup.plugin.is_running() {
                return Err(format!("stopped after {arrived} bytes"));
            }
            before = arrived;
            thread::sleep(Duration::from_secs(1));
        }
        *peak = setup.plugin.memory().1;
    }
    Ok(peaks)
}

/// What a local connection of many holds of what is written to it: the system's own would take gigabytes before the first writer waits.
const SMALL_BUFFER: usize = 32 * 1024;

/// Many connections at once: milliseconds until each has had an echo, MB a second of all their uploads together, CPU seconds a GB.
pub fn streams(bench: &Bench, binary: &Path, count: usize) -> Result<[f64; 3], Failed> {
    let path = Route::default();
    let setup = Setup::new(&bench.tls, binary, Way::Mux, false, 1024, &path)?;
    let begin = Instant::now();
    let mut echoes = (0..count)
        .map(|_| setup.connect(ECHO))
        .collect::<Result<Vec<_>, _>>()?;
    for echo in &mut echoes {
        pings(1, &mut &*echo, &mut &*echo)?;
    }
    let opened = begin.elapsed().as_secs_f64() * 1e3;
    drop(echoes);
    let sockets = (0..count)
        .map(|_| {
            let socket = setup.connect(TAKE)?;
            let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SMALL_BUFFER);
            Ok(socket)
        })
        .collect::<Result<Vec<_>, Failed>>()?;
    let stop = &setup.stop;
    let [rate, cpu] = thread::scope(|scope| {
        // A few writers that go round, so that it is not threads that are measured.
        for part in sockets.chunks(count.div_ceil(4)) {
            scope.spawn(move || {
                let block = [b'x'; 16 * 1024];
                while !stop.load(Ordering::Relaxed) {
                    for mut socket in part {
                        if socket.write_all(&block).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        let before = (setup.service.taken.get(), setup.plugin.cpu());
        let begin = Instant::now();
        thread::sleep(bench.window);
        let bytes = setup.service.taken.get() - before.0;
        let rate = bytes / 1e6 / begin.elapsed().as_secs_f64();
        let cpu = (setup.plugin.cpu() - before.1) / (bytes / 1e9);
        stop.store(true, Ordering::Relaxed);
        // Writers that wait go on.
        for socket in &sockets {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        [rate, cpu]
    });
    Ok([opened, rate, cpu])
}

/// A path with a bottleneck, uploaded to: share of what it can carry, in percent, in the first second and ten round trips, and after them;
/// share of frames sent again after them, in percent.
pub fn bottleneck(bench: &Bench, binary: &Path, path: &Route) -> Result<[f64; 3], Failed> {
    let limit = path
        .to_agent
        .bandwidth
        .map_or(f64::NAN, |bandwidth| bandwidth.bytes_per_second as f64);
    let mut setup = Setup::new(&bench.tls, binary, Way::Mux, false, 1024, path)?;
    setup.upload(Way::Mux)?;
    let start = Duration::from_secs(1) + 10 * (path.to_agent.delay + path.to_client.delay);
    let mut parts = [(0.0, 0.0); 2];
    for (part, time) in parts.iter_mut().zip([start, bench.window * 2]) {
        let bytes = setup.service.taken.get();
        let frames = setup.session.statistics().0;
        let begin = Instant::now();
        thread::sleep(time);
        let seconds = begin.elapsed().as_secs_f64();
        let needed = (setup.service.taken.get() - bytes) / 1024.0;
        let after = setup.session.statistics().0;
        let sent = (after.passed + after.lost - frames.passed - frames.lost) as f64;
        // What a message of 1 KiB has besides its data is its header; the multiplexer's now and then do not count.
        let share = needed * (1024.0 + 120.0) / seconds / limit * 100.0;
        *part = (share, ((sent - needed) / needed * 100.0).max(0.0));
    }
    Ok([parts[0].0, parts[1].0, parts[1].1])
}
