//! What is behind the agent: services that take, give or echo as fast as they can.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// What one read or write moves at most, bytes.
const BLOCK: usize = 64 * 1024;

/// Bytes that passed somewhere.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// So many.
    pub fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// A TCP service on a port of its own, for the process's lifetime.
pub struct Service {
    /// Where it listens.
    pub port: u16,
    /// What it took.
    pub taken: Counter,
}

/// What a connection does is told by the first byte that it sends.
pub const TAKE: u8 = b't';
/// Gives without end.
pub const GIVE: u8 = b'g';
/// Sends back what comes.
pub const ECHO: u8 = b'e';

impl Service {
    /// Starts it. A service that is to `give` at once does not wait for the first byte.
    pub fn start(give: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken = Counter::default();
        let counter = taken.clone();
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let counter = counter.clone();
                let builder = thread::Builder::new().stack_size(128 * 1024);
                let _ = builder.spawn(move || serve(socket, give, &counter));
            }
        });
        Self { port, taken }
    }
}

fn serve(mut socket: TcpStream, give: bool, taken: &Counter) {
    let _ = socket.set_nodelay(true);
    let mut what = [GIVE];
    if !give && socket.read_exact(&mut what).is_err() {
        return;
    }
    match what[0] {
        GIVE => give_all(&mut socket, &AtomicBool::new(false), &Counter::default()),
        TAKE => take_all(&mut socket, taken),
        _ => {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = socket.read(&mut buffer) {
                if socket.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        }
    }
}

/// Writes until it is stopped or nobody takes it.
pub fn give_all(to: &mut impl Write, stop: &AtomicBool, given: &Counter) {
    let block = vec![b'x'; BLOCK];
    while !stop.load(Ordering::Relaxed) {
        match to.write(&block) {
            Ok(count @ 1..) => given.add(count),
            _ => return,
        }
    }
}

/// Reads to the end.
pub fn take_all(from: &mut impl Read, taken: &Counter) {
    let mut buffer = vec![0; BLOCK];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        taken.add(count);
    }
}
